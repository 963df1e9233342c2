//! Many packets through the data path, for counting instructions.
//!
//! `scripts/bench --instructions` runs this under callgrind with two numbers of rounds; the
//! difference is what the packets cost, free of all set-up.

use stadium_proto::peer::PeerCell;
use stadium_tun::Superpacket;

use super::{Counter, NOW, connect, nodes, superpacket};
use crate::outbound::Pushed;

fn number(name: &str) -> usize {
    let text = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

/// Sends `STADIUM_COUNT_ROUNDS` batches of superpackets with `STADIUM_COUNT_PAYLOAD` bytes; and
/// receives them, unless `STADIUM_COUNT_INBOUND` is 0.
#[test]
#[ignore = "measures nothing by itself: run scripts/bench --instructions"]
fn many_packets() {
    let (rounds, payload) = (number("STADIUM_COUNT_ROUNDS"), number("STADIUM_COUNT_PAYLOAD"));
    let receives = number("STADIUM_COUNT_INBOUND") != 0;
    let (mut a, mut b) = nodes(true);
    connect(&mut a, &mut b);
    let (header, packet) = superpacket(payload);
    let batch = if payload > 10_000 { 1 } else { 32 };
    let mut sink = Counter::default();
    for _ in 0..rounds {
        for _ in 0..batch {
            let superpacket = Superpacket { header: &header, packet: &packet };
            let pushed = a.outbound.push(NOW.instant, superpacket, |_: &PeerCell| {});
            assert_eq!(pushed, Pushed::Done);
        }
        a.outbound.flush(|_| {});
        while receives && b.rx.recv(&b.socket).unwrap() > 0 {
            let (messages, slab) = b.rx.split();
            b.inbound.handle(NOW.instant, messages, slab, &mut sink);
        }
    }
    let segments = payload.div_ceil(1_368);
    let expected = if receives { rounds * batch * segments } else { 0 };
    assert_eq!(sink.packets, expected);
}

//! Many packets through the data path, for counting instructions.
//!
//! `scripts/bench --instructions` runs this under callgrind with two numbers of rounds; the
//! difference is what the packets cost, free of all set-up. The second test times the stages in
//! processor time of one thread, which no wake-up and little of other load disturbs.

use stadium_proto::peer::PeerCell;
use stadium_tun::Superpacket;

use stadium_udp::RxBatch;

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

/// Nanoseconds that this thread has used of a processor.
fn used() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Times what a packet costs in each stage: sealing, sending, receiving, opening and joining.
///
/// As above, with `STADIUM_COUNT_DEPTH` superpackets that wait in the receive buffer at once and
/// `STADIUM_COUNT_MESSAGES` messages a receive call.
#[test]
#[ignore = "prints times, tests nothing: run it in the release profile with --nocapture"]
fn time_of_packets() {
    let (rounds, payload) = (number("STADIUM_COUNT_ROUNDS"), number("STADIUM_COUNT_PAYLOAD"));
    let (depth, messages) = (number("STADIUM_COUNT_DEPTH"), number("STADIUM_COUNT_MESSAGES"));
    let (mut a, mut b) = nodes(true);
    connect(&mut a, &mut b);
    b.rx = RxBatch::new(messages);
    let (header, packet) = superpacket(payload);
    let mut sink = Counter::default();
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let mut spent = [0; 4];
        let mut at = used();
        let mut lap = |stage: usize, spent: &mut [u64; 4]| {
            let now = used();
            spent[stage] += now - at;
            at = now;
        };
        for _ in 0..depth {
            let superpacket = Superpacket { header: &header, packet: &packet };
            let pushed = a.outbound.push(NOW.instant, superpacket, |_: &PeerCell| {});
            assert_eq!(pushed, Pushed::Done);
            if a.outbound.bytes() >= 128 * 1024 {
                lap(0, &mut spent);
                a.outbound.flush(|_| {});
                lap(1, &mut spent);
            }
        }
        lap(0, &mut spent);
        a.outbound.flush(|_| {});
        lap(1, &mut spent);
        while b.rx.recv(&b.socket).unwrap() > 0 {
            lap(2, &mut spent);
            let (messages, slab) = b.rx.split();
            b.inbound.handle(NOW.instant, messages, slab, &mut sink);
            lap(3, &mut spent);
        }
        times.iter_mut().zip(spent).for_each(|(times, spent)| times.push(spent));
    }
    let packets = depth * payload.div_ceil(1_368);
    assert_eq!(sink.packets, rounds * packets);
    for (stage, times) in ["seal", "send", "receive", "open and join"].iter().zip(&mut times) {
        times.sort_unstable();
        let each = |n: usize| times[n * (rounds - 1) / 100] as f64 / packets as f64;
        println!("{stage:14} {:7.0} ns a packet at best, {:7.0} median", each(0), each(50));
    }
}

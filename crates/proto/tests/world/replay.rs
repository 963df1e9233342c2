//! What was recorded and is sent again does nothing.

use crate::{
    ledger::Tapped,
    net::{Net, Setup, elsewhere, outer},
};
use stadium_proto::{drop::DropReason, engine::Event};
use std::net::SocketAddr;
use std::time::Duration;

/// Lets two nodes talk for five minutes, and returns the world and all that each has sent.
fn recorded(seed: u64) -> (Net, Vec<Tapped>, Vec<Tapped>) {
    let mut net = Net::pair_of(seed, Setup::seeded(seed).classic(), Setup::seeded(seed).classic());
    net.delay(Duration::from_millis(20));
    net.tap(1);
    net.tap(2);
    net.connect(1, 2);
    net.talk(1, 2, Duration::from_millis(500), 600);
    net.run(Duration::from_secs(301));
    let (one, two) = (net.take_tap(1), net.take_tap(2));
    assert_eq!(one.iter().filter(|t| t.is_request()).count(), 3);
    (net, one, two)
}

/// Injects datagrams towards a node and returns how many bytes those were, and how many bytes the
/// node sent meanwhile.
fn replay(net: &mut Net, to: u16, from: SocketAddr, what: &[Tapped]) -> (u64, u64) {
    let sent = |net: &Net| {
        let ledger = &net.node(to).ledger;
        ledger.handshake_out.bytes + ledger.data_out.bytes
    };
    let before = sent(net);
    for datagram in what {
        net.world.inject(from, outer(to), &datagram.bytes);
        net.run(Duration::from_micros(100));
    }
    net.run(Duration::from_secs(1));
    (what.iter().map(|t| t.bytes.len() as u64).sum(), sent(net) - before)
}

#[test]
fn recorded_datagrams_do_nothing_now_or_later() {
    // at once; when macs and ephemerals are about to be forgotten, and when they are
    for wait in [0, 100, 150, 400] {
        let (mut net, one, two) = recorded(70);
        net.run(Duration::from_secs(wait));
        let sessions = (net.node(1).sessions(), net.node(2).sessions());
        let taken = net.node(2).ledger.taken.len();
        let indices = (net.node(1).indices(), net.node(2).indices());
        for (to, what, usual) in [(2, &one, outer(1)), (1, &two, outer(2))] {
            for from in [usual, elsewhere(6, 6)] {
                let (came, went) = replay(&mut net, to, from, what);
                // at most a RETRY of 76 bytes for each of three REQUESTs of 236 and more
                assert!(went <= 3 * 76, "{wait}: {went} bytes went for {came}");
            }
        }
        assert_eq!((net.node(1).sessions(), net.node(2).sessions()), sessions);
        assert_eq!(net.node(2).ledger.taken.len(), taken);
        assert_eq!((net.node(1).indices(), net.node(2).indices()), indices);
        assert_eq!(net.node(2).endpoint(1), Some(outer(1)));
        let drops = |reason| net.node(2).drops(reason);
        let known = drops(DropReason::RepeatedRequest) + drops(DropReason::StaleTimestamp);
        assert_eq!(known, 6, "{wait}");
        net.connect(1, 2);
        net.check_invariants();
    }
}

#[test]
fn requests_replayed_to_a_restarted_responder_make_no_session() {
    let (mut net, one, _) = recorded(71);
    net.restart(2);
    let requests: Vec<_> = one.into_iter().filter(Tapped::is_request).collect();
    let sessions = net.node(2).sessions();
    let (came, went) = replay(&mut net, 2, elsewhere(6, 6), &requests);
    // a node that has just started cannot know them, so it answers, to no avail
    assert!(went > 0 && went <= came, "{went} of {came}");
    assert_eq!(net.node(2).sessions(), sessions);
    assert_eq!(net.node(2).endpoint(1), None);
    net.run(Duration::from_secs(10));
    assert_eq!(net.node(2).indices(), 0, "pending sessions are forgotten after 10 s");
    // nor do they keep the true one from coming back
    net.talk(1, 2, Duration::from_millis(100), 300);
    net.run(Duration::from_secs(16));
    assert!(net.node(2).is_up(net.world.now(), 1), "{}", net.world);
    net.check_invariants();
}

#[test]
fn a_request_that_arrives_first_from_elsewhere_moves_nothing() {
    let mut net = Net::pair(72);
    net.delay(Duration::from_millis(20));
    net.connect(1, 2);
    net.talk(1, 2, Duration::from_millis(20), 1_000);
    net.run(Duration::from_secs(2));
    net.tap(1);
    net.with(1, |sim, now, out| {
        sim.drive(now, stadium_proto::engine::Input::NetworkChanged, out);
    });
    let tapped = net.take_tap(1);
    let request = tapped.iter().find(|t| t.is_request()).unwrap();
    net.world.inject(elsewhere(6, 6), outer(2), &request.bytes);
    net.run(Duration::from_secs(20));
    assert_eq!(net.node(2).endpoint(1), Some(outer(1)));
    // the CONSENT went elsewhere and the REQUEST itself was dropped as repeated: one more was needed
    assert_eq!(net.node(2).drops(DropReason::RepeatedRequest), 1);
    assert_eq!(net.node(1).sessions(), 2);
    for (from, to) in [(1, 2), (2, 1)] {
        let balance = net.balance(from, to);
        assert_eq!(balance.made, balance.taken, "{balance:?}");
    }
    net.check_invariants();
}

#[test]
fn consents_of_others_and_forged_closes_end_nothing() {
    let (mut net, _, two) = recorded(73);
    net.send(1, 2);
    net.run(Duration::from_secs(1));
    // every CONSENT and DATA datagram with each single byte of its first 40 changed
    for tapped in two.iter().take(20) {
        for at in 0..tapped.bytes.len().min(40) {
            let mut bytes = tapped.bytes.clone();
            bytes[at] ^= 0x5a;
            net.world.inject(outer(2), outer(1), &bytes);
        }
    }
    net.run(Duration::from_secs(1));
    assert!(net.node(1).is_up(net.world.now(), 2));
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::PeerClosed { .. })), 0);
    net.check_invariants();
}

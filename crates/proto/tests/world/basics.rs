//! What a session is for: packets between nodes, on links that lose nothing.

use crate::{
    inner,
    net::{Net, Setup, outer, peer},
};
use stadium_proto::{
    crypto::{Cipher, HashAlg},
    drop::DropReason,
    engine::{Event, HandshakeKind, Input, PeerError, PeerState, PostQuantum},
    identity::NetworkKey,
    session::OVERHEAD,
};
use std::time::Duration;

const TEN_MS: Duration = Duration::from_millis(10);

#[test]
fn packets_flow_both_ways_and_the_first_ones_wait() {
    let mut net = Net::pair(1);
    net.delay(Duration::from_millis(40));
    net.talk(1, 2, TEN_MS, 1_000);
    net.run(Duration::from_secs(11));
    let there = net.balance(1, 2);
    assert_eq!((there.made, there.taken), (1_000, 1_000), "{there:?}");
    // until the first frame of node 1 came after 1.5 round trips, node 2 had nowhere to send to
    let back = net.balance(2, 1);
    assert_eq!((back.unsealed, back.taken), (12, 988), "{back:?}");
    for node in [1, 2] {
        let sim = net.node(node);
        assert_eq!((sim.sessions(), sim.ledger.late), (1, 0));
        assert_eq!(sim.indices(), 1);
    }
    let status = net.node(1).status(net.world.now(), 2);
    assert_eq!(status.rtt, Some(Duration::from_millis(80)));
    assert_eq!(status.session.unwrap().lanes, 2);
    let cell = net.node(2).cell(1);
    let bytes = |counts: stadium_proto::peer::TrafficCounts| (counts.packets, counts.bytes);
    assert_eq!(bytes(cell.rx.counts()), bytes(net.node(1).cell(2).tx.counts()));
    net.check_invariants();
}

#[test]
fn a_hub_routes_between_two_others() {
    let mut net = Net::new(2);
    for _ in 0..3 {
        net.add(Setup::seeded(2));
    }
    for node in [2, 3] {
        let mut hub = peer(1, Some(outer(1)));
        hub.allowed_ips.push("10.7.0.0/16".parse().unwrap());
        net.introduce(node, hub);
        net.introduce(1, peer(node, None));
    }
    net.delay(Duration::from_millis(10));
    net.connect(2, 1);
    net.connect(3, 1);
    net.talk(2, 3, TEN_MS, 2_000);
    net.flow(1, 2, TEN_MS, 100);
    net.run(Duration::from_secs(21));
    for (from, to, made) in [(2, 3, 2_000), (3, 2, 2_000), (1, 2, 100)] {
        let balance = net.balance(from, to);
        assert_eq!((balance.made, balance.taken), (made, made), "{from} to {to}");
    }
    // node 2 may not speak for node 3
    let forged = inner::packet(3, 1, 77);
    net.with(2, |sim, now, out| sim.send_inner(now, &forged, out));
    net.run(Duration::from_secs(1));
    assert_eq!(net.node(1).drops(DropReason::NotAllowed), 1);
    assert!(!net.node(1).ledger.taken.contains_key(&(3, 77)));
    net.check_invariants();
}

#[test]
fn post_quantum_policies_meet() {
    use PostQuantum::{Off, Prefer, Require};
    let cases = [
        (Prefer, Prefer, Some(true)),
        (Prefer, Off, Some(false)),
        (Prefer, Require, Some(true)),
        (Off, Prefer, Some(false)),
        (Off, Off, Some(false)),
        (Off, Require, None),
        (Require, Prefer, Some(true)),
        (Require, Off, None),
        (Require, Require, Some(true)),
    ];
    for (ours, theirs, expected) in cases {
        let setup = |policy| Setup::seeded(3).with(|s| s.post_quantum = policy);
        let mut net = Net::pair_of(3, setup(ours), setup(theirs));
        net.delay(Duration::from_millis(20));
        net.send(1, 2);
        let up = net.run_until_up(1, 2, Duration::from_secs(20));
        let session = net.node(1).status(net.world.now(), 2).session;
        let got = session.map(|session| session.post_quantum);
        assert_eq!(got, expected, "{ours:?} {theirs:?}");
        assert_eq!(up.is_some(), expected.is_some(), "{ours:?} {theirs:?}");
        if let Some(up) = up {
            assert_eq!(up, Duration::from_millis(80), "{ours:?} {theirs:?}");
        }
        if (ours, theirs) == (Off, Require) {
            assert_eq!(net.last_error(1, 2), Some(PeerError::PostQuantumRequired));
        }
    }
}

#[test]
fn algorithms_are_the_first_of_the_initiator_that_both_have() {
    let ours = Setup::seeded(4).with(|s| {
        s.hashes = vec![HashAlg::Sha512, HashAlg::Blake2s256];
        s.ciphers = vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
    });
    let theirs = Setup::seeded(4).with(|s| {
        s.hashes = vec![HashAlg::Blake2s256, HashAlg::Sha256];
        s.ciphers = vec![Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm];
    });
    let mut net = Net::pair_of(4, ours, theirs);
    net.connect(1, 2);
    net.talk(1, 2, TEN_MS, 50);
    net.run(Duration::from_secs(1));
    for (node, other) in [(1, 2), (2, 1)] {
        let session = net.node(node).status(net.world.now(), other).session.unwrap();
        assert_eq!((session.hash, session.cipher), (HashAlg::Blake2s256, Cipher::Aes256Gcm));
        let balance = net.balance(node, other);
        assert_eq!(balance.made, balance.taken);
    }

    let mut net = Net::pair_of(
        5,
        Setup::seeded(5).only_sha512(),
        Setup::seeded(5).with(|s| s.hashes = vec![HashAlg::Sha256]),
    );
    net.send(1, 2);
    assert_eq!(net.run_until_up(1, 2, Duration::from_secs(10)), None);
    assert_eq!(net.last_error(1, 2), Some(PeerError::NoCommonHash));
}

#[test]
fn both_may_start_at_once() {
    for seed in 0..40 {
        let mut net = Net::pair(seed);
        net.with(2, |sim, now, out| {
            sim.update_peer(now, 1, |config| config.endpoint = Some(outer(1)), out);
        });
        net.delay(Duration::from_millis(50));
        net.talk(1, 2, TEN_MS, 1_000);
        net.run(Duration::from_secs(11));
        let (one, two) = (net.balance(1, 2), net.balance(2, 1));
        assert_eq!((one.taken, two.taken), (1_000, 1_000), "seed {seed} {one:?} {two:?}");
        let id = |node, other| net.node(node).status(net.world.now(), other).session.unwrap().id;
        assert_eq!((id(1, 2), id(2, 1)), (1, 1), "seed {seed}");
        for node in [1, 2] {
            assert!(net.node(node).indices() <= 2, "seed {seed}");
        }
        net.check_invariants();
    }
}

#[test]
fn another_network_key_is_met_with_silence() {
    let mut ours = Setup::seeded(6);
    ours.network_key = Some(NetworkKey::from_bytes([1; 32]));
    let theirs = Setup { network_key: Some(NetworkKey::from_bytes([2; 32])), ..ours.clone() };
    let mut net = Net::pair_of(6, ours, theirs);
    net.flow(1, 2, Duration::from_secs(1), 60);
    net.run(Duration::from_secs(100));
    assert_eq!(net.state(1, 2), PeerState::Down);
    assert_eq!(net.last_error(1, 2), Some(PeerError::NoAnswer));
    let (sent, answered) = (net.node(1).ledger.handshake_out, net.node(2).ledger.handshake_out);
    assert!((17..=20).contains(&sent.datagrams), "{sent:?}");
    assert_eq!(answered.datagrams, 0);
    assert_eq!(net.node(2).drops(DropReason::BadMac), sent.datagrams);
}

#[test]
fn an_unknown_node_learns_why_unless_the_other_is_in_stealth() {
    for stealth in [false, true] {
        let theirs = Setup::seeded(7).with(|s| s.stealth = stealth);
        let mut net = Net::pair_of(7, Setup::seeded(7), theirs);
        net.with(2, |sim, now, out| sim.remove_peer(now, 1, out));
        net.send(1, 2);
        net.run(Duration::from_secs(30));
        let answers = net.node(2).ledger.handshake_out.datagrams;
        let requests = net.node(1).ledger.requests_out;
        if stealth {
            assert_eq!(answers, 0);
            assert_eq!(net.last_error(1, 2), Some(PeerError::NoAnswer));
        } else {
            assert_eq!(answers, requests, "a status each");
            assert_eq!(net.last_error(1, 2), Some(PeerError::UnknownPeer));
        }
        assert_eq!(net.state(1, 2), PeerState::Handshaking, "a status does not end the schedule");
        assert_eq!(net.node(2).drops(DropReason::UnknownPeer), requests);
        assert_eq!(net.node(2).indices(), 0);
    }
}

#[test]
fn open_handshakes_need_consent_of_both() {
    for (allow, stealth, up) in [(true, false, true), (false, false, false), (true, true, false)] {
        let theirs = Setup::seeded(8).with(|s| (s.allow_open, s.stealth) = (allow, stealth));
        let mut net = Net::pair_of(8, Setup::seeded(8), theirs);
        net.with(1, |sim, now, out| {
            sim.update_peer(now, 2, |config| config.handshake = HandshakeKind::Open, out);
        });
        net.talk(1, 2, TEN_MS, 100);
        assert_eq!(net.run_until_up(1, 2, Duration::from_secs(20)).is_some(), up);
        net.run(Duration::from_secs(2));
        if up {
            for (node, other) in [(1, 2), (2, 1)] {
                let session = net.node(node).status(net.world.now(), other).session.unwrap();
                assert_eq!(session.handshake, HandshakeKind::Open);
            }
            let balance = net.balance(1, 2);
            assert_eq!(balance.taken, 100, "{balance:?}");
        } else {
            assert_eq!(net.node(2).ledger.handshake_out.datagrams, 0);
        }
    }
}

#[test]
fn a_close_is_told_and_the_next_packet_starts_anew() {
    let mut net = Net::pair(9);
    net.delay(Duration::from_millis(30));
    net.connect(1, 2);
    net.drive(2, Input::Shutdown);
    net.run(Duration::from_secs(1));
    assert_eq!(net.state(1, 2), PeerState::Closed);
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::PeerClosed { .. })), 1);
    assert_eq!((net.node(1).indices(), net.node(2).indices()), (0, 0));
    let before = net.node(1).ledger.requests_out;
    net.run(Duration::from_secs(300));
    assert_eq!(net.node(1).ledger.requests_out, before, "nothing until the next traffic");
    net.connect(1, 2);
    assert_eq!(net.balance(1, 2).taken, 2);
}

#[test]
fn a_datagram_costs_32_bytes() {
    let mut net = Net::pair(10);
    net.connect(1, 2);
    net.run(Duration::from_secs(1));
    let before = net.node(1).ledger.data_out;
    net.flow(1, 2, TEN_MS, 100);
    net.run(Duration::from_secs(2));
    let after = net.node(1).ledger.data_out;
    let inner = (1..=100).map(|n| inner::packet(1, 2, n).len() as u64).sum::<u64>();
    assert_eq!(after.datagrams - before.datagrams, 100);
    assert_eq!(after.bytes - before.bytes, inner + 100 * OVERHEAD as u64);
}

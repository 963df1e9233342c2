//! Changes of the configuration while traffic flows.

use crate::{
    inner,
    net::{Net, Setup, elsewhere, outer, peer},
};
use stadium_proto::{
    drop::DropReason,
    engine::{Change, Event, Input, PeerError, PeerState},
    identity::PresharedKey,
};
use std::time::Duration;

const TEN_MS: Duration = Duration::from_millis(10);

fn talking(seed: u64) -> Net {
    let mut net = Net::pair(seed);
    net.delay(Duration::from_millis(25));
    net.connect(1, 2);
    net.talk(1, 2, TEN_MS, 3_000);
    net.run(Duration::from_secs(2));
    net
}

fn set_psk(net: &mut Net, node: u16, other: u16, psk: [u8; 32]) {
    net.with(node, |sim, now, out| {
        let psk = PresharedKey::from_bytes(psk);
        sim.update_peer(now, other, |config| config.preshared_key = psk, out);
    });
}

#[test]
fn a_preshared_key_that_changes_makes_a_handshake_and_loses_nothing() {
    let mut net = talking(80);
    set_psk(&mut net, 1, 2, [9; 32]);
    net.run(Duration::from_secs(3));
    assert_eq!(net.last_error(1, 2), Some(PeerError::KeyMismatch), "only one side has it");
    assert_eq!(net.state(1, 2), PeerState::Up, "what is agreed goes on");
    set_psk(&mut net, 2, 1, [9; 32]);
    // one exchange, and its first frame
    net.run(Duration::from_millis(101));
    assert_eq!((net.node(1).sessions(), net.node(2).sessions()), (2, 2));
    assert_eq!(net.last_error(1, 2), None);
    net.run(Duration::from_secs(30));
    for (from, to) in [(1, 2), (2, 1)] {
        let balance = net.balance(from, to);
        assert_eq!(balance.made, balance.taken, "{balance:?}");
    }
    net.check_invariants();
}

#[test]
fn a_wrong_preshared_key_is_named_and_never_up() {
    let mut net = Net::pair(81);
    set_psk(&mut net, 1, 2, [9; 32]);
    net.flow(1, 2, Duration::from_secs(1), 60);
    net.run(Duration::from_secs(60));
    assert_eq!(net.last_error(1, 2), Some(PeerError::KeyMismatch));
    assert_eq!((net.node(1).sessions(), net.node(2).sessions()), (0, 0));
    assert!(net.node(2).indices() <= 4, "pending sessions are bounded");
    set_psk(&mut net, 1, 2, [0; 32]);
    assert!(net.run_until_up(1, 2, Duration::from_secs(6)).is_some());
    assert_eq!(net.last_error(1, 2), None);
}

#[test]
fn a_peer_that_is_removed_is_told_and_may_come_back() {
    let mut net = talking(82);
    net.with(2, |sim, now, out| sim.remove_peer(now, 1, out));
    net.run(Duration::from_millis(30));
    assert_eq!(net.state(1, 2), PeerState::Handshaking, "closed, and the next packet started anew");
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::PeerClosed { .. })), 1);
    net.run(Duration::from_secs(3));
    assert_eq!(net.last_error(1, 2), Some(PeerError::UnknownPeer));
    assert_eq!(net.node(2).indices(), 0);
    assert!(net.node(2).drops(DropReason::NoRoute) > 250);
    net.introduce(2, peer(1, None));
    assert!(net.run_until_up(1, 2, Duration::from_millis(5_500)).is_some());
    let before = net.node(2).ledger.taken.len();
    net.run(Duration::from_secs(10));
    assert!(net.node(2).ledger.taken.len() > before + 990);
    assert_eq!(net.last_error(1, 2), None);
    net.check_invariants();
}

#[test]
fn a_thousand_reloads_of_the_same_file_change_nothing() {
    let mut net = talking(83);
    for _ in 0..1_000 {
        for (node, other) in [(1, 2), (2, 1)] {
            net.with(node, |sim, now, out| {
                sim.update_peer(now, other, |_| {}, out);
                let settings = Box::new(sim.setup.settings.clone());
                sim.apply(now, Change::Settings(settings), out);
            });
        }
        net.run(TEN_MS);
    }
    net.run(Duration::from_secs(30));
    for (from, to) in [(1, 2), (2, 1)] {
        let balance = net.balance(from, to);
        assert_eq!(balance.made, balance.taken, "{balance:?}");
        assert_eq!(net.node(from).sessions(), 1);
        assert_eq!(net.node(from).indices(), 1);
    }
}

#[test]
fn allowed_ips_that_change_hold_at_once() {
    let mut net = talking(84);
    let foreign = inner::packet(9, 2, 1);
    net.with(1, |sim, now, out| sim.send_inner(now, &foreign, out));
    net.run(Duration::from_millis(100));
    assert_eq!(net.node(2).drops(DropReason::NotAllowed), 1);
    net.with(2, |sim, now, out| {
        let nets = "10.7.0.9/32".parse().unwrap();
        sim.update_peer(now, 1, |config| config.allowed_ips.push(nets), out);
    });
    net.with(1, |sim, now, out| sim.send_inner(now, &foreign, out));
    net.run(Duration::from_millis(100));
    assert!(net.node(2).ledger.taken.contains_key(&(9, 1)));
    assert_eq!(net.node(1).sessions(), 1, "no handshake for that");
}

#[test]
fn an_endpoint_that_comes_late_is_used_at_once() {
    for resolved in [true, false] {
        let mut net = Net::new(85);
        net.add(Setup::seeded(85));
        net.add(Setup::seeded(85));
        net.introduce(1, peer(2, None));
        net.introduce(2, peer(1, None));
        net.send(1, 2);
        net.run(Duration::from_secs(5));
        assert_eq!(net.state(1, 2), PeerState::Idle, "there is nowhere to send to");
        if resolved {
            let peer = net.node(1).id(2);
            net.drive(1, Input::Endpoint { peer, remote: outer(2) });
        } else {
            net.with(1, |sim, now, out| {
                sim.update_peer(now, 2, |config| config.endpoint = Some(outer(2)), out);
            });
        }
        assert!(net.run_until_up(1, 2, Duration::from_millis(10)).is_some(), "{resolved}");
    }
}

#[test]
fn an_endpoint_that_changes_in_the_file_moves_the_session() {
    let mut net = talking(86);
    // the peer has moved, and the file says where to, before a frame of it comes from there
    net.world.roam(net.host(2), &[elsewhere(3, 33)], None);
    net.with(1, |sim, now, out| {
        sim.update_peer(now, 2, |config| config.endpoint = Some(elsewhere(3, 33)), out);
    });
    net.run(Duration::from_secs(40));
    assert_eq!(net.node(1).endpoint(2), Some(elsewhere(3, 33)));
    let (there, back) = (net.balance(1, 2), net.balance(2, 1));
    assert!(there.lost_by_link <= 3, "only what was under way: {there:?}");
    assert_eq!(back.made, back.taken, "{back:?}");
    assert_eq!(net.node(1).sessions(), 1);
}

#[test]
fn a_changed_network_renews_every_session_at_once() {
    let mut net = talking(87);
    net.world.roam(net.host(1), &[elsewhere(7, 7)], None);
    net.drive(1, Input::NetworkChanged);
    net.run(Duration::from_millis(101));
    assert_eq!(net.node(2).endpoint(1), Some(elsewhere(7, 7)));
    net.run(Duration::from_secs(30));
    assert_eq!(net.node(1).sessions(), 2);
    let balance = net.balance(1, 2);
    assert_eq!(balance.made, balance.taken, "{balance:?}");
    net.check_invariants();
}

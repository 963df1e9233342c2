//! Nodes that are killed and start anew, and clocks that are wrong.

use crate::net::{Net, SECOND, Setup, TEN_YEARS, outer};
use stadium_proto::drop::DropReason;
use std::time::Duration;

/// The longest time between a restart and payload in a direction, in seconds, over `count`
/// restarts of `node` under traffic both ways.
fn worst_recovery(net: &mut Net, node: u16, count: u64) -> f64 {
    net.talk(1, 2, Duration::from_millis(100), (440 * count) + 100);
    net.run(Duration::from_secs(3));
    let mut worst = 0.0_f64;
    for round in 0..count {
        // at another moment of the second and of the session each time
        net.run(Duration::from_millis(20_000 + round * 137));
        net.restart(node);
        let at = net.world.now();
        net.run(Duration::from_secs(17));
        for receiver in [1, 2] {
            let taken = &net.node(receiver).ledger.taken;
            // what was under way at the restart does not count: 100 ms each way at most
            let first = taken.values().filter(|t| **t > at + SECOND / 4).min().unwrap();
            worst = worst.max((first - at) as f64 / SECOND as f64);
        }
        assert!(net.node(1).is_up(net.world.now(), 2), "{}", net.world);
    }
    net.check_invariants();
    worst
}

#[test]
fn a_restarted_responder_is_found_again() {
    let mut net = Net::pair(50);
    net.delay(Duration::from_millis(50));
    let worst = worst_recovery(&mut net, 2, 50);
    println!("responder: {worst:.3} s");
    assert!(worst <= 16.0, "{worst}");
    assert!(worst > 14.0, "only silence can tell: {worst}");
    assert_eq!(net.node(1).sessions(), 51, "one for each restart");
    assert_eq!(net.node(1).ledger.requests_out, 51, "one REQUEST a session");
}

#[test]
fn a_restarted_initiator_is_back_at_once() {
    let mut net = Net::pair(51);
    net.delay(Duration::from_millis(50));
    let worst = worst_recovery(&mut net, 1, 50);
    println!("initiator: {worst:.3} s");
    assert!(worst <= 0.5, "{worst}");
    assert_eq!(net.node(1).sessions(), 51, "one for each restart");
    assert_eq!(net.node(1).ledger.requests_out, 51, "one REQUEST a session");
}

#[test]
fn restarts_on_a_bad_link_are_survived() {
    for node in [1, 2] {
        let mut net = Net::pair(52);
        net.with(2, |sim, now, out| {
            sim.update_peer(now, 1, |config| config.endpoint = Some(outer(1)), out);
        });
        net.delay(Duration::from_millis(50));
        let worst = worst_recovery(&mut net, node, 30);
        println!("node {node}, both with endpoints: {worst:.3} s");
        // the one that starts speaks first
        assert!(worst <= 0.5, "{worst}");
    }
}

#[test]
fn a_wrong_clock_costs_a_restarted_initiator_one_round_trip() {
    for ahead in [0, TEN_YEARS, -TEN_YEARS] {
        for back in [0, TEN_YEARS] {
            let mut one = Setup::seeded(53);
            one.wall += ahead;
            let mut net = Net::pair_of(53, one, Setup::seeded(53));
            net.delay(Duration::from_millis(50));
            net.connect(1, 2);
            net.run(Duration::from_secs(20));
            net.edit(1, |sim| sim.setup.wall -= back);
            net.restart(1);
            net.send(1, 2);
            let up = net.run_until_up(1, 2, Duration::from_secs(5)).unwrap();
            let stale = net.node(2).drops(DropReason::StaleTimestamp);
            let expected = if back == 0 { (200, 0) } else { (300, 1) };
            // 2 is still up with the session that the restart orphaned, until a frame of the new
            assert_eq!((up.as_millis(), stale), expected, "{ahead} {back}");
            net.check_invariants();
        }
    }
}

#[test]
fn a_wrong_clock_of_the_responder_costs_nothing() {
    for error in [TEN_YEARS, -TEN_YEARS] {
        let mut net = Net::pair(54);
        net.edit(2, |sim| sim.setup.wall += error);
        net.delay(Duration::from_millis(50));
        net.send(1, 2);
        let up = net.run_until_up(1, 2, Duration::from_secs(5)).unwrap();
        assert_eq!(up, Duration::from_millis(200));
        net.restart(2);
        net.with(1, |sim, now, out| {
            sim.drive(now, stadium_proto::engine::Input::NetworkChanged, out);
        });
        let requests = net.node(1).ledger.requests_out;
        net.run(Duration::from_secs(1));
        assert_eq!(net.node(2).drops(DropReason::StaleTimestamp), 0);
        assert_eq!((requests, net.node(2).sessions()), (2, 2));
    }
}

#[test]
fn a_clock_that_was_ahead_locks_nobody_out() {
    // for days the initiator's clock is ten years ahead, then it is right again
    let mut net = Net::pair_of(55, Setup::seeded(55).classic(), Setup::seeded(55).classic());
    net.edit(1, |sim| sim.setup.wall += TEN_YEARS);
    net.delay(Duration::from_millis(10));
    net.connect(1, 2);
    net.edit(1, |sim| sim.setup.wall -= TEN_YEARS);
    net.restart(1);
    net.talk(1, 2, Duration::from_secs(1), 1_000);
    net.run(Duration::from_secs(1_010));
    let balance = net.balance(1, 2);
    assert_eq!(balance.made, balance.taken, "{balance:?}");
    let (requests, sessions) = (net.node(1).ledger.requests_out, net.node(1).sessions() as u64);
    assert_eq!(sessions, 10);
    println!("{requests} REQUESTs for {sessions} sessions");
    assert!(requests <= 2 * sessions, "one more round trip each at most");
}

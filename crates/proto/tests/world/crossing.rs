//! Handshakes that cross each other or their own repetitions.

use crate::net::{Net, Setup, outer};
use stadium_netsim::link::Impairments;
use stadium_proto::engine::Event;
use std::time::Duration;

#[test]
fn a_way_longer_than_the_pause_between_requests_loses_nothing() {
    for rtt in [900, 1_100, 1_500, 2_500, 4_000] {
        let mut net = Net::pair(rtt);
        net.delay(Duration::from_millis(rtt / 2));
        net.send(1, 2);
        let up = net.run_until_up(1, 2, Duration::from_secs(20)).unwrap();
        assert_eq!(up, Duration::from_millis(2 * rtt), "{rtt}");
        net.talk(1, 2, Duration::from_millis(10), 30_000);
        net.run(Duration::from_secs(310));
        for (from, to) in [(1, 2), (2, 1)] {
            let balance = net.balance(from, to);
            assert_eq!(balance.made, balance.taken, "{rtt} ms {balance:?}");
        }
        let sessions = net.node(1).sessions();
        println!("{rtt} ms: {sessions} sessions, {} REQUESTs", net.node(1).ledger.requests_out);
        assert_eq!(sessions, 3, "{rtt} ms");
        net.check_invariants();
    }
}

#[test]
fn crossed_handshakes_on_bad_links_go_on_to_be_renewed() {
    let mut lost = 0;
    for seed in 0..200 {
        let setup = || Setup::seeded(seed).classic();
        let mut net = Net::pair_of(seed, setup(), setup());
        net.with(2, |sim, now, out| {
            sim.update_peer(now, 1, |config| config.endpoint = Some(outer(1)), out);
        });
        let mut link =
            Impairments::lossy(0.1).with_delay(Duration::ZERO, Duration::from_millis(300));
        link.delay.ordered = false;
        for node in [1, 2] {
            net.world.impair_both(net.host(node), link);
        }
        net.flow(1, 2, Duration::from_millis(200), 1_200);
        net.run(Duration::from_millis(seed * 2));
        net.flow(2, 1, Duration::from_millis(200), 1_200);
        net.run(Duration::from_secs(230));
        for (from, to) in [(1, 2), (2, 1)] {
            let ended = net.node(from).count_events(|e| matches!(e, Event::SessionsEnded { .. }));
            assert_eq!(ended, 0, "seed {seed}: node {from}'s session was not renewed");
            let balance = net.balance(from, to);
            assert_eq!(balance.unsealed, 0, "seed {seed} {balance:?}");
            lost += balance.lost_inside;
        }
        net.check_invariants();
    }
    println!("{lost} of 480,000 packets lost to crossing handshakes");
}

//! Links that lose, reorder, duplicate, delay and corrupt.

use crate::net::{Net, SECOND, Setup, outer, peer};
use stadium_netsim::{link::Impairments, world::Direction};
use stadium_proto::{drop::DropReason, timers::Timers};
use std::time::Duration;

/// Pairs of nodes in one world, and worlds: 10,000 handshakes.
const PAIRS: u16 = 100;
const WORLDS: u64 = 100;
/// How long a handshake may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Rekeys every 2 s; what is left of the usual times suffices for a few lost REQUESTs.
fn short_timers(setup: Setup) -> Setup {
    setup.with(|s| {
        s.timers = Timers {
            rekey: Duration::from_secs(2),
            reject: Duration::from_secs(30),
            wipe: Duration::from_secs(90),
            ..Timers::default()
        };
    })
}

#[test]
fn handshakes_finish_at_thirty_percent_loss_each_way() {
    let mut times = Vec::new();
    let mut requests = 0;
    for seed in 0..WORLDS {
        let mut net = Net::new(seed);
        let hybrid = seed % 2 == 0;
        for node in 1..=2 * PAIRS {
            let setup = Setup::seeded(seed);
            net.add(if hybrid { setup } else { setup.classic() });
            net.world.impair(net.host(node), Direction::Outgoing, Impairments::lossy(0.3));
        }
        let ones: Vec<u16> = (1..=PAIRS).map(|n| 2 * n - 1).collect();
        for &one in &ones {
            net.introduce(one, peer(one + 1, Some(outer(one + 1))));
            net.introduce(one + 1, peer(one, None));
            net.send(one, one + 1);
        }
        let start = net.world.now();
        let mut waiting = ones.clone();
        while !waiting.is_empty() && net.world.now() < start + LIMIT.as_nanos() as u64 {
            net.run(Duration::from_millis(100));
            let now = net.world.now();
            waiting.retain(|&one| {
                let up = net.node(one).is_up(now, one + 1) && net.node(one + 1).is_up(now, one);
                if up {
                    times.push((now - start) / 1_000_000);
                }
                !up
            });
        }
        requests += ones.iter().map(|&one| net.node(one).ledger.requests_out).sum::<u64>();
    }
    times.sort_unstable();
    let all = u64::from(PAIRS) * WORLDS;
    let finished = times.len() as u64;
    let at = |share: f64| times[((finished - 1) as f64 * share) as usize];
    println!(
        "{finished} of {all} handshakes finished; median {} ms, 99 % {} ms, last {} ms; {:.2} REQUESTs each",
        at(0.5),
        at(0.99),
        at(1.0),
        requests as f64 / all as f64,
    );
    assert!(finished * 10_000 >= all * 9_999, "{finished} of {all}");
    assert!(at(0.99) <= 30_000);
}

#[test]
fn rekeys_every_two_seconds_lose_nothing() {
    for seed in 0..4 {
        let setup = || short_timers(Setup::seeded(seed).classic());
        let mut net = Net::pair_of(seed, setup(), setup());
        net.delay(Duration::from_millis(35));
        net.connect(1, 2);
        net.talk(1, 2, Duration::from_millis(5), 24_000);
        net.run(Duration::from_secs(121));
        for (from, to) in [(1, 2), (2, 1)] {
            let balance = net.balance(from, to);
            assert_eq!(balance.made, balance.taken, "seed {seed} {balance:?}");
            assert_eq!(net.node(from).ledger.late, 0);
        }
        let sessions = net.node(1).sessions();
        assert!((57..=61).contains(&sessions), "seed {seed}: {sessions} sessions");
        assert_eq!(net.node(2).sessions(), sessions);
        assert_eq!(net.node(1).ledger.requests_out, sessions as u64, "one REQUEST each");
        net.check_invariants();
    }
}

#[test]
fn rekeys_on_a_bad_link_lose_no_more_than_the_link() {
    for seed in 0..4 {
        let setup = || short_timers(Setup::seeded(seed).classic());
        let mut net = Net::pair_of(seed, setup(), setup());
        net.connect(1, 2);
        let mut link = Impairments { duplicate: 0.1, ..Impairments::lossy(0.05) }
            .with_delay(Duration::ZERO, Duration::from_millis(300));
        link.delay.ordered = false;
        for node in [1, 2] {
            net.world.impair(net.host(node), Direction::Outgoing, link);
        }
        net.talk(1, 2, Duration::from_millis(5), 24_000);
        net.run(Duration::from_secs(125));
        for (from, to) in [(1, 2), (2, 1)] {
            let balance = net.balance(from, to);
            println!("seed {seed}: {balance:?}, {} late", net.node(to).ledger.late);
            assert_eq!((balance.unsealed, balance.lost_inside), (0, 0), "seed {seed} {balance:?}");
            assert!((1_000..1_500).contains(&balance.lost_by_link), "seed {seed} {balance:?}");
            assert!(net.node(to).drops(DropReason::Replay) > 2_000);
            assert!(net.node(to).ledger.late > 10_000);
        }
        assert!(net.node(1).sessions() >= 40, "{}", net.node(1).sessions());
        net.check_invariants();
    }
}

#[test]
fn reordering_as_deep_as_the_window_loses_nothing() {
    let mut net = Net::pair(20);
    net.connect(1, 2);
    let mut link = Impairments::NONE.with_reorder(0.002, 8_191);
    link.reorder.patience = Duration::from_secs(60);
    net.world.impair(net.host(1), Direction::Outgoing, link);
    // a flow of 10,000 packets a second, so that 8,191 of them overtake within a second
    net.flow(1, 2, Duration::from_micros(100), 60_000);
    net.run(Duration::from_secs(100));
    let balance = net.balance(1, 2);
    println!("{balance:?}, {} late", net.node(2).ledger.late);
    assert_eq!(balance.taken, 60_001, "{balance:?}");
    assert!(net.node(2).ledger.late > 60);
    assert_eq!(net.node(2).drops(DropReason::Replay), 0);
    net.check_invariants();
}

#[test]
fn everything_at_once_neither_repeats_nor_alters() {
    for seed in 30..34 {
        let mut net = Net::pair(seed);
        let mut link = Impairments { duplicate: 0.1, corrupt: 0.01, ..Impairments::lossy(0.3) }
            .with_delay(Duration::ZERO, Duration::from_millis(300))
            .with_reorder(0.05, 8_191);
        link.delay.ordered = false;
        link.reorder.patience = Duration::from_secs(2);
        for node in [1, 2] {
            net.world.impair(net.host(node), Direction::Outgoing, link);
        }
        net.talk(1, 2, Duration::from_millis(10), 36_000);
        net.run(Duration::from_secs(370));
        for (from, to) in [(1, 2), (2, 1)] {
            let balance = net.balance(from, to);
            println!("seed {seed}: {balance:?}, {} sessions", net.node(from).sessions());
            let share = balance.taken as f64 / balance.made as f64;
            assert!((0.66..0.71).contains(&share), "seed {seed} {balance:?}");
            assert!(net.node(to).drops(DropReason::BadTag) > 100);
        }
        assert!(net.node(1).sessions() >= 3);
        net.check_invariants();
    }
}

#[test]
fn a_link_that_is_down_for_long_is_survived() {
    for seconds in [5, 20, 100, 200, 600] {
        let mut net = Net::pair(seconds);
        net.connect(1, 2);
        net.talk(1, 2, Duration::from_millis(100), 10 * (seconds + 60));
        net.run(Duration::from_secs(10));
        net.world.set_link_up(net.host(2), false);
        net.run(Duration::from_secs(seconds));
        net.world.set_link_up(net.host(2), true);
        let back = net.world.now();
        net.run(Duration::from_secs(30));
        let first = net.node(1).ledger.taken.values().find(|at| **at >= back);
        let took = (*first.unwrap() - back) as f64 / SECOND as f64;
        println!("down for {seconds} s: payload again after {took:.3} s");
        assert!(took <= 5.4, "{seconds} s: {took}");
        net.check_invariants();
    }
}

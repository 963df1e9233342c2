//! Worlds of small nodes: determinism, translators, roaming, time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;
use stadium_netsim::{
    link::{Impairments, Rate},
    world::{Direction, NatConfig, Node, Outbox, World},
};

const SECOND: u64 = 1_000_000_000;

/// Sends a numbered datagram to a peer at an interval, and answers every question.
struct Talker {
    peer: Option<SocketAddr>,
    interval: u64,
    due: u64,
    asked: u64,
    answers: Vec<u64>,
    questions: Vec<(u64, SocketAddr)>,
}

impl Talker {
    fn asking(peer: &str, interval: u64) -> Self {
        let peer = Some(addr(peer));
        Self { peer, interval, due: 0, asked: 0, answers: Vec::new(), questions: Vec::new() }
    }

    fn answering() -> Self {
        Self { peer: None, ..Self::asking("0.0.0.0:0", 0) }
    }
}

impl Node for Talker {
    fn handle_datagram(
        &mut self,
        _now: u64,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let Some((kind, number)) = datagram.split_first() else { return };
        let Ok(number) = number.try_into().map(u64::from_be_bytes) else { return };
        if *kind == b'?' {
            self.questions.push((number, remote));
            datagram[0] = b'!';
            out.send_from(local, remote, &*datagram);
        } else {
            self.answers.push(number);
        }
    }

    fn handle_timeout(&mut self, now: u64, out: &mut Outbox) {
        let Some(peer) = self.peer else { return };
        let mut datagram = vec![b'?'];
        datagram.extend(self.asked.to_be_bytes());
        out.send(peer, datagram);
        self.asked += 1;
        self.due = now + self.interval;
    }

    fn next_timeout(&self) -> Option<u64> {
        self.peer.map(|_| self.due)
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const A: &str = "192.0.2.1:1000";
const B: &str = "198.51.100.1:2000";

fn busy_world(seed: u64, impairments: Impairments) -> World<Talker> {
    let mut world = World::new(seed);
    let a = world.join(Talker::asking(B, SECOND / 10), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.impair_both(a, impairments);
    world.impair_both(b, Impairments::NONE.with_delay(Duration::ZERO, Duration::from_millis(9)));
    world.run_for(Duration::from_secs(60));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_seed_gives_one_run(seed: u64, loss in 0.0..0.9_f64, reorder in 0.0..0.9_f64) {
        let shape = Impairments { duplicate: 0.1, corrupt: 0.1, ..Impairments::lossy(loss) }
            .with_reorder(reorder, 5)
            .with_delay(Duration::from_millis(1), Duration::from_millis(300));
        let (one, two) = (busy_world(seed, shape), busy_world(seed, shape));
        prop_assert_eq!(one.trace().digest(), two.trace().digest());
        prop_assert_eq!(one.counters(), two.counters());
        let other = busy_world(seed.wrapping_add(1), shape);
        prop_assert_ne!(one.trace().digest(), other.trace().digest());
    }
}

#[test]
fn loss_in_each_direction_multiplies() {
    let mut world = World::new(4);
    let a = world.join(Talker::asking(B, SECOND / 1000), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.impair_both(a, Impairments::lossy(0.3));
    world.run_for(Duration::from_secs(100));
    let (asked, heard, answered) = (
        world.node(a).asked as f64,
        world.node(b).questions.len() as f64,
        world.node(a).answers.len() as f64,
    );
    assert_eq!(asked, 100_001.0);
    assert!((0.69..0.71).contains(&(heard / asked)), "{world}");
    assert!((0.48..0.50).contains(&(answered / asked)), "{world}");
    assert!(world.link_counters(a, Direction::Outgoing).lost > 29_000);
}

#[test]
fn a_day_with_few_events_takes_no_time() {
    let started = std::time::Instant::now();
    let mut world = World::new(1);
    let a = world.join(Talker::asking(B, 60 * SECOND), &[addr(A)]);
    world.join(Talker::answering(), &[addr(B)]);
    world.run_for(Duration::from_secs(86_400));
    assert_eq!(world.now(), 86_400 * SECOND);
    assert_eq!(world.node(a).answers.len(), 1441);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_translator_hides_the_inner_address_and_forgets_when_idle() {
    let inside = addr("10.0.0.2:1000");
    let run = |interval: u64| {
        let mut world = World::new(1);
        let config = NatConfig::strict(addr("203.0.113.7:0").ip(), Duration::from_secs(2));
        let nat = world.add_nat(config);
        let a = world.join_behind(Talker::asking(B, interval), &[inside], nat);
        let b = world.join(Talker::answering(), &[addr(B)]);
        world.run_for(Duration::from_millis(2_999));
        let seen = world.node(b).questions[0].1;
        assert_eq!(seen.ip(), addr("203.0.113.7:0").ip());
        assert_eq!(world.node(a).answers.len(), world.node(a).asked as usize);
        // three seconds after the first datagram the other side speaks
        world.with_node(b, |_, _, out| out.send(seen, [b"!".as_slice(), &[0xff; 8]].concat()));
        world.run_for(Duration::ZERO);
        let reached = world.node(a).answers.last() == Some(&u64::MAX);
        assert_eq!(world.counters().nat_blocked, u64::from(!reached), "{world}");
        reached
    };
    assert!(run(SECOND), "a heartbeat within the timeout keeps the mapping");
    assert!(!run(600 * SECOND), "without one the mapping is gone");
}

#[test]
fn two_hosts_behind_one_translator_reach_each_other_and_share_inner_addresses_with_others() {
    let mut world = World::new(2);
    let nat = |world: &mut World<Talker>, ip: &str| {
        world.add_nat(NatConfig::strict(ip.parse().unwrap(), Duration::from_secs(30)))
    };
    let (first, second) = (nat(&mut world, "203.0.113.1"), nat(&mut world, "203.0.113.2"));
    let inside = addr("10.0.0.2:1000");
    let neighbour = addr("10.0.0.3:1000");
    let a = world.join_behind(Talker::asking("10.0.0.3:1000", SECOND), &[inside], first);
    let n = world.join_behind(Talker::answering(), &[neighbour], first);
    let c = world.join_behind(Talker::asking(B, SECOND), &[inside], second);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.run_for(Duration::from_millis(1500));
    assert_eq!(world.node(n).questions, [(0, inside), (1, inside)]);
    assert_eq!(world.node(a).answers, [0, 1]);
    assert_eq!(world.node(c).answers, [0, 1]);
    assert_eq!(world.node(b).questions[0].1.ip(), addr("203.0.113.2:0").ip());
}

#[test]
fn a_host_roams_and_what_was_under_way_to_the_old_address_is_lost() {
    let mut world = World::new(3);
    let a = world.join(Talker::asking(B, SECOND), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.impair_both(
        b,
        Impairments::NONE.with_delay(Duration::from_millis(100), Duration::from_millis(100)),
    );
    world.run_for(Duration::from_millis(150));
    world.roam(a, &[addr("192.0.2.99:1234")], None);
    world.run_for(Duration::from_millis(100));
    assert_eq!((world.node(a).answers.len(), world.counters().unroutable), (0, 1));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node(b).questions[1], (1, addr("192.0.2.99:1234")));
    assert_eq!(world.node(a).answers, [1]);
}

#[test]
fn a_link_that_is_down_carries_nothing() {
    let mut world = World::new(3);
    let a = world.join(Talker::asking(B, SECOND), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.set_link_up(b, false);
    world.run_for(Duration::from_millis(2500));
    assert!(world.node(a).answers.is_empty());
    world.set_link_up(b, true);
    assert!(world.run_until_holds(Duration::from_secs(5), |w| !w.node(a).answers.is_empty()));
    assert_eq!(world.now(), 3 * SECOND);
    assert_eq!(world.link_counters(b, Direction::Incoming).down, 3);
}

#[test]
fn families_do_not_mix_and_a_missing_source_is_counted() {
    let mut world = World::new(3);
    let a = world.join(Talker::asking("[2001:db8::2]:2000", SECOND), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr("[2001:db8::2]:2000")]);
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.counters().no_source, 1);
    world.roam(a, &[addr(A), addr("[2001:db8::1]:1000")], None);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node(b).questions, [(1, addr("[2001:db8::1]:1000"))]);
}

#[test]
fn injected_datagrams_arrive_under_a_false_source() {
    let mut world = World::new(3);
    let b = world.join(Talker::answering(), &[addr(B)]);
    world.inject(addr("192.0.2.66:6"), addr(B), &[b"?".as_slice(), &[0; 8]].concat());
    world.run_for(Duration::ZERO);
    assert_eq!(world.node(b).questions, [(0, addr("192.0.2.66:6"))]);
    // the answer goes to an address that nobody has
    assert_eq!(world.counters().unroutable, 1);
}

#[test]
fn a_slow_link_delays_and_drops_a_burst() {
    let mut world = World::new(3);
    let a = world.join(Talker::answering(), &[addr(A)]);
    let b = world.join(Talker::answering(), &[addr(B)]);
    let rate = Some(Rate { bytes_per_second: 9_000, queue_bytes: 90 });
    world.impair(a, Direction::Outgoing, Impairments { rate, ..Impairments::NONE });
    world.with_node(a, |_, _, out| {
        for number in 0..20_u64 {
            out.send(addr(B), [b"?".as_slice(), &number.to_be_bytes()].concat());
        }
    });
    world.run_for(Duration::from_micros(9_999));
    assert_eq!(world.node(b).questions.len(), 9, "one a millisecond");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node(b).questions.len(), 10, "ten fit into the queue");
}

struct Stuck;

impl Node for Stuck {
    fn handle_datagram(
        &mut self,
        _: u64,
        _: SocketAddr,
        _: SocketAddr,
        _: &mut [u8],
        _: &mut Outbox,
    ) {
    }

    fn handle_timeout(&mut self, _: u64, _: &mut Outbox) {}

    fn next_timeout(&self) -> Option<u64> {
        Some(5)
    }
}

#[test]
#[should_panic(expected = "again and again")]
fn a_node_that_stops_time_is_found() {
    let mut world = World::new(1);
    world.join(Stuck, &[addr(A)]);
    world.run_until(10);
}

#[test]
#[should_panic(expected = "belongs to another host")]
fn an_address_has_one_owner() {
    let mut world = World::new(1);
    world.join(Stuck, &[addr(A)]);
    world.join(Stuck, &[addr(A)]);
}

//! One direction of a path with its impairments.
//!
//! Invariants:
//! - The fate of a datagram depends on the seed, the impairments and the calls before it, on
//!   nothing else.
//! - With `delay.ordered` (the default) datagrams leave in the order in which they entered, except
//!   those that `reorder` picks; such a one is overtaken by at most `reorder.depth` others.
//! - With `corrupt` at 0, what comes out is byte for byte what went in.

use std::time::Duration;

use crate::dice::Dice;

/// How long datagrams travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The least travel time.
    pub min: Duration,
    /// The greatest travel time; each datagram draws one between the two.
    pub max: Duration,
    /// Whether a slow datagram holds up those behind it, as a queue does, instead of being
    /// overtaken.
    pub ordered: bool,
}

/// Which datagrams are held back, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    /// The probability that a datagram is held back.
    pub probability: f64,
    /// How many later datagrams may overtake it: each draws a number from 1 to this one; with 0
    /// nothing is held.
    pub depth: u32,
    /// How long it waits for them at most.
    pub patience: Duration,
}

/// A transmitter with a finite rate and a finite queue before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second; 0 counts as 1.
    pub bytes_per_second: u64,
    /// Bytes that may wait; a datagram that finds no room is dropped.
    pub queue_bytes: u64,
}

/// What a link does to datagrams.
///
/// Probabilities run from 0 to 1; what lies outside counts as the nearer end, and NaN as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairments {
    /// The probability that a datagram is lost.
    pub loss: f64,
    /// The probability that a datagram arrives twice; the copy has a delay of its own.
    pub duplicate: f64,
    /// The probability that one to three bits of a datagram (or of a copy) flip.
    pub corrupt: f64,
    /// The travel time.
    pub delay: Delay,
    /// The holding back of single datagrams.
    pub reorder: Reorder,
    /// The transmitter's rate; `None` is infinitely fast.
    pub rate: Option<Rate>,
    /// The largest datagram payload in bytes that passes; `None` lets all pass.
    pub mtu: Option<usize>,
}

impl Impairments {
    /// A perfect link: everything arrives at once, unchanged and in order.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        corrupt: 0.0,
        delay: Delay { min: Duration::ZERO, max: Duration::ZERO, ordered: true },
        reorder: Reorder { probability: 0.0, depth: 0, patience: Duration::from_millis(20) },
        rate: None,
        mtu: None,
    };

    /// Makes a link that only loses datagrams, with a probability.
    pub const fn lossy(loss: f64) -> Self {
        Self { loss, ..Self::NONE }
    }

    /// Gives the same impairments with a travel time between two bounds.
    pub const fn with_delay(mut self, min: Duration, max: Duration) -> Self {
        self.delay.min = min;
        self.delay.max = max;
        self
    }

    /// Gives the same impairments with datagrams held back behind up to `depth` later ones.
    pub const fn with_reorder(mut self, probability: f64, depth: u32) -> Self {
        self.reorder.probability = probability;
        self.reorder.depth = depth;
        self
    }
}

impl Default for Impairments {
    fn default() -> Self {
        Self::NONE
    }
}

/// What a link did with a datagram when it entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It travels.
    Passed,
    /// It is held back so that later ones overtake it.
    Held,
    /// It was lost.
    Lost,
    /// The link was down.
    Down,
    /// It was larger than the MTU.
    Oversize,
    /// It found no room before the transmitter.
    QueueFull,
}

/// A datagram that comes out of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<T = ()> {
    /// When it arrives, in nanoseconds.
    pub at: u64,
    /// The number of the datagram among those that entered, from 0.
    pub sequence: u64,
    /// Whether this is the additional copy of a duplicated datagram.
    pub copy: bool,
    /// Whether bits were flipped.
    pub corrupted: bool,
    /// What the sender attached ([`Link::transmit_tagged`]).
    pub tag: T,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// What a link has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Datagrams that entered.
    pub sent: u64,
    /// Payload bytes that entered.
    pub sent_bytes: u64,
    /// Datagrams handed out, copies included.
    pub delivered: u64,
    /// Payload bytes handed out.
    pub delivered_bytes: u64,
    /// Datagrams lost by probability.
    pub lost: u64,
    /// Datagrams that found the link down.
    pub down: u64,
    /// Datagrams larger than the MTU.
    pub oversize: u64,
    /// Datagrams that found the queue full.
    pub queue_full: u64,
    /// Additional copies made.
    pub duplicated: u64,
    /// Datagrams and copies with flipped bits.
    pub corrupted: u64,
    /// Datagrams held back.
    pub held: u64,
}

impl LinkCounters {
    /// Adds what another link has done.
    pub fn add(&mut self, other: Self) {
        let Self {
            sent,
            sent_bytes,
            delivered,
            delivered_bytes,
            lost,
            down,
            oversize,
            queue_full,
            duplicated,
            corrupted,
            held,
        } = other;
        self.sent += sent;
        self.sent_bytes += sent_bytes;
        self.delivered += delivered;
        self.delivered_bytes += delivered_bytes;
        self.lost += lost;
        self.down += down;
        self.oversize += oversize;
        self.queue_full += queue_full;
        self.duplicated += duplicated;
        self.corrupted += corrupted;
        self.held += held;
    }
}

/// One direction of a path.
///
/// `T` is carried along with each datagram, for callers that need to know what arrives.
#[derive(Clone, Debug)]
pub struct Link<T = ()> {
    impairments: Impairments,
    up: bool,
    dice: Dice,
    sequence: u64,
    /// When the transmitter has sent all that it took.
    busy_until: u64,
    /// The latest arrival handed out, which an ordered link never undercuts.
    last_arrival: u64,
    /// Datagrams that wait to be overtaken, oldest first.
    held: Vec<Held<T>>,
    counters: LinkCounters,
}

#[derive(Clone, Debug)]
struct Held<T> {
    /// How many later datagrams may still pass.
    overtakers_left: u32,
    deadline: u64,
    /// Each copy with its own travel time; `at` is not set yet.
    copies: Vec<(u64, Delivery<T>)>,
}

impl Link<()> {
    /// Takes a datagram at a time, and appends to `out` whatever leaves because of it.
    ///
    /// Arrival times may lie in the future, and are not sorted. Call it with times that do not
    /// decrease. While [`next_release`](Link::next_release) gives a time, call
    /// [`release`](Link::release) then.
    pub fn transmit(&mut self, now: u64, bytes: Vec<u8>, out: &mut Vec<Delivery>) -> Fate {
        self.transmit_tagged(now, (), bytes, out)
    }
}

impl<T: Clone> Link<T> {
    /// Makes a link that is up.
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self::with_dice(impairments, Dice::new(seed))
    }

    /// Makes a link that draws from a generator.
    pub fn with_dice(impairments: Impairments, dice: Dice) -> Self {
        Self {
            impairments,
            up: true,
            dice,
            sequence: 0,
            busy_until: 0,
            last_arrival: 0,
            held: Vec::new(),
            counters: LinkCounters::default(),
        }
    }

    /// Takes a datagram together with a tag; else as [`transmit`](Link::transmit).
    pub fn transmit_tagged(
        &mut self,
        now: u64,
        tag: T,
        bytes: Vec<u8>,
        out: &mut Vec<Delivery<T>>,
    ) -> Fate {
        self.release(now, out);
        let sequence = self.sequence;
        self.sequence += 1;
        self.counters.sent += 1;
        self.counters.sent_bytes += bytes.len() as u64;
        let mut dice = self.dice.fork();

        if !self.up {
            self.counters.down += 1;
            return Fate::Down;
        }
        if self.impairments.mtu.is_some_and(|mtu| bytes.len() > mtu) {
            self.counters.oversize += 1;
            return Fate::Oversize;
        }
        let Some(departure) = self.enqueue(now, bytes.len()) else {
            self.counters.queue_full += 1;
            return Fate::QueueFull;
        };
        if dice.chance(self.impairments.loss) {
            self.counters.lost += 1;
            return Fate::Lost;
        }

        let mut copies = Vec::with_capacity(2);
        if dice.chance(self.impairments.duplicate) {
            self.counters.duplicated += 1;
            copies.push(self.copy(&mut dice, sequence, true, tag.clone(), bytes.clone()));
        }
        copies.insert(0, self.copy(&mut dice, sequence, false, tag, bytes));

        let reorder = self.impairments.reorder;
        let hold = reorder.depth > 0 && dice.chance(reorder.probability);
        let overtakers = dice.between(1, u64::from(reorder.depth)) as u32;
        if !hold {
            self.depart(departure, copies, out);
            self.overtake(departure, out);
            return Fate::Passed;
        }
        self.overtake(departure, out);
        self.counters.held += 1;
        let deadline = departure.saturating_add(nanos(reorder.patience));
        self.held.push(Held { overtakers_left: overtakers, deadline, copies });
        Fate::Held
    }

    /// Lets go, in order, of the held datagrams whose patience has ended by `now`.
    pub fn release(&mut self, now: u64, out: &mut Vec<Delivery<T>>) {
        if self.next_release().is_none_or(|first| first > now) {
            return;
        }
        let ready: Vec<_> = self.held.extract_if(.., |held| held.deadline <= now).collect();
        for held in ready {
            self.depart(held.deadline, held.copies, out);
        }
    }

    /// Says when a held datagram runs out of patience, if one is held.
    pub fn next_release(&self) -> Option<u64> {
        self.held.iter().map(|held| held.deadline).min()
    }

    /// Changes the impairments for all datagrams that enter from now on.
    pub fn set_impairments(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// Tells the impairments in force.
    pub fn impairments(&self) -> Impairments {
        self.impairments
    }

    /// Takes the link down or up; what already travels arrives.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
    }

    /// Tells whether the link is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Tells what the link has done so far.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// Puts a datagram into the transmitter's queue and gives the time at which it is sent.
    fn enqueue(&mut self, now: u64, len: usize) -> Option<u64> {
        let Some(rate) = self.impairments.rate else {
            return Some(now);
        };
        let per_second = u128::from(rate.bytes_per_second.max(1));
        let backlog = self.busy_until.saturating_sub(now);
        let waiting = u128::from(backlog) * per_second / NANOS_PER_SECOND;
        if waiting + len as u128 > u128::from(rate.queue_bytes) && backlog > 0 {
            return None;
        }
        let takes = (len as u128 * NANOS_PER_SECOND).div_ceil(per_second);
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        self.busy_until = self.busy_until.max(now).saturating_add(takes);
        Some(self.busy_until)
    }

    /// Makes one copy with its own corruption and travel time.
    fn copy(
        &mut self,
        dice: &mut Dice,
        sequence: u64,
        copy: bool,
        tag: T,
        mut bytes: Vec<u8>,
    ) -> (u64, Delivery<T>) {
        let Delay { min, max, .. } = self.impairments.delay;
        let travel = dice.between(nanos(min), nanos(max));
        let corrupted = dice.chance(self.impairments.corrupt) && !bytes.is_empty();
        if corrupted {
            self.counters.corrupted += 1;
            flip_bits(dice, &mut bytes);
        }
        (travel, Delivery { at: 0, sequence, copy, corrupted, tag, bytes })
    }

    /// Counts one passing datagram against those that are held, and lets go of the satisfied ones.
    fn overtake(&mut self, departure: u64, out: &mut Vec<Delivery<T>>) {
        let satisfied = |held: &mut Held<T>| {
            held.overtakers_left -= 1;
            held.overtakers_left == 0
        };
        let ready: Vec<_> = self.held.extract_if(.., satisfied).collect();
        for held in ready {
            self.depart(departure, held.copies, out);
        }
    }

    fn depart(
        &mut self,
        departure: u64,
        copies: Vec<(u64, Delivery<T>)>,
        out: &mut Vec<Delivery<T>>,
    ) {
        for (travel, mut delivery) in copies {
            let mut at = departure.saturating_add(travel);
            if self.impairments.delay.ordered {
                at = at.max(self.last_arrival);
            }
            self.last_arrival = self.last_arrival.max(at);
            delivery.at = at;
            self.counters.delivered += 1;
            self.counters.delivered_bytes += delivery.bytes.len() as u64;
            out.push(delivery);
        }
    }
}

/// Flips one to three different bits.
fn flip_bits(dice: &mut Dice, bytes: &mut [u8]) {
    let bits = bytes.len() as u64 * 8;
    let mut flipped = [None; 3];
    let flips = dice.between(1, flipped.len() as u64) as usize;
    for slot in 0..flips {
        let bit = dice.below(bits);
        // a second flip of the same bit would undo the first
        if !flipped.contains(&Some(bit)) {
            flipped[slot] = Some(bit);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }
}

/// Counts a duration in whole nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Sends `count` numbered datagrams `gap` apart and gives what arrives, in order of arrival.
    fn run(impairments: Impairments, seed: u64, count: u64, gap: u64) -> (Vec<Delivery>, Link) {
        let mut link = Link::new(impairments, seed);
        let mut out = Vec::new();
        for number in 0..count {
            link.transmit(number * gap, payload(number), &mut out);
        }
        link.release(u64::MAX, &mut out);
        // stable: what arrives at one time arrives in the order in which it was handed out
        out.sort_by_key(|delivery| delivery.at);
        (out, link)
    }

    fn payload(number: u64) -> Vec<u8> {
        let mut bytes = vec![0x5a; 40 + (number % 60) as usize];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn impairments() -> impl Strategy<Value = Impairments> {
        let delay = (0..50_u64, 0..50_u64, any::<bool>()).prop_map(|(min, extra, ordered)| Delay {
            min: Duration::from_millis(min),
            max: Duration::from_millis(min + extra),
            ordered,
        });
        let rate = proptest::option::of((1_000..10_000_000_u64, 0..100_000_u64)).prop_map(|rate| {
            rate.map(|(bytes_per_second, queue_bytes)| Rate { bytes_per_second, queue_bytes })
        });
        let chance = || 0.0..1.0_f64;
        (chance(), chance(), chance(), chance(), 0..64_u32, delay, rate).prop_map(
            |(loss, duplicate, corrupt, probability, depth, delay, rate)| Impairments {
                loss,
                duplicate,
                corrupt,
                delay,
                reorder: Reorder { probability, depth, patience: Duration::from_millis(5) },
                rate,
                mtu: Some(90),
            },
        )
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_run(shape in impairments(), seed: u64) {
            let (first, link) = run(shape, seed, 200, MS);
            let (second, again) = run(shape, seed, 200, MS);
            prop_assert_eq!(first, second);
            prop_assert_eq!(link.counters(), again.counters());
        }

        #[test]
        fn every_datagram_is_accounted_for(shape in impairments(), seed: u64) {
            let (out, link) = run(shape, seed, 200, MS);
            let counters = link.counters();
            let gone = counters.lost + counters.oversize + counters.queue_full + counters.down;
            prop_assert_eq!(counters.sent, 200);
            prop_assert_eq!(counters.delivered, counters.sent - gone + counters.duplicated);
            prop_assert_eq!(out.len() as u64, counters.delivered);
            let corrupted = out.iter().filter(|delivery| delivery.corrupted).count() as u64;
            prop_assert_eq!(corrupted, counters.corrupted);
            prop_assert_eq!(link.next_release(), None);
        }

        #[test]
        fn only_marked_datagrams_differ_and_by_one_to_three_bits(
            shape in impairments(), seed: u64,
        ) {
            for delivery in run(shape, seed, 200, MS).0 {
                let sent = payload(delivery.sequence);
                prop_assert_eq!(sent.len(), delivery.bytes.len());
                let bits: u32 = sent.iter().zip(&delivery.bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
                let allowed = if delivery.corrupted { 1..=3 } else { 0..=0 };
                prop_assert!(allowed.contains(&bits));
            }
        }

        #[test]
        fn without_corruption_nothing_is_altered(mut shape in impairments(), seed: u64) {
            shape.corrupt = 0.0;
            for delivery in run(shape, seed, 200, MS).0 {
                prop_assert_eq!(payload(delivery.sequence), delivery.bytes);
            }
        }

        #[test]
        fn reordering_stays_within_its_depth(
            mut shape in impairments(), seed: u64, gap in 0..2 * MS,
        ) {
            shape.delay.ordered = true;
            shape.duplicate = 0.0;
            let (out, _) = run(shape, seed, 300, gap);
            for (place, delivery) in out.iter().enumerate() {
                let overtakers =
                    out[..place].iter().filter(|earlier| earlier.sequence > delivery.sequence);
                prop_assert!(overtakers.count() <= shape.reorder.depth as usize);
            }
        }

        #[test]
        fn arrivals_keep_the_travel_time(mut shape in impairments(), seed: u64) {
            shape.rate = None;
            shape.reorder.depth = 0;
            shape.delay.ordered = false;
            for delivery in run(shape, seed, 200, MS).0 {
                let travel = delivery.at - delivery.sequence * MS;
                prop_assert!(travel >= nanos(shape.delay.min) && travel <= nanos(shape.delay.max));
            }
        }
    }

    #[test]
    fn rates_are_those_that_were_asked_for() {
        let shape = Impairments { loss: 0.3, duplicate: 0.1, corrupt: 0.01, ..Impairments::NONE }
            .with_reorder(0.2, 4);
        let (_, link) = run(shape, 11, 100_000, 1000);
        let counters = link.counters();
        // five standard deviations around each mean
        assert!((29_275..=30_725).contains(&counters.lost), "{counters:?}");
        assert!((6_600..=7_400).contains(&counters.duplicated), "{counters:?}");
        assert!((630..=910).contains(&counters.corrupted), "{counters:?}");
        assert!((13_400..=14_600).contains(&counters.held), "{counters:?}");
    }

    #[test]
    fn a_perfect_link_is_the_identity() {
        let (out, _) = run(Impairments::NONE, 0, 100, 7);
        assert_eq!(out.len(), 100);
        for (number, delivery) in (0..).zip(&out) {
            assert_eq!((delivery.at, delivery.sequence), (number * 7, number));
            assert_eq!(delivery.bytes, payload(number));
        }
    }

    #[test]
    fn reordering_reaches_its_depth() {
        let shape = Impairments::NONE.with_reorder(0.05, 30);
        let (out, _) = run(shape, 3, 20_000, 10);
        let deepest = out.iter().enumerate().map(|(place, delivery)| {
            out[..place].iter().rev().take(100).filter(|e| e.sequence > delivery.sequence).count()
        });
        assert_eq!(deepest.max(), Some(30));
    }

    #[test]
    fn a_held_datagram_leaves_when_its_patience_ends() {
        let mut shape = Impairments::NONE.with_reorder(1.0, 8);
        shape.reorder.patience = Duration::from_millis(3);
        let mut link = Link::new(shape, 1);
        let mut out = Vec::new();
        assert_eq!(link.transmit(MS, vec![1], &mut out), Fate::Held);
        assert_eq!(link.next_release(), Some(4 * MS));
        link.release(4 * MS - 1, &mut out);
        assert!(out.is_empty());
        link.release(4 * MS, &mut out);
        assert_eq!((out.len(), out[0].at, link.next_release()), (1, 4 * MS, None));
    }

    #[test]
    fn a_slow_transmitter_spaces_datagrams_and_drops_at_a_full_queue() {
        let rate = Rate { bytes_per_second: 100_000, queue_bytes: 250 };
        let mut link = Link::new(Impairments { rate: Some(rate), ..Impairments::NONE }, 1);
        let mut out = Vec::new();
        let fates: Vec<_> = (0..4).map(|_| link.transmit(0, vec![0; 100], &mut out)).collect();
        assert_eq!(fates, [Fate::Passed, Fate::Passed, Fate::QueueFull, Fate::QueueFull]);
        assert_eq!(out.iter().map(|d| d.at).collect::<Vec<_>>(), [MS, 2 * MS]);
        // a millisecond later one of the two has left the queue
        assert_eq!(link.transmit(MS, vec![0; 100], &mut out), Fate::Passed);
        assert_eq!(out[2].at, 3 * MS);
        // a datagram larger than the queue passes when nothing waits
        assert_eq!(link.transmit(9 * MS, vec![0; 400], &mut out), Fate::Passed);
    }

    #[test]
    fn size_and_state_of_the_link_stop_datagrams() {
        let mut link = Link::new(Impairments { mtu: Some(100), ..Impairments::NONE }, 1);
        let mut out = Vec::new();
        assert_eq!(link.transmit(0, vec![0; 100], &mut out), Fate::Passed);
        assert_eq!(link.transmit(0, vec![0; 101], &mut out), Fate::Oversize);
        link.set_up(false);
        assert_eq!(link.transmit(0, vec![0; 1], &mut out), Fate::Down);
        link.set_up(true);
        assert_eq!(link.transmit(0, Vec::new(), &mut out), Fate::Passed);
        let counters = link.counters();
        assert_eq!((counters.oversize, counters.down, counters.delivered), (1, 1, 2));
    }

    #[test]
    fn one_more_impairment_leaves_the_fate_of_later_datagrams_alone() {
        let mut plain = Link::new(Impairments::lossy(0.3), 9);
        let mut burst = plain.clone();
        let mut out = Vec::new();
        for number in 0..100 {
            burst.set_impairments(Impairments { corrupt: 1.0, ..Impairments::lossy(0.3) });
            let there = burst.transmit(number, vec![0; 10], &mut out);
            assert_eq!(plain.transmit(number, vec![0; 10], &mut out), there);
        }
    }
}

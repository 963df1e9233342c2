//! The emitter: when noise goes out, independent of the traffic of the moment (`noise.md` §3.3).
//!
//! Noise comes in bursts that look like pages: a burst is a train of clumps, a few packets each.
//! What real traffic decides is only the mean rate, and slowly: `ratio · (real packets a second,
//! averaged over ten minutes) + what the ledger owes, paid over a minute or two`. So a page loaded
//! now changes the noise of the next minutes a little, and the noise of this second not at all.
//!
//! Bursts at both ends coincide: candidates of bursts, their shapes and their clumps' times come
//! from the shared stream of the session ([`NoiseRng`]), counted from the session's start; each end
//! scales them to its own rate. How often there is a burst follows from the traffic of both
//! directions together, which both ends see. An end whose peer draws otherwise loses the
//! coincidence, nothing else.
//!
//! Invariants: the shared stream is drawn from in the same way whatever the traffic; all memory is
//! allocated at the start; one call emits at most [`MOST_AT_ONCE`] packets, the rest comes a tick
//! later. Floating point is used for times and rates only; the account is the ledger's.

use super::NoiseRng;
use crate::time::Instant;
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

/// The most noise packets of one call, so that a burst does not fill the socket's queue.
pub const MOST_AT_ONCE: u32 = 24;
/// Over how long the real rate is averaged, in seconds.
const AVERAGE: f64 = 600.0;
/// The average of a young connection is taken over at least this long, in seconds.
const YOUNG: f64 = 30.0;
/// Candidates of bursts a second: the most that there can be.
const CANDIDATES: f64 = 4.0;
/// The mean size of a burst in packets, both directions together; varied per connection.
const BURST: f64 = 64.0;
/// The fewest bursts a second while there is noise to send; varied per connection.
const RAREST: f64 = 0.1;
/// Spread of the logarithm of burst sizes.
const SIGMA: f64 = 0.9;
/// Mean number of clumps of a burst.
const CLUMPS: f64 = 6.0;
/// The most clumps of a burst.
const MOST_CLUMPS: usize = 48;
/// Mean number of groups of a clump, which follow each other as packets do behind a narrow link.
const GROUPS: f64 = 8.0;
/// The most groups of a burst.
const MOST_GROUPS: usize = 192;
/// By how much the end that sends less follows the other, in seconds, as acknowledgements follow
/// data after a round trip; varied per burst.
const LAG: f64 = 0.02;
/// Mean pause between the groups of a clump, in seconds.
const STEP: f64 = 0.001;
/// Mean pause between clumps, in seconds.
const PAUSE: f64 = 0.035;
/// Mean of the long pauses between clumps, as between the waves of a page, in seconds.
const LONG_PAUSE: f64 = 0.35;
/// Below this many packets a second the emitter sleeps.
const SLEEPS_BELOW: f64 = 1.0 / 120.0;
/// A candidate that is looked at later than this is passed over, in seconds.
const LATEST: f64 = 0.1;
/// The longest time between two looks that counts, in seconds.
const LONGEST_STEP: f64 = 5.0;
/// Clumps that wait at most.
const WAITING: usize = 1_024;
/// The most packets of one burst.
const MOST_OF_A_BURST: f64 = 4_096.0;

/// Counts packets and forgets them over [`AVERAGE`] seconds.
#[derive(Clone, Debug)]
struct Average {
    sum: f64,
    since: Instant,
    at: Instant,
}

impl Average {
    fn new(now: Instant) -> Self {
        Self { sum: 0.0, since: now, at: now }
    }

    fn add(&mut self, now: Instant, n: u32) {
        let elapsed = seconds(now, self.at);
        if elapsed > 0.0 {
            self.sum *= (-elapsed / AVERAGE).exp();
            self.at = now;
        }
        self.sum += f64::from(n);
    }

    /// Packets a second.
    fn rate(&self, now: Instant) -> f64 {
        let age = seconds(now, self.since);
        let weight = (AVERAGE * (1.0 - (-age / AVERAGE).exp())).max(YOUNG);
        self.sum * (-seconds(now, self.at) / AVERAGE).exp() / weight
    }
}

/// What the shared seed settles: the law of this session's bursts.
#[derive(Debug)]
struct Shared {
    rng: NoiseRng,
    /// Mean burst size of both directions together.
    burst: f64,
    /// Fewest bursts a second.
    rarest: f64,
    /// When the next candidate comes.
    at: Instant,
    /// Which part of the candidates it belongs to, and its own stream.
    mark: f64,
    shape: NoiseRng,
}

impl Shared {
    fn new(seed: &[u8; 32], start: Instant) -> Self {
        let mut rng = NoiseRng::new(seed);
        let burst = BURST * rng.factor(0.6, 1.7);
        let rarest = RAREST * rng.factor(0.6, 1.7);
        let shape = rng.fork();
        let mut shared = Self { rng, burst, rarest, at: start, mark: 1.0, shape };
        shared.advance();
        shared
    }

    /// Goes on to the next candidate.
    fn advance(&mut self) {
        let pause = self.rng.exponential(1.0 / CANDIDATES);
        self.at = self.at.saturating_add(Duration::from_secs_f64(pause));
        self.mark = self.rng.unit();
        self.shape = self.rng.fork();
    }
}

/// Clumps that wait: when, and how many packets.
type Clump = Reverse<(Instant, u32)>;

/// Emits the noise of one direction.
#[derive(Debug)]
pub struct Emitter {
    shared: Shared,
    private: NoiseRng,
    ratio: f64,
    /// Over how long debt is paid, in seconds.
    payback: f64,
    own: Average,
    peer: Average,
    waiting: BinaryHeap<Clump>,
    /// Noise that the rate asked for so far, less what bursts were planned: steers their sizes.
    unplanned: f64,
    at: Instant,
}

impl Emitter {
    /// Makes the emitter of a session that began at `start`, with `ratio` noise packets for a real
    /// one.
    #[must_use]
    pub fn new(
        seed: &[u8; 32],
        start: Instant,
        mut private: NoiseRng,
        ratio: f64,
        now: Instant,
    ) -> Self {
        let payback = private.factor(60.0, 120.0);
        let mut emitter = Self {
            shared: Shared::new(seed, start),
            private,
            ratio,
            payback,
            own: Average::new(now),
            peer: Average::new(now),
            waiting: BinaryHeap::with_capacity(WAITING),
            unplanned: 0.0,
            at: now,
        };
        emitter.skip(now);
        emitter
    }

    /// Goes over to the stream of a new session; clumps under way stay.
    pub fn rekey(&mut self, seed: &[u8; 32], start: Instant, now: Instant) {
        self.shared = Shared::new(seed, start);
        self.skip(now);
    }

    /// Notes real packets sent.
    #[inline]
    pub fn on_real(&mut self, now: Instant, n: u32) {
        self.own.add(now, n);
    }

    /// Notes real packets received from the peer, or sent to it by others than this emitter.
    pub fn on_peer(&mut self, now: Instant, n: u32) {
        self.peer.add(now, n);
    }

    /// Returns the mean rate at which noise is to go out, in packets a second.
    #[must_use]
    pub fn rate(&self, now: Instant, owed: f64) -> f64 {
        (self.ratio * self.own.rate(now) + owed / self.payback).max(0.0)
    }

    /// Returns when [`Self::due`] should be called next; `None` while there is nothing to send.
    #[must_use]
    pub fn next(&self, now: Instant, owed: f64) -> Option<Instant> {
        let clump = self.waiting.peek().map(|Reverse((at, _))| *at);
        if self.rate(now, owed) < SLEEPS_BELOW {
            return clump;
        }
        Some(clump.map_or(self.shared.at, |at| at.min(self.shared.at)))
    }

    /// Returns how many noise packets are due, given what the ledger owes.
    pub fn due(&mut self, now: Instant, owed: f64) -> u32 {
        let rate = self.rate(now, owed);
        self.unplanned += rate * seconds(now, self.at).min(LONGEST_STEP);
        self.at = self.at.max(now);
        while self.shared.at <= now {
            // candidates that were slept through are past: made up for now, they would tell what
            // ended the sleep
            if rate >= SLEEPS_BELOW && seconds(now, self.shared.at) <= LATEST {
                self.consider(now, rate);
            }
            self.shared.advance();
        }
        let mut due = 0;
        while let Some(Reverse((at, n))) = self.waiting.peek().copied()
            && at <= now
        {
            self.waiting.pop();
            let now_due = n.min(MOST_AT_ONCE - due);
            due += now_due;
            if now_due < n {
                self.waiting.push(Reverse((at, n - now_due)));
                break;
            }
        }
        due
    }

    /// Takes the candidate at hand, if this connection has as many bursts.
    fn consider(&mut self, now: Instant, rate: f64) {
        let (own, peer) = (self.own.rate(now), self.peer.rate(now));
        let both = self.ratio * (own + peer);
        let bursts = (both / self.shared.burst).clamp(self.shared.rarest, CANDIDATES);
        if self.shared.mark > bursts / CANDIDATES {
            return;
        }
        let Shared { shape, at, .. } = &mut self.shared;
        let mean = rate / bursts;
        let size = shape.log_normal(1.0, SIGMA);
        let lag = Duration::from_secs_f64(shape.log_normal(LAG, 0.5).min(0.1));
        let start = if own < peer { at.saturating_add(lag) } else { *at };
        let clumps = 1 + (shape.exponential(CLUMPS - 1.0) as usize).min(MOST_CLUMPS - 1);
        let mut times = [Duration::ZERO; MOST_GROUPS];
        let mut weights = [0.0; MOST_GROUPS];
        let (mut time, mut groups) = (0.0, 0);
        for _ in 0..clumps {
            let weight = shape.exponential(1.0);
            let parts = 1 + shape.exponential(GROUPS - 1.0) as usize;
            for _ in 0..parts.min(MOST_GROUPS - groups) {
                times[groups] = Duration::from_secs_f64(time);
                weights[groups] = weight;
                groups += 1;
                time += shape.exponential(STEP);
            }
            let pause = if shape.below(10) == 0 { LONG_PAUSE } else { PAUSE };
            time += shape.log_normal(pause, 1.0).min(10.0 * pause);
        }
        if self.waiting.len() + groups > WAITING {
            return;
        }
        // what bursts so far fell short of the rate, or went beyond it, is made up by a few
        let steer = (1.0 + self.unplanned / (4.0 * mean.max(1.0))).clamp(0.3, 2.5);
        let total = (mean * size * steer).min(MOST_OF_A_BURST);
        let sum: f64 = weights.iter().sum();
        let mut cumulated = self.private.unit();
        let mut placed = 0;
        for (when, weight) in times.iter().zip(&weights).take(groups) {
            cumulated += total * weight / sum;
            let n = (cumulated as u32).saturating_sub(placed);
            placed += n;
            if n > 0 {
                self.waiting.push(Reverse((start.saturating_add(*when), n)));
            }
        }
        self.unplanned -= f64::from(placed);
    }

    /// Passes over the candidates of the past.
    fn skip(&mut self, now: Instant) {
        while self.shared.at < now {
            self.shared.advance();
        }
    }
}

fn seconds(later: Instant, earlier: Instant) -> f64 {
    later.saturating_since(earlier).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 1_250_000;

    fn at(seconds: f64) -> Instant {
        Instant::from_nanos((seconds * 1e9) as u64)
    }

    fn emitter(seed: u8, ratio: f64) -> Emitter {
        Emitter::new(&[seed; 32], at(0.0), NoiseRng::new(&[seed ^ 0x55; 32]), ratio, at(0.0))
    }

    /// Runs for so many seconds with a steady real rate, and returns the times of noise packets.
    fn run(emitter: &mut Emitter, rate: f64, seconds: u64) -> Vec<Instant> {
        let mut times = Vec::new();
        let (mut real, mut noise) = (0.0_f64, 0.0);
        for tick in 0..seconds * 1_000_000_000 / TICK {
            let now = Instant::from_nanos(tick * TICK);
            let before = real as u64;
            real += rate * TICK as f64 / 1e9;
            emitter.on_real(now, (real as u64 - before) as u32);
            let due = emitter.due(now, real * emitter.ratio - noise);
            assert!(due <= MOST_AT_ONCE);
            noise += f64::from(due);
            times.extend((0..due).map(|_| now));
        }
        times
    }

    #[test]
    fn the_mean_rate_follows_the_real_one() {
        for (ratio, rate) in [(1.0, 50.0), (4.0, 20.0), (0.125, 200.0)] {
            let times = run(&mut emitter(1, ratio), rate, 900);
            let error = times.len() as f64 / (900.0 * rate * ratio) - 1.0;
            assert!(error.abs() < 0.02, "{ratio}: {error}");
        }
    }

    #[test]
    fn noise_comes_in_bursts() {
        let times = run(&mut emitter(2, 1.0), 10.0, 600);
        let mut seconds = [0_u32; 600];
        for time in &times {
            seconds[(time.as_nanos() / 1_000_000_000) as usize] += 1;
        }
        let silent = seconds.iter().filter(|n| **n == 0).count();
        let busy = seconds.iter().filter(|n| **n > 30).count();
        assert!(silent > 200, "{silent} of 600 seconds without noise");
        assert!(busy > 30, "{busy} of 600 seconds with three times the mean");
    }

    #[test]
    fn bursts_at_both_ends_coincide() {
        // the download end sends ten times as much as the other
        let (mut down, mut up) = (emitter(3, 1.0), emitter(3, 1.0));
        up.private = NoiseRng::new(&[99; 32]);
        let (mut together, mut alone) = (0, 0);
        let mut counts = [(0_u32, 0_u32); 6_000];
        for tick in 0..600_000_000_000 / TICK {
            let now = Instant::from_nanos(tick * TICK);
            if tick % 16 == 0 {
                down.on_real(now, 1);
                up.on_peer(now, 1);
            }
            if tick % 160 == 0 {
                up.on_real(now, 1);
                down.on_peer(now, 1);
            }
            let slot = &mut counts[(now.as_nanos() / 100_000_000) as usize];
            slot.0 += down.due(now, 0.0);
            slot.1 += up.due(now, 0.0);
        }
        for (n, slot) in counts.iter().enumerate().skip(600) {
            if slot.1 > 0 {
                let near = &counts[n - 1..=(n + 1).min(counts.len() - 1)];
                if near.iter().any(|s| s.0 > 0) { together += 1 } else { alone += 1 }
            }
        }
        assert!(together > 300, "{together}");
        assert!(alone * 20 < together, "{alone} alone, {together} together");
    }

    #[test]
    fn noise_does_not_follow_the_traffic_of_the_moment() {
        // ten minutes of steady traffic, then a page of 200 packets in one end's world only
        let mut with = emitter(4, 1.0);
        let mut without = emitter(4, 1.0);
        run(&mut with, 20.0, 600);
        run(&mut without, 20.0, 600);
        let (mut a, mut b) = (0, 0);
        with.on_real(at(600.0), 200);
        for tick in 0..5_000_000_000 / TICK {
            let now = Instant::from_nanos(600_000_000_000 + tick * TICK);
            a += with.due(now, 200.0);
            b += without.due(now, 0.0);
        }
        let more = i64::from(a) - i64::from(b);
        assert!(more.abs() < 40, "{more} of 200 within five seconds");
    }

    #[test]
    fn what_was_slept_through_is_not_made_up_for() {
        let mut emitter = emitter(7, 1.0);
        run(&mut emitter, 20.0, 30);
        while let Some(next) = emitter.next(at(7_200.0), 0.0).filter(|next| *next < at(7_200.0)) {
            let _ = emitter.due(next, 0.0);
        }
        emitter.on_real(at(7_200.0), 300);
        let due: u32 =
            (0..80).map(|n| emitter.due(at(7_200.0 + 0.00125 * f64::from(n)), 300.0)).sum();
        assert!(due < 30, "{due} within 100 ms of 300 packets");
    }

    #[test]
    fn silence_falls_in_the_end() {
        let mut emitter = emitter(5, 1.0);
        run(&mut emitter, 20.0, 60);
        assert!(emitter.next(at(60.0), 0.0).is_some());
        let mut now = at(60.0);
        let mut wakes = 0;
        while let Some(next) = emitter.next(now, 0.0) {
            now = next.max(now);
            let _ = emitter.due(now, 0.0);
            wakes += 1;
            assert!(wakes < 100_000);
        }
        assert!(now > at(600.0) && now < at(7_200.0), "{now:?}");
    }

    #[test]
    fn a_rekey_keeps_the_rate_and_changes_the_times() {
        let mut emitter = emitter(6, 1.0);
        run(&mut emitter, 20.0, 60);
        let before = emitter.rate(at(60.0), 0.0);
        emitter.rekey(&[200; 32], at(59.9), at(60.0));
        assert!((emitter.rate(at(60.0), 0.0) - before).abs() < 1e-9);
        assert!(emitter.next(at(60.0), 0.0) >= Some(at(60.0)));
    }
}

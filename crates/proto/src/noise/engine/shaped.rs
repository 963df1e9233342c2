//! The engine that shapes: packets leave in surges that decay, whatever came (after RegulaTor,
//! `noise.md` §1).
//!
//! A surge starts when packets wait: its rate begins at the top and decays by 6 % a second, each
//! slot carrying a real packet, or noise while the surge's share of noise lasts. When too many
//! packets wait for the rate of the moment, a new surge starts. The end that sends less (uploads)
//! surges to a quarter, and also sends a packet for every four it receives, noise or not, so that
//! its requests do not stand out beside the answers.
//!
//! Delay is bounded: what has waited 750 ms, or finds the queue full, goes at once, and in
//! order. The agreed ratio is a floor: a surge goes on until its noise is paid.

use super::{Arrival, EngineParams, NoiseEngine, Release, Ticks};
use crate::noise::{Ledger, LedgerCounts, NoiseRng};
use crate::time::Instant;
use core::time::Duration;
use std::collections::VecDeque;

/// Real packets wait no longer than this.
const LONGEST_WAIT: Duration = Duration::from_millis(750);
/// The most packets that wait.
const MOST_HELD: u32 = 1_024;
/// The top rate where none is configured, in bits a second.
const USUAL_RATE: u64 = 8_000_000;
/// The part of a surge's rate that is left after a second.
const DECAY: f64 = 0.94;
/// A new surge starts when packets that wait need longer than this at the rate of the moment, in
/// seconds.
const TOO_LONG: f64 = 0.5;
/// The part that the uploading end sends of what it receives, and of the top rate.
const UPLOAD: f64 = 0.25;
/// Noise of a surge, in seconds of its top rate: at least and at most.
const NOISE_SECONDS: (f64, f64) = (0.6, 3.0);
/// Slots that may have gathered, so that a late machine does not make a surge of its own.
const MOST_SLOTS: f64 = 64.0;
/// Below this many packets a second a surge is over.
const OVER: f64 = 2.0;
/// Groups of packets that wait: of one packet each at worst.
const GROUPS: usize = MOST_HELD as usize;

/// Sends in surges that decay.
#[derive(Debug)]
pub struct ShapedEngine {
    ledger: Ledger,
    ticks: Ticks,
    rng: NoiseRng,
    /// Top rate of the downloading end, packets a second.
    top: f64,
    /// When the surge began, and with which rate.
    surge: Option<(Instant, f64)>,
    /// Noise that the surge has left.
    noise_left: u32,
    /// Slots gathered since the last release.
    slots: f64,
    at: Instant,
    /// Packets that wait, by their arrival.
    waiting: VecDeque<(Instant, u32)>,
    held: u32,
    /// Frames of both directions, fading, to tell which end uploads.
    sent: f64,
    received: f64,
}

impl ShapedEngine {
    /// Makes the engine.
    #[must_use]
    pub fn new(params: EngineParams<'_>, now: Instant) -> Self {
        let EngineParams { ratio, share, rate, datagram_bits, mut private, .. } = params;
        let top = rate.unwrap_or(USUAL_RATE) as f64 / datagram_bits.max(1) as f64;
        let top = (top * private.factor(0.85, 1.15)).max(4.0 * OVER);
        Self {
            ledger: Ledger::new(ratio, share),
            ticks: Ticks::new(private.below(u32::MAX)),
            rng: private,
            top,
            surge: None,
            noise_left: 0,
            slots: 0.0,
            at: now,
            waiting: VecDeque::with_capacity(GROUPS),
            held: 0,
            sent: 0.0,
            received: 0.0,
        }
    }

    fn uploads(&self) -> bool {
        self.received >= self.sent
    }

    /// Packets a second of the surge, now.
    fn rate(&self, now: Instant) -> f64 {
        self.surge
            .map_or(0.0, |(since, top)| top * DECAY.powf(now.saturating_since(since).as_secs_f64()))
    }

    /// Whether empty slots carry noise.
    fn wants_noise(&self) -> bool {
        self.noise_left > 0 || self.ledger.balance() > 0
    }

    /// Gathers the slots since the last look, and starts a surge if one is needed.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let rate = self.rate(now);
        self.slots = (self.slots + rate * elapsed).min(MOST_SLOTS);
        if rate < OVER || (self.held == 0 && !self.wants_noise()) {
            self.surge = None;
        }
        if f64::from(self.held) > TOO_LONG * self.rate(now) {
            let top = if self.uploads() { self.top * UPLOAD } else { self.top };
            // a surge that is under way at this rate goes on
            if self.surge.is_none_or(|(since, old)| old < top || since < now) {
                self.surge = Some((now, top));
                let (least, most) = NOISE_SECONDS;
                let noise = top * (least + (most - least) * self.rng.unit());
                self.noise_left = self.noise_left.max(noise as u32);
            }
        }
    }

    /// Takes `n` of the packets that wait.
    fn take(&mut self, n: u32) -> u32 {
        let mut left = n.min(self.held);
        let taken = left;
        while left > 0 {
            let Some((_, group)) = self.waiting.front_mut() else { break };
            let part = left.min(*group);
            *group -= part;
            left -= part;
            if *group == 0 {
                self.waiting.pop_front();
            }
        }
        self.held -= taken;
        taken
    }

    /// How many packets have waited too long.
    fn overdue(&self, now: Instant) -> u32 {
        let overdue =
            self.waiting.iter().take_while(|(at, _)| now >= at.saturating_add(LONGEST_WAIT));
        overdue.map(|(_, n)| n).sum()
    }
}

impl NoiseEngine for ShapedEngine {
    fn on_real(&mut self, now: Instant, n: u32) -> Arrival {
        self.sent += f64::from(n);
        if self.held + n > MOST_HELD {
            let real = self.held + n;
            self.waiting.clear();
            self.held = 0;
            self.advance(now);
            return Arrival::Send { noise: self.ledger.real(real) };
        }
        self.held += n;
        match self.waiting.back_mut() {
            Some((at, group)) if *at >= now => *group += n,
            _ => self.waiting.push_back((now, n)),
        }
        self.advance(now);
        Arrival::Hold(n)
    }

    fn on_peer(&mut self, now: Instant, real: u32, noise: u32) {
        // both counts fade alike, so that roles can change
        if self.sent + self.received > 4_096.0 {
            self.sent /= 2.0;
            self.received /= 2.0;
        }
        self.received += f64::from(real);
        self.advance(now);
        if self.uploads() {
            let tied = UPLOAD * f64::from(real.saturating_add(noise));
            self.slots = (self.slots + tied).min(MOST_SLOTS);
        }
    }

    fn on_refused(&mut self, noise: u32) {
        self.ledger.refused(noise);
    }

    fn on_shed(&mut self, noise: u32) {
        self.ledger.shed(noise);
    }

    fn on_dropped(&mut self) {
        self.held = 0;
        self.waiting.clear();
    }

    // the schedule has nothing of a session in it
    fn rekey(&mut self, _now: Instant, _seed: &[u8; 32], _start: Instant) {}

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let slot = if self.slots >= 1.0 {
            Some(self.at)
        } else if self.held > 0 || self.wants_noise() {
            let rate = self.rate(now);
            (rate > 0.0)
                .then(|| self.at.saturating_add(Duration::from_secs_f64((1.0 - self.slots) / rate)))
        } else {
            None
        };
        let overdue = self.waiting.front().map(|(at, _)| at.saturating_add(LONGEST_WAIT));
        let at = [slot, overdue].into_iter().flatten().min()?;
        // not before what has been handled already
        Some(self.ticks.after(at.max(self.at)))
    }

    fn poll(&mut self, now: Instant) -> Release {
        self.advance(now);
        let slots = self.slots as u32;
        self.slots -= f64::from(slots);
        let overdue = self.overdue(now);
        let real = self.take(slots.max(overdue));
        let mut noise = self.ledger.real(real);
        // tied slots carry noise also after a surge; the tie is weaker than 1, so that it ends
        let empty = slots.saturating_sub(real);
        self.noise_left = self.noise_left.saturating_sub(empty);
        self.ledger.give(empty);
        noise += empty;
        Release { real, noise, at: None }
    }

    fn held(&self) -> u32 {
        self.held
    }

    fn counts(&self) -> LedgerCounts {
        self.ledger.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Log, RATIOS, at, params};
    use super::*;
    use crate::noise::NoiseRatio;

    fn engine(ratio: NoiseRatio, seed: u8) -> ShapedEngine {
        ShapedEngine::new(params(ratio, None, seed), Instant::ZERO)
    }

    /// A page of so many packets from second 1 on, in runs of ten.
    fn page(engine: &mut ShapedEngine, packets: u32, spacing: f64) -> Log {
        let mut log = Log::default();
        engine.sent = 100.0;
        for n in 0..packets / 10 {
            log.arrive(engine, at(1.0 + f64::from(n) * spacing), 10);
        }
        log
    }

    fn per_100_ms(log: &Log, seconds: usize) -> Vec<u32> {
        let mut slots = vec![0; seconds * 10];
        for (at, real, noise) in &log.sent {
            if let Some(slot) = slots.get_mut((at.as_nanos() / 100_000_000) as usize) {
                *slot += real + noise;
            }
        }
        slots
    }

    #[test]
    fn pages_of_different_sizes_begin_alike() {
        let (mut small, mut large) =
            (engine(NoiseRatio::OneToEight, 1), engine(NoiseRatio::OneToEight, 1));
        let mut a = page(&mut small, 150, 0.01);
        let mut b = page(&mut large, 400, 0.012);
        a.poll_until(&mut small, at(60.0));
        b.poll_until(&mut large, at(60.0));
        let (x, y) = (per_100_ms(&a, 60), per_100_ms(&b, 60));
        for (n, (x, y)) in x.iter().zip(&y).enumerate().take(15) {
            assert!(x.abs_diff(*y) <= 8, "{n}: {x} and {y}");
        }
    }

    #[test]
    fn delay_is_bounded_and_order_kept() {
        let mut engine = engine(NoiseRatio::OneToEight, 2);
        let mut log = page(&mut engine, 8_000, 0.002);
        log.poll_until(&mut engine, at(60.0));
        assert_eq!(log.real, 8_000, "nothing is dropped");
        let most = LONGEST_WAIT.as_secs_f64() * 1e3 + 1.25;
        assert!(log.wait_ms(1.0) <= most, "{}", log.wait_ms(1.0));
    }

    #[test]
    fn a_usual_page_waits_little() {
        let mut engine = engine(NoiseRatio::OneToEight, 3);
        let mut log = page(&mut engine, 400, 0.02);
        log.poll_until(&mut engine, at(60.0));
        assert!(log.wait_ms(0.5) < 100.0, "{}", log.wait_ms(0.5));
    }

    #[test]
    fn a_surge_ends() {
        let mut engine = engine(NoiseRatio::FourToOne, 4);
        let mut log = page(&mut engine, 200, 0.01);
        log.poll_until(&mut engine, at(1_000.0));
        assert_eq!(engine.next_deadline(at(1_000.0)), None);
        assert_eq!((engine.held(), log.real), (0, 200));
    }

    #[test]
    fn the_ratio_is_a_floor() {
        for ratio in RATIOS {
            let mut engine = engine(ratio, 5);
            let mut log = page(&mut engine, 3_000, 0.05);
            log.poll_until(&mut engine, at(1_000.0));
            let (num, den) = ratio.fraction();
            assert!(
                log.noise * u64::from(den) + u64::from(den) >= log.real * u64::from(num),
                "{ratio}"
            );
        }
    }

    #[test]
    fn the_uploading_end_answers_a_quarter_and_the_echo_dies() {
        let mut engine = engine(NoiseRatio::OneToEight, 6);
        let mut log = Log::default();
        for n in 0..1_000 {
            let now = at(1.0 + f64::from(n) * 0.005);
            log.poll_until(&mut engine, now);
            engine.on_peer(now, 2, 2);
        }
        log.poll_until(&mut engine, at(60.0));
        assert!((980..=1_020).contains(&log.noise), "{}", log.noise);
        assert_eq!(engine.next_deadline(at(60.0)), None);
    }
}

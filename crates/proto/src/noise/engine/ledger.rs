//! The engine that the byte describes: its ratio in the long run, noise in bursts of its own,
//! everything on ticks.
//!
//! Below the ledger's bound the emitter alone decides when noise goes out, and rests with most of
//! what it may be ahead, so that a page finds room for its noise and need not take it along.
//! Where more is owed than the bound, as in bulk, noise goes into the real batches: each run of
//! real packets takes the noise along that the ratio asks for, and while the stream lasts an eighth
//! more, until nothing is owed. Matched noise has the length of the run that it stands in, so that
//! offload survives.

use super::{Arrival, EngineParams, NoiseEngine, Release, Ticks};
use crate::noise::{Emitter, Ledger, LedgerCounts};
use crate::time::Instant;
use core::time::Duration;

/// More than so many real packets in one tick are sent at once: such a rate is bulk, and to wait
/// for the tick would only fill queues.
const MOST_HELD: u32 = 64;
/// The same while a stream takes its noise along anyway.
const MOST_HELD_IN_STREAM: u32 = 15;
/// A stream that took noise along is over after so long without a packet.
const STREAM_ENDS: Duration = Duration::from_secs(1);
/// After so long without a chance to send, debt fades.
const FADES_AFTER: Duration = Duration::from_secs(600);

/// Sends noise in bursts that do not follow the traffic, so that the ratio holds in the long run.
#[derive(Debug)]
pub struct LedgerEngine {
    ledger: Ledger,
    emitter: Emitter,
    ticks: Ticks,
    held: u32,
    /// Noise that goes along with what waits.
    along: u32,
    /// When what waits goes.
    release: Instant,
    /// Whether a stream takes its noise along.
    stream: bool,
    last_real: Instant,
    active: Instant,
}

impl LedgerEngine {
    /// Makes the engine.
    #[must_use]
    pub fn new(params: EngineParams<'_>, now: Instant) -> Self {
        let EngineParams { ratio, share, seed, start, mut private, .. } = params;
        let ledger = Ledger::new(ratio, share);
        let ticks = Ticks::new(private.below(u32::MAX));
        let emitter = Emitter::new(seed, start, private, ledger.ratio(), now);
        Self {
            ledger,
            emitter,
            ticks,
            held: 0,
            along: 0,
            release: now,
            stream: false,
            last_real: now,
            active: now,
        }
    }

    /// Books `n` real packets and returns the noise that goes along with them.
    fn book(&mut self, now: Instant, n: u32) -> u32 {
        let paused = now.saturating_since(self.last_real) > STREAM_ENDS;
        self.last_real = self.last_real.max(now);
        let before = self.ledger.balance();
        let due = self.ledger.real(n);
        self.stream = (self.stream && !paused) || due > 0;
        if !self.stream {
            return due;
        }
        let (num, _) = self.ledger.fraction();
        let eighth = (i64::from(n) * num + 7) / 8;
        due + self.ledger.pay_down_to((before - eighth).max(0))
    }

    fn owed(&self) -> f64 {
        let (_, bound) = self.ledger.bounds();
        let (_, den) = self.ledger.fraction();
        // it rests with three quarters of the bound ahead
        self.ledger.owed() + 0.75 * bound as f64 / den as f64
    }

    fn due(&mut self, now: Instant) -> u32 {
        let due = self.emitter.due(now, self.owed());
        self.ledger.take(due)
    }
}

impl NoiseEngine for LedgerEngine {
    fn on_real(&mut self, now: Instant, n: u32) -> Arrival {
        if now.saturating_since(self.active) > FADES_AFTER {
            self.ledger.fade();
        }
        self.active = self.active.max(now);
        self.emitter.on_real(now, n);
        self.along += self.book(now, n);
        let most = if self.stream { MOST_HELD_IN_STREAM } else { MOST_HELD };
        if self.held + n > most {
            self.held = 0;
            let noise = core::mem::take(&mut self.along) + self.due(now);
            return Arrival::Send { noise };
        }
        if self.held == 0 {
            self.release = self.ticks.after(now);
        }
        self.held += n;
        Arrival::Hold(n)
    }

    fn on_peer(&mut self, now: Instant, real: u32, _noise: u32) {
        self.emitter.on_peer(now, real);
    }

    fn on_refused(&mut self, noise: u32) {
        self.ledger.refused(noise);
    }

    fn on_shed(&mut self, noise: u32) {
        self.ledger.shed(noise);
    }

    fn on_dropped(&mut self) {
        self.held = 0;
        self.ledger.refused(core::mem::take(&mut self.along));
    }

    fn rekey(&mut self, now: Instant, seed: &[u8; 32], start: Instant) {
        self.emitter.rekey(seed, start, now);
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let noise = self.emitter.next(now, self.owed());
        let noise = noise.map(|at| self.ticks.not_before(at));
        let real = (self.held > 0).then_some(self.release);
        [noise, real].into_iter().flatten().min()
    }

    fn poll(&mut self, now: Instant) -> Release {
        self.active = self.active.max(now);
        let mut noise = self.due(now);
        let mut real = 0;
        if self.held > 0 && now >= self.release {
            real = core::mem::take(&mut self.held);
            noise += core::mem::take(&mut self.along);
        }
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
    use crate::noise::{NoiseRatio, NoiseRng, engine::TICK};

    fn engine(ratio: NoiseRatio, seed: u8) -> LedgerEngine {
        LedgerEngine::new(params(ratio, None, seed), Instant::ZERO)
    }

    /// Loads pages until 100,000 packets have gone: how many packets, how far apart.
    fn browse(engine: &mut LedgerEngine, seed: u8) -> Log {
        let mut rng = NoiseRng::new(&[seed ^ 0xa5; 32]);
        let mut log = Log::default();
        let mut now = 1.0;
        while log.real < 100_000 {
            let packets = rng.log_normal(300.0, 0.8) as u32;
            let mut left = packets.clamp(20, 3_000);
            while left > 0 {
                let run = (1 + rng.below(10)).min(left);
                log.arrive(engine, at(now), run);
                left -= run;
                now += rng.exponential(0.012);
            }
            now += rng.exponential(20.0);
        }
        log.poll_until(engine, at(now));
        log
    }

    fn ratio_error(log: &Log, ratio: NoiseRatio) -> f64 {
        let (num, den) = ratio.fraction();
        log.noise as f64 / (log.real as f64 * f64::from(num) / f64::from(den)) - 1.0
    }

    #[test]
    fn browsing_keeps_the_ratio_over_100_000_packets() {
        for (n, ratio) in RATIOS.into_iter().enumerate() {
            let log = browse(&mut engine(ratio, n as u8), n as u8);
            let error = ratio_error(&log, ratio);
            assert!(error.abs() <= 0.005, "{ratio}: {error:+.4}");
        }
    }

    #[test]
    fn bulk_keeps_the_ratio_over_100_000_packets() {
        for (n, ratio) in RATIOS.into_iter().enumerate() {
            for rate in [100.0, 500.0, 3_000.0, 30_000.0, 300_000.0] {
                let mut engine = engine(ratio, n as u8);
                let mut log = Log::default();
                let mut now = 0.5;
                while log.real < 100_000 {
                    let run = if rate < 1_000.0 { 5 } else { 45 };
                    log.arrive(&mut engine, at(now), run);
                    now += f64::from(run) / rate;
                }
                let error = ratio_error(&log, ratio);
                assert!(error.abs() <= 0.005, "{ratio} at {rate}: {error:+.4}");
            }
        }
    }

    #[test]
    fn bulk_takes_its_noise_along() {
        let mut engine = engine(NoiseRatio::OneToOne, 9);
        let mut log = Log::default();
        for n in 0..2_000 {
            log.arrive(&mut engine, at(0.5 + f64::from(n) * 0.0005), 45);
        }
        let along: u64 = log.sent.iter().filter(|s| s.1 > 0).map(|s| u64::from(s.2)).sum();
        assert!(along * 10 > log.noise * 8, "{along} of {}", log.noise);
        assert!(log.wait_ms(0.99) < 0.1, "bulk does not wait for ticks");
    }

    #[test]
    fn what_is_sent_leaves_on_the_grid_and_waits_a_tick_at_most() {
        let mut engine = engine(NoiseRatio::OneToOne, 3);
        let mut log = Log::default();
        let mut rng = NoiseRng::new(&[8; 32]);
        let mut now = 1.0;
        for _ in 0..20_000 {
            log.arrive(&mut engine, at(now), 1);
            now += rng.exponential(0.02);
        }
        log.poll_until(&mut engine, at(now));
        let phase = log.sent[0].0.as_nanos() % TICK.as_nanos() as u64;
        let off = log.sent.iter().filter(|s| s.0.as_nanos() % TICK.as_nanos() as u64 != phase);
        assert_eq!(off.count(), 0);
        let mean: f64 = log.waits.iter().map(|w| w.as_secs_f64() * 1e3).sum::<f64>() / 20_000.0;
        assert!((mean - 0.625).abs() < 0.02, "{mean}");
        assert!(log.wait_ms(1.0) <= 1.25);
    }

    #[test]
    fn a_page_does_not_draw_its_own_noise() {
        // as many noise packets in the seconds of a page as in those without, given the rate
        let mut engine = engine(NoiseRatio::OneToOne, 5);
        let mut log = browse(&mut engine, 5);
        log.sent.sort_unstable();
        let seconds = log.sent.last().unwrap().0.as_nanos() / 1_000_000_000 + 1;
        let mut slots = vec![(0_u32, 0_u32); seconds as usize];
        for (at, real, noise) in &log.sent {
            let slot = &mut slots[(at.as_nanos() / 1_000_000_000) as usize];
            slot.0 += real;
            slot.1 += noise;
        }
        let n = slots.len() as f64;
        let mean = |f: &dyn Fn(&(u32, u32)) -> f64| slots.iter().map(f).sum::<f64>() / n;
        let (mx, my) = (mean(&|s| s.0.into()), mean(&|s| s.1.into()));
        let cov = mean(&|s| (f64::from(s.0) - mx) * (f64::from(s.1) - my));
        let (vx, vy) =
            (mean(&|s| (f64::from(s.0) - mx).powi(2)), mean(&|s| (f64::from(s.1) - my).powi(2)));
        let correlation = cov / (vx * vy).sqrt();
        assert!(correlation < 0.35, "{correlation}");
    }

    #[test]
    fn an_idle_node_falls_silent_and_old_debt_fades() {
        let mut engine = engine(NoiseRatio::FourToOne, 6);
        let mut log = Log::default();
        log.arrive(&mut engine, at(1.0), 50);
        log.arrive(&mut engine, at(1.1), 50);
        // nothing is polled for an hour, as there was no session
        assert!(engine.counts().owed > 300, "{:?}", engine.counts());
        engine.on_dropped();
        let _ = engine.on_real(at(3_700.0), 1);
        assert!(engine.counts().shed > 300, "{:?}", engine.counts());
        // an hour of polls: the rest is sent, then nothing has a deadline
        let mut log = Log::default();
        engine.on_dropped();
        log.poll_until(&mut engine, at(20_000.0));
        assert_eq!(engine.next_deadline(at(20_000.0)), None);
    }

    #[test]
    fn refused_noise_is_debt_again() {
        let mut engine = engine(NoiseRatio::OneToOne, 7);
        let mut noise = 0;
        for n in 0..20 {
            match engine.on_real(at(1.0 + f64::from(n) * 0.001), 60) {
                Arrival::Send { noise: n } => noise += n,
                Arrival::Hold(_) => noise += engine.poll(at(1.002 + f64::from(n) * 0.001)).noise,
            }
        }
        assert!(noise > 0);
        let before = engine.counts();
        engine.on_refused(noise.min(10));
        let after = engine.counts();
        assert_eq!(before.noise - after.noise, 10);
        assert_eq!(after.owed + after.shed as i64, before.owed + 10);
    }
}

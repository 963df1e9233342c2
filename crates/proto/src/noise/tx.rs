//! The noise of one direction on one lane, as the sender of that lane uses it.
//!
//! [`TxNoise`] joins engine, sizes, budget and randomness. It belongs to one sender (an outbound
//! worker, or control for its lane) and one peer, and outlives sessions: [`TxNoise::rekey`] takes
//! each new one. The sender keeps the packets that wait, seals, and sends:
//!
//! 1. [`TxNoise::arrive`] for real packets: keep them, or send them now with noise among them;
//! 2. [`TxNoise::next_deadline`] bounds the sender's sleep; then [`TxNoise::poll`] says what goes;
//! 3. for each batch: [`TxNoise::is_noise_next`] mixes, [`TxNoise::run_length`] fills,
//!    [`TxNoise::noise_length`] sizes noise; [`TxNoise::on_sent`] notes real frames;
//! 4. [`TxNoise::on_refused`] takes back what the socket did not take.

use super::engine::{Arrival, EngineKind, EngineParams, NoiseEngine, Release, build};
use super::{Budget, LedgerCounts, Machines, NoiseByte, NoiseRatio, NoiseRng, Sizes};
use crate::session::OVERHEAD;
use crate::time::Instant;

/// Outer headers of a datagram, in bytes: IPv6 and UDP, the larger of the two families.
pub const OUTER: usize = 48;

/// Says how this node makes noise: local choice, nothing of it is on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoiseConfig {
    /// What schedules it.
    pub engine: EngineKind,
    /// Whether size field 00 is drawn uniformly, not from the sizes seen.
    pub uniform: bool,
    /// The ceiling, in bits a second; also the rate of the constant and the shaped engine.
    pub budget: Option<u64>,
    /// The machines of [`EngineKind::Machine`]; empty with any other.
    pub machines: Machines,
}

/// What a session settles about noise.
#[derive(Clone)]
pub struct NoiseTerms {
    /// The byte that was agreed.
    pub byte: NoiseByte,
    /// Largest frame and filler, in bytes.
    pub limit: usize,
    /// The seed that both ends have, from the session's keys.
    pub shared: [u8; 32],
    /// This end's own seed, for this lane.
    pub private: [u8; 32],
    /// When the session was confirmed.
    pub start: Instant,
}

impl core::fmt::Debug for NoiseTerms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NoiseTerms")
            .field("byte", &self.byte)
            .field("limit", &self.limit)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Makes the noise of one lane towards one peer.
#[derive(Debug)]
pub struct TxNoise {
    config: NoiseConfig,
    byte: NoiseByte,
    share: u32,
    /// `None` where the byte has filler only.
    engine: Option<Box<dyn NoiseEngine>>,
    sizes: Sizes,
    budget: Option<Budget>,
    rng: NoiseRng,
}

impl TxNoise {
    /// Makes the noise of a session; `share` lanes divide the budget between them.
    #[must_use]
    pub fn new(config: &NoiseConfig, terms: &NoiseTerms, share: u32, now: Instant) -> Self {
        let mut rng = NoiseRng::new(&terms.private);
        let share = share.max(1);
        Self {
            config: config.clone(),
            byte: terms.byte,
            share,
            engine: engine(config, terms, share, &mut rng, now),
            sizes: Sizes::new(terms.byte, config.uniform, terms.limit),
            budget: budget(config, share, now),
            rng,
        }
    }

    /// Goes over to a new session. The account goes on, unless the byte is another.
    pub fn rekey(&mut self, terms: &NoiseTerms, now: Instant) {
        if terms.limit != self.sizes.limit() || terms.byte != self.byte {
            self.sizes = Sizes::new(terms.byte, self.config.uniform, terms.limit);
        }
        if terms.byte.ratio() != self.byte.ratio() {
            self.engine = engine(&self.config, terms, self.share, &mut self.rng, now);
        } else if let Some(engine) = &mut self.engine {
            engine.rekey(now, &terms.shared, terms.start);
        }
        self.byte = terms.byte;
    }

    /// Returns the byte of the session at hand.
    #[must_use]
    pub const fn byte(&self) -> NoiseByte {
        self.byte
    }

    /// Takes notice of `n` real packets that came to be sent.
    #[inline]
    pub fn arrive(&mut self, now: Instant, n: u32) -> Arrival {
        let Some(engine) = &mut self.engine else { return Arrival::Send { noise: 0 } };
        match engine.on_real(now, n) {
            Arrival::Send { noise } => Arrival::Send { noise: self.within_budget(now, noise) },
            hold @ Arrival::Hold(_) => hold,
        }
    }

    /// Returns when [`Self::poll`] is due.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.engine.as_ref()?.next_deadline(now)
    }

    /// Returns what goes out now.
    pub fn poll(&mut self, now: Instant) -> Release {
        let Some(engine) = &mut self.engine else { return Release::default() };
        let release = engine.poll(now);
        Release { noise: self.within_budget(now, release.noise), ..release }
    }

    /// Sheds what the budget does not cover.
    fn within_budget(&mut self, now: Instant, noise: u32) -> u32 {
        if noise == 0 {
            return 0;
        }
        let bits = self.noise_bits();
        let (Some(budget), Some(engine)) = (&mut self.budget, &mut self.engine) else {
            return noise;
        };
        let granted = budget.take(now, noise, bits);
        if granted < noise {
            engine.on_shed(noise - granted);
        }
        granted
    }

    /// Bits of a noise datagram with its outer headers, as the budget counts them.
    fn noise_bits(&self) -> u64 {
        ((self.sizes.limit() + OVERHEAD + OUTER) * 8) as u64
    }

    /// Draws whether noise stands next, where so many real and noise packets are left to place:
    /// every order of the two is as likely as every other.
    #[inline]
    pub fn is_noise_next(&mut self, real: u32, noise: u32) -> bool {
        noise > 0 && (real == 0 || self.rng.below(real.saturating_add(noise)) < noise)
    }

    /// Returns the length, filler included, that every frame of a run gets whose longest has
    /// `longest` bytes; `None` where frames keep their length.
    #[inline]
    pub fn run_length(&mut self, longest: usize) -> Option<usize> {
        self.sizes.run(&mut self.rng, longest)
    }

    /// Returns the length of a noise frame; `run` is the length of the run around it, if any.
    #[inline]
    pub fn noise_length(&mut self, run: Option<usize>) -> usize {
        self.sizes.noise(&mut self.rng, run)
    }

    /// Returns the length of a control frame of `length` bytes.
    pub fn control_length(&mut self, length: usize) -> usize {
        self.sizes.control(&mut self.rng, length)
    }

    /// Notes `count` real frames of `length` bytes, filler included.
    #[inline]
    pub fn on_sent(&mut self, length: usize, count: u32) {
        self.sizes.on_real(length, count);
    }

    /// Takes notice of real and noise frames received since the last call; real packets sent to
    /// the peer on other lanes count as real ones received.
    pub fn on_peer(&mut self, now: Instant, real: u32, noise: u32) {
        if let Some(engine) = &mut self.engine {
            engine.on_peer(now, real, noise);
        }
    }

    /// Takes notice that the socket refused noise: it is owed again.
    pub fn on_refused(&mut self, noise: u32) {
        let bits = self.noise_bits();
        if let Some(engine) = &mut self.engine {
            engine.on_refused(noise);
        }
        if let Some(budget) = &mut self.budget {
            budget.refund(noise, bits);
        }
    }

    /// Takes notice that all packets that waited were dropped.
    pub fn on_dropped(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.on_dropped();
        }
    }

    /// Returns how many packets wait.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.engine.as_ref().map_or(0, |engine| engine.held())
    }

    /// Reads the account.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.engine.as_ref().map_or_else(LedgerCounts::default, |engine| engine.counts())
    }
}

fn engine(
    config: &NoiseConfig,
    terms: &NoiseTerms,
    share: u32,
    rng: &mut NoiseRng,
    now: Instant,
) -> Option<Box<dyn NoiseEngine>> {
    if terms.byte.ratio() == NoiseRatio::Off {
        return None;
    }
    let params = EngineParams {
        ratio: terms.byte.ratio(),
        share,
        rate: config.budget.map(|bits| bits / u64::from(share)),
        datagram_bits: ((terms.limit + OVERHEAD + OUTER) * 8) as u64,
        seed: &terms.shared,
        start: terms.start,
        machines: &config.machines,
        private: rng.fork(),
    };
    Some(build(config.engine, params, now))
}

/// Noise of the ledger and of machines is limited by the budget; the other engines have it as
/// their rate.
fn budget(config: &NoiseConfig, share: u32, now: Instant) -> Option<Budget> {
    let sheds = matches!(config.engine, EngineKind::Ledger | EngineKind::Machine);
    let bits = config.budget.filter(|_| sheds)?;
    Some(Budget::new(bits / u64::from(share), now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{NoiseFiller, NoiseSize};

    fn at(seconds: f64) -> Instant {
        Instant::from_nanos((seconds * 1e9) as u64)
    }

    fn terms(ratio: NoiseRatio, filler: NoiseFiller) -> NoiseTerms {
        NoiseTerms {
            byte: NoiseByte::new(ratio, NoiseSize::Any, filler),
            limit: 1_420,
            shared: [1; 32],
            private: [2; 32],
            start: Instant::ZERO,
        }
    }

    fn make(config: &NoiseConfig, ratio: NoiseRatio, filler: NoiseFiller) -> TxNoise {
        TxNoise::new(config, &terms(ratio, filler), 1, Instant::ZERO)
    }

    #[test]
    fn filler_alone_has_no_schedule() {
        let mut noise = make(&NoiseConfig::default(), NoiseRatio::Off, NoiseFiller::Full);
        assert_eq!(noise.arrive(at(1.0), 1_000), Arrival::Send { noise: 0 });
        assert_eq!(noise.next_deadline(at(1.0)), None);
        assert!(noise.poll(at(2.0)).is_empty());
        assert_eq!(noise.run_length(52), Some(1_420));
        assert_eq!(noise.counts(), LedgerCounts::default());
    }

    #[test]
    fn places_of_noise_are_uniform() {
        let mut noise = make(&NoiseConfig::default(), NoiseRatio::OneToOne, NoiseFiller::Full);
        let mut at_place = [0_u32; 12];
        for _ in 0..12_000 {
            let (mut real, mut left) = (8, 4);
            for count in &mut at_place {
                if noise.is_noise_next(real, left) {
                    left -= 1;
                    *count += 1;
                } else {
                    real -= 1;
                }
            }
            assert_eq!((real, left), (0, 0));
        }
        for count in at_place {
            assert!((3_750..4_250).contains(&count), "{at_place:?}");
        }
    }

    #[test]
    fn the_budget_sheds_and_the_ledger_counts_it() {
        let config = NoiseConfig { budget: Some(1_000_000), ..NoiseConfig::default() };
        let mut noise = make(&config, NoiseRatio::OneToOne, NoiseFiller::Full);
        let mut sent = 0;
        for n in 0..1_000 {
            let now = at(1.0 + f64::from(n) * 0.01);
            if let Arrival::Send { noise } = noise.arrive(now, 45) {
                sent += noise;
            }
            sent += noise.poll(now).noise;
        }
        let counts = noise.counts();
        assert_eq!(counts.noise, u64::from(sent));
        // ten seconds of 1 Mbit/s and a quarter second's burst, in datagrams of 1,500 bytes
        assert!((820..=870).contains(&sent), "{sent}");
        let whole = counts.noise + counts.shed;
        assert!((whole as i64 - counts.real as i64).abs() <= 481, "{counts:?}");
        noise.on_refused(10);
        assert_eq!(noise.counts().noise, u64::from(sent) - 10);
    }

    #[test]
    fn a_rekey_keeps_the_account_and_another_byte_opens_a_new_one() {
        let mut noise = make(&NoiseConfig::default(), NoiseRatio::OneToOne, NoiseFiller::Full);
        for n in 0..100 {
            let _ = noise.arrive(at(1.0 + f64::from(n) * 0.01), 2);
            let _ = noise.poll(at(1.005 + f64::from(n) * 0.01));
        }
        let mut next = terms(NoiseRatio::OneToOne, NoiseFiller::Full);
        next.shared = [9; 32];
        noise.rekey(&next, at(3.0));
        assert_eq!(noise.counts().real, 200);
        noise.rekey(&terms(NoiseRatio::OneToEight, NoiseFiller::Off), at(4.0));
        assert_eq!(noise.counts().real, 0);
        assert_eq!(noise.run_length(52), None);
        noise.rekey(&terms(NoiseRatio::Off, NoiseFiller::Off), at(5.0));
        assert_eq!(noise.arrive(at(6.0), 3), Arrival::Send { noise: 0 });
        assert!(!format!("{:?}", terms(NoiseRatio::Off, NoiseFiller::Off)).contains("shared"));
    }
}

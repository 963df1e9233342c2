//! Sizes: how long noise frames are, and how much filler ordinary frames get (`noise.md` §3.2).
//!
//! All lengths here are those of frame and filler together, in bytes, as the payload limit counts
//! them. Invariants: no length is 0 (the empty frame is a keepalive) or beyond the limit; filler
//! never shortens a frame; all frames of a run get one length, so that a run stays one GSO send.
//!
//! The byte's size field 00 names a range, not a law. [`SizeLaw::Match`] draws from the real
//! sizes that recently stood on the wire: with filler full that is always the limit, so that noise
//! and real packets have one size; without filler it is the sender's own mix of sizes.

use super::{NoiseByte, NoiseFiller, NoiseRng, NoiseSize};

/// How many real sizes are remembered.
const RECENT: usize = 128;
/// How many of a run's sizes are remembered at most, so that one run does not fill the memory.
const OF_A_RUN: usize = 16;
/// The shortest noise frame of size field 10, in bytes: the shortest IP packet.
const SHORTEST_PACKET: u16 = 20;
/// Bits after the point in the running mean.
const POINT: u32 = 12;
/// The running mean moves by 2^-5 = 1/32 of the difference with each packet.
const ALPHA_BITS: u32 = 5;
/// Packets after which the mean has arrived: (31/32)^256 is below 0.03 %.
const MEAN_ARRIVED: u32 = 256;

/// Says by which law the sizes of noise are drawn; the receiver does not mind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeLaw {
    /// From the sizes that real packets recently had on the wire (size field 00).
    #[default]
    Match,
    /// Uniformly, from 1 byte to the payload limit (size field 00).
    Uniform,
    /// Uniformly within ±25 % of the running mean, and below the limit (size field 01).
    Mean,
    /// Uniformly, from 20 bytes to half the limit (size field 10).
    Half,
}

impl SizeLaw {
    /// Returns the law of a size field; `uniform` chooses between the two of field 00.
    #[must_use]
    pub const fn of(size: NoiseSize, uniform: bool) -> Self {
        match (size, uniform) {
            (NoiseSize::Any, false) => Self::Match,
            (NoiseSize::Any, true) => Self::Uniform,
            (NoiseSize::Mean, _) => Self::Mean,
            (NoiseSize::Half, _) => Self::Half,
        }
    }
}

/// Draws the sizes of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Sizes {
    law: SizeLaw,
    filler: NoiseFiller,
    limit: u16,
    /// The running mean, with [`POINT`] bits after the point.
    mean: u32,
    recent: [u16; RECENT],
    /// How many of `recent` are set.
    seen: usize,
    /// The place in `recent` that is written next.
    next: usize,
}

impl Sizes {
    /// Makes the sizes for a byte and a payload limit of at least 1 byte.
    #[must_use]
    pub fn new(byte: NoiseByte, uniform: bool, limit: usize) -> Self {
        let limit = u16::try_from(limit).unwrap_or(u16::MAX).max(1);
        Self {
            law: SizeLaw::of(byte.size(), uniform),
            filler: byte.filler(),
            limit,
            mean: (u32::from(limit) / 2) << POINT,
            recent: [0; RECENT],
            seen: 0,
            next: 0,
        }
    }

    /// Returns the payload limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        usize::from(self.limit)
    }

    /// Returns the running mean of real sizes.
    #[must_use]
    pub fn mean(&self) -> usize {
        (self.mean >> POINT) as usize
    }

    /// Notes `count` real frames of `length` bytes, filler included.
    #[inline]
    pub fn on_real(&mut self, length: usize, count: u32) {
        let length = u16::try_from(length).unwrap_or(u16::MAX).min(self.limit);
        let target = u32::from(length) << POINT;
        for _ in 0..count.min(MEAN_ARRIVED) {
            let mean = self.mean as i32;
            self.mean = (mean + ((target as i32 - mean) >> ALPHA_BITS)) as u32;
        }
        for _ in 0..(count as usize).min(OF_A_RUN) {
            self.recent[self.next] = length;
            self.next = (self.next + 1) % RECENT;
            self.seen = (self.seen + 1).min(RECENT);
        }
    }

    /// Returns the length that every frame of a run gets, whose longest has `longest` bytes.
    #[inline]
    pub fn run(&self, rng: &mut NoiseRng, longest: usize) -> Option<usize> {
        let longest = u16::try_from(longest).unwrap_or(u16::MAX);
        match self.filler {
            NoiseFiller::Off => None,
            NoiseFiller::Full => Some(usize::from(self.limit.max(longest))),
            NoiseFiller::Random => {
                Some(rng.between(longest.into(), self.limit.max(longest).into()) as usize)
            }
        }
    }

    /// Returns the length of a noise frame; in the midst of a run of `run` bytes a frame, that
    /// of the run where the law allows.
    #[inline]
    pub fn noise(&self, rng: &mut NoiseRng, run: Option<usize>) -> usize {
        let length = match (self.law, run) {
            (SizeLaw::Match, Some(run)) => return run.clamp(1, self.limit()),
            (SizeLaw::Match, None) => return self.recent(rng),
            (SizeLaw::Uniform, _) => rng.between(1, self.limit.into()),
            (SizeLaw::Mean, _) => {
                let mean = self.mean >> POINT;
                let below = u32::from(self.limit).saturating_sub(1).max(1);
                rng.between((mean - mean / 4).clamp(1, below), (mean + mean / 4).clamp(1, below))
            }
            (SizeLaw::Half, _) => {
                let half = u32::from(self.limit / 2).max(1);
                rng.between(u32::from(SHORTEST_PACKET).min(half), half)
            }
        };
        length as usize
    }

    /// Returns the length of a control frame of `length` bytes: that of some real or noise frame
    /// where it is not shorter, so that control frames do not stand out.
    #[must_use]
    pub fn control(&self, rng: &mut NoiseRng, length: usize) -> usize {
        let shaped = match self.run(rng, length) {
            Some(filled) => filled,
            None => self.noise(rng, None),
        };
        shaped.max(length)
    }

    /// Draws one of the recent real sizes; before there is any, the limit.
    fn recent(&self, rng: &mut NoiseRng) -> usize {
        if self.filler == NoiseFiller::Full || self.seen == 0 {
            return self.limit();
        }
        usize::from(self.recent[rng.below(self.seen as u32) as usize].max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::NoiseRatio;
    use proptest::prelude::*;

    const LIMIT: usize = 1_420;

    fn sizes(size: NoiseSize, filler: NoiseFiller, uniform: bool) -> Sizes {
        Sizes::new(NoiseByte::new(NoiseRatio::OneToOne, size, filler), uniform, LIMIT)
    }

    fn rng() -> NoiseRng {
        NoiseRng::new(&[3; 32])
    }

    /// The chance that a noise size is larger than a real one, ties half: 0.5 tells nothing.
    fn auc(real: &[usize], noise: &[usize]) -> f64 {
        let mut sorted = real.to_vec();
        sorted.sort_unstable();
        let score = |n: &usize| {
            let below = sorted.partition_point(|r| r < n);
            let at_most = sorted.partition_point(|r| r <= n);
            (below + at_most) as f64 / 2.0
        };
        noise.iter().map(score).sum::<f64>() / (real.len() * noise.len()) as f64
    }

    /// A bimodal mix, as of downloads and their acknowledgements.
    fn real_lengths(rng: &mut NoiseRng, n: usize) -> Vec<usize> {
        (0..n)
            .map(|_| if rng.below(3) == 0 { 52 } else { 1_300 + rng.below(121) as usize })
            .collect()
    }

    fn separation(mut sizes: Sizes) -> f64 {
        let mut rng = rng();
        let (mut real, mut noise) = (Vec::new(), Vec::new());
        for length in real_lengths(&mut rng, 20_000) {
            let length = sizes.run(&mut rng, length).unwrap_or(length);
            sizes.on_real(length, 1);
            real.push(length);
            noise.push(sizes.noise(&mut rng, None));
        }
        auc(&real, &noise)
    }

    #[test]
    fn matched_noise_cannot_be_told_by_its_size() {
        for filler in NoiseFiller::ALL {
            let auc = separation(sizes(NoiseSize::Any, filler, false));
            assert!((auc - 0.5).abs() < 0.01, "{filler}: {auc}");
        }
    }

    #[test]
    fn every_other_law_with_full_filler_is_told_by_its_size() {
        // the trap of noise.md §0: read literally, filler full and another law separate
        for (size, uniform) in
            [(NoiseSize::Any, true), (NoiseSize::Mean, false), (NoiseSize::Half, false)]
        {
            let auc = separation(sizes(size, NoiseFiller::Full, uniform));
            assert!(auc < 0.001, "{size} {uniform}: {auc}");
        }
    }

    #[test]
    fn the_running_mean_starts_in_the_middle_and_follows_by_a_32nd() {
        let mut sizes = sizes(NoiseSize::Mean, NoiseFiller::Off, false);
        assert_eq!(sizes.mean(), LIMIT / 2);
        sizes.on_real(710 + 320, 1);
        assert_eq!(sizes.mean(), 720);
        sizes.on_real(100, 1_000);
        assert_eq!(sizes.mean(), 100);
        let mut rng = rng();
        let drawn: Vec<_> = (0..1_000).map(|_| sizes.noise(&mut rng, None)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&75), Some(&125)));
        sizes.on_real(LIMIT, 1_000);
        let longest = (0..1_000).map(|_| sizes.noise(&mut rng, None)).max();
        assert!(longest < Some(LIMIT), "below the limit: {longest:?}");
    }

    #[test]
    fn a_run_keeps_one_length_and_matched_noise_takes_it() {
        let mut rng = rng();
        let full = sizes(NoiseSize::Any, NoiseFiller::Full, false);
        assert_eq!(full.run(&mut rng, 52), Some(LIMIT));
        let random = sizes(NoiseSize::Any, NoiseFiller::Random, false);
        let run = random.run(&mut rng, 800);
        assert!((800..=LIMIT).contains(&run.unwrap()));
        assert_eq!(random.noise(&mut rng, run), run.unwrap());
        let off = sizes(NoiseSize::Any, NoiseFiller::Off, false);
        assert_eq!(off.run(&mut rng, 800), None);
        assert_eq!(off.noise(&mut rng, Some(800)), 800);
    }

    proptest! {
        #[test]
        fn lengths_stay_within_the_mode(
            seed in any::<[u8; 32]>(),
            limit in 1_280_usize..9_000,
            value in any::<u8>(),
            uniform in any::<bool>(),
            real in prop::collection::vec((1_usize..9_000, 1_u32..64), 0..60),
            control in 1_usize..33,
        ) {
            let Ok(byte) = NoiseByte::try_from(value & 0xfe) else { return Ok(()) };
            let mut rng = NoiseRng::new(&seed);
            let mut sizes = Sizes::new(byte, uniform, limit);
            for (longest, count) in real {
                let longest = longest.min(limit);
                let run = sizes.run(&mut rng, longest);
                if let Some(run) = run {
                    prop_assert!((longest..=limit).contains(&run));
                    prop_assert!(byte.filler() != NoiseFiller::Full || run == limit);
                }
                sizes.on_real(run.unwrap_or(longest), count);
                let noise = sizes.noise(&mut rng, run);
                match byte.size() {
                    NoiseSize::Any => prop_assert!((1..=limit).contains(&noise)),
                    NoiseSize::Mean => {
                        let mean = sizes.mean();
                        let low = (mean - mean / 4).min(limit - 1);
                        let high = (mean + mean / 4).min(limit - 1);
                        prop_assert!((low..=high).contains(&noise));
                    }
                    NoiseSize::Half => prop_assert!((20..=limit / 2).contains(&noise)),
                }
                prop_assert!((control..=limit).contains(&sizes.control(&mut rng, control)));
            }
        }
    }
}

//! The random laws that noise is drawn from, over a seeded keystream.
//!
//! Two generators drive a connection's noise. The *private* one is seeded by the node's own
//! [`Entropy`](crate::engine::Entropy) and decides places, sizes and roundings. The *shared* one is
//! seeded from the session's keys, so that both ends draw the same stream without a word on the
//! wire: it gives the times of bursts, so that noise goes to and fro as real traffic does
//! (`noise.md` §2: ends that are coordinated).

use crate::crypto::Keystream;

/// Draws numbers from a seed; the same seed gives the same numbers.
#[derive(Debug)]
pub struct NoiseRng(Keystream);

impl NoiseRng {
    /// Makes the generator of `seed`.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(Keystream::new(seed))
    }

    /// Makes an independent generator, seeded from this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        self.0.fill(&mut *seed);
        Self::new(&seed)
    }

    /// Returns 32 random bits.
    #[cfg(feature = "machine")]
    pub(crate) fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Returns a number below `n`; 0 for 0.
    ///
    /// Multiplies instead of dividing (Lemire); what the shortcut skews is below 2^-32.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// Returns a number from `low` to `high`, both included; `low` where they are swapped.
    #[inline]
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Returns a number above 0 and at most 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        // 53 bits, the precision of the type
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a factor between `low` and `high`, uniform in its logarithm.
    pub fn factor(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// Draws from the exponential law with this mean.
    #[inline]
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    /// Draws from the log-normal law with this mean; `sigma` is that of the logarithm.
    pub fn log_normal(&mut self, mean: f64, sigma: f64) -> f64 {
        // Box and Muller
        let radius = (-2.0 * self.unit().ln()).sqrt();
        let normal = radius * (core::f64::consts::TAU * self.unit()).cos();
        mean * (sigma * normal - sigma * sigma / 2.0).exp()
    }

    /// Rounds to a neighbouring whole number at random, so that the mean stays.
    #[inline]
    pub fn round(&mut self, value: f64) -> u32 {
        // saturates, and takes what is not a number as 0
        let floor = value.max(0.0).floor();
        floor as u32 + u32::from(self.unit() <= value - floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(n: u32, mut draw: impl FnMut() -> f64) -> f64 {
        (0..n).map(|_| draw()).sum::<f64>() / f64::from(n)
    }

    #[test]
    fn the_laws_have_the_means_they_name() {
        let mut rng = NoiseRng::new(&[7; 32]);
        assert!((mean(100_000, || rng.unit()) - 0.5).abs() < 0.005);
        assert!((mean(100_000, || rng.exponential(3.0)) - 3.0).abs() < 0.05);
        assert!((mean(400_000, || rng.log_normal(5.0, 1.0)) - 5.0).abs() < 0.08);
        assert!((mean(100_000, || f64::from(rng.round(2.3))) - 2.3).abs() < 0.01);
        assert!((mean(100_000, || f64::from(rng.below(11))) - 5.0).abs() < 0.05);
        assert_eq!(rng.round(f64::NAN), 0);
    }

    #[test]
    fn a_fork_goes_its_own_way_and_can_be_repeated() {
        let (mut a, mut b) = (NoiseRng::new(&[1; 32]), NoiseRng::new(&[1; 32]));
        let (mut x, mut y) = (a.fork(), b.fork());
        let draws: Vec<u32> = (0..8).map(|_| x.below(1 << 30)).collect();
        assert_eq!(draws, (0..8).map(|_| y.below(1 << 30)).collect::<Vec<_>>());
        assert_ne!(draws, (0..8).map(|_| a.below(1 << 30)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn bounds_are_kept(seed in any::<[u8; 32]>(), low in 0_u32..1000, more in 0_u32..1000) {
            let mut rng = NoiseRng::new(&seed);
            let value = rng.between(low, low + more);
            prop_assert!((low..=low + more).contains(&value));
            prop_assert_eq!(rng.below(0), 0);
            let unit = rng.unit();
            prop_assert!(unit > 0.0 && unit <= 1.0);
            let factor = rng.factor(0.5, 2.0);
            prop_assert!((0.5..=2.0).contains(&factor));
        }
    }
}

//! Ticks: the grid of moments on which a noisy connection sends (`noise.md` §3.3).
//!
//! All that comes within a tick leaves at its end, real and noise in one batch, so that gaps
//! between packets tell little. It costs up to a tick of delay and is used with noise only.

use crate::time::Instant;
use core::time::Duration;

/// The length of a tick: 1.25 ms, so that a round trip through two noisy ends stays below 2.5 ms
/// more, and a timer of 1 ms can keep to it.
pub const TICK: Duration = Duration::from_micros(1_250);

/// A grid of moments.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    length: u64,
    phase: u64,
}

impl Ticks {
    /// Makes a grid of [`TICK`] with the given phase in nanoseconds.
    #[must_use]
    pub fn new(phase: u32) -> Self {
        let length = TICK.as_nanos() as u64;
        Self { length, phase: u64::from(phase) % length }
    }

    /// Returns the first moment of the grid that is not before `at`.
    #[inline]
    #[must_use]
    pub fn not_before(&self, at: Instant) -> Instant {
        let past = (at.as_nanos() % self.length + self.length - self.phase) % self.length;
        let wait = if past == 0 { 0 } else { self.length - past };
        Instant::from_nanos(at.as_nanos().saturating_add(wait))
    }

    /// Returns the first moment of the grid after `at`.
    #[inline]
    #[must_use]
    pub fn after(&self, at: Instant) -> Instant {
        self.not_before(Instant::from_nanos(at.as_nanos().saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_grid_is_one_and_near(phase in any::<u32>(), at in 0..u64::MAX / 2) {
            let ticks = Ticks::new(phase);
            let length = TICK.as_nanos() as u64;
            let next = ticks.not_before(Instant::from_nanos(at)).as_nanos();
            prop_assert!(next >= at && next - at < length);
            prop_assert_eq!(next % length, u64::from(phase) % length);
            let after = ticks.after(Instant::from_nanos(next)).as_nanos();
            prop_assert_eq!(after - next, length);
        }
    }
}

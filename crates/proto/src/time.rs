//! Time as data: nothing in this crate reads a clock.
//!
//! [`Instant`] orders events of one run and comes from a monotonic clock that the caller chooses
//! (one that goes on while the machine sleeps is best). [`WallTime`] is what the other node sees
//! in cell `0x08`. Both saturate instead of overflowing: a wrong clock makes odd times, not panics.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// Nanoseconds of a [`Duration`], saturating at `u64::MAX` (584 years).
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

/// A moment of the caller's monotonic clock, in nanoseconds since a start that only it knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// The latest moment that can be told; later ones saturate to it.
    pub const MAX: Self = Self(u64::MAX);

    /// Makes a moment from nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to this moment, zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the later moment, saturating at [`Instant::MAX`].
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the earlier moment, saturating at [`Instant::ZERO`].
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// A moment of the wall clock, in nanoseconds since 1970 (UTC). It may go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Makes a wall time from nanoseconds since 1970.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since 1970.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the value of cell `0x08`: this time with the low 24 bits cleared (steps of about
    /// 16.8 ms), so that the cell tells no fine clock (`protocol.md` §3).
    pub const fn timestamp_cell(self) -> u64 {
        self.0 & !TIMESTAMP_LOW_BITS
    }

    /// Returns the later wall time, saturating.
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// The bits of cell `0x08` that are always zero.
pub const TIMESTAMP_LOW_BITS: u64 = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let second = Duration::from_secs(1);
        assert_eq!(Instant::ZERO - second, Instant::ZERO);
        assert_eq!(Instant::MAX + second, Instant::MAX);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::MAX);
        assert_eq!(Instant(5) - Instant(7), Duration::ZERO);
        assert_eq!(Instant(7) - Instant(5), Duration::from_nanos(2));
        let mut now = Instant(1);
        now += second;
        assert_eq!(now, Instant(1_000_000_001));
        assert_eq!(format!("{now:?}"), "1.000000001s");
    }

    #[test]
    fn timestamp_cell_clears_24_bits() {
        assert_eq!(WallTime(1_790_000_000_123_456_789).timestamp_cell(), 1_790_000_000_118_292_480);
        assert_eq!(WallTime(TIMESTAMP_LOW_BITS).timestamp_cell(), 0);
        assert_eq!(WallTime(u64::MAX).saturating_add(Duration::from_secs(1)), WallTime(u64::MAX));
    }
}

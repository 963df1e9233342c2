//! The clocks of the daemon: the only place that reads one for the protocol.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stadium_proto::engine::Now;
use stadium_proto::time::{Instant, WallTime};

/// Reads the two clocks that the protocol knows.
///
/// [`Instant`] comes from `CLOCK_BOOTTIME`, which goes on while the machine sleeps, so that a
/// session that slept too long is known to be too old.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// What tests add to the wall clock, in nanoseconds.
    wrong_by: i64,
}

impl Clock {
    /// Makes a clock whose wall time is wrong by so many nanoseconds.
    pub(crate) fn wrong_by(nanos: i64) -> Self {
        Self { wrong_by: nanos }
    }

    /// Reads the monotonic clock.
    #[inline]
    pub(crate) fn instant(self) -> Instant {
        Instant::from_nanos(nanos(ClockId::Boottime))
    }

    /// Reads the wall clock.
    pub(crate) fn wall(self) -> WallTime {
        WallTime::from_nanos(nanos(ClockId::Realtime).saturating_add_signed(self.wrong_by))
    }

    /// Reads both, for one call of the engine.
    pub(crate) fn now(self) -> Now {
        Now { instant: self.instant(), wall: self.wall() }
    }

    /// Returns how long the machine has slept since it was started.
    pub(crate) fn slept(self) -> Duration {
        let awake = Instant::from_nanos(nanos(ClockId::Monotonic));
        self.instant().saturating_since(awake)
    }
}

/// Nanoseconds of a clock; times before its start count as 0.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_run() {
        let clock = Clock::default();
        let before = clock.instant();
        assert!(clock.instant() >= before);
        assert!(clock.slept() <= clock.instant() - Instant::ZERO);
        // after 2020 and before 2200
        assert!(
            (1_577_836_800..7_258_118_400).contains(&(clock.wall().as_nanos() / 1_000_000_000))
        );
        let year = 31_557_600_000_000_000;
        // read in this order, since time goes on between the two
        let behind = Clock::wrong_by(-year).wall();
        let ahead = Clock::wrong_by(year).wall();
        assert!(ahead.as_nanos() - behind.as_nanos() >= 2 * year.unsigned_abs());
        assert!(Clock::wrong_by(i64::MIN).wall().as_nanos() == 0, "no time before 1970");
    }
}

//! The clocks: the only place that reads one for the engine.

use rustix::time::{ClockId, clock_gettime};
use stadium_proto::engine::Now;
use stadium_proto::time::{Instant, WallTime};

/// Reads the monotonic clock, which goes on while the machine sleeps.
pub(crate) fn instant() -> Instant {
    Instant::from_nanos(nanos(ClockId::Boottime))
}

/// Reads both clocks, for one call of the engine.
pub(crate) fn now() -> Now {
    Now { instant: instant(), wall: WallTime::from_nanos(nanos(ClockId::Realtime)) }
}

/// Returns the moment on tokio's clock, which may stand still while the machine sleeps.
pub(crate) fn on_tokio(at: Instant) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.saturating_since(instant())
}

/// Nanoseconds of a clock; times before its start count as 0.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

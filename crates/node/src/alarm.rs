//! A timer on the protocol's clock, for the runtime to wait on.
//!
//! The runtime's own timers stop while the machine sleeps; this one rings at once on waking.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use stadium_proto::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer, set to a moment of [`crate::clock::Clock::instant`] or to none.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Instant>,
}

impl Alarm {
    /// Makes a timer that is not set; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When no timer can be had.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        // safe for what owns its descriptor and keeps it, as `OwnedFd` does; the new name of it
        // is an unsafe one since a type of the caller's might not
        #[expect(deprecated, reason = "its successor is unsafe, for other types than this one")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer, at: None })
    }

    /// Sets the timer to `at`, past or future, or to nothing.
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        if self.at == at {
            return;
        }
        self.at = at;
        // zero would disarm it
        let nanos = at.map_or(0, |at| at.as_nanos().max(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        let set = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &spec);
        debug_assert!(set.is_ok(), "a valid time on a timer of ours: {set:?}");
    }

    /// Waits for the set moment; for ever where none is set.
    pub(crate) async fn rings(&mut self) {
        loop {
            let Ok(mut ready) = self.timer.readable().await else {
                return std::future::pending().await;
            };
            let mut count = [0; 8];
            match rustix::io::read(ready.get_inner(), &mut count) {
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                _ => {
                    // it is disarmed now: the same moment may be set again
                    self.at = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn rings_at_its_time_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let at = Clock::default().instant() + Duration::from_millis(30);
            alarm.set(Some(at));
            alarm.rings().await;
            assert!(Clock::default().instant() >= at);
            // the past rings at once, also twice
            for _ in 0..2 {
                alarm.set(Some(at));
                alarm.rings().await;
            }
            alarm.set(Some(Clock::default().instant() + Duration::from_millis(20)));
            alarm.set(None);
            let silent = tokio::time::timeout(Duration::from_millis(60), alarm.rings()).await;
            assert!(silent.is_err(), "a timer that was taken back rang");
        });
    }
}

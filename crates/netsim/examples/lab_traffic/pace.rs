//! A steady rate in small steps, and values that follow from a number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a step is: short enough that no queue of the kernel overflows from a step alone.
const STEP: Duration = Duration::from_millis(2);

/// Says how many datagrams are due, until the time is over or somebody stops it.
pub(crate) struct Pace<'a> {
    rate: f64,
    started: Instant,
    lasts: Duration,
    given: u64,
    stop: &'a AtomicBool,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(rate: u64, seconds: f64, stop: &'a AtomicBool) -> Self {
        let lasts = Duration::from_secs_f64(seconds);
        Self { rate: rate as f64, started: Instant::now(), lasts, given: 0, stop }
    }

    /// Sleeps until something is due and returns how many datagrams are; [`None`] at the end.
    ///
    /// A generator that could not keep up does not catch up by more than 20 ms worth.
    pub(crate) fn due(&mut self) -> Option<u64> {
        loop {
            let passed = self.started.elapsed();
            if passed >= self.lasts || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let target = (passed.as_secs_f64() * self.rate) as u64;
            let most = (self.rate / 50.0) as u64 + 1;
            let due = target - self.given;
            if due > 0 {
                self.given = target;
                return Some(due.min(most));
            }
            std::thread::sleep(STEP);
        }
    }

    /// Returns how long it has run, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// A stream of values that follows from its seed alone (splitmix64, public domain algorithm).
pub(crate) struct Mix(u64);

impl Mix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let value = self.next().to_le_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
    }
}

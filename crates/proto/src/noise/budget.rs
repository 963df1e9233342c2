//! The budget: a token bucket in bits per second (`noise.budget` of the peer file).
//!
//! Invariant: over any time t at most `rate · t + capacity` bits are granted. Real packets are
//! never asked; noise beyond the budget is shed, which the [`Ledger`](super::Ledger) counts.

use crate::time::Instant;

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;
/// The least capacity, in bits: a few full datagrams, so that the slowest budget sends at all.
const LEAST_CAPACITY: u64 = 4 * 1_500 * 8;
/// The capacity in parts of a second: bursts of noise are to stay bursts.
const PARTS: u64 = 4;

/// Limits noise to a rate.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bits per second.
    rate: u64,
    capacity: u64,
    /// Bits that may be sent now.
    tokens: u64,
    /// Up to when tokens were added.
    filled: Instant,
}

impl Budget {
    /// Makes a full bucket of `rate` bits per second.
    #[must_use]
    pub fn new(rate: u64, now: Instant) -> Self {
        let capacity = (rate / PARTS).max(LEAST_CAPACITY);
        Self { rate, capacity, tokens: capacity, filled: now }
    }

    /// Returns the rate in bits per second.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Returns how many of `n` packets of `bits` each may go, and takes their tokens.
    #[inline]
    #[must_use = "what is returned is taken from the budget"]
    pub fn take(&mut self, now: Instant, n: u32, bits: u64) -> u32 {
        self.fill(now);
        let bits = bits.max(1);
        let granted = u32::try_from(self.tokens / bits).unwrap_or(u32::MAX).min(n);
        self.tokens -= u64::from(granted) * bits;
        granted
    }

    /// Gives back what was taken and not sent.
    pub fn refund(&mut self, n: u32, bits: u64) {
        let tokens = self.tokens.saturating_add(u64::from(n).saturating_mul(bits));
        self.tokens = tokens.min(self.capacity);
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = u128::from(now.as_nanos().saturating_sub(self.filled.as_nanos()));
        let due = elapsed * u128::from(self.rate) / SECOND;
        if due == 0 {
            return;
        }
        let room = u128::from(self.capacity - self.tokens);
        if due >= room {
            self.tokens = self.capacity;
            self.filled = now;
        } else {
            // below `room`, which fits
            self.tokens += due as u64;
            // only the time that made whole bits, so that nothing is lost to rounding
            let spent = due * SECOND / u128::from(self.rate);
            self.filled = Instant::from_nanos(self.filled.as_nanos() + spent as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1_000)
    }

    #[test]
    fn a_budget_lets_its_rate_through() {
        let mut budget = Budget::new(20_000_000, at(0));
        let mut sent = 0_u64;
        for us in 0..10_000_000 / 250 {
            sent += u64::from(budget.take(at(us * 250), 100, 12_000)) * 12_000;
        }
        let over = sent as f64 / 200_000_000.0;
        assert!((1.0..1.03).contains(&over), "{over}");
    }

    #[test]
    fn no_budget_is_no_noise_after_the_first_packets() {
        let mut budget = Budget::new(0, at(0));
        assert_eq!(budget.take(at(0), 100, 12_000), 4);
        assert_eq!(budget.take(at(1_000_000_000), 100, 12_000), 0);
        budget.refund(1, 12_000);
        assert_eq!(budget.take(at(1_000_000_000), 100, 12_000), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_capacity(
            rate in 0_u64..10_000_000_000,
            steps in prop::collection::vec((0_u64..100_000, 0_u32..200, 1_u64..20_000), 1..100),
        ) {
            let mut budget = Budget::new(rate, at(0));
            let capacity = budget.capacity;
            let (mut now, mut sent) = (0_u64, 0_u64);
            for (pause, n, bits) in steps {
                now += pause;
                let granted = budget.take(at(now), n, bits);
                prop_assert!(granted <= n);
                sent += u64::from(granted) * bits;
                let most = capacity as u128 + u128::from(rate) * u128::from(now) / 1_000_000;
                prop_assert!(u128::from(sent) <= most);
            }
        }
    }
}

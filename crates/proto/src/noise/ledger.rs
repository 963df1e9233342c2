//! The ledger: how much noise is owed for the real packets that went out (`noise.md` §3.3).
//!
//! `balance = real · num − noise · den` in integers, for the ratio num:den. Positive: noise is owed;
//! negative: noise went ahead of real packets. Invariants, whatever is called in whatever order:
//! −B ≤ balance ≤ +C; and balance = real · num − (noise + shed) · den, where what was shed counts
//! as if it had been sent. So after `n` real packets the noise that was sent or shed
//! differs from n · num / den by at most the bound: over 100,000 packets less than ±0.5 %.
//!
//! B = C = 480 real packets' worth of noise, divided by the lanes of the connection: less would push the noise of a page into the page,
//! more would miss the ratio.
//!
//! Debt fades when a node is idle: the emitter pays it off, and what could not be paid for ten
//! minutes (no session, no budget) is shed. So silence, in the end, shows that a node is idle.

use super::NoiseRatio;

/// How many real packets' worth of noise the ledger may owe, or be ahead.
pub const BOUND: u32 = 480;

/// Keeps the account of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Ledger {
    num: i64,
    den: i64,
    balance: i64,
    bound: i64,
    real: u64,
    noise: u64,
    shed: u64,
    /// Noise of `noise` that is in no balance.
    given: u64,
}

/// A reading of a [`Ledger`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Real packets.
    pub real: u64,
    /// Noise packets sent.
    pub noise: u64,
    /// Noise packets that were due and not sent.
    pub shed: u64,
    /// Noise packets owed; negative where noise is ahead.
    pub owed: i64,
}

impl Ledger {
    /// Opens the account for `ratio`, of one of `share` lanes that divide the bound between them:
    /// the ratio is that of the connection.
    #[must_use]
    pub fn new(ratio: NoiseRatio, share: u32) -> Self {
        let (num, den) = ratio.fraction();
        let (num, den) = (i64::from(num), i64::from(den));
        let bound = (i64::from(BOUND / share.max(1)) * num).max(den);
        Self { num, den, balance: 0, bound, real: 0, noise: 0, shed: 0, given: 0 }
    }

    /// Books `n` real packets and returns how many noise packets must go out with them, so that
    /// the debt stays within its bound; they are booked as sent.
    #[inline]
    #[must_use = "what is returned is booked as sent"]
    pub fn real(&mut self, n: u32) -> u32 {
        self.real += u64::from(n);
        // at most 2^32 · 4 above the bound
        self.balance += i64::from(n) * self.num;
        self.pay_down_to(self.bound)
    }

    /// Pays debt beyond `limit` (in units of the balance) and returns the noise packets that this
    /// takes; they are booked as sent.
    #[inline]
    #[must_use = "what is returned is booked as sent"]
    pub fn pay_down_to(&mut self, limit: i64) -> u32 {
        let over = self.balance - limit.clamp(self.den - self.bound, self.bound);
        if over <= 0 {
            return 0;
        }
        let due = u32::try_from((over + self.den - 1) / self.den).unwrap_or(u32::MAX);
        self.book(due);
        due
    }

    /// Asks for `n` noise packets and returns how many of them the account covers; they are
    /// booked as sent.
    #[inline]
    #[must_use = "what is returned is booked as sent"]
    pub fn take(&mut self, n: u32) -> u32 {
        let room = u32::try_from((self.balance + self.bound) / self.den).unwrap_or(u32::MAX);
        let granted = n.min(room);
        self.book(granted);
        granted
    }

    fn book(&mut self, n: u32) {
        self.noise += u64::from(n);
        self.balance -= i64::from(n) * self.den;
    }

    /// Tells whether a real packet can be booked without noise being due at once.
    #[inline]
    #[must_use]
    pub const fn affords_real(&self) -> bool {
        self.balance + self.num <= self.bound
    }

    /// Books noise that another law than the ratio sends. Beyond the bound it is a gift: it makes
    /// no room for later noise to be left out.
    #[inline]
    pub fn give(&mut self, n: u32) {
        let covered = self.take(n);
        self.noise += u64::from(n - covered);
        self.given += u64::from(n - covered);
    }

    /// Takes back noise packets that were booked and then refused by the socket: they are owed
    /// again, and what the debt's bound does not take is shed.
    pub fn refused(&mut self, n: u32) {
        let n = u64::from(n).min(self.noise);
        self.noise -= n;
        // gifts first: they were not owed
        let given = n.min(self.given);
        self.given -= given;
        self.balance += (n - given) as i64 * self.den;
        let over = self.balance - self.bound;
        if over > 0 {
            let lost = (over + self.den - 1) / self.den;
            self.shed += lost.unsigned_abs();
            self.balance -= lost * self.den;
        }
    }

    /// Turns noise packets that were booked into shed ones: they are neither sent nor owed.
    pub fn shed(&mut self, n: u32) {
        let n = u64::from(n).min(self.noise);
        self.noise -= n;
        let given = n.min(self.given);
        self.given -= given;
        self.shed += n - given;
    }

    /// Sheds all debt: nothing could be sent for so long that paying would only show when the
    /// node is back.
    pub fn fade(&mut self) {
        if self.balance >= self.den {
            let n = self.balance / self.den;
            self.shed += n.unsigned_abs();
            self.balance -= n * self.den;
        }
    }

    /// Returns the balance in units of 1/den noise packets.
    #[must_use]
    pub const fn balance(&self) -> i64 {
        self.balance
    }

    /// Returns the bounds −B and +C of the balance.
    #[must_use]
    pub const fn bounds(&self) -> (i64, i64) {
        (-self.bound, self.bound)
    }

    /// Returns the ratio as (noise, real).
    #[must_use]
    pub const fn fraction(&self) -> (i64, i64) {
        (self.num, self.den)
    }

    /// Returns the noise that is owed, in packets; negative where noise is ahead.
    #[must_use]
    pub fn owed(&self) -> f64 {
        self.balance as f64 / self.den as f64
    }

    /// Returns noise packets for one real packet.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// Reads the account.
    #[must_use]
    pub const fn counts(&self) -> LedgerCounts {
        LedgerCounts {
            real: self.real,
            noise: self.noise,
            shed: self.shed,
            owed: self.balance.div_euclid(self.den),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATIOS: [NoiseRatio; 6] = [
        NoiseRatio::OneToEight,
        NoiseRatio::OneToFour,
        NoiseRatio::OneToTwo,
        NoiseRatio::OneToOne,
        NoiseRatio::TwoToOne,
        NoiseRatio::FourToOne,
    ];

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Real(u32),
        Take(u32),
        PayDownTo(i64),
        Give(u32),
        Refused(u32),
        Shed(u32),
        Fade,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0_u32..2_000).prop_map(Op::Real),
            3 => (0_u32..2_000).prop_map(Op::Take),
            1 => (-3_000_i64..3_000).prop_map(Op::PayDownTo),
            1 => (0_u32..200).prop_map(Op::Give),
            1 => (0_u32..200).prop_map(Op::Refused),
            1 => (0_u32..200).prop_map(Op::Shed),
            1 => Just(Op::Fade),
        ]
    }

    #[test]
    fn over_100_000_packets_every_ratio_holds_within_half_a_percent() {
        for ratio in RATIOS {
            for chunk in [1, 7, 45, 64, 1_000] {
                let mut ledger = Ledger::new(ratio, 1);
                let mut noise = 0_u64;
                for _ in 0..100_000 / chunk {
                    noise += u64::from(ledger.real(chunk));
                }
                let counts = ledger.counts();
                assert_eq!(counts.noise, noise);
                let achieved = noise as f64 / counts.real as f64;
                let error = (achieved / ledger.ratio() - 1.0).abs();
                assert!(error <= 0.005, "{ratio}, runs of {chunk}: {error}");
            }
        }
    }

    #[test]
    fn without_noise_nothing_is_ever_due() {
        let mut ledger = Ledger::new(NoiseRatio::Off, 1);
        assert_eq!(ledger.real(u32::MAX), 0);
        assert_eq!(ledger.balance(), 0);
    }

    #[test]
    fn refused_noise_is_owed_again_and_shed_noise_is_not() {
        let mut ledger = Ledger::new(NoiseRatio::OneToOne, 1);
        assert_eq!(ledger.real(100), 0);
        assert_eq!(ledger.take(30), 30);
        ledger.refused(10);
        assert_eq!(ledger.counts(), LedgerCounts { real: 100, noise: 20, shed: 0, owed: 80 });
        ledger.shed(5);
        assert_eq!(ledger.counts(), LedgerCounts { real: 100, noise: 15, shed: 5, owed: 80 });
        ledger.fade();
        assert_eq!(ledger.counts(), LedgerCounts { real: 100, noise: 15, shed: 85, owed: 0 });
    }

    #[test]
    fn noise_may_go_ahead_up_to_the_bound() {
        for ratio in RATIOS {
            let mut ledger = Ledger::new(ratio, 1);
            let (num, den) = ledger.fraction();
            let ahead = u32::try_from(i64::from(BOUND) * num / den).unwrap();
            assert_eq!(ledger.take(u32::MAX), ahead, "{ratio}");
            assert_eq!(ledger.take(1), 0);
            assert_eq!(ledger.real(BOUND), 0);
            assert_eq!(ledger.balance(), 0);
        }
    }

    proptest! {
        /// The bound, and that nothing is lost from the account.
        #[test]
        fn the_balance_is_always_bounded_and_adds_up(
            which in 0_usize..6,
            ops in prop::collection::vec(op(), 1..200),
        ) {
            let mut ledger = Ledger::new(RATIOS[which], 1);
            let (num, den) = ledger.fraction();
            let (low, high) = ledger.bounds();
            for op in ops {
                match op {
                    Op::Real(n) => { let _ = ledger.real(n); }
                    Op::Take(n) => prop_assert!(ledger.take(n) <= n),
                    Op::PayDownTo(limit) => { let _ = ledger.pay_down_to(limit); }
                    Op::Give(n) => ledger.give(n),
                    Op::Refused(n) => ledger.refused(n),
                    Op::Shed(n) => ledger.shed(n),
                    Op::Fade => ledger.fade(),
                }
                prop_assert!((low..=high).contains(&ledger.balance()), "{op:?}: {ledger:?}");
                let counts = ledger.counts();
                let booked = (counts.noise - ledger.given + counts.shed) as i64;
                prop_assert_eq!(ledger.balance(), counts.real as i64 * num - booked * den);
            }
        }

        /// Convergence: whatever the emitter asks for in between, noise and shed noise together
        /// stay within the bound of the ratio, at any moment.
        #[test]
        fn the_ratio_converges(
            which in 0_usize..6,
            steps in prop::collection::vec((1_u32..500, 0_u32..3_000), 300..600),
        ) {
            let mut ledger = Ledger::new(RATIOS[which], 1);
            for (real, wish) in steps {
                let _ = ledger.real(real);
                let _ = ledger.take(wish);
            }
            let counts = ledger.counts();
            let expected = counts.real as f64 * ledger.ratio();
            let error = (counts.noise as f64 - expected).abs();
            prop_assert!(error <= f64::from(BOUND) * ledger.ratio() + 1.0);
        }
    }
}

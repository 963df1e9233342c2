//! The live profile of a noisy connection: what `status --noise` shows.
//!
//! Inside is what real packets look like, outside what an observer of the link sees. Invariant:
//! one thread writes a [`Profile`] (a lane's sender, or a receiver), so that counting is a load and
//! a store; anyone reads, and adds the readings of all lanes up. Memory is fixed.

use super::LedgerCounts;
use crate::time::Instant;
use core::fmt;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Buckets of a histogram of sizes: of [`SIZE_STEP`] bytes each, the last of all that are longer.
pub const SIZES: usize = 24;
/// The width of a bucket of sizes, in bytes.
pub const SIZE_STEP: usize = 64;
/// Buckets of a histogram of gaps: the first below 1 µs (the same batch), bucket n from 2^(n-1)
/// to 2^n µs, the last of all that are longer.
pub const GAPS: usize = 26;

/// Counts in buckets.
#[derive(Debug)]
struct Histogram<const N: usize>([AtomicU64; N]);

impl<const N: usize> Histogram<N> {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    #[inline]
    fn add(&self, bucket: usize, n: u64) {
        let count = &self.0[bucket.min(N - 1)];
        // one writer, so nothing is lost between the two
        count.store(count.load(Relaxed) + n, Relaxed);
    }

    fn read(&self) -> [u64; N] {
        core::array::from_fn(|n| self.0[n].load(Relaxed))
    }
}

/// Profiles one direction of a connection, on one lane.
#[derive(Debug)]
pub struct Profile {
    inside_sizes: Histogram<SIZES>,
    inside_gaps: Histogram<GAPS>,
    real_sizes: Histogram<SIZES>,
    noise_sizes: Histogram<SIZES>,
    outside_gaps: Histogram<GAPS>,
    inside_bytes: AtomicU64,
    real_bytes: AtomicU64,
    noise_bytes: AtomicU64,
    shed: AtomicU64,
    owed: AtomicI64,
    last_inside: AtomicU64,
    last_outside: AtomicU64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            inside_sizes: Histogram::new(),
            inside_gaps: Histogram::new(),
            real_sizes: Histogram::new(),
            noise_sizes: Histogram::new(),
            outside_gaps: Histogram::new(),
            inside_bytes: AtomicU64::new(0),
            real_bytes: AtomicU64::new(0),
            noise_bytes: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            owed: AtomicI64::new(0),
            last_inside: AtomicU64::new(0),
            last_outside: AtomicU64::new(0),
        }
    }
}

/// The bucket of a size.
#[inline]
const fn size_bucket(bytes: usize) -> usize {
    bytes / SIZE_STEP
}

/// The bucket of a gap.
#[inline]
const fn gap_bucket(nanos: u64) -> usize {
    (u64::BITS - (nanos / 1_000).leading_zeros()) as usize
}

impl Profile {
    /// Notes `n` real packets of `bytes` each that came to be sent, or were handed on.
    #[inline]
    pub fn inside(&self, now: Instant, bytes: usize, n: u32) {
        self.inside_sizes.add(size_bucket(bytes), n.into());
        add(&self.inside_bytes, bytes as u64 * u64::from(n));
        gap(&self.inside_gaps, &self.last_inside, now, n);
    }

    /// Notes `n` frames of `bytes` each with their filler that went out, or came in.
    #[inline]
    pub fn outside(&self, now: Instant, bytes: usize, n: u32, noise: bool) {
        let (sizes, sum) = if noise {
            (&self.noise_sizes, &self.noise_bytes)
        } else {
            (&self.real_sizes, &self.real_bytes)
        };
        sizes.add(size_bucket(bytes), n.into());
        add(sum, bytes as u64 * u64::from(n));
        gap(&self.outside_gaps, &self.last_outside, now, n);
    }

    /// Sets how much noise was shed so far, and how much is owed now.
    #[inline]
    pub fn set_account(&self, account: &LedgerCounts) {
        self.shed.store(account.shed, Relaxed);
        self.owed.store(account.owed, Relaxed);
    }

    /// Reads everything.
    #[must_use]
    pub fn read(&self) -> ProfileCounts {
        ProfileCounts {
            inside_sizes: self.inside_sizes.read(),
            inside_gaps: self.inside_gaps.read(),
            real_sizes: self.real_sizes.read(),
            noise_sizes: self.noise_sizes.read(),
            outside_gaps: self.outside_gaps.read(),
            inside_bytes: self.inside_bytes.load(Relaxed),
            real_bytes: self.real_bytes.load(Relaxed),
            noise_bytes: self.noise_bytes.load(Relaxed),
            shed: self.shed.load(Relaxed),
            owed: self.owed.load(Relaxed),
        }
    }
}

#[inline]
fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Relaxed) + n, Relaxed);
}

/// Notes the gap before the first of `n` packets; the others follow in the same batch.
#[inline]
fn gap(gaps: &Histogram<GAPS>, last: &AtomicU64, now: Instant, n: u32) {
    if n == 0 {
        return;
    }
    let before = last.load(Relaxed);
    last.store(now.as_nanos().max(1), Relaxed);
    if before > 0 {
        gaps.add(gap_bucket(now.as_nanos().saturating_sub(before)), 1);
    }
    gaps.add(0, u64::from(n) - 1);
}

/// A reading of one or several [`Profile`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileCounts {
    /// Sizes of real packets, without filler.
    pub inside_sizes: [u64; SIZES],
    /// Gaps between real packets.
    pub inside_gaps: [u64; GAPS],
    /// Sizes of the frames of real packets and of control, with filler.
    pub real_sizes: [u64; SIZES],
    /// Sizes of noise frames.
    pub noise_sizes: [u64; SIZES],
    /// Gaps between all frames.
    pub outside_gaps: [u64; GAPS],
    /// Bytes of real packets.
    pub inside_bytes: u64,
    /// Bytes of the frames of real packets, with filler.
    pub real_bytes: u64,
    /// Bytes of noise frames.
    pub noise_bytes: u64,
    /// Noise packets that the budget, a full socket or a missing session cost.
    pub shed: u64,
    /// Noise packets that are owed; negative where noise is ahead.
    pub owed: i64,
}

impl Default for ProfileCounts {
    fn default() -> Self {
        Self {
            inside_sizes: [0; SIZES],
            inside_gaps: [0; GAPS],
            real_sizes: [0; SIZES],
            noise_sizes: [0; SIZES],
            outside_gaps: [0; GAPS],
            inside_bytes: 0,
            real_bytes: 0,
            noise_bytes: 0,
            shed: 0,
            owed: 0,
        }
    }
}

impl ProfileCounts {
    /// Adds the reading of another lane.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.inside_sizes, &other.inside_sizes),
            (&mut self.real_sizes, &other.real_sizes),
            (&mut self.noise_sizes, &other.noise_sizes),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        for (mine, theirs) in [
            (&mut self.inside_gaps, &other.inside_gaps),
            (&mut self.outside_gaps, &other.outside_gaps),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        self.inside_bytes += other.inside_bytes;
        self.real_bytes += other.real_bytes;
        self.noise_bytes += other.noise_bytes;
        self.shed += other.shed;
        self.owed += other.owed;
    }

    /// Returns how many real packets there were.
    #[must_use]
    pub fn real(&self) -> u64 {
        self.inside_sizes.iter().sum()
    }

    /// Returns how many noise packets there were.
    #[must_use]
    pub fn noise(&self) -> u64 {
        self.noise_sizes.iter().sum()
    }

    /// Returns noise packets for one real one; `None` before there is a real one.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.real() > 0).then(|| self.noise() as f64 / self.real() as f64)
    }

    /// Returns what filler and noise add to the bytes of real packets, in per cent.
    #[must_use]
    pub fn overhead_percent(&self) -> Option<f64> {
        let outside = self.real_bytes + self.noise_bytes;
        (self.inside_bytes > 0)
            .then(|| 100.0 * (outside as f64 - self.inside_bytes as f64) / self.inside_bytes as f64)
    }
}

/// Says what the buckets of a histogram are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Sizes in bytes.
    Sizes,
    /// Gaps in powers of two of microseconds.
    Gaps,
}

impl Scale {
    /// Writes where a bucket begins.
    #[must_use]
    pub fn label(self, bucket: usize) -> String {
        match self {
            Self::Sizes => format!("{} B", bucket * SIZE_STEP),
            Self::Gaps if bucket == 0 => "0".to_owned(),
            Self::Gaps => match 1_u64 << (bucket - 1) {
                us @ 0..1_000 => format!("{us} us"),
                us @ 1_000..1_000_000 => format!("{} ms", us / 1_000),
                us => format!("{} s", us / 1_000_000),
            },
        }
    }
}

/// Draws a histogram as lines of text: label, bar, share.
#[derive(Clone, Copy, Debug)]
pub struct Plot<'a> {
    /// What the buckets are.
    pub scale: Scale,
    /// The buckets.
    pub counts: &'a [u64],
    /// The length of the longest bar, in characters.
    pub width: usize,
}

impl fmt::Display for Plot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: u64 = self.counts.iter().sum();
        let most = self.counts.iter().copied().max().unwrap_or(0);
        if sum == 0 {
            return writeln!(f, "{:>8}  nothing yet", "");
        }
        let first = self.counts.iter().position(|n| *n > 0).unwrap_or(0);
        let last = self.counts.iter().rposition(|n| *n > 0).unwrap_or(0);
        for (bucket, &n) in self.counts.iter().enumerate().take(last + 1).skip(first) {
            let length = (n as f64 / most as f64 * self.width as f64).ceil() as usize;
            let bar = "#".repeat(length);
            let share = 100.0 * n as f64 / sum as f64;
            let label = self.scale.label(bucket);
            let width = self.width;
            writeln!(f, "{label:>8}  {bar:<width$} {share:5.1} %")?;
        }
        Ok(())
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
    fn a_profile_adds_up() {
        let profile = Profile::default();
        profile.inside(at(10), 52, 1);
        profile.inside(at(1_010), 1_420, 44);
        profile.outside(at(2_000), 1_420, 45, false);
        profile.outside(at(2_000), 1_420, 15, true);
        profile.set_account(&LedgerCounts { shed: 3, owed: -7, ..LedgerCounts::default() });
        let mut counts = profile.read();
        assert_eq!((counts.real(), counts.noise()), (45, 15));
        assert_eq!((counts.shed, counts.owed), (3, -7));
        assert_eq!(counts.inside_bytes, 52 + 44 * 1_420);
        assert_eq!((counts.inside_sizes[0], counts.inside_sizes[22]), (1, 44));
        assert_eq!(counts.inside_gaps[0], 43);
        assert_eq!(counts.inside_gaps[10], 1, "1 ms lies between 512 and 1,024 µs");
        assert_eq!(counts.outside_gaps[0], 59);
        assert_eq!(counts.ratio(), Some(1.0 / 3.0));
        let overhead = counts.overhead_percent().unwrap();
        assert!((overhead - 100.0 * 22_668.0 / 62_532.0).abs() < 1e-9, "{overhead}");
        counts.add(&profile.read());
        assert_eq!((counts.real(), counts.noise_bytes), (90, 2 * 15 * 1_420));
        assert_eq!(ProfileCounts::default().ratio(), None);
    }

    #[test]
    fn a_plot_shows_where_the_packets_are() {
        let mut counts = [0; SIZES];
        (counts[0], counts[22]) = (10, 30);
        let plot = Plot { scale: Scale::Sizes, counts: &counts, width: 20 }.to_string();
        let lines: Vec<&str> = plot.lines().collect();
        assert_eq!(lines.len(), 23);
        assert_eq!(lines[0], "     0 B  #######               25.0 %");
        assert_eq!(lines[22], "  1408 B  ####################  75.0 %");
        let empty = Plot { scale: Scale::Gaps, counts: &[0; GAPS], width: 20 }.to_string();
        assert!(empty.contains("nothing yet"));
        assert_eq!((Scale::Gaps.label(0), Scale::Gaps.label(1)), ("0".into(), "1 us".into()));
        assert_eq!((Scale::Gaps.label(11), Scale::Gaps.label(25)), ("1 ms".into(), "16 s".into()));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            steps in prop::collection::vec((0_u64..1 << 40, 0_usize..70_000, 0_u32..100), 0..50),
        ) {
            let profile = Profile::default();
            let mut expected = 0;
            for (us, bytes, n) in steps {
                profile.outside(at(us), bytes, n, us % 2 == 0);
                expected += u64::from(n);
            }
            let counts = profile.read();
            prop_assert_eq!(counts.noise() + counts.real_sizes.iter().sum::<u64>(), expected);
            let gaps: u64 = counts.outside_gaps.iter().sum();
            prop_assert_eq!(gaps, expected.saturating_sub(1));
        }
    }
}

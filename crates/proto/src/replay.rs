//! The replay window of one lane (`protocol.md` §6).
//!
//! Invariant: a sequence is accepted at most once, and only if `highest − sequence < 8,192`.
//! A frame is marked only after its tag has verified, so junk cannot move the window.

/// The number of frames that a window remembers.
pub const WINDOW: u64 = 8_192;

const WORD_BITS: u64 = 64;
const WORDS: usize = (WINDOW / WORD_BITS) as usize;

/// Remembers which of the last 8,192 sequences of a lane have arrived.
///
/// The bit of a sequence is `sequence mod 8,192`: exactly the sequences from `highest − 8,191` to
/// `highest` have a bit, so the ring is as large as the window and nothing is wasted.
#[derive(Clone)]
pub struct ReplayWindow {
    words: [u64; WORDS],
    /// One more than the highest sequence that was marked; 0 while nothing was.
    next: u64,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { words: [0; WORDS], next: 0 }
    }
}

impl core::fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReplayWindow").field("next", &self.next).finish_non_exhaustive()
    }
}

impl ReplayWindow {
    /// Returns whether `sequence` may still be accepted: not seen and not too old.
    #[inline]
    #[must_use]
    pub fn accepts(&self, sequence: u64) -> bool {
        if sequence >= self.next {
            return true;
        }
        // `next` is at least 1 here, so `highest` is next − 1
        if self.next - 1 - sequence >= WINDOW {
            return false;
        }
        let (word, mask) = bit(sequence);
        self.words[word] & mask == 0
    }

    /// Marks `sequence` as seen and returns whether it is the highest so far.
    ///
    /// Only to be called after [`Self::accepts`] and after the tag has verified.
    #[inline]
    pub fn mark(&mut self, sequence: u64) -> bool {
        let highest = sequence >= self.next;
        if highest {
            let skipped = sequence - self.next;
            if skipped >= WINDOW {
                self.words = [0; WORDS];
            } else if skipped > 0 {
                self.clear(self.next, skipped);
            }
            self.next = sequence.saturating_add(1);
            let (word, mask) = bit(sequence);
            // the bit belonged to the sequence one window earlier
            self.words[word] |= mask;
        } else {
            let (word, mask) = bit(sequence);
            self.words[word] |= mask;
        }
        highest
    }

    /// Returns the highest sequence marked so far.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Clears the bits of `count` sequences from `first` on; `count` is below the window.
    fn clear(&mut self, first: u64, count: u64) {
        let mut sequence = first;
        let mut left = count;
        while left > 0 {
            let offset = sequence % WORD_BITS;
            let in_word = (WORD_BITS - offset).min(left);
            let mask = if in_word == WORD_BITS { u64::MAX } else { ((1 << in_word) - 1) << offset };
            self.words[bit(sequence).0] &= !mask;
            sequence += in_word;
            left -= in_word;
        }
    }
}

#[inline]
fn bit(sequence: u64) -> (usize, u64) {
    let position = sequence % WINDOW;
    ((position / WORD_BITS) as usize, 1 << (position % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Takes the sequence as a receiver would: check, then mark.
    fn take(window: &mut ReplayWindow, sequence: u64) -> bool {
        let accepted = window.accepts(sequence);
        if accepted {
            window.mark(sequence);
        }
        accepted
    }

    #[test]
    fn the_edges_of_the_window() {
        let mut w = ReplayWindow::default();
        assert!(take(&mut w, 0));
        assert!(!take(&mut w, 0));
        assert!(take(&mut w, WINDOW));
        assert!(!take(&mut w, 0), "exactly one window behind is too old");
        assert!(take(&mut w, 1), "one less than a window behind is taken");
        assert!(!take(&mut w, 1));
        assert!(take(&mut w, 3 * WINDOW + 5));
        assert!(!take(&mut w, 2 * WINDOW + 5));
        assert!(take(&mut w, 2 * WINDOW + 6));
    }

    #[test]
    fn a_whole_window_backwards() {
        let mut w = ReplayWindow::default();
        for s in (0..WINDOW).rev() {
            assert!(take(&mut w, s), "{s}");
        }
        for s in 0..WINDOW {
            assert!(!take(&mut w, s), "{s}");
        }
        assert!(take(&mut w, WINDOW));
    }

    #[test]
    fn the_end_of_the_sequence_space() {
        let mut w = ReplayWindow::default();
        let last = (1 << 56) - 1;
        assert!(take(&mut w, last));
        assert!(!take(&mut w, last));
        assert!(take(&mut w, last - 8191));
        assert!(!take(&mut w, last - 8192));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec((0_u8..8, 0_u64..20_000), 1..400)) {
            let mut w = ReplayWindow::default();
            let mut seen = HashSet::new();
            let mut highest: Option<u64> = None;
            for (kind, n) in steps {
                let base = highest.unwrap_or(0);
                let s = match kind {
                    0..=2 => base + 1,
                    3 => base + n % 70,
                    4 => base + n,
                    5 => base.saturating_sub(n % 100),
                    6 => base.saturating_sub(n),
                    _ => n,
                };
                let too_old = highest.is_some_and(|h| h >= s && h - s >= WINDOW);
                let expected = !too_old && !seen.contains(&s);
                prop_assert_eq!(w.accepts(s), expected);
                if expected {
                    let is_highest = highest.is_none_or(|h| s > h);
                    prop_assert_eq!(w.mark(s), is_highest);
                    seen.insert(s);
                    highest = Some(highest.map_or(s, |h| h.max(s)));
                }
                prop_assert_eq!(w.highest(), highest);
            }
        }
    }
}

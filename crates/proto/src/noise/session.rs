//! What a session settles about noise, as its sending half carries it.
//!
//! Both ends derive one seed from the session's keys, so that their bursts coincide without a
//! word on the wire: HMAC-SHA-256(export secret, "Stadium noise schedule"). It is local policy: an
//! end that draws otherwise is understood all the same. Noise packets start once the session is
//! confirmed (`protocol.md` §7); filler is there from the first frame.

use super::{NoiseByte, NoiseRatio, NoiseRng, NoiseTerms, Sizes};
use crate::crypto::{Secret, hmac_sha256};
use crate::time::Instant;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The noise of one session, as far as control settles it.
pub struct SessionNoise {
    byte: NoiseByte,
    shared: Secret,
    private: Secret,
    /// When the session was confirmed, in nanoseconds; 0 before.
    confirmed: AtomicU64,
    /// Control frames filled so far: each draws from a stream of its own.
    drawn: AtomicU64,
}

impl fmt::Debug for SessionNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionNoise").field("byte", &self.byte).finish_non_exhaustive()
    }
}

impl SessionNoise {
    /// Makes the noise of a session with this byte, export secret and own randomness.
    #[must_use]
    pub fn new(byte: NoiseByte, export: &Secret, private: Secret) -> Self {
        let shared = Secret::new(hmac_sha256(export.as_bytes(), &[b"Stadium noise schedule"]));
        Self { byte, shared, private, confirmed: AtomicU64::new(0), drawn: AtomicU64::new(0) }
    }

    /// Returns the byte that was agreed.
    #[inline]
    #[must_use]
    pub const fn byte(&self) -> NoiseByte {
        self.byte
    }

    /// Notes that the session is confirmed.
    pub(crate) fn confirm(&self, now: Instant) {
        self.confirmed.store(now.as_nanos().max(1), Relaxed);
    }

    /// Tells whether noise packets may go out.
    #[inline]
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Relaxed) != 0
    }

    /// Tells whether frames leave by a schedule: there are noise packets, and they may go out.
    #[inline]
    #[must_use]
    pub fn has_schedule(&self) -> bool {
        self.byte.ratio() != NoiseRatio::Off && self.is_confirmed()
    }

    /// Returns what the sender of `lane` makes its noise of, with this payload limit.
    #[must_use]
    pub fn terms(&self, lane: u8, limit: usize) -> NoiseTerms {
        NoiseTerms {
            byte: self.byte,
            limit,
            shared: *self.shared.as_bytes(),
            private: hmac_sha256(self.private.as_bytes(), &[b"lane", &[lane]]),
            start: Instant::from_nanos(self.confirmed.load(Relaxed)),
        }
    }

    /// Returns the length, filler included, of a control frame of `length` bytes.
    #[must_use]
    pub fn control_length(&self, length: usize, limit: usize) -> usize {
        let drawn = self.drawn.fetch_add(1, Relaxed);
        let seed = hmac_sha256(self.private.as_bytes(), &[b"control", &drawn.to_le_bytes()]);
        Sizes::new(self.byte, false, limit).control(&mut NoiseRng::new(&seed), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{NoiseFiller, NoiseSize};

    fn noise(byte: NoiseByte, private: u8) -> SessionNoise {
        SessionNoise::new(byte, &Secret::new([7; 32]), Secret::new([private; 32]))
    }

    #[test]
    fn both_ends_share_one_seed_and_keep_another() {
        let byte = NoiseByte::STRONGEST;
        let (a, b) = (noise(byte, 1), noise(byte, 2));
        assert!(!a.is_confirmed());
        a.confirm(Instant::from_nanos(5));
        assert!(a.is_confirmed() && a.has_schedule() && !b.has_schedule());
        let (x, y) = (a.terms(1, 1_420), b.terms(1, 1_420));
        assert_eq!(x.shared, y.shared);
        assert_ne!(x.private, y.private);
        assert_ne!(x.private, a.terms(2, 1_420).private, "lanes differ");
        assert_eq!(x.start, Instant::from_nanos(5));
        assert!(!format!("{a:?}").contains("private"));
    }

    #[test]
    fn control_frames_are_filled_as_data_is() {
        let byte = |filler| NoiseByte::new(NoiseRatio::Off, NoiseSize::Any, filler);
        assert_eq!(noise(byte(NoiseFiller::Full), 1).control_length(12, 1_420), 1_420);
        let random = noise(byte(NoiseFiller::Random), 1);
        let lengths: Vec<_> = (0..100).map(|_| random.control_length(12, 1_420)).collect();
        assert!(lengths.iter().all(|n| (12..=1_420).contains(n)));
        assert!(lengths.iter().any(|n| *n > 1_000) && lengths.iter().any(|n| *n < 400));
    }
}

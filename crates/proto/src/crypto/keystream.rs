//! A seeded generator: the ChaCha8 keystream.
//!
//! It draws nothing from the system; the same seed gives the same bytes, on every machine. Eight
//! rounds are enough for what noise asks of it (nobody gets to see the stream itself), and cost a
//! few nanoseconds for eight bytes.

use chacha20::{ChaCha8Rng, rand_core::Rng as _, rand_core::SeedableRng as _};
use core::fmt;

/// Yields the ChaCha8 keystream of a 32-byte seed as numbers. Wiped on drop.
pub struct Keystream(ChaCha8Rng);

impl Keystream {
    /// Makes the generator of `seed`.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(*seed))
    }

    /// Returns the next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Returns the next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes` from the stream.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_chacha8() {
        // ChaCha8, 256-bit key of zeros, nonce 0: draft-strombergson-chacha-test-vectors-01, TC1
        let mut stream = Keystream::new(&[0; 32]);
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        assert_eq!(hex::encode(bytes), "3e00ef2f895f40d67f5bb8e81f09a5a1");
    }

    #[test]
    fn seeds_part_ways() {
        let (mut a, mut b) = (Keystream::new(&[1; 32]), Keystream::new(&[2; 32]));
        assert_ne!(a.next_u64(), b.next_u64());
        assert_eq!(format!("{a:?}"), "Keystream(..)");
        assert_ne!(a.next_u32(), a.next_u32());
    }
}

//! Hedged randomness: a broken random generator alone does not break a handshake.

use core::fmt;

use super::{Secret, hkdf_sha256, hkdf_sha256_expand};
use crate::identity::SecretKey;
use hkdf::Hkdf;
use sha2::Sha256;

/// A generator for the ephemerals of one handshake: HKDF-SHA-256 over OS randomness, the node's
/// secret, a counter and the transcript hash (`protocol.md` §4). Wiped on drop.
///
/// The protocol leaves the encoding to the node: salt is empty, ikm = randomness 32 ‖ seed 32 ‖
/// counter u64 little-endian ‖ h 32, and info is the label.
pub struct Hedge(Secret);

impl Hedge {
    /// Takes 32 bytes of OS randomness, the node's secret, a counter that never repeats in the
    /// life of the process, and the transcript hash at which the ephemeral is needed.
    pub fn new(randomness: &[u8; 32], secret: &SecretKey, counter: u64, h: &[u8; 32]) -> Self {
        let mut ikm = zeroize::Zeroizing::new([0u8; 104]);
        ikm[..32].copy_from_slice(randomness);
        ikm[32..64].copy_from_slice(secret.as_bytes());
        ikm[64..72].copy_from_slice(&counter.to_le_bytes());
        ikm[72..].copy_from_slice(h);
        let mut prk = Secret::zero();
        hkdf_sha256(&[], &*ikm, b"Stadium hedge", prk.as_mut());
        Self(prk)
    }

    /// Returns the 32 bytes for this label.
    pub fn secret(&self, label: &str) -> Secret {
        hkdf_sha256_expand(self.0.as_bytes(), &[label.as_bytes()])
    }

    /// Fills `out` (at most 8,160 bytes) for this label.
    pub fn fill(&self, label: &str, out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(self.0.as_bytes())
            .expect("a PRK of 32 bytes is long enough")
            .expand(label.as_bytes(), out)
            .expect("no caller asks for more than 255 blocks");
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hedge(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_matters() {
        let base = |r: u8, s: u8, c: u64, h: u8| {
            Hedge::new(&[r; 32], &SecretKey::from_seed([s; 32]), c, &[h; 32])
        };
        let reference = base(1, 2, 3, 4).secret("e_i");
        assert_eq!(reference, base(1, 2, 3, 4).secret("e_i"));
        for other in [base(9, 2, 3, 4), base(1, 9, 3, 4), base(1, 2, 9, 4), base(1, 2, 3, 9)] {
            assert_ne!(reference, other.secret("e_i"));
        }
        assert_ne!(reference, base(1, 2, 3, 4).secret("K_c"));
        let mut long = [0; 64];
        base(1, 2, 3, 4).fill("e_i", &mut long);
        assert_eq!(long[..32], reference.as_bytes()[..]);
    }
}

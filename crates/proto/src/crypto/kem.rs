//! ML-KEM-768 (FIPS 203), with randomness as an argument.

use core::fmt;

use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate as _, KeyExport as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Secret;

/// Bytes of an encapsulation key.
pub const KEM_KEY_LEN: usize = 1184;
/// Bytes of a ciphertext.
pub const KEM_CIPHERTEXT_LEN: usize = 1088;
/// Bytes of the seed `d ‖ z` of a key pair.
pub const KEM_SEED_LEN: usize = 64;
/// Bytes of the randomness `m` of an encapsulation.
pub const KEM_MESSAGE_LEN: usize = 32;

/// The secret half of a key pair, kept as its seed. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KemSecret([u8; KEM_SEED_LEN]);

impl KemSecret {
    /// Takes `d ‖ z`, 64 random bytes.
    pub const fn from_seed(seed: [u8; KEM_SEED_LEN]) -> Self {
        Self(seed)
    }

    /// Returns the encapsulation key (ML-KEM.KeyGen).
    pub fn public(&self) -> Box<[u8; KEM_KEY_LEN]> {
        let key = DecapsulationKey::from_seed(self.0.into());
        Box::new(key.encapsulation_key().to_bytes().into())
    }

    /// Returns the shared secret of a ciphertext; a wrong one gives an unrelated secret
    /// (implicit rejection).
    pub fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LEN]) -> Secret {
        let key = DecapsulationKey::from_seed(self.0.into());
        let ciphertext: &Ciphertext = ciphertext.into();
        let mut shared = key.decapsulate(ciphertext);
        let secret = Secret::new(shared.into());
        shared.as_mut_slice().zeroize();
        secret
    }
}

impl fmt::Debug for KemSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemSecret(..)")
    }
}

/// An encapsulation key that failed the check of FIPS 203 §7.2 (status 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKemKey;

/// A checked encapsulation key.
#[derive(Clone)]
pub struct KemPublic(Box<EncapsulationKey>);

impl KemPublic {
    /// Checks the key as FIPS 203 §7.2 asks: every coefficient is below the modulus.
    ///
    /// # Errors
    /// [`BadKemKey`] if one is not.
    pub fn from_bytes(bytes: &[u8; KEM_KEY_LEN]) -> Result<Self, BadKemKey> {
        match EncapsulationKey::new(bytes.into()) {
            Ok(key) => Ok(Self(Box::new(key))),
            Err(_) => Err(BadKemKey),
        }
    }

    /// Encapsulates with the randomness `m`; returns ciphertext and shared secret.
    pub fn encapsulate(
        &self,
        m: &[u8; KEM_MESSAGE_LEN],
    ) -> (Box<[u8; KEM_CIPHERTEXT_LEN]>, Secret) {
        let (ciphertext, mut shared) = self.0.encapsulate_deterministic(m.into());
        let secret = Secret::new(shared.into());
        shared.as_mut_slice().zeroize();
        (Box::new(ciphertext.into()), secret)
    }
}

impl fmt::Debug for KemPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemPublic(..)")
    }
}

//! X25519 (RFC 7748), with the all-zero check that `protocol.md` asks for.

use core::fmt;

use curve25519_dalek::scalar::clamp_integer;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Secret;

/// An X25519 secret, static or ephemeral. Wiped on drop.
#[derive(Clone)]
pub struct DhSecret(StaticSecret);

impl DhSecret {
    /// Takes 32 random bytes; clamping happens at every use (RFC 7748 §5).
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    /// Takes 32 bytes and keeps them clamped.
    pub fn clamped(bytes: &[u8; 32]) -> Self {
        let clamped = Zeroizing::new(clamp_integer(*bytes));
        Self(StaticSecret::from(*clamped))
    }

    /// Returns the public key.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// Returns the bytes; they are a secret.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Computes `DH(self, public)`; `None` if the result is all zeros, which only points of
    /// small order make. The check takes constant time.
    pub fn agree(&self, public: &[u8; 32]) -> Option<Secret> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*public));
        shared.was_contributory().then(|| Secret::new(shared.to_bytes()))
    }
}

impl fmt::Debug for DhSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhSecret(..)")
    }
}

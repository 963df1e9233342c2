//! Strict verification of Ed25519 signatures. Signing is [`crate::identity::Identity::sign`].

use ed25519_dalek::{Signature, VerifyingKey};

use crate::identity::PublicKey;

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Returns whether `signature` is one of `message` under `key`, strictly (`protocol.md` §1):
/// S is canonical, neither A nor R is of small order, the equation is the one without cofactor,
/// and R is compared as bytes, so that a form that is not canonical fails.
pub fn verify_strict(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let Ok(verifying) = VerifyingKey::from_bytes(key.as_bytes()) else {
        return false;
    };
    // `verify_strict` refuses S >= L and small-order A and R, computes [S]B - [k]A without the
    // cofactor, and compares its compressed form with the bytes of R.
    verifying.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

//! The one cryptographic backend; nothing outside this module names a cryptographic crate.
//!
//! | what | by |
//! |---|---|
//! | AEAD of CONSENT and DATA (ChaCha20-Poly1305, AES-256-GCM) | ring |
//! | AEAD of C1 (ChaCha20-Poly1305) and RETRY (XChaCha20-Poly1305) | chacha20poly1305 |
//! | X25519, Ed25519 | x25519-dalek, ed25519-dalek |
//! | ML-KEM-768 | ml-kem |
//! | ChaCha8 as a seeded generator | chacha20 |
//! | SHA-256, SHA-512, BLAKE2s, HMAC, HKDF | sha2, blake2, hmac, hkdf |
//!
//! Nothing here draws random numbers: they are arguments, so that test vectors replay.

mod aead;
mod dh;
mod hash;
mod hedge;
mod kem;
mod keystream;
mod secret;
mod sign;
mod suite;

pub use aead::{BadTag, NONCE_LEN, OpenKey, SealKey, TAG_LEN};
pub(crate) use aead::{open_c1, open_retry, seal_c1, seal_retry};
pub use dh::DhSecret;
pub(crate) use hash::{HashState, hkdf_sha256, hkdf_sha256_expand};
pub use hash::{hkdf_expand, hkdf_extract_expand, hmac_sha256, sha256};
pub use hedge::Hedge;
pub use kem::{
    BadKemKey, KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, KEM_MESSAGE_LEN, KEM_SEED_LEN, KemPublic, KemSecret,
};
pub use keystream::Keystream;
pub use secret::Secret;
pub use sign::{SIGNATURE_LEN, verify_strict};
pub use suite::{Cipher, HashAlg, UnknownAlgorithm, preferred_ciphers};

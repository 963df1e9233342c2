//! Hashes, HMAC and HKDF (RFC 5869).

use blake2::Blake2s256;
use hkdf::{GenericHkdf, Hkdf, SimpleHkdf};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};

use super::{HashAlg, Secret};

/// Computes SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = HashState::new();
    for part in parts {
        state.update(part);
    }
    state.finish()
}

/// A SHA-256 computation that takes its input in pieces.
#[derive(Clone)]
pub(crate) struct HashState(Sha256);

impl HashState {
    /// Starts with no input.
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Takes the next piece.
    pub(crate) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// Returns the digest.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Computes HMAC-SHA-256 under `key` over the parts, one after the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Fills `out` with HKDF-SHA-256 (Extract, then Expand); `out` has at most 8,160 bytes.
pub(crate) fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand(info, out)
        .expect("no caller asks for more than 255 blocks");
}

/// Returns 32 bytes of HKDF-Expand with SHA-256 under `prk`, over the parts of `info`.
pub(crate) fn hkdf_sha256_expand(prk: &[u8; 32], info: &[&[u8]]) -> Secret {
    let mut out = Secret::zero();
    Hkdf::<Sha256>::from_prk(prk)
        .expect("a PRK of 32 bytes is long enough")
        .expand_multi_info(info, out.as_mut())
        .expect("32 bytes are one block");
    out
}

/// Expands one 32-byte key for each `info`.
fn expand<H: hkdf::HmacImpl, const N: usize>(
    hkdf: &GenericHkdf<H>,
    infos: [&[&[u8]]; N],
) -> [Secret; N] {
    infos.map(|info| {
        let mut out = Secret::zero();
        hkdf.expand_multi_info(info, out.as_mut()).expect("32 bytes are at most one block");
        out
    })
}

/// Returns 32 bytes of HKDF-Expand under `prk`, over the parts of `info`, with a negotiated hash.
///
/// # Panics
/// If `prk` is shorter than the hash's output.
pub fn hkdf_expand(alg: HashAlg, prk: &[u8], info: &[&[u8]]) -> Secret {
    let long = "the PRK has the length of the hash";
    let [key] = match alg {
        HashAlg::Sha256 => expand(&Hkdf::<Sha256>::from_prk(prk).expect(long), [info]),
        HashAlg::Sha512 => expand(&Hkdf::<Sha512>::from_prk(prk).expect(long), [info]),
        HashAlg::Blake2s256 => {
            expand(&SimpleHkdf::<Blake2s256>::from_prk(prk).expect(long), [info])
        }
    };
    key
}

/// Extracts from `salt` and `ikm` with a negotiated hash, and expands one 32-byte key for each
/// `info` (each a list of parts).
pub fn hkdf_extract_expand<const N: usize>(
    alg: HashAlg,
    salt: &[u8],
    ikm: &[u8],
    infos: [&[&[u8]]; N],
) -> [Secret; N] {
    match alg {
        HashAlg::Sha256 => expand(&Hkdf::<Sha256>::new(Some(salt), ikm), infos),
        HashAlg::Sha512 => expand(&Hkdf::<Sha512>::new(Some(salt), ikm), infos),
        HashAlg::Blake2s256 => expand(&SimpleHkdf::<Blake2s256>::new(Some(salt), ikm), infos),
    }
}

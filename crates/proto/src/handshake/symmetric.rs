//! The symmetric state of the key schedule, Noise style (`protocol.md` §4).

use core::fmt;

use zeroize::Zeroizing;

use super::keys::DataKeys;
use crate::crypto::{
    Cipher, HashAlg, HashState, Secret, hkdf_extract_expand, hkdf_sha256, hkdf_sha256_expand,
    sha256,
};
use crate::identity::PresharedKey;

/// The name that the transcript starts from.
const PROTOCOL_NAME: &[u8] = b"StadiumP/1 IKpsk2+sig X25519 MLKEM768 Ed25519 ChaChaPoly SHA256";

/// Transcript hash `h` and chaining key `ck`. The latter is wiped on drop.
#[derive(Clone)]
pub(super) struct Symmetric {
    h: [u8; 32],
    ck: Secret,
    #[cfg(test)]
    pub(super) trace: Vec<Step>,
}

/// What a step of the schedule left behind, for the comparison with test vectors.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) h: [u8; 32],
    pub(super) ck: [u8; 32],
    /// The second output of MixKey, or `t` of the psk step.
    pub(super) k: Option<[u8; 32]>,
}

impl Symmetric {
    /// Starts the transcript of a request: the name, magic ‖ flag ‖ `index_i`, and in an
    /// encrypted handshake `V_r`.
    pub(super) fn start(prefix: &[u8; 13], v_r: Option<&[u8; 32]>) -> Self {
        let h = sha256(&[PROTOCOL_NAME]);
        let mut state = Self {
            h,
            ck: Secret::new(h),
            #[cfg(test)]
            trace: Vec::new(),
        };
        state.note(None);
        state.mix_hash(&[prefix]);
        if let Some(v_r) = v_r {
            state.mix_hash(&[v_r]);
        }
        state
    }

    /// Keeps what a step left behind, in tests only.
    fn note(&mut self, _k: Option<&Secret>) {
        #[cfg(test)]
        self.trace.push(Step { h: self.h, ck: *self.ck.as_bytes(), k: _k.map(|k| *k.as_bytes()) });
    }

    /// Returns the transcript hash.
    pub(super) const fn h(&self) -> &[u8; 32] {
        &self.h
    }

    /// h = HASH(h ‖ parts).
    pub(super) fn mix_hash(&mut self, parts: &[&[u8]]) {
        let mut hash = HashState::new();
        hash.update(&self.h);
        for part in parts {
            hash.update(part);
        }
        self.h = hash.finish();
        self.note(None);
    }

    /// ck ‖ k = HKDF(ck, ikm); returns k.
    pub(super) fn mix_key(&mut self, ikm: &[u8; 32]) -> Secret {
        let mut out = Zeroizing::new([0u8; 64]);
        hkdf_sha256(self.ck.as_bytes(), ikm, &[], out.as_mut());
        self.ck.as_mut().copy_from_slice(&out[..32]);
        let mut k = Secret::zero();
        k.as_mut().copy_from_slice(&out[32..]);
        self.note(Some(&k));
        k
    }

    /// ck ‖ t ‖ unused = HKDF(ck, psk); mixes t into the transcript.
    pub(super) fn mix_psk(&mut self, psk: &PresharedKey) {
        let mut out = Zeroizing::new([0u8; 96]);
        hkdf_sha256(self.ck.as_bytes(), psk.as_bytes(), &[], out.as_mut());
        self.ck.as_mut().copy_from_slice(&out[..32]);
        let mut hash = HashState::new();
        hash.update(&self.h);
        hash.update(&out[32..64]);
        self.h = hash.finish();
        let mut t = Secret::zero();
        t.as_mut().copy_from_slice(&out[32..64]);
        self.note(Some(&t));
    }

    /// Returns `k2`, the key of C2.
    pub(super) fn consent_key(&self, cipher: Cipher) -> Secret {
        hkdf_sha256_expand(self.ck.as_bytes(), &[b"StadiumP/1 consent", &[cipher.code()]])
    }

    /// Returns the keys of the session, with the negotiated hash.
    pub(super) fn data_keys(&self, hash: HashAlg, cipher: Cipher) -> DataKeys {
        let suite: &[u8] = &[hash.code(), cipher.code()];
        let [i2r, r2i, early, export] = hkdf_extract_expand(
            hash,
            &self.h,
            self.ck.as_bytes(),
            [
                &[b"StadiumP/1 i2r", suite],
                &[b"StadiumP/1 r2i", suite],
                &[b"StadiumP/1 early", suite],
                &[b"StadiumP/1 export", suite],
            ],
        );
        DataKeys { i2r, r2i, early, export }
    }

    /// Returns what the initiator signs: label ‖ 00 ‖ HASH(h ‖ LBM).
    pub(super) fn request_message(&self, lbm: &[u8]) -> [u8; 51] {
        self.message(b"StadiumP/1 request\0", lbm)
    }

    /// Returns what the responder of an open handshake signs.
    pub(super) fn consent_message(&self, lbm: &[u8]) -> [u8; 51] {
        self.message(b"StadiumP/1 consent\0", lbm)
    }

    fn message(&self, label: &[u8; 19], lbm: &[u8]) -> [u8; 51] {
        let mut message = [0; 51];
        message[..19].copy_from_slice(label);
        message[19..].copy_from_slice(&sha256(&[&self.h, lbm]));
        message
    }
}

impl fmt::Debug for Symmetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Symmetric(..)")
    }
}

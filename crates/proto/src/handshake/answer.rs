//! The responder's side of a CONSENT: a session, or a status.

use core::fmt;

use super::inputs::ResponderInputs;
use super::keys::{Established, Role};
use super::open::{Kem, OpenedRequest};
use super::symmetric::Symmetric;
use super::{Features, Kind, StatusCode};
use crate::crypto::{
    Cipher, DhSecret, HashAlg, KEM_CIPHERTEXT_LEN, SIGNATURE_LEN, SealKey, Secret, TAG_LEN,
};
use crate::identity::PresharedKey;
use crate::lbm::{ConsentCells, SessionCells, StatusCells};
use crate::wire::{self, CONSENT_HEADER_LEN, MAX_LANES, MIN_PAYLOAD_LIMIT, VERSION};

/// What a responder grants. The noise byte is not among it: a consent repeats the one that was
/// asked for, or is a status 7 instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The hash, one of those offered.
    pub hash: HashAlg,
    /// The cipher, one of those offered.
    pub cipher: Cipher,
    /// The largest frame and filler that this node takes, at least 1,280 bytes.
    pub payload_limit: u16,
    /// The features that this node has; the consent names the common ones.
    pub features: Features,
    /// This node's sending lanes, 1 to 64.
    pub lanes: u8,
    /// The session id, counted up from 1.
    pub session_id: u64,
    /// Whether the early-data ticket of the REQUEST was accepted.
    pub accept_ticket: bool,
    /// Whether to use the ML-KEM key of the REQUEST, if it has one.
    pub post_quantum: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// It would be longer than the REQUEST: dropped in silence.
    TooLong {
        /// Bytes of the REQUEST.
        request: usize,
        /// Bytes that the answer would have.
        answer: usize,
    },
    /// A Diffie-Hellman result is all zeros: dropped in silence.
    WeakPoint,
    /// The ML-KEM key fails its check: status 10. [`OpenedRequest::check_kem_key`] tells before.
    BadKemKey,
    /// A status to an anonymous initiator, which gets none.
    Anonymous,
    /// The grant does not fit the request, `index_r` is 0, or the status code is: a mistake of
    /// the caller.
    Grant,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong { .. } => "the answer would be longer than its request",
            Self::WeakPoint => "the initiator's key gives an all-zero shared secret",
            Self::BadKemKey => "the initiator's ML-KEM key fails its check",
            Self::Anonymous => "an anonymous initiator gets no status",
            Self::Grant => "the grant does not fit the request",
        })
    }
}

impl core::error::Error for AnswerError {}

impl OpenedRequest {
    /// Builds the CONSENT to a session. Everything in `inputs` must be fresh.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn consent(
        mut self,
        inputs: &ResponderInputs,
        grant: &Grant,
        psk: &PresharedKey,
    ) -> Result<(Established, Vec<u8>), AnswerError> {
        let offered = self.offered;
        if inputs.index_r == 0
            || !offered.hashes.contains(u64::from(grant.hash.code()))
            || !offered.ciphers.contains(u64::from(grant.cipher.code()))
            || grant.payload_limit < MIN_PAYLOAD_LIMIT
            || !(1..=MAX_LANES).contains(&grant.lanes)
            || (grant.accept_ticket && offered.ticket.is_none())
        {
            return Err(AnswerError::Grant);
        }
        let features = offered.features.intersection(grant.features);
        let ticket = offered.ticket.filter(|_| grant.accept_ticket);
        let cells = SessionCells {
            version: VERSION,
            hash: u64::from(grant.hash.code()),
            signature_key: self.own_key_cell(),
            cipher: u64::from(grant.cipher.code()),
            noise: offered.noise,
            payload_limit: grant.payload_limit,
            index_r: inputs.index_r,
            session_id: grant.session_id,
            features: features.0,
            lanes: grant.lanes,
            ticket,
            filler: None,
        };
        let hybrid = grant.post_quantum && offered.hybrid;
        let mut lbm = ConsentCells::Session(cells).encode();
        let room = self.check_len(lbm.len(), hybrid)?;
        // the cell's head takes up to five bytes: what is left is not worth the trouble
        let zeros = vec![0; room.saturating_sub(5)];
        if self.fill && !zeros.is_empty() {
            lbm = ConsentCells::Session(SessionCells { filler: Some(&zeros), ..cells }).encode();
        }
        if hybrid {
            self.check_kem_key().map_err(|_| AnswerError::BadKemKey)?;
        }
        let psk = if self.kind == Kind::Anonymous { &PresharedKey::NONE } else { psk };
        let kem_message = hybrid.then_some(&inputs.kem_message);
        let (sym, datagram) = self.seal(grant.cipher, &inputs.ephemeral, kem_message, psk, lbm)?;
        let established = Established {
            role: Role::Responder,
            kind: self.kind,
            remote: self.remote,
            index_i: self.index_i,
            index_r: inputs.index_r,
            hash: grant.hash,
            cipher: grant.cipher,
            features,
            payload_limit: offered.payload_limit.min(grant.payload_limit),
            lanes_i: offered.lanes,
            lanes_r: grant.lanes,
            noise: offered.noise,
            session_id: grant.session_id,
            post_quantum: hybrid,
            timestamp: offered.timestamp,
            ticket,
            keys: sym.data_keys(grant.hash, grant.cipher),
        };
        Ok((established, datagram))
    }

    /// Builds a status CONSENT. `cipher` is the first common one, else ChaCha20-Poly1305;
    /// `noise` goes along with status 7 only; of `inputs` only the ephemeral is used.
    ///
    /// # Errors
    /// [`AnswerError`], but [`AnswerError::BadKemKey`].
    pub fn status(
        self,
        inputs: &ResponderInputs,
        code: StatusCode,
        noise: Option<u8>,
        cipher: Cipher,
    ) -> Result<Vec<u8>, AnswerError> {
        if self.kind == Kind::Anonymous {
            return Err(AnswerError::Anonymous);
        }
        if code.0 == 0 {
            return Err(AnswerError::Grant);
        }
        let lbm = ConsentCells::Status(StatusCells {
            version: VERSION,
            signature_key: self.own_key_cell(),
            noise: noise.filter(|_| code == StatusCode::NOISE_REFUSED),
            status: code.0,
        })
        .encode();
        self.check_len(lbm.len(), false)?;
        let (_, datagram) = self.seal(cipher, &inputs.ephemeral, None, &PresharedKey::NONE, lbm)?;
        Ok(datagram)
    }

    /// `V_r`, which an open answer carries.
    fn own_key_cell(&self) -> Option<&[u8; 32]> {
        (!self.kind.is_encrypted()).then(|| self.identity.public().as_bytes())
    }

    /// Refuses an answer that would be longer than its REQUEST; returns how much shorter it is.
    fn check_len(&self, lbm: usize, hybrid: bool) -> Result<usize, AnswerError> {
        let answer = CONSENT_HEADER_LEN
            + if hybrid { KEM_CIPHERTEXT_LEN } else { 0 }
            + lbm
            + if self.kind.is_encrypted() { 0 } else { SIGNATURE_LEN }
            + TAG_LEN;
        let room = self.request_len.checked_sub(answer);
        room.ok_or(AnswerError::TooLong { request: self.request_len, answer })
    }

    /// Runs the schedule to its end; returns the final state and the datagram. With a
    /// `kem_message` it encapsulates to the checked ML-KEM key.
    pub(super) fn seal(
        &self,
        cipher: Cipher,
        ephemeral: &[u8; 32],
        kem_message: Option<&[u8; 32]>,
        psk: &PresharedKey,
        lbm: Vec<u8>,
    ) -> Result<(Symmetric, Vec<u8>), AnswerError> {
        let agree = |secret: &DhSecret, public: &[u8; 32]| -> Result<Secret, AnswerError> {
            secret.agree(public).ok_or(AnswerError::WeakPoint)
        };
        let mut sym = self.sym.clone();
        if let (Some(key), Some(remote)) = (&self.connection_key, &self.remote) {
            sym.mix_key(key.as_bytes());
            sym.mix_key(agree(self.identity.dh(), remote.x25519())?.as_bytes());
        }
        let head = wire::consent_head(cipher, self.index_i);
        let ephemeral = DhSecret::from_bytes(ephemeral);
        let e_r = ephemeral.public();
        sym.mix_hash(&[&head]);
        sym.mix_hash(&[&e_r]);
        sym.mix_key(agree(&ephemeral, &self.ephemeral)?.as_bytes());
        if let Some(remote) = &self.remote {
            sym.mix_key(agree(&ephemeral, remote.x25519())?.as_bytes());
        }
        let (kem_len, ciphertext) = match (&self.kem, kem_message) {
            (Kem::Checked(key), Some(message)) => {
                let (ciphertext, shared) = key.encapsulate(message);
                let len = (KEM_CIPHERTEXT_LEN as u16).to_le_bytes();
                sym.mix_hash(&[&len, &ciphertext[..]]);
                sym.mix_key(shared.as_bytes());
                (len, Some(ciphertext))
            }
            (Kem::None, _) => ([0, 0], None),
            _ => {
                sym.mix_hash(&[&[0, 0]]);
                ([0, 0], None)
            }
        };
        sym.mix_psk(psk);

        let mut text = lbm;
        if !self.kind.is_encrypted() {
            let signature = self.identity.sign(&sym.consent_message(&text));
            text.extend_from_slice(&signature);
        }
        let key = SealKey::new(cipher, &sym.consent_key(cipher));
        let tag = key.seal([0; 12], sym.h(), &mut text);
        text.extend_from_slice(&tag);
        sym.mix_hash(&[&text]);

        let mut datagram = Vec::with_capacity(CONSENT_HEADER_LEN + KEM_CIPHERTEXT_LEN + text.len());
        datagram.extend_from_slice(&head);
        datagram.extend_from_slice(&e_r);
        datagram.extend_from_slice(&kem_len);
        if let Some(ciphertext) = ciphertext {
            datagram.extend_from_slice(&ciphertext[..]);
        }
        datagram.extend_from_slice(&text);
        Ok((sym, datagram))
    }
}

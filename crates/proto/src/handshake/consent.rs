//! The initiator's side of a CONSENT.

use super::keys::{Established, Role};
use super::request::{Initiator, PostQuantum};
use super::symmetric::Symmetric;
use super::{Features, Kind, Refusal, StatusCode};
use crate::crypto::{Cipher, HashAlg, OpenKey, SIGNATURE_LEN, TAG_LEN, verify_strict};
use crate::identity::{PresharedKey, PublicKey};
use crate::lbm::{ConsentCells, Map, SessionCells, read_version};
use crate::wire::{ConsentView, VERSION};

/// What a CONSENT says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A session. The initiator's first frame confirms it.
    Session(Box<Established>),
    /// A refusal, which ends this attempt only.
    Refused(Refused),
}

/// A status: it came from the node that the REQUEST went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: StatusCode,
    /// With status 7, the strongest noise byte that the responder grants, as it came.
    pub noise: Option<u8>,
    /// The responder's key.
    pub remote: Option<PublicKey>,
}

impl Initiator {
    /// Opens a CONSENT to this REQUEST. It changes nothing, so a forged one does no harm.
    ///
    /// # Errors
    /// [`Refusal`]: the datagram is to be dropped.
    pub fn open_consent(&self, datagram: &[u8]) -> Result<Answer, Refusal> {
        let view = ConsentView::parse(datagram)?;
        if view.index_i() != self.index_i() {
            return Err(Refusal::OtherRequest);
        }
        if view.kem_len() != 0 && self.kem.is_none() {
            return Err(Refusal::KemUnasked);
        }
        // a status may come under ChaCha20-Poly1305 although it was not offered
        let cipher = Cipher::from_code(u64::from(view.symmetric()))
            .filter(|cipher| {
                *cipher == Cipher::ChaCha20Poly1305
                    || self.params.offer.ciphers.contains(u64::from(cipher.code()))
            })
            .ok_or(Refusal::NotOffered)?;
        let mixed = self.mix_consent(&view)?;

        let psk = match self.kind() {
            Kind::Anonymous => &PresharedKey::NONE,
            Kind::Encrypted | Kind::Open => &self.params.psk,
        };
        if let Some((sym, text)) = open_c2(&mixed, cipher, psk, view.c2()) {
            return self.read_consent(&view, cipher, sym, &text, true);
        }
        // a status travels under the zero psk and with `kem_len` 0
        if psk.is_none() || view.kem_len() != 0 {
            return Err(Refusal::BadTag);
        }
        let (sym, text) =
            open_c2(&mixed, cipher, &PresharedKey::NONE, view.c2()).ok_or(Refusal::BadTag)?;
        self.read_consent(&view, cipher, sym, &text, false)
    }

    /// Runs the schedule up to the psk.
    pub(super) fn mix_consent(&self, view: &ConsentView<'_>) -> Result<Symmetric, Refusal> {
        let mut sym = self.sym.clone();
        sym.mix_hash(&[view.head()]);
        sym.mix_hash(&[view.ephemeral()]);
        let ee = self.ephemeral.agree(view.ephemeral()).ok_or(Refusal::WeakPoint)?;
        sym.mix_key(ee.as_bytes());
        if self.kind().is_named() {
            let se = self.params.identity.dh().agree(view.ephemeral()).ok_or(Refusal::WeakPoint)?;
            sym.mix_key(se.as_bytes());
        }
        if let Some(kem) = &self.kem {
            let ciphertext = view.kem_ciphertext();
            let len = (view.kem_len() as u16).to_le_bytes();
            sym.mix_hash(&[&len, ciphertext.map_or(&[], |bytes| bytes)]);
            if let Some(ciphertext) = ciphertext {
                sym.mix_key(kem.decapsulate(ciphertext).as_bytes());
            }
        }
        Ok(sym)
    }

    /// Reads what C2 holds. `psk_proven` is false if it opened under the zero psk only.
    fn read_consent(
        &self,
        view: &ConsentView<'_>,
        cipher: Cipher,
        mut sym: Symmetric,
        text: &[u8],
        psk_proven: bool,
    ) -> Result<Answer, Refusal> {
        let version = read_version(text)?;
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        let encrypted = self.kind().is_encrypted();
        let (map, len) = Map::decode_prefix(text)?;
        let cells = ConsentCells::from_map(encrypted, &map)?;
        let (lbm, signature) = text.split_at(len);
        let remote = match cells.signature_key() {
            None => {
                if !signature.is_empty() {
                    return Err(Refusal::SignatureLength);
                }
                self.params.target.remote().copied()
            }
            Some(key) => Some(self.verify_remote(key, &sym.consent_message(lbm), signature)?),
        };

        let cells = match cells {
            ConsentCells::Status(status) => {
                if view.kem_len() != 0 {
                    return Err(Refusal::KemUnasked);
                }
                let code = StatusCode(status.status);
                return Ok(Answer::Refused(Refused { code, noise: status.noise, remote }));
            }
            ConsentCells::Session(cells) => cells,
        };
        if !psk_proven {
            return Err(Refusal::WithoutPresharedKey);
        }
        let hash = self.check_choice(view, &cells)?;
        sym.mix_hash(&[view.c2()]);
        let offer = &self.params.offer;
        Ok(Answer::Session(Box::new(Established {
            role: Role::Initiator,
            kind: self.kind(),
            remote,
            index_i: self.index_i(),
            index_r: cells.index_r,
            hash,
            cipher,
            features: Features(cells.features),
            payload_limit: offer.payload_limit.min(cells.payload_limit),
            lanes_i: offer.lanes,
            lanes_r: cells.lanes,
            noise: cells.noise,
            session_id: cells.session_id,
            post_quantum: view.kem_len() != 0,
            timestamp: self.timestamp(),
            ticket: cells.ticket,
            keys: sym.data_keys(hash, cipher),
        })))
    }

    /// Checks `V_r` of an open handshake, and its signature.
    fn verify_remote(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8],
    ) -> Result<PublicKey, Refusal> {
        let signature: &[u8; SIGNATURE_LEN] =
            signature.try_into().map_err(|_| Refusal::SignatureLength)?;
        let remote = PublicKey::from_bytes(key).map_err(|_| Refusal::BadKey)?;
        if remote == *self.params.identity.public() {
            return Err(Refusal::OwnKey);
        }
        if self.params.target.remote().is_some_and(|expected| *expected != remote) {
            return Err(Refusal::OtherRemote);
        }
        if !verify_strict(&remote, message, signature) {
            return Err(Refusal::BadSignature);
        }
        Ok(remote)
    }

    /// Checks that what was chosen had been offered; returns the hash.
    fn check_choice(
        &self,
        view: &ConsentView<'_>,
        cells: &SessionCells<'_>,
    ) -> Result<HashAlg, Refusal> {
        let offer = &self.params.offer;
        if cells.cipher != u64::from(view.symmetric())
            || !offer.ciphers.contains(cells.cipher)
            || !offer.hashes.contains(cells.hash)
            || !offer.features.contains(Features(cells.features))
            || (cells.ticket.is_some() && cells.ticket != self.ticket)
        {
            return Err(Refusal::NotOffered);
        }
        if cells.noise != offer.noise {
            return Err(Refusal::NoiseChanged);
        }
        if self.params.post_quantum == PostQuantum::Require && view.kem_len() == 0 {
            return Err(Refusal::PostQuantumRequired);
        }
        HashAlg::from_code(cells.hash).ok_or(Refusal::NotOffered)
    }
}

/// Mixes the psk and opens C2; `None` if its tag does not fit. The state is the one before C2 is
/// mixed.
pub(super) fn open_c2(
    mixed: &Symmetric,
    cipher: Cipher,
    psk: &PresharedKey,
    c2: &[u8],
) -> Option<(Symmetric, zeroize::Zeroizing<Vec<u8>>)> {
    let mut sym = mixed.clone();
    sym.mix_psk(psk);
    let (text, tag) = c2.split_last_chunk::<TAG_LEN>()?;
    let mut text = zeroize::Zeroizing::new(text.to_vec());
    let key = OpenKey::new(cipher, &sym.consent_key(cipher));
    key.open([0; 12], sym.h(), &mut text, tag).ok()?;
    Some((sym, text))
}

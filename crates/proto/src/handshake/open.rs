//! The responder's side of a REQUEST.

use core::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::retry::{MacKey, RetryKey};
use super::symmetric::Symmetric;
use super::{Features, Kind, Refusal, StatusCode};
use crate::crypto::{
    BadKemKey, KEM_KEY_LEN, KemPublic, SIGNATURE_LEN, Secret, open_c1, verify_strict,
};
use crate::identity::{Identity, NetworkKey, PublicKey};
use crate::lbm::{AlgorithmList, Map, RequestCells, read_version};
use crate::wire::{CHALLENGE_LEN, RequestView, VERSION};

/// What a responder derives once: its identity, and the keys that guard its handshakes.
#[derive(Clone, Debug)]
pub struct ResponderStatics {
    identity: Arc<Identity>,
    mac: [MacKey; 2],
    retry: [RetryKey; 2],
}

impl ResponderStatics {
    /// Derives the guard keys of encrypted and of open handshakes.
    pub fn new(identity: Arc<Identity>, network_key: Option<&NetworkKey>) -> Self {
        let v_r = Some(*identity.public());
        let mac = [v_r.as_ref(), None].map(|v_r| MacKey::new(v_r, network_key));
        let retry = [v_r.as_ref(), None].map(|v_r| RetryKey::new(v_r, network_key));
        Self { identity, mac, retry }
    }

    /// Returns this node.
    pub const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Returns the key for the mac of this REQUEST; it depends on the kind of handshake.
    pub const fn mac_key(&self, request: &RequestView<'_>) -> &MacKey {
        &self.mac[!request.is_encrypted() as usize]
    }

    /// Returns the key for a RETRY to this REQUEST.
    pub const fn retry_key(&self, request: &RequestView<'_>) -> &RetryKey {
        &self.retry[!request.is_encrypted() as usize]
    }

    /// Opens a REQUEST whose mac was verified: Diffie-Hellman, C1, version, cells, key, and the
    /// signature under the key that the REQUEST carries. Own keys are refused.
    ///
    /// # Errors
    /// [`OpenFailure::Error`] where a clear ERROR may follow, else [`OpenFailure::Silent`].
    pub fn open(&self, request: &RequestView<'_>) -> Result<OpenedRequest, OpenFailure> {
        let encrypted = request.is_encrypted();
        let v_r = encrypted.then(|| self.identity.public().as_bytes());
        let mut sym = Symmetric::start(request.prefix(), v_r);
        sym.mix_hash(&[request.ephemeral()]);
        let opened: Zeroizing<Vec<u8>>;
        let text: &[u8] = if encrypted {
            let es = self.identity.dh().agree(request.ephemeral()).ok_or(Refusal::WeakPoint)?;
            let k1 = sym.mix_key(es.as_bytes());
            opened = open_c1(&k1, sym.h(), request.c1())
                .ok_or(OpenFailure::Error(StatusCode::CANNOT_DECRYPT))?;
            &opened
        } else {
            request.c1()
        };

        let version = read_version(text).map_err(Refusal::from)?;
        if version != VERSION {
            return Err(if encrypted {
                OpenFailure::Error(StatusCode::UNSUPPORTED_VERSION)
            } else {
                OpenFailure::Silent(Refusal::Version(version))
            });
        }
        let (map, len) = Map::decode_prefix(text).map_err(Refusal::from)?;
        let cells = RequestCells::from_map(encrypted, &map).map_err(Refusal::from)?;
        let (lbm, signature) = text.split_at(len);
        let remote = match cells.signature_key {
            None if signature.is_empty() => None,
            None => return Err(Refusal::SignatureLength.into()),
            Some(key) => Some(self.verify_remote(key, &sym.request_message(lbm), signature)?),
        };
        let kind = match (encrypted, &remote) {
            (true, _) => Kind::Encrypted,
            (false, Some(_)) => Kind::Open,
            (false, None) => Kind::Anonymous,
        };
        let offered = Offered::from_cells(&cells);
        let connection_key = cells.connection_key.map(|key| Secret::new(*key));
        let kem = cells.kem_key.map_or(Kem::None, |key| Kem::Raw(Box::new(*key)));
        sym.mix_hash(&[request.c1()]);
        Ok(OpenedRequest {
            identity: Arc::clone(&self.identity),
            sym,
            kind,
            remote,
            ephemeral: *request.ephemeral(),
            index_i: request.index_i(),
            request_len: request.bytes().len(),
            offered,
            connection_key,
            kem,
            fill: false,
        })
    }

    fn verify_remote(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8],
    ) -> Result<PublicKey, Refusal> {
        let signature: &[u8; SIGNATURE_LEN] =
            signature.try_into().map_err(|_| Refusal::SignatureLength)?;
        if key == self.identity.public().as_bytes() {
            return Err(Refusal::OwnKey);
        }
        let remote = PublicKey::from_bytes(key).map_err(|_| Refusal::BadKey)?;
        if !verify_strict(&remote, message, signature) {
            return Err(Refusal::BadSignature);
        }
        Ok(remote)
    }
}

/// Why a REQUEST did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// Dropped in silence.
    Silent(Refusal),
    /// Dropped; a clear ERROR with this code may follow (`protocol.md` §3: at most 10 a second
    /// per source, none in stealth mode).
    Error(StatusCode),
}

impl From<Refusal> for OpenFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Silent(refusal)
    }
}

/// What the initiator offers and asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Hashes, preferred first.
    pub hashes: AlgorithmList,
    /// Ciphers, preferred first.
    pub ciphers: AlgorithmList,
    /// The noise byte as it came; reserved values are for the policy to refuse.
    pub noise: u8,
    /// Cell `0x08`.
    pub timestamp: u64,
    /// Cell `0x09`.
    pub challenge: Option<[u8; CHALLENGE_LEN]>,
    /// The largest frame and filler that the initiator takes, in bytes.
    pub payload_limit: u16,
    /// The initiator's features.
    pub features: Features,
    /// The initiator's sending lanes.
    pub lanes: u8,
    /// Cell `0x10`.
    pub ticket: Option<u32>,
    /// Whether the REQUEST carries an ML-KEM key.
    pub hybrid: bool,
}

impl Offered {
    fn from_cells(cells: &RequestCells<'_>) -> Self {
        Self {
            hashes: cells.hashes,
            ciphers: cells.ciphers,
            noise: cells.noise,
            timestamp: cells.timestamp,
            challenge: cells.challenge.copied(),
            payload_limit: cells.payload_limit,
            features: Features(cells.features),
            lanes: cells.lanes,
            ticket: cells.ticket,
            hybrid: cells.kem_key.is_some(),
        }
    }
}

/// The ML-KEM key of a REQUEST, checked only when it is asked for: the check costs as much as
/// half an encapsulation.
#[derive(Clone)]
pub(super) enum Kem {
    None,
    Raw(Box<[u8; KEM_KEY_LEN]>),
    Checked(KemPublic),
}

/// A REQUEST that opened and whose signature, if it is not anonymous, verified. Its secrets are
/// wiped on drop.
pub struct OpenedRequest {
    pub(super) identity: Arc<Identity>,
    pub(super) sym: Symmetric,
    pub(super) kind: Kind,
    pub(super) remote: Option<PublicKey>,
    pub(super) ephemeral: [u8; 32],
    pub(super) index_i: u32,
    pub(super) request_len: usize,
    pub(super) offered: Offered,
    pub(super) connection_key: Option<Secret>,
    pub(super) kem: Kem,
    pub(super) fill: bool,
}

impl OpenedRequest {
    /// Has the CONSENT to a session filled up to the length of the REQUEST (cell `0x40`), so that
    /// a noisy connection's handshake has the length of its data.
    pub fn fill_consent(&mut self) {
        self.fill = true;
    }

    /// Returns the kind of handshake.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the initiator's key; `None` if it is anonymous.
    pub const fn remote(&self) -> Option<&PublicKey> {
        self.remote.as_ref()
    }

    /// Returns `E_i`, by which repeated requests are told.
    pub const fn ephemeral(&self) -> &[u8; 32] {
        &self.ephemeral
    }

    /// Returns the initiator's index, to which answers go.
    pub const fn index_i(&self) -> u32 {
        self.index_i
    }

    /// Returns what the initiator offers and asks for.
    pub const fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Returns the transcript hash after C1, which the key of early data depends on.
    pub const fn h(&self) -> &[u8; 32] {
        self.sym.h()
    }

    /// Returns this node.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Checks the ML-KEM key (FIPS 203 §7.2), if there is one; a failure is status 10.
    ///
    /// # Errors
    /// [`BadKemKey`].
    pub fn check_kem_key(&mut self) -> Result<(), BadKemKey> {
        if let Kem::Raw(bytes) = &self.kem {
            self.kem = Kem::Checked(KemPublic::from_bytes(bytes)?);
        }
        Ok(())
    }
}

impl fmt::Debug for OpenedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedRequest")
            .field("kind", &self.kind)
            .field("remote", &self.remote)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}

//! What a handshake ends with: the keys of a session and what was agreed.

use super::{EarlySecret, Features, Kind};
use crate::crypto::{Cipher, HashAlg, OpenKey, SealKey, Secret};
use crate::identity::PublicKey;

/// The four keys of a session (`protocol.md` §4). Wiped on drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeys {
    /// Seals DATA from the initiator to the responder.
    pub i2r: Secret,
    /// Seals DATA from the responder to the initiator.
    pub r2i: Secret,
    /// The secret behind the early data of a later handshake.
    pub early: Secret,
    /// For users of the library.
    pub export: Secret,
}

/// This node's part in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sent the REQUEST.
    Initiator,
    /// It sent the CONSENT.
    Responder,
}

/// A completed handshake: what both sides agreed on.
#[derive(Clone, Debug)]
pub struct Established {
    /// This node's part.
    pub role: Role,
    /// The kind of handshake.
    pub kind: Kind,
    /// The other node's key; `None` only at the responder of an anonymous handshake. At the
    /// initiator of an open one it is `V_r`, which is to be pinned if it was not known.
    pub remote: Option<PublicKey>,
    /// The initiator's index.
    pub index_i: u32,
    /// The responder's index.
    pub index_r: u32,
    /// The hash of the data keys.
    pub hash: HashAlg,
    /// The AEAD of DATA.
    pub cipher: Cipher,
    /// The features of both sides.
    pub features: Features,
    /// The largest frame and filler in bytes: the least of the two limits.
    pub payload_limit: u16,
    /// The initiator's sending lanes.
    pub lanes_i: u8,
    /// The responder's sending lanes.
    pub lanes_r: u8,
    /// The noise byte that governs both directions.
    pub noise: u8,
    /// Cell `0x0d`.
    pub session_id: u64,
    /// Whether an ML-KEM secret is in the keys.
    pub post_quantum: bool,
    /// Cell `0x08` of the REQUEST.
    pub timestamp: u64,
    /// The early-data ticket, if the responder accepted it.
    pub ticket: Option<u32>,
    /// The keys.
    pub keys: DataKeys,
}

impl Established {
    /// Returns the index under which this node receives.
    pub const fn local_index(&self) -> u32 {
        match self.role {
            Role::Initiator => self.index_i,
            Role::Responder => self.index_r,
        }
    }

    /// Returns the index to which this node sends.
    pub const fn remote_index(&self) -> u32 {
        match self.role {
            Role::Initiator => self.index_r,
            Role::Responder => self.index_i,
        }
    }

    /// Returns how many lanes this node sends on.
    pub const fn tx_lanes(&self) -> u8 {
        match self.role {
            Role::Initiator => self.lanes_i,
            Role::Responder => self.lanes_r,
        }
    }

    /// Returns how many lanes the other node sends on.
    pub const fn rx_lanes(&self) -> u8 {
        match self.role {
            Role::Initiator => self.lanes_r,
            Role::Responder => self.lanes_i,
        }
    }

    /// Expands the key that seals what this node sends.
    pub fn seal_key(&self) -> SealKey {
        let key = match self.role {
            Role::Initiator => &self.keys.i2r,
            Role::Responder => &self.keys.r2i,
        };
        SealKey::new(self.cipher, key)
    }

    /// Expands the key that opens what this node receives.
    pub fn open_key(&self) -> OpenKey {
        let key = match self.role {
            Role::Initiator => &self.keys.r2i,
            Role::Responder => &self.keys.i2r,
        };
        OpenKey::new(self.cipher, key)
    }

    /// Returns what a later handshake's early data needs to know of this session.
    pub fn early_secret(&self) -> EarlySecret {
        EarlySecret::new(self.keys.early.clone(), self.hash, self.cipher, self.payload_limit)
    }
}

//! Early data: the key under which DATA to a ticket travels (`protocol.md` §6).

use crate::crypto::{Cipher, HashAlg, OpenKey, SealKey, Secret, hkdf_extract_expand};

/// What both sides keep of a session for the lifetime of its ticket. Wiped on drop.
///
/// It opens nothing of that session: `early` is a key of its own.
#[derive(Clone, Debug)]
pub struct EarlySecret {
    early: Secret,
    hash: HashAlg,
    cipher: Cipher,
    payload_limit: u16,
}

impl EarlySecret {
    /// Takes `early`, hash, cipher and payload limit of the session that issued the ticket.
    pub const fn new(early: Secret, hash: HashAlg, cipher: Cipher, payload_limit: u16) -> Self {
        Self { early, hash, cipher, payload_limit }
    }

    /// Returns the hash of the session that issued the ticket.
    pub const fn hash(&self) -> HashAlg {
        self.hash
    }

    /// Returns the cipher of the session that issued the ticket.
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Returns the payload limit of the session that issued the ticket, in bytes.
    pub const fn payload_limit(&self) -> u16 {
        self.payload_limit
    }

    /// Derives the key for the REQUEST whose transcript hash after C1 is `h`.
    pub fn key(&self, h: &[u8; 32]) -> Secret {
        let [key] =
            hkdf_extract_expand(self.hash, h, self.early.as_bytes(), [&[b"StadiumP/1 early data"]]);
        key
    }

    /// Expands the key that seals early data at the initiator.
    pub fn seal_key(&self, h: &[u8; 32]) -> SealKey {
        SealKey::new(self.cipher, &self.key(h))
    }

    /// Expands the key that opens early data at the responder.
    pub fn open_key(&self, h: &[u8; 32]) -> OpenKey {
        OpenKey::new(self.cipher, &self.key(h))
    }
}

//! The cells of a REQUEST, after the table of `protocol.md` §3.

use core::fmt;

use super::decode::must;
use super::{AlgorithmList, Cell, Encoder, LbmError, Map, Problem, Value};
use crate::crypto::{Cipher, HashAlg, KEM_KEY_LEN};
use crate::time::TIMESTAMP_LOW_BITS;
use crate::wire::{MAX_LANES, MIN_PAYLOAD_LIMIT};

/// The code of Ed25519 in cell `0x03`.
pub const SIGNATURE_ED25519: u64 = 1;

/// The checked cells of a REQUEST; absent ones have their defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestCells<'a> {
    /// `0x01`: the version, below 128.
    pub version: u8,
    /// `0x02`: hashes, preferred first; absent: SHA-256.
    pub hashes: AlgorithmList,
    /// `0x04`: the initiator's Ed25519 key, not yet checked as a point; absent: anonymous.
    pub signature_key: Option<&'a [u8; 32]>,
    /// `0x05`: ciphers, preferred first; absent: ChaCha20-Poly1305.
    pub ciphers: AlgorithmList,
    /// `0x06`: the connection key, in an encrypted handshake.
    pub connection_key: Option<&'a [u8; 32]>,
    /// `0x07`: the noise byte as it came; absent: 0. Reserved values are not refused here.
    pub noise: u8,
    /// `0x08`: nanoseconds since 1970, the low 24 bits zero.
    pub timestamp: u64,
    /// `0x09`: the echo of a challenge.
    pub challenge: Option<&'a [u8; 12]>,
    /// `0x0a`: the largest frame and filler that the initiator takes, at least 1,280 bytes.
    /// Above 65,535 it reads as 65,535.
    pub payload_limit: u16,
    /// `0x0b`: an ML-KEM-768 encapsulation key, not yet checked.
    pub kem_key: Option<&'a [u8; KEM_KEY_LEN]>,
    /// `0x0e`: the bits of the features; absent: 0.
    pub features: u64,
    /// `0x0f`: the initiator's sending lanes, 1 to 64; absent: 1.
    pub lanes: u8,
    /// `0x10`: an early-data ticket.
    pub ticket: Option<u32>,
    /// `0x40`: filler.
    pub filler: Option<&'a [u8]>,
}

impl<'a> RequestCells<'a> {
    /// Decodes a message that takes up all bytes, and checks it against the table.
    ///
    /// # Errors
    /// [`LbmError`], naming the cell.
    pub fn decode(encrypted: bool, bytes: &'a [u8]) -> Result<Self, LbmError> {
        Self::from_map(encrypted, &Map::decode(bytes)?)
    }

    /// Checks a decoded map against the table.
    ///
    /// # Errors
    /// [`LbmError`], naming the cell.
    pub fn from_map(encrypted: bool, map: &Map<'a>) -> Result<Self, LbmError> {
        let version = must(Cell::VERSION, map.uint_up_to(Cell::VERSION, 0x7f)?)? as u8;
        map.forbid(&[Cell::INDEX_R, Cell::SESSION_ID, Cell::STATUS])?;
        if !encrypted {
            map.forbid(&[Cell::CONNECTION_KEY, Cell::TICKET])?;
        }

        let hashes = list(map, Cell::HASH)?;
        let ciphers = list(map, Cell::SYMMETRIC)?;
        let signature = map.uint(Cell::SIGNATURE)?;
        let signature_key = map.array(Cell::SIGNATURE_KEY)?;
        let connection_key = map.array(Cell::CONNECTION_KEY)?;
        if encrypted {
            must(Cell::HASH, hashes)?;
            must(Cell::SIGNATURE, signature)?;
            must(Cell::SIGNATURE_KEY, signature_key)?;
            must(Cell::SYMMETRIC, ciphers)?;
            must(Cell::CONNECTION_KEY, connection_key)?;
        } else if signature.is_some() && signature_key.is_none() {
            return Err(LbmError::new(Cell::SIGNATURE, Problem::Forbidden));
        }
        if signature.is_some_and(|algorithm| algorithm != SIGNATURE_ED25519) {
            return Err(LbmError::new(Cell::SIGNATURE, Problem::OutOfRange));
        }

        let noise = noise(map)?.unwrap_or(0);
        let timestamp = must(Cell::TIMESTAMP, map.uint(Cell::TIMESTAMP)?)?;
        if timestamp & TIMESTAMP_LOW_BITS != 0 {
            return Err(LbmError::new(Cell::TIMESTAMP, Problem::OutOfRange));
        }
        let challenge = map.array(Cell::CHALLENGE)?;
        let payload_limit = payload_limit(map)?;
        let kem_key = map.array(Cell::KEM_KEY)?;
        let features = map.uint(Cell::FEATURES)?.unwrap_or(0);
        let lanes = lanes(map)?;
        let ticket = ticket(map)?;
        if ticket.is_some() && challenge.is_some() {
            return Err(LbmError::new(Cell::TICKET, Problem::Forbidden));
        }
        let filler = map.bytes(Cell::FILLER)?;
        Ok(Self {
            version,
            hashes: hashes.unwrap_or(AlgorithmList::one(u64::from(HashAlg::Sha256.code()))),
            signature_key,
            ciphers: ciphers
                .unwrap_or(AlgorithmList::one(u64::from(Cipher::ChaCha20Poly1305.code()))),
            connection_key,
            noise,
            timestamp,
            challenge,
            payload_limit,
            kem_key,
            features,
            lanes,
            ticket,
            filler,
        })
    }

    /// Encodes the cells; those that say what their absence says are left out where they may be.
    pub fn encode(&self, encrypted: bool) -> Vec<u8> {
        let mut lbm = Encoder::new();
        lbm.uint(Cell::VERSION, u64::from(self.version));
        if encrypted || self.hashes.as_slice() != [u64::from(HashAlg::Sha256.code())] {
            lbm.array(Cell::HASH, self.hashes.as_slice());
        }
        if let Some(key) = self.signature_key {
            lbm.uint(Cell::SIGNATURE, SIGNATURE_ED25519).bytes(Cell::SIGNATURE_KEY, key);
        }
        if encrypted || self.ciphers.as_slice() != [u64::from(Cipher::ChaCha20Poly1305.code())] {
            lbm.array(Cell::SYMMETRIC, self.ciphers.as_slice());
        }
        if let Some(key) = self.connection_key {
            lbm.bytes(Cell::CONNECTION_KEY, key);
        }
        if self.noise != 0 {
            lbm.uint(Cell::NOISE, u64::from(self.noise));
        }
        lbm.uint(Cell::TIMESTAMP, self.timestamp);
        if let Some(challenge) = self.challenge {
            lbm.bytes(Cell::CHALLENGE, challenge);
        }
        lbm.uint(Cell::PAYLOAD_LIMIT, u64::from(self.payload_limit));
        if let Some(key) = self.kem_key {
            lbm.bytes(Cell::KEM_KEY, key);
        }
        if self.features != 0 {
            lbm.uint(Cell::FEATURES, self.features);
        }
        if self.lanes != 1 {
            lbm.uint(Cell::LANES, u64::from(self.lanes));
        }
        if let Some(ticket) = self.ticket {
            lbm.uint(Cell::TICKET, u64::from(ticket));
        }
        if let Some(filler) = self.filler {
            lbm.bytes(Cell::FILLER, filler);
        }
        lbm.finish()
    }
}

impl fmt::Debug for RequestCells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestCells")
            .field("version", &self.version)
            .field("hashes", &self.hashes)
            .field("ciphers", &self.ciphers)
            .field("noise", &self.noise)
            .field("timestamp", &self.timestamp)
            .field("payload_limit", &self.payload_limit)
            .field("hybrid", &self.kem_key.is_some())
            .field("features", &self.features)
            .field("lanes", &self.lanes)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

fn list(map: &Map<'_>, cell: Cell) -> Result<Option<AlgorithmList>, LbmError> {
    match map.value(cell) {
        None => Ok(None),
        Some(Value::Array(items)) => {
            let mut codes = [0; super::MAX_ITEMS];
            let mut len = 0;
            for code in items.iter() {
                codes[len] = code;
                len += 1;
            }
            Ok(AlgorithmList::new(&codes[..len]))
        }
        Some(_) => Err(LbmError::new(cell, Problem::WrongType)),
    }
}

/// Cell `0x07`, at most 255.
pub(super) fn noise(map: &Map<'_>) -> Result<Option<u8>, LbmError> {
    Ok(map.uint_up_to(Cell::NOISE, 0xff)?.map(|noise| noise as u8))
}

/// Cell `0x0a`, which must be there.
pub(super) fn payload_limit(map: &Map<'_>) -> Result<u16, LbmError> {
    let limit = must(Cell::PAYLOAD_LIMIT, map.uint(Cell::PAYLOAD_LIMIT)?)?;
    if limit < u64::from(MIN_PAYLOAD_LIMIT) {
        return Err(LbmError::new(Cell::PAYLOAD_LIMIT, Problem::OutOfRange));
    }
    Ok(u16::try_from(limit).unwrap_or(u16::MAX))
}

/// Cell `0x0f`, 1 to 64; absent: 1.
pub(super) fn lanes(map: &Map<'_>) -> Result<u8, LbmError> {
    match map.uint_up_to(Cell::LANES, u64::from(MAX_LANES))? {
        None => Ok(1),
        Some(0) => Err(LbmError::new(Cell::LANES, Problem::OutOfRange)),
        Some(lanes) => Ok(lanes as u8),
    }
}

/// Cell `0x10`, 32 bits.
pub(super) fn ticket(map: &Map<'_>) -> Result<Option<u32>, LbmError> {
    Ok(map.uint_up_to(Cell::TICKET, u64::from(u32::MAX))?.map(|ticket| ticket as u32))
}

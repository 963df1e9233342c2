//! The cells of a CONSENT, after the table of `protocol.md` §3: a consent, or a status.

use super::decode::must;
use super::request::{lanes, noise, payload_limit, ticket};
use super::{Cell, Encoder, LbmError, Map, Problem};

/// The checked cells of a CONSENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentCells<'a> {
    /// `0x11` is 0: a session.
    Session(SessionCells<'a>),
    /// `0x11` is not 0: a refusal.
    Status(StatusCells<'a>),
}

/// The cells of a consent to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCells<'a> {
    /// `0x01`: the version, below 128.
    pub version: u8,
    /// `0x02`: the chosen hash.
    pub hash: u64,
    /// `0x04`: the responder's Ed25519 key, in an open handshake; not yet checked as a point.
    pub signature_key: Option<&'a [u8; 32]>,
    /// `0x05`: the chosen cipher.
    pub cipher: u64,
    /// `0x07`: the noise byte; absent: 0.
    pub noise: u8,
    /// `0x0a`: the largest frame and filler that the responder takes, at least 1,280 bytes.
    pub payload_limit: u16,
    /// `0x0c`: the responder's index, not 0.
    pub index_r: u32,
    /// `0x0d`: the session id.
    pub session_id: u64,
    /// `0x0e`: the common features; absent: 0.
    pub features: u64,
    /// `0x0f`: the responder's sending lanes, 1 to 64; absent: 1.
    pub lanes: u8,
    /// `0x10`: the ticket that was accepted.
    pub ticket: Option<u32>,
    /// `0x40`: filler.
    pub filler: Option<&'a [u8]>,
}

/// The cells of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCells<'a> {
    /// `0x01`: the version, below 128.
    pub version: u8,
    /// `0x04`: the responder's Ed25519 key, in an open handshake; not yet checked as a point.
    pub signature_key: Option<&'a [u8; 32]>,
    /// `0x07`: with status 7, the strongest noise byte that the responder grants.
    pub noise: Option<u8>,
    /// `0x11`: the code, 1 to 255.
    pub status: u8,
}

/// The status that may carry cell `0x07`.
const NOISE_REFUSED: u64 = 7;

impl<'a> ConsentCells<'a> {
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
        let status = must(Cell::STATUS, map.uint_up_to(Cell::STATUS, 0xff)?)?;
        map.forbid(&[
            Cell::SIGNATURE,
            Cell::CONNECTION_KEY,
            Cell::TIMESTAMP,
            Cell::CHALLENGE,
            Cell::KEM_KEY,
        ])?;
        let signature_key = map.array(Cell::SIGNATURE_KEY)?;
        if encrypted {
            map.forbid(&[Cell::SIGNATURE_KEY])?;
        } else {
            must(Cell::SIGNATURE_KEY, signature_key)?;
        }
        let index_r = must(Cell::INDEX_R, map.uint_up_to(Cell::INDEX_R, u64::from(u32::MAX))?)?;
        let noise = noise(map)?;
        let filler = map.bytes(Cell::FILLER)?;

        if status != 0 {
            map.forbid(&[
                Cell::HASH,
                Cell::SYMMETRIC,
                Cell::PAYLOAD_LIMIT,
                Cell::SESSION_ID,
                Cell::FEATURES,
                Cell::LANES,
                Cell::TICKET,
            ])?;
            if status != NOISE_REFUSED {
                map.forbid(&[Cell::NOISE])?;
            }
            if index_r != 0 {
                return Err(LbmError::new(Cell::INDEX_R, Problem::OutOfRange));
            }
            let status = status as u8;
            return Ok(Self::Status(StatusCells { version, signature_key, noise, status }));
        }

        let hash = must(Cell::HASH, map.uint(Cell::HASH)?)?;
        let cipher = must(Cell::SYMMETRIC, map.uint(Cell::SYMMETRIC)?)?;
        let payload_limit = payload_limit(map)?;
        if index_r == 0 {
            return Err(LbmError::new(Cell::INDEX_R, Problem::OutOfRange));
        }
        let session_id = must(Cell::SESSION_ID, map.uint(Cell::SESSION_ID)?)?;
        let features = map.uint(Cell::FEATURES)?.unwrap_or(0);
        let lanes = lanes(map)?;
        let ticket = ticket(map)?;
        Ok(Self::Session(SessionCells {
            version,
            hash,
            signature_key,
            cipher,
            noise: noise.unwrap_or(0),
            payload_limit,
            index_r: index_r as u32,
            session_id,
            features,
            lanes,
            ticket,
            filler,
        }))
    }

    /// Returns the version.
    pub const fn version(&self) -> u8 {
        match self {
            Self::Session(cells) => cells.version,
            Self::Status(cells) => cells.version,
        }
    }

    /// Returns the responder's key, which an open handshake carries.
    pub const fn signature_key(&self) -> Option<&'a [u8; 32]> {
        match self {
            Self::Session(cells) => cells.signature_key,
            Self::Status(cells) => cells.signature_key,
        }
    }

    /// Encodes the cells; those that say what their absence says are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut lbm = Encoder::new();
        lbm.uint(Cell::VERSION, u64::from(self.version()));
        match self {
            Self::Session(cells) => {
                lbm.uint(Cell::HASH, cells.hash);
                if let Some(key) = cells.signature_key {
                    lbm.bytes(Cell::SIGNATURE_KEY, key);
                }
                lbm.uint(Cell::SYMMETRIC, cells.cipher);
                if cells.noise != 0 {
                    lbm.uint(Cell::NOISE, u64::from(cells.noise));
                }
                lbm.uint(Cell::PAYLOAD_LIMIT, u64::from(cells.payload_limit))
                    .uint(Cell::INDEX_R, u64::from(cells.index_r))
                    .uint(Cell::SESSION_ID, cells.session_id);
                if cells.features != 0 {
                    lbm.uint(Cell::FEATURES, cells.features);
                }
                if cells.lanes != 1 {
                    lbm.uint(Cell::LANES, u64::from(cells.lanes));
                }
                if let Some(ticket) = cells.ticket {
                    lbm.uint(Cell::TICKET, u64::from(ticket));
                }
                lbm.uint(Cell::STATUS, 0);
                if let Some(filler) = cells.filler {
                    lbm.bytes(Cell::FILLER, filler);
                }
            }
            Self::Status(cells) => {
                if let Some(key) = cells.signature_key {
                    lbm.bytes(Cell::SIGNATURE_KEY, key);
                }
                if let Some(noise) = cells.noise {
                    lbm.uint(Cell::NOISE, u64::from(noise));
                }
                lbm.uint(Cell::INDEX_R, 0).uint(Cell::STATUS, u64::from(cells.status));
            }
        }
        lbm.finish()
    }
}

//! The keys of cells, with the seed's numbers.

use core::fmt;

/// The key of a cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(pub u64);

impl Cell {
    /// Protocol version.
    pub const VERSION: Self = Self(0x01);
    /// Hash algorithms, or the chosen one.
    pub const HASH: Self = Self(0x02);
    /// Signature algorithm.
    pub const SIGNATURE: Self = Self(0x03);
    /// Public signature key.
    pub const SIGNATURE_KEY: Self = Self(0x04);
    /// Symmetric algorithms, or the chosen one.
    pub const SYMMETRIC: Self = Self(0x05);
    /// Connection key.
    pub const CONNECTION_KEY: Self = Self(0x06);
    /// Noise parameters.
    pub const NOISE: Self = Self(0x07);
    /// Timestamp.
    pub const TIMESTAMP: Self = Self(0x08);
    /// Challenge echo.
    pub const CHALLENGE: Self = Self(0x09);
    /// Payload limit.
    pub const PAYLOAD_LIMIT: Self = Self(0x0a);
    /// ML-KEM-768 encapsulation key.
    pub const KEM_KEY: Self = Self(0x0b);
    /// The responder's index.
    pub const INDEX_R: Self = Self(0x0c);
    /// Session id.
    pub const SESSION_ID: Self = Self(0x0d);
    /// Features.
    pub const FEATURES: Self = Self(0x0e);
    /// Lanes.
    pub const LANES: Self = Self(0x0f);
    /// Early-data ticket.
    pub const TICKET: Self = Self(0x10);
    /// Status.
    pub const STATUS: Self = Self(0x11);
    /// Filler of a handshake message.
    pub const FILLER: Self = Self(0x40);

    /// Returns whether this program knows the cell.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0x01..=0x11 | 0x40)
    }

    /// Returns whether a decoder that does not know the cell must refuse it.
    pub const fn is_critical(self) -> bool {
        self.0 < 0x40
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

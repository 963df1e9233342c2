//! The handshake, as pure functions of explicit inputs (`protocol.md` §3 to §5).
//!
//! Initiator: [`Initiator::start`] → REQUEST; then [`Initiator::open_consent`],
//! [`Initiator::open_retry`] and [`Initiator::open_error`], which leave it as it was.
//! Responder: [`crate::wire::RequestView`] → [`MacKey::verify`] → [`ResponderStatics::open`] →
//! [`OpenedRequest::consent`] or [`OpenedRequest::status`], or [`build_retry`] and
//! [`build_error`].
//!
//! Invariants: nothing here reads a clock or draws randomness; a failure changes no state;
//! ephemeral secrets, `K_c` and the chaining key are wiped when the value that holds them is
//! dropped; an answer is never longer than its REQUEST.

mod answer;
mod consent;
mod early;
mod error;
#[cfg(test)]
mod hostile;
mod inputs;
mod keys;
mod open;
mod request;
mod retry;
mod symmetric;
#[cfg(test)]
mod transcripts;

use core::fmt;

pub use answer::{AnswerError, Grant};
pub use consent::{Answer, Refused};
pub use early::EarlySecret;
pub use error::{ErrorHint, build_error};
pub use inputs::{InitiatorInputs, ResponderInputs};
pub use keys::{DataKeys, Established, Role};
pub use open::{Offered, OpenFailure, OpenedRequest, ResponderStatics};
pub use request::{
    Filler, Initiator, InitiatorParams, Offer, PostQuantum, RequestArgs, StartError, Target,
};
pub use retry::{MacKey, Retry, RetryKey, build_retry};

use crate::drop::DropReason;
use crate::lbm::LbmError;
use crate::wire::WireError;

/// Why a handshake datagram was dropped. A stranger can cause most of these, so it is `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The datagram is none of its kind.
    Wire(WireError),
    /// It answers another REQUEST: the index or the echo is another.
    OtherRequest,
    /// A Diffie-Hellman result is all zeros.
    WeakPoint,
    /// The AEAD does not open.
    BadTag,
    /// The cells are malformed.
    Malformed(LbmError),
    /// What follows the cells is no signature, or none belongs there.
    SignatureLength,
    /// The version is not the one that this program speaks.
    Version(u8),
    /// A public key fails its checks.
    BadKey,
    /// A public key is this node's own.
    OwnKey,
    /// The responder of an open handshake has another key than expected.
    OtherRemote,
    /// A signature does not verify.
    BadSignature,
    /// The answer names an algorithm, a feature or a ticket that was not offered, or its header
    /// and its cells differ.
    NotOffered,
    /// The noise byte is not the one that was asked for.
    NoiseChanged,
    /// There is a KEM ciphertext where there must be none.
    KemUnasked,
    /// ML-KEM is required here, and the answer does without.
    PostQuantumRequired,
    /// A session was granted under the zero preshared key, which may carry a status only.
    WithoutPresharedKey,
    /// The code of a clear ERROR is not one that may travel so, or the handshake is an open one.
    ErrorCode,
}

impl Refusal {
    /// Returns the counter under which the drop belongs.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::Wire(_)
            | Self::Malformed(_)
            | Self::SignatureLength
            | Self::Version(_)
            | Self::BadKey
            | Self::WeakPoint
            | Self::KemUnasked
            | Self::NotOffered
            | Self::NoiseChanged
            | Self::ErrorCode => DropReason::Malformed,
            Self::OtherRequest => DropReason::UnknownIndex,
            Self::BadTag | Self::WithoutPresharedKey => DropReason::BadTag,
            Self::BadSignature => DropReason::BadSignature,
            Self::OwnKey | Self::OtherRemote | Self::PostQuantumRequired => DropReason::NotAllowed,
        }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<LbmError> for Refusal {
    fn from(error: LbmError) -> Self {
        Self::Malformed(error)
    }
}

/// A status or ERROR code (`protocol.md` §3). Codes that this program does not know may come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(pub u8);

impl StatusCode {
    /// The responder does not speak the version; may travel as a clear ERROR.
    pub const UNSUPPORTED_VERSION: Self = Self(1);
    /// The responder cannot decrypt C1; may travel as a clear ERROR.
    pub const CANNOT_DECRYPT: Self = Self(2);
    /// No hash in common.
    pub const NO_COMMON_HASH: Self = Self(3);
    /// No symmetric algorithm in common.
    pub const NO_COMMON_SYMMETRIC: Self = Self(5);
    /// The initiator is not a peer of the responder.
    pub const UNKNOWN_PEER: Self = Self(6);
    /// The noise byte is reserved, or stronger than the responder grants.
    pub const NOISE_REFUSED: Self = Self(7);
    /// The responder is busy.
    pub const BUSY: Self = Self(8);
    /// The ML-KEM key fails its check.
    pub const BAD_KEM_KEY: Self = Self(10);
    /// The responder requires ML-KEM.
    pub const POST_QUANTUM_REQUIRED: Self = Self(11);

    /// Returns a few words for people; "unknown status" for a code that is not in the table.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UNSUPPORTED_VERSION => "unsupported version",
            Self::CANNOT_DECRYPT => "cannot decrypt",
            Self::NO_COMMON_HASH => "no common hash",
            Self::NO_COMMON_SYMMETRIC => "no common cipher",
            Self::UNKNOWN_PEER => "unknown peer",
            Self::NOISE_REFUSED => "noise refused",
            Self::BUSY => "busy",
            Self::BAD_KEM_KEY => "bad ML-KEM key",
            Self::POST_QUANTUM_REQUIRED => "post-quantum required",
            _ => "unknown status",
        }
    }

    /// Returns whether the code may travel as a clear ERROR.
    pub const fn may_travel_clear(self) -> bool {
        matches!(self, Self::UNSUPPORTED_VERSION | Self::CANNOT_DECRYPT)
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.0)
    }
}

impl fmt::Debug for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusCode({self})")
    }
}

/// The bits of cell `0x0e`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Packets whose checksum is only the pseudo-header sum (header flag bit 0).
    pub const CHECKSUM_OFFLOAD: Self = Self(1);
    /// Stream frames.
    pub const STREAMS: Self = Self(2);
    /// Early data.
    pub const EARLY_DATA: Self = Self(4);

    /// Returns whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the bits that are in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the bits that are in one of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The kinds of handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Flag `0x7a`.
    Encrypted,
    /// Another flag, with the initiator's key in cell `0x04`.
    Open,
    /// Another flag, without a key of the initiator.
    Anonymous,
}

impl Kind {
    /// Returns whether the flag is `0x7a`.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted)
    }

    /// Returns whether the initiator names itself.
    pub const fn is_named(self) -> bool {
        !matches!(self, Self::Anonymous)
    }
}

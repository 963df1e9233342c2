//! LBM: a CBOR map (RFC 8949) with unsigned-integer keys in core deterministic encoding
//! (`protocol.md` §3).
//!
//! Invariants: decoding borrows and never allocates, whatever the input claims; exactly one
//! encoding of a map decodes, so `encode(decode(x)) == x`; an error names the cell and is a
//! `Copy` value, because a stranger can cause it.
//!
//! [`Map`] knows the encoding only. [`RequestCells`] and [`ConsentCells`] know the table of
//! cells: who must, may and must not send which.

mod cell;
mod consent;
mod decode;
mod encode;
mod list;
mod request;

pub use cell::Cell;
pub use consent::{ConsentCells, SessionCells, StatusCells};
pub use decode::{Items, LbmError, Map, Problem, Value, read_version};
pub use encode::Encoder;
pub use list::AlgorithmList;
pub use request::{RequestCells, SIGNATURE_ED25519};

/// The most cells that a message has.
pub const MAX_CELLS: usize = 32;
/// The most integers that an array has.
pub const MAX_ITEMS: usize = 16;

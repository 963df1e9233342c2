//! Fuzz targets: what must hold for every input, as plain functions.
//!
//! Each module has a `check(data)` that reads any bytes as its input and panics when a property
//! does not hold. `scripts/fuzz` drives them with libFuzzer; `cargo test` in this folder replays the
//! committed corpora without it, so that what a fuzzer once found stays found.
//!
//! The oracles here ([`cbor`], [`rogue`], [`packets`]) share no code with what they judge beyond the
//! cryptographic primitives.

#![forbid(unsafe_code)]

pub mod cbor;
pub mod coalesce;
pub mod consent;
pub mod control;
pub mod frame;
pub mod input;
pub mod lbm;
pub mod packets;
pub mod peer_file;
pub mod replay;
pub mod request;
pub mod retry_error;
pub mod rogue;
pub mod vnet_segment;

/// What a target does with its input.
pub type Check = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Check)] = &[
    ("lbm", lbm::check),
    ("request", request::check),
    ("consent", consent::check),
    ("retry_error", retry_error::check),
    ("frame", frame::check),
    ("control", control::check),
    ("replay", replay::check),
    ("peer_file", peer_file::check),
    ("vnet_segment", vnet_segment::check),
    ("coalesce", coalesce::check),
];

/// Defines the entry of a fuzz target for libFuzzer.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| stadium_fuzz::$name::check(data));
    };
}

//! The control socket's protocol: what the program `stadium` says to a running daemon.
//!
//! A Unix stream socket carries one JSON object or string per line, a [`Request`] one way and
//! one [`Response`] for it the other way, in order, as often as the caller likes on one
//! connection. Nothing here depends on a runtime: the daemon's listener reads lines (at most
//! [`MAX_REQUEST`] bytes), hands them to [`decode_request`] and writes what
//! [`encode_response`] returns; the program uses the blocking [`Client`].
//!
//! [`Status`] is, field for field, the object that `stadium status --json` prints; its schema
//! is a contract with scripts and changes only together with [`SCHEMA`].

mod client;
mod event;
mod line;
mod message;
mod noise;
mod status;

pub use client::{Client, ClientError, Events};
pub use event::{EVENT_SCHEMA, Event, EventPeer, What};
pub use line::{MAX_REQUEST, MAX_RESPONSE, decode_request, encode_request, encode_response};
pub use message::{
    Effect, Kind, Pong, Refusal, ReloadChange, ReloadReport, Request, Response, Stopping,
};
pub use noise::{
    Inside, InterfaceNoise, NOISE_SCHEMA, NoiseDirection, NoiseProfiles, Outside, PeerNoise,
};
pub use status::{
    Drops, HandshakeKind, InterfaceStatus, LastError, NoiseStatus, Offload, PeerState, PeerStatus,
    Received, SCHEMA, Sent, SessionStatus, Status,
};

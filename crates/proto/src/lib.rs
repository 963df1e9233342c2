//! StadiumP, the protocol engine, without sockets or clocks.
//!
//! The wire format and its rules are in `PROTOCOL.md` beside this crate. Bottom up:
//!
//! | module | concept |
//! |---|---|
//! | [`time`] | moments as data |
//! | [`identity`] | a node's keys, and their checks |
//! | [`crypto`] | the one cryptographic backend |
//! | [`lbm`], [`wire`] | cells and datagrams as bytes |
//! | [`handshake`] | REQUEST and CONSENT as pure functions |
//! | [`guard`] | what stands between a stranger and the costly part |
//! | [`session`], [`replay`], [`frame`] | DATA: seal, open, what is inside |
//! | [`early`] | DATA that goes along with a REQUEST |
//! | [`noise`] | the noise byte and what it governs |
//! | [`peer`], [`index`], [`routes`], [`shared`] | what control publishes and workers read |
//! | [`timers`] | the protocol's times, deadlines |
//! | [`engine`] | the state machine over all of it |
//! | [`mod@drop`] | why something was dropped |
//!
//! A packet goes out: [`shared::Peers::route`] → [`peer::PeerCell::tx_session`] →
//! [`session::TxSession::reserve`] → [`session::TxSession::seal`]. A datagram comes in:
//! [`session::DataHeader::parse`] → [`shared::Shared::session`] → [`session::RxSession::open`] →
//! [`frame::Frame::parse`]. Everything else is a matter of the [`engine::Engine`].

#![warn(clippy::iter_over_hash_type)]

pub mod crypto;
pub mod drop;
pub mod early;
pub mod engine;
pub mod frame;
pub mod guard;
pub mod handshake;
pub mod identity;
pub mod index;
pub mod lbm;
pub mod noise;
pub mod peer;
pub mod replay;
pub mod routes;
pub mod session;
pub mod shared;
pub mod time;
pub mod timers;
pub mod wire;

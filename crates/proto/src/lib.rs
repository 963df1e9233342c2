//! StadiumP, the protocol engine, without sockets or clocks.

pub mod noise;
pub mod crypto;
pub mod identity;
pub mod time;
pub mod drop;
pub mod frame;
pub mod index;
pub mod peer;
pub mod replay;
pub mod routes;
pub mod session;
pub mod shared;
pub mod timers;
pub mod lbm;
pub mod wire;
pub mod handshake;

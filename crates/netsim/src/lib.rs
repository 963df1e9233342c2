//! Seeded test links: in virtual time for protocol engines, and as a UDP relay for programs.
//!
//! Networks lose, delay, reorder, duplicate and corrupt datagrams, put address translators in the
//! way and change addresses under a running session. This crate does all of that on purpose and
//! repeatably: every decision comes from a generator with a seed, so a failing run is run again by
//! naming its seed.
//!
//! - [`link`] is one direction of a path: [`Link`](link::Link) takes a datagram and the time, and
//!   says when which bytes come out.
//! - [`world`] connects nodes through links, address translators and a virtual clock:
//!   [`World`](world::World) runs a day with few events in milliseconds.
//! - [`relay`] puts the same links between real UDP sockets; `stadium-relay` is its program.
//! - [`settings`] reads impairments and schedules from text, as the program takes them.
//!
//! Time is a count of nanoseconds in a `u64`; the crate reads a clock only in [`relay`].
//!
//! ```
//! use stadium_netsim::link::{Impairments, Link};
//!
//! let mut link = Link::new(Impairments { loss: 0.5, ..Impairments::NONE }, 7);
//! let mut out = Vec::new();
//! for now in 0..1000 {
//!     link.transmit(now, vec![0x04; 100], &mut out);
//! }
//! assert!((400..600).contains(&out.len()));
//! ```

pub mod dice;
pub mod link;
pub mod relay;
pub mod settings;
pub mod world;

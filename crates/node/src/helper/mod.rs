//! The privileged helper: a small process that keeps `CAP_NET_ADMIN` and the hooks, so that the
//! daemon, which parses what strangers and files say, can live without any privilege.
//!
//! The daemon starts it once everything stands, tells it its [`Bounds`], and then gives up its
//! own privileges (see `confine`). From then on every [`Operation`](crate::system::Operation)
//! travels over a socket pair, one message each, and the answer travels back. Invariants: the
//! bounds are told once, by a daemon that is still trusted; what lies outside them is refused; the
//! helper ends when the daemon's end of the channel closes, and leaves everything as it is, as a
//! killed daemon without a helper would.
//!
//! | module | what it holds |
//! |---|---|
//! | `channel` | messages and file descriptors over a `SOCK_SEQPACKET` pair |
//! | `message` | what is asked and answered |
//! | `client` | the daemon's side |
//! | `bounds` | what a daemon may ask for |
//! | `serve` | the helper's side |

mod bounds;
mod channel;
mod client;
mod message;
mod serve;

pub(crate) use bounds::Bounds;
pub(crate) use client::Helper;
pub use serve::serve;

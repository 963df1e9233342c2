//! What workers tell control: one bounded queue, never waited for.
//!
//! Invariant: a worker only ever tries to send; what finds no room is dropped and counted, so
//! that a flood of handshakes costs the data path nothing.

use std::net::SocketAddr;

use stadium_proto::peer::{LocalAddress, PeerId};

/// How many notices wait for control.
pub(crate) const NOTICES: usize = 1024;

/// The most bytes of a control frame that are handed on: its map stands at the front.
pub(crate) const CONTROL_BYTES: usize = 256;

/// One thing that a worker saw and control must know.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A datagram that looks like a handshake one, at most 1,452 bytes.
    Handshake {
        /// Where it came from.
        remote: SocketAddr,
        /// The local address that it came to.
        local: Option<LocalAddress>,
        /// The datagram.
        datagram: Box<[u8]>,
    },
    /// DATA to a ticket that no REQUEST has taken yet: it may be early data that is ahead of the
    /// REQUEST that it follows, which is before it in this queue.
    Early {
        /// Where it came from.
        remote: SocketAddr,
        /// The local address that it came to.
        local: Option<LocalAddress>,
        /// Its type-of-service byte.
        tos: u8,
        /// The datagram.
        datagram: Box<[u8]>,
    },
    /// An authenticated frame that control must see (`stadium_proto::engine::OpenedNotice`).
    Opened {
        /// This node's index of the session.
        index: u32,
        /// Where it came from.
        remote: SocketAddr,
        /// The local address that it came to.
        local: Option<LocalAddress>,
        /// Whether its sequence was the highest of its lane.
        highest: bool,
        /// Whether it is the first frame of the session.
        first: bool,
        /// A control frame, at most [`CONTROL_BYTES`] of it; empty for all others.
        control: Box<[u8]>,
    },
    /// Packets wait for a session with this peer.
    Wanted(PeerId),
    /// The TUN device is gone; why, in words.
    DeviceGone(String),
    /// A worker ended in a panic; its thread's name.
    WorkerDied(String),
    /// Datagrams to a peer could not be sent; at most about one a second per worker.
    SendFailed {
        /// The peer.
        peer: PeerId,
        /// What the kernel said.
        failure: SendFailure,
    },
}

/// Why datagrams to a peer could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// There is no way to its network or host.
    Unreachable,
    /// Anything else.
    Other,
}

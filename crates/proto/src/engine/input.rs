//! What goes into the engine and what comes out of it.

use crate::{
    crypto::{Cipher, HashAlg},
    frame::CloseReason,
    identity::{PresharedKey, PublicKey},
    noise::{NoiseByte, NoisePolicy},
    peer::{Endpoint, LocalAddress, PeerId},
    time::{Instant, WallTime},
};
use core::net::SocketAddr;
use core::time::Duration;
use ipnet::IpNet;

/// The two clocks, read by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, and running on while the machine sleeps (`CLOCK_BOOTTIME`).
    pub instant: Instant,
    /// Wall time, for cell `0x08` alone.
    pub wall: WallTime,
}

/// One thing that happened outside the engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A deadline has come ([`Engine::next_timeout`](crate::engine::Engine::next_timeout)).
    Timeout,
    /// A handshake datagram arrived (REQUEST, CONSENT, RETRY or ERROR).
    Handshake {
        /// Where it came from.
        remote: SocketAddr,
        /// The local address that it came to.
        local: Option<LocalAddress>,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// A worker opened a frame that control must see: the first of a session
    /// ([`RxSession::confirm`](crate::session::RxSession::confirm)), a control frame, or one from
    /// a new address ([`PeerCell::notices_move`](crate::peer::PeerCell::notices_move)).
    Opened(OpenedNotice<'a>),
    /// Packets wait for a session
    /// ([`PeerCell::want_session`](crate::peer::PeerCell::want_session)).
    Wanted(PeerId),
    /// A session is wanted on request; where there is a fresh one nothing happens.
    Connect(PeerId),
    /// A ping is wanted; its answer comes as [`Event::Pong`] with the same token.
    Ping {
        /// The peer.
        peer: PeerId,
        /// Chosen by the caller.
        token: u64,
    },
    /// A ping is wanted that is filled up to `size` bytes inside, at most to the session's limit:
    /// its answer tells that the path carries as much. In a noisy session it is lost at once. Its
    /// silence is no sign of the peer's.
    Probe {
        /// The peer.
        peer: PeerId,
        /// Frame and filler, in bytes.
        size: u16,
        /// Chosen by the caller.
        token: u64,
    },
    /// The address of a peer was resolved or configured anew.
    Endpoint {
        /// The peer.
        peer: PeerId,
        /// Its address.
        remote: SocketAddr,
    },
    /// The next REQUEST goes to another of a peer's addresses; what goes on there is not hurried.
    /// The answer to a REQUEST decides where the peer is reached, whichever it went to.
    NextAddress {
        /// The peer.
        peer: PeerId,
        /// The address to try.
        remote: SocketAddr,
    },
    /// This node reaches a peer by another way now, such as from another local address: a
    /// handshake begins at once, and the session goes on until the new one is confirmed.
    PathChanged(PeerId),
    /// The address of a peer could not be found or reached.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What went wrong.
        error: PeerError,
    },
    /// This node no longer has the local address that a peer's endpoint names: answers leave from
    /// the one that the routing table chooses.
    SourceLost(PeerId),
    /// Handshake datagrams wait in the caller's queue; above the threshold the node counts as
    /// loaded for a second.
    QueueDepth(usize),
    /// The machine woke up or its network changed: all peers that have or want a session get a
    /// handshake at once.
    NetworkChanged,
    /// Close the sessions with one peer; a guest or host is forgotten, a configured peer stays.
    Close {
        /// The peer.
        peer: PeerId,
        /// What it is told.
        reason: CloseReason,
    },
    /// Close all sessions: close frames go out, keys are wiped.
    Shutdown,
}

/// A frame that a worker opened and control must see.
#[derive(Clone, Copy, Debug)]
pub struct OpenedNotice<'a> {
    /// This node's index of the session.
    pub index: u32,
    /// Where the datagram came from.
    pub remote: SocketAddr,
    /// The local address that it came to.
    pub local: Option<LocalAddress>,
    /// Whether its sequence was the highest of its lane.
    pub highest: bool,
    /// Whether it is the first frame of the session.
    pub first: bool,
    /// The plaintext of a control frame with its filler; empty for all others.
    pub control: &'a [u8],
}

/// Takes what the engine puts out, at once: nothing is left to drain.
pub trait Output {
    /// Sends a datagram.
    fn send(&mut self, to: &Endpoint, datagram: &[u8], kind: DatagramClass);
    /// Hears of an event.
    fn event(&mut self, event: Event);
    /// Hears that a control frame lies in a peer's cell ([`PeerCell::frames`]), for the worker
    /// that sends the peer's data; only where a worker has taken that over.
    ///
    /// [`PeerCell::frames`]: crate::peer::PeerCell::frames
    fn frame_waits(&mut self, _peer: PeerId) {}
}

/// How a datagram is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramClass {
    /// A handshake datagram: sent without DF, as IP may fragment it.
    Handshake,
    /// A DATA datagram: sent with DF.
    Data,
}

/// Something that the rest of the node, its log or its user wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A REQUEST went out; `attempt` counts from 1 within a handshake.
    HandshakeStarted {
        /// The peer.
        peer: PeerId,
        /// The number of the REQUEST.
        attempt: u32,
    },
    /// A session is confirmed and sends from now on: waiting packets can go.
    SessionUp {
        /// The peer.
        peer: PeerId,
        /// The session id.
        id: u64,
        /// Whether this node asked for it.
        initiator: bool,
    },
    /// A session sends from now on, though it is not yet confirmed: waiting packets can go.
    CanSend {
        /// The peer.
        peer: PeerId,
    },
    /// A REQUEST went out with a ticket: up to 16 frames may follow it at once
    /// ([`Engine::early_tx`](crate::engine::Engine::early_tx)). The caller keeps a copy of each:
    /// the same frames follow every REQUEST of this kind, until [`Event::EarlyData`] tells what
    /// became of them.
    CanSendEarly {
        /// The peer.
        peer: PeerId,
    },
    /// The peer has answered a REQUEST after which early data went out.
    EarlyData {
        /// The peer.
        peer: PeerId,
        /// Whether it took the ticket. If not, the frames are to be sent again in the session.
        accepted: bool,
    },
    /// This node took a ticket: early data of the peer may come in, before its session is
    /// confirmed.
    EarlyAccepted {
        /// The peer.
        peer: PeerId,
        /// The id of the session that was granted with it.
        id: u64,
    },
    /// The peer issued a ticket for early data; it is used with the next handshake, or can be
    /// taken out ([`Engine::take_ticket`](crate::engine::Engine::take_ticket)).
    TicketIssued {
        /// The peer.
        peer: PeerId,
    },
    /// All sessions of the peer have expired or were replaced by nothing.
    SessionsEnded {
        /// The peer.
        peer: PeerId,
    },
    /// A host has proved its key, which was not known before: it is to be compared or pinned
    /// before anything is trusted to the session.
    HostKey {
        /// The host.
        peer: PeerId,
        /// The key that it proved.
        key: PublicKey,
    },
    /// The peer is reached at another address from now on.
    EndpointMoved {
        /// The peer.
        peer: PeerId,
        /// The new address.
        endpoint: Endpoint,
    },
    /// The peer closed its sessions.
    PeerClosed {
        /// The peer.
        peer: PeerId,
        /// What it gave as a reason.
        reason: CloseReason,
    },
    /// An attempt failed; the retry schedule goes on.
    AttemptFailed {
        /// The peer.
        peer: PeerId,
        /// What went wrong.
        error: PeerError,
    },
    /// A handshake was given up; waiting packets are dropped, the next traffic starts anew.
    GaveUp {
        /// The peer.
        peer: PeerId,
    },
    /// The peer stays silent: its name should be resolved again.
    Silent {
        /// The peer.
        peer: PeerId,
    },
    /// A ping that was asked for is answered.
    Pong {
        /// The peer.
        peer: PeerId,
        /// The caller's token.
        token: u64,
        /// The round-trip time.
        rtt: Duration,
    },
    /// A ping that was asked for could not be sent or was not answered in time.
    PingLost {
        /// The peer.
        peer: PeerId,
        /// The caller's token.
        token: u64,
    },
}

/// Why a peer cannot be reached: `last_error` of the status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerError {
    /// The peer does not speak this version.
    UnsupportedVersion,
    /// The peer cannot decrypt the REQUEST: it has another key than the peer file says.
    CannotDecrypt,
    /// No common hash algorithm.
    NoCommonHash,
    /// No common symmetric algorithm.
    NoCommonCipher,
    /// The peer does not have this node's key.
    UnknownPeer,
    /// The noise asked for is refused.
    NoiseRefused,
    /// The peer is busy.
    Busy,
    /// The peer takes post-quantum handshakes only.
    PostQuantumRequired,
    /// The answer does not open: preshared keys differ, or somebody else answers.
    KeyMismatch,
    /// Nothing answers.
    NoAnswer,
    /// The endpoint's name does not resolve.
    NameDoesNotResolve,
    /// There is no way to the endpoint's network.
    NetworkUnreachable,
}

impl PeerError {
    /// Returns the words of the status output (`interface.md`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnsupportedVersion => "unsupported version",
            Self::CannotDecrypt => "cannot decrypt",
            Self::NoCommonHash => "no common hash",
            Self::NoCommonCipher => "no common cipher",
            Self::UnknownPeer => "unknown peer",
            Self::NoiseRefused => "noise refused",
            Self::Busy => "busy",
            Self::PostQuantumRequired => "post-quantum required",
            Self::KeyMismatch => "preshared key or identity mismatch",
            Self::NoAnswer => "no answer",
            Self::NameDoesNotResolve => "name does not resolve",
            Self::NetworkUnreachable => "network unreachable",
        }
    }
}

impl core::fmt::Display for PeerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// Which kind of handshake this node sends to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HandshakeKind {
    /// Sealed to the peer's key; the default.
    #[default]
    Encrypted,
    /// Open: parameters are readable, both sides sign.
    Open,
}

/// What is configured about a peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its public key.
    pub public_key: PublicKey,
    /// The preshared key; [`PresharedKey::NONE`] for none.
    pub preshared_key: PresharedKey,
    /// Where it is reached, as far as it is known by number.
    pub endpoint: Option<SocketAddr>,
    /// The inner addresses that belong to it.
    pub allowed_ips: Vec<IpNet>,
    /// How often it is pinged.
    pub heartbeat: Option<Duration>,
    /// The kind of handshake sent to it.
    pub handshake: HandshakeKind,
    /// The noise asked for.
    pub noise: NoiseByte,
    /// The noise granted to it, and the weakest that is run with it.
    pub noise_policy: NoisePolicy,
}

/// Whether handshakes carry ML-KEM-768 (`pq`, `protocol.md` §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PostQuantum {
    /// Sends hybrid and falls back to classic when nothing answers.
    #[default]
    Prefer,
    /// Sends and takes hybrid only.
    Require,
    /// Sends classic only, and answers hybrid with classic.
    Off,
}

/// The state of a peer (`interface.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A confirmed session that may be used.
    Up,
    /// A handshake is under way.
    Handshaking,
    /// No session, and none wanted.
    Idle,
    /// The peer closed; until the next traffic.
    Closed,
    /// The handshake was given up; until the next traffic.
    Down,
}

impl PeerState {
    /// Returns the word of the status output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Handshaking => "handshaking",
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Down => "down",
        }
    }
}

/// What is known about a peer's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session id of cell `0x0d`.
    pub id: u64,
    /// How old the session is.
    pub age: Duration,
    /// The AEAD.
    pub cipher: Cipher,
    /// The hash of the data keys.
    pub hash: HashAlg,
    /// Whether ML-KEM-768 took part.
    pub post_quantum: bool,
    /// The kind of handshake.
    pub handshake: HandshakeKind,
    /// This node's sending lanes.
    pub lanes: u8,
    /// The noise that was agreed.
    pub noise: NoiseByte,
    /// Largest frame and filler, in bytes.
    pub payload_limit: usize,
}

/// What is known about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its state.
    pub state: PeerState,
    /// What went wrong last, until the next session.
    pub last_error: Option<PeerError>,
    /// The confirmed session that sends.
    pub session: Option<SessionStatus>,
    /// Sessions confirmed so far.
    pub handshakes: u64,
    /// When the last session was confirmed.
    pub last_handshake: Option<WallTime>,
    /// When the last authenticated frame other than noise arrived.
    pub last_received: Option<Instant>,
    /// The last round-trip time.
    pub rtt: Option<Duration>,
    /// The noise asked for or agreed.
    pub noise: NoiseByte,
}

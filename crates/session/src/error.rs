//! What can go wrong, told so that a caller can act and a user can understand.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stadium_proto::engine::PeerError;
use stadium_proto::frame::CloseReason;
use stadium_udp::BindError;

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// This side closed it.
    Locally,
    /// The other side closed it.
    ByPeer(CloseReason),
    /// Nothing came for the idle timeout.
    Idle,
    /// The other side no longer answers.
    TimedOut,
    /// Its keys are past their time: nothing was sent for 180 s, or one side is anonymous, whose
    /// sessions cannot be renewed.
    Expired,
    /// Its server or client was shut down or dropped.
    Shutdown,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locally => f.write_str("the session was closed on this side"),
            Self::ByPeer(CloseReason::SHUTDOWN) => f.write_str("the other side shut down"),
            Self::ByPeer(CloseReason::FINISHED) => f.write_str("the other side closed the session"),
            Self::ByPeer(CloseReason::IDLE) => {
                f.write_str("the other side closed the session because it was idle")
            }
            Self::ByPeer(CloseReason(code)) => {
                write!(f, "the other side closed the session (reason {code})")
            }
            Self::Idle => f.write_str("nothing was received for the idle timeout"),
            Self::TimedOut => f.write_str("the other side no longer answers"),
            Self::Expired => {
                f.write_str("the keys of the session are past their time; connect again")
            }
            Self::Shutdown => f.write_str("this side was shut down"),
        }
    }
}

impl std::error::Error for Closed {}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session has ended.
    Closed(Closed),
    /// The message is longer than one datagram takes
    /// ([`Session::max_message_len`](crate::Session::max_message_len)).
    TooLong {
        /// The length of the message, in bytes.
        len: usize,
        /// The longest that can be sent, in bytes.
        max: usize,
    },
    /// The stream's queue is full; only from functions that do not wait.
    Full,
    /// There is no session with this address.
    NoSession(SocketAddr),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::TooLong { len, max } => write!(
                f,
                "a message of {len} bytes does not fit into a datagram, which takes {max}; cut \
                 it into parts"
            ),
            Self::Full => f.write_str("the queue of the stream is full; wait, or send less"),
            Self::NoSession(addr) => write!(f, "there is no session with {addr}"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Closed(closed) => Some(closed),
            _ => None,
        }
    }
}

impl From<Closed> for SendError {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

/// Why a stream was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The session has ended.
    Closed(Closed),
    /// Number 0 belongs to the plain messages of a session.
    Reserved,
    /// There is a [`Stream`](crate::Stream) with this number already.
    InUse(u32),
    /// The session has as many streams as its limits allow.
    TooMany(usize),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::Reserved => {
                f.write_str("stream 0 carries the session's own messages; use another number")
            }
            Self::InUse(id) => write!(f, "stream {id} is open already; share it, or drop it first"),
            Self::TooMany(max) => write!(
                f,
                "the session has {max} streams, as many as its limits allow; drop some, or raise \
                 Limits::streams"
            ),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<Closed> for StreamError {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

/// Why a client has no session.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server's name does not resolve.
    Resolve(io::Error),
    /// No socket could be opened.
    Bind(BindError),
    /// The socket could not be watched.
    Io(io::Error),
    /// The server's key is this client's own.
    OwnKey,
    /// The server refused, or its answers do not fit.
    Refused(PeerError),
    /// The server proved another key than the file of known hosts has.
    HostKeyChanged {
        /// The name in the file.
        host: String,
        /// The file.
        file: PathBuf,
    },
    /// The file of known hosts could not be read or written.
    KnownHosts {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Nothing answered.
    TimedOut {
        /// The server's address.
        addr: SocketAddr,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server has the protocol, but carries no streams: it may be a tunnel.
    NoStreams,
    /// The session ended before it could be used.
    Closed(Closed),
    /// A message that was to be sent along did not go.
    Send(SendError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "the server's address does not resolve: {error}"),
            Self::Bind(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the socket cannot be used: {error}"),
            Self::OwnKey => {
                f.write_str("the server's public key is this client's own; put the server's there")
            }
            Self::Refused(PeerError::UnknownPeer) => f.write_str(
                "the server does not know this client's key; add the key to the server's clients",
            ),
            Self::Refused(PeerError::CannotDecrypt) => f.write_str(
                "the server cannot decrypt the request: it has another key than was given; ask \
                 for its present public key",
            ),
            Self::Refused(PeerError::KeyMismatch) => f.write_str(
                "the server's answer does not open: preshared keys differ, or somebody else \
                 answers in its place",
            ),
            Self::Refused(PeerError::Busy) => {
                f.write_str("the server takes no further session now; try again later")
            }
            Self::Refused(error) => write!(f, "the server refuses: {error}"),
            Self::HostKeyChanged { host, file } => write!(
                f,
                "the key of {host} is not the one in {}: it was replaced, or somebody else \
                 answers in its place; if it was replaced, remove its line from the file",
                file.display()
            ),
            Self::KnownHosts { file, source } => {
                write!(f, "known hosts in {}: {source}", file.display())
            }
            Self::TimedOut { addr, after } => write!(
                f,
                "nothing answered at {addr} within {} s; check address, port and firewall, and \
                 that the public key is the server's: a request for another key stays unanswered",
                after.as_secs_f32()
            ),
            Self::NoStreams => f.write_str(
                "the server carries no messages: it seems to be a tunnel, not a server of this \
                 library",
            ),
            Self::Closed(closed) => write!(f, "the session ended at once: {closed}"),
            Self::Send(error) => write!(f, "a first message was not sent: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Io(error) => Some(error),
            Self::Bind(error) => Some(error),
            Self::KnownHosts { source, .. } => Some(source),
            Self::Closed(closed) => Some(closed),
            Self::Send(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a server does not listen.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The address does not resolve.
    Resolve(io::Error),
    /// The socket could not be bound.
    Bind(BindError),
    /// The socket could not be watched.
    Io(io::Error),
    /// One of the clients' keys is the server's own.
    OwnKey,
    /// A client's key is there twice.
    DuplicateClient,
    /// A stealthy server answers nobody that it does not know, so it takes no open handshake.
    StealthAndOpen,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "the address does not resolve: {error}"),
            Self::Bind(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the socket cannot be used: {error}"),
            Self::OwnKey => f.write_str("a client has the server's own key; remove it"),
            Self::DuplicateClient => f.write_str("a client's key is there twice; remove one"),
            Self::StealthAndOpen => {
                f.write_str("stealth and open handshakes exclude each other: choose one of the two")
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Io(error) => Some(error),
            Self::Bind(error) => Some(error),
            _ => None,
        }
    }
}

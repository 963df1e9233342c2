//! Requests and responses of the control socket.
//!
//! Invariants: a request changes nothing but what its name says; every request has exactly one
//! response; a refusal names what was wrong and what to do, and carries no secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::noise::NoiseProfiles;
use super::status::Status;

/// Asks the daemon for one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Asks for the interface's [`Status`].
    Status,
    /// Asks for the live profile of its noise.
    Noise,
    /// Loads the peer file again and applies what changed.
    Reload {
        /// Reports what would change, and changes nothing.
        #[serde(default)]
        dry_run: bool,
    },
    /// Takes the interface down and ends the daemon.
    Down,
    /// Starts a handshake with every peer that has an endpoint and no session, or with one.
    Connect {
        /// A peer's name or public key; absent: all peers.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Sends one authenticated heartbeat and waits for its answer.
    Ping {
        /// The peer's name or public key.
        peer: String,
        /// A number that comes back in the [`Pong`].
        id: u64,
        /// How long to wait for the answer, milliseconds.
        timeout_ms: u64,
    },
    /// Turns the connection into a stream of [`Event`]s, which ends with either side.
    Events,
    /// Asks for the events of the recent past, oldest first.
    History,
    /// Keeps an interface that `up --confirm` would take down again.
    Confirm,
}

/// Answers a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Answers [`Request::Status`].
    Status(Status),
    /// Answers [`Request::Noise`].
    Noise(NoiseProfiles),
    /// Answers [`Request::Reload`].
    Reload(ReloadReport),
    /// Answers [`Request::Down`] at once; the daemon's end follows.
    Stopping(Stopping),
    /// Answers [`Request::Connect`]: handshakes are on their way.
    Connecting {
        /// How many handshakes were started or were already under way.
        started: u32,
    },
    /// Answers [`Request::Ping`], also when no answer came in time.
    Pong(Pong),
    /// One of many answers to [`Request::Events`].
    Event(Box<Event>),
    /// Answers [`Request::History`].
    History(Vec<Event>),
    /// Answers [`Request::Confirm`].
    Confirmed {
        /// Whether the interface waited for it.
        waited: bool,
    },
    /// Answers any request that was not carried out.
    Error(Refusal),
}

/// Says who takes what down, so that the caller can wait for the end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// The interface that goes away.
    pub name: String,
    /// The daemon's process id in its own namespace.
    pub pid: u32,
}

/// Reports one heartbeat's round trip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// The number of the request.
    pub id: u64,
    /// The round-trip time, milliseconds; `null`: no answer in time.
    pub rtt_ms: Option<f64>,
    /// Why there was no answer, where the daemon knows (such as no session, no endpoint).
    #[serde(default)]
    pub reason: Option<String>,
}

/// Reports what a reload changed, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether the changes were applied; `false` for a dry run.
    pub applied: bool,
    /// What differs, in the peer file's order; empty: nothing.
    pub changes: Vec<ReloadChange>,
    /// Lines of the form `FILE:LINE:COL: warning: …`.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Names one changed setting and what it takes to apply it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadChange {
    /// Where and what, such as `peer bob: allowed_ips: + 10.8.0.0/24`; secrets are hidden.
    pub what: String,
    /// What it takes.
    pub effect: Effect,
}

/// Says what it takes to apply a changed setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Takes effect at once; sessions stay.
    Live,
    /// Takes effect with a new handshake with the peer concerned.
    Rehandshake,
    /// Takes effect after `down` and `up` only.
    Restart,
}

impl Effect {
    /// Returns the name that `reload` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rehandshake => "re-handshake",
            Self::Restart => "restart",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Says why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of failure it is; decides the exit code.
    pub kind: Kind,
    /// What was wrong, where, and what to do; may have several lines.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal of `kind` with a message for people.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Sorts refusals by who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request is not one that this daemon knows.
    BadRequest,
    /// The peer file is not valid; `message` has a line for each error.
    InvalidFile,
    /// No peer has that name or key.
    UnknownPeer,
    /// The daemon is on its way down.
    Stopping,
    /// It was tried and failed.
    Failed,
}

impl Kind {
    /// Returns the program's exit code for this kind: 1 failed, 2 usage or file, 3 not running.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::BadRequest | Self::InvalidFile | Self::UnknownPeer => 2,
            Self::Stopping => 3,
        }
    }
}

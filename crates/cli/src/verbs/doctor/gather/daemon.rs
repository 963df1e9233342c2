//! Talks to the daemon: status before and after, handshakes with peers that have none.

use std::path::Path;
use std::time::{Duration, Instant};

use stadium_node::api::{Client, ClientError, InterfaceStatus, LastError, PeerState, Status};

use super::super::facts::{Daemon, PeerFacts, Running};

/// With how many peers handshakes are tried.
const TRIED: usize = 64;

/// How often the status is looked at while handshakes are under way.
const PAUSE: Duration = Duration::from_millis(100);

/// A conversation with the daemon, or why there is none.
pub(super) enum Talk {
    None(Daemon),
    Open { client: Client, before: Box<InterfaceStatus> },
}

impl Talk {
    /// Connects and takes the first look.
    pub(super) fn open(socket: Option<&Path>) -> Self {
        let Some(socket) = socket else { return Self::None(Daemon::Absent) };
        let mut client = match Client::connect(socket) {
            Ok(client) => client,
            Err(error) => return Self::None(absent(&error)),
        };
        match client.status() {
            Ok(status) => match only(status) {
                Some(before) => Self::Open { client, before: Box::new(before) },
                None => Self::None(Daemon::Mute("it names no interface".to_owned())),
            },
            Err(error) => Self::None(absent(&error)),
        }
    }

    /// The first look at the interface, where a daemon runs.
    pub(super) fn before(&self) -> Option<&InterfaceStatus> {
        match self {
            Self::None(_) => None,
            Self::Open { before, .. } => Some(before),
        }
    }

    /// Looks again.
    pub(super) fn look(&mut self) -> Option<InterfaceStatus> {
        match self {
            Self::None(_) => None,
            Self::Open { client, .. } => client.status().ok().and_then(only),
        }
    }

    /// Starts handshakes with peers that have none, and waits for what comes of them.
    pub(super) fn connect(&mut self, peers: &mut [PeerFacts], wait: Duration) {
        let Self::Open { client, before } = self else { return };
        let reachable = |peer: &PeerFacts| {
            let status = before.peers.iter().find(|s| s.public_key == peer.public_key)?;
            let known = peer.endpoint.is_some() || status.endpoint.is_some();
            (status.state != PeerState::Up && known).then_some(status.last_error)
        };
        let mut waiting: Vec<(String, Option<LastError>)> = Vec::new();
        for peer in peers.iter_mut() {
            let Some(error) = reachable(peer) else { continue };
            if waiting.len() == TRIED {
                break;
            }
            // a peer that was removed meanwhile is no longer of interest
            if client.connect_peers(Some(&peer.public_key)).is_ok() {
                peer.tried = true;
                waiting.push((peer.public_key.clone(), error));
            }
        }
        let deadline = Instant::now() + wait;
        while !waiting.is_empty() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            let Ok(Some(status)) = client.status().map(only) else { return };
            waiting.retain(|(key, old)| {
                let peer = status.peers.iter().find(|peer| peer.public_key == *key);
                peer.is_some_and(|peer| {
                    let told = peer.last_error.is_some_and(|error| error != LastError::NoAnswer);
                    peer.state != PeerState::Up && !(told && peer.last_error != *old)
                })
            });
        }
    }

    /// Takes the last look.
    pub(super) fn close(self) -> Daemon {
        let (mut client, before) = match self {
            Self::None(daemon) => return daemon,
            Self::Open { client, before } => (client, before),
        };
        // a daemon of another release may not know the question
        let history = client.history().unwrap_or_default();
        match client.status() {
            Ok(status) => match only(status) {
                Some(after) => {
                    Daemon::Running(Box::new(Running { before: *before, after, history }))
                }
                None => Daemon::Mute("it names no interface".to_owned()),
            },
            Err(error) => absent(&error),
        }
    }
}

/// A daemon answers with exactly one interface.
fn only(status: Status) -> Option<InterfaceStatus> {
    status.interfaces.into_iter().next()
}

fn absent(error: &ClientError) -> Daemon {
    match error {
        ClientError::NotRunning { .. } | ClientError::Closed { .. } => Daemon::Absent,
        ClientError::NoPermission { .. } => Daemon::Forbidden(error.to_string()),
        other => Daemon::Mute(other.to_string()),
    }
}

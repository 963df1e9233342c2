//! Endpoint names: looked up beside the loop, again while a peer stays silent.

use std::net::SocketAddr;
use std::time::Duration;

use stadium_config::Endpoint;
use stadium_proto::engine::{Input, PeerError};
use stadium_proto::identity::PublicKey;
use stadium_proto::peer::PeerId;
use tokio::sync::mpsc;

use super::Control;
use crate::resolve::{ResolveError, resolve};
use crate::settings::canonical;

/// What lookups bring; the channel holds one for each peer at most, so it is small.
#[derive(Debug)]
pub(super) struct Lookups {
    found: mpsc::UnboundedReceiver<Found>,
    sender: mpsc::UnboundedSender<Found>,
}

/// The end of a lookup, or of the pause after a failed one.
#[derive(Debug)]
pub(super) struct Found {
    key: PublicKey,
    endpoint: Endpoint,
    /// `None`: the pause is over.
    result: Option<Result<Vec<SocketAddr>, ResolveError>>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        let (sender, found) = mpsc::unbounded_channel();
        Self { found, sender }
    }

    /// Waits for the next result.
    pub(super) async fn next(&mut self) -> Found {
        match self.found.recv().await {
            Some(found) => found,
            // a sender is kept here
            None => std::future::pending().await,
        }
    }

    fn start(&self, key: PublicKey, host: String, port: u16) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let result = Some(resolve(&host, port).await);
            // the loop may have ended
            let _ = sender.send(Found { key, endpoint: Endpoint::Name { host, port }, result });
        });
    }

    fn repeat(&self, key: PublicKey, endpoint: Endpoint, pause: Duration) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = sender.send(Found { key, endpoint, result: None });
        });
    }
}

impl Control {
    /// Looks a peer's name up, if it has one and it is time for that.
    pub(super) fn look_up(&mut self, peer: PeerId) -> bool {
        let now = self.clock.instant();
        let Some(entry) = self.book.get_mut(peer) else { return false };
        let Some((host, port)) = entry.begin_lookup(now) else { return false };
        self.lookups.start(entry.key, host, port);
        true
    }

    /// Looks up the names of all peers that have no address yet.
    pub(super) fn look_up_unknown(&mut self) {
        let unknown: Vec<PeerId> =
            self.book.iter().filter(|(_, e)| e.addresses.is_empty()).map(|(id, _)| id).collect();
        for peer in unknown {
            self.look_up(peer);
        }
    }

    /// Takes what a lookup brought.
    pub(super) fn handle_lookup(&mut self, found: Found) {
        let Found { key, endpoint, result } = found;
        let Some(peer) = self.engine.peer_by_key(&key) else { return };
        let now = self.clock.instant();
        let Some(entry) = self.book.get_mut(peer) else { return };
        if entry.endpoint.as_ref() != Some(&endpoint) {
            // the peer file has changed meanwhile
            return;
        }
        match result {
            None => {
                if self.book.get(peer).is_some_and(|entry| entry.addresses.is_empty()) {
                    self.look_up(peer);
                }
            }
            Some(Ok(addresses)) => {
                let addresses = addresses.into_iter().map(canonical).collect();
                entry.end_lookup(Some(addresses), now);
                let cell = self.engine.cell(peer);
                let current = cell.and_then(|cell| cell.endpoint()).map(|e| e.remote);
                let Some(entry) = self.book.get(peer) else { return };
                // each REQUEST goes to the next of them anyhow
                let stay = current.is_some_and(|c| entry.addresses.contains(&c));
                if let Some(remote) = entry.after(current).filter(|_| !stay) {
                    tracing::debug!(peer = entry.label, %remote, "an address of its name is tried");
                    self.handle(Input::Endpoint { peer, remote });
                }
            }
            Some(Err(error)) => {
                let has_none = entry.addresses.is_empty();
                if let Some(pause) = entry.end_lookup(None, now) {
                    tracing::debug!(peer = entry.label, %error, "the lookup is repeated");
                    self.lookups.repeat(key, endpoint, pause);
                }
                if has_none {
                    self.log_error(peer, PeerError::NameDoesNotResolve);
                    let error = PeerError::NameDoesNotResolve;
                    self.handle(Input::Unreachable { peer, error });
                }
            }
        }
    }
}

//! The answers to callers of the control socket.

use std::net::{IpAddr, SocketAddr};

use stadium_config::{Endpoint, PeerFile};
use stadium_proto::engine::Input;
use stadium_proto::peer::PeerId;

use super::Control;
use super::pings::Caller;
use super::server::Command;
use crate::api::{Kind, Refusal, Request, Response, Stopping};
use crate::settings;

/// How many peers an error names.
const NAMED: usize = 10;

impl Control {
    /// Answers a request; returns whether it asks for the node's end.
    pub(super) async fn handle_command(&mut self, command: Command, stopping: bool) -> bool {
        let Command { request, reply } = command;
        let name = self.file.interface.name.to_string();
        let mut stop = false;
        let response = match request {
            Request::Status => Response::Status(self.status()),
            Request::Noise => Response::Noise(self.noise_profiles()),
            Request::Down => {
                if !stopping {
                    tracing::info!("{name} goes down: asked on the control socket");
                }
                stop = true;
                Response::Stopping(Stopping { name, pid: std::process::id() })
            }
            _ if stopping => {
                Response::Error(Refusal::new(Kind::Stopping, format!("{name} is going down")))
            }
            Request::Confirm => {
                let waited = self.confirm_by.take().is_some();
                if waited {
                    tracing::info!("{name} is confirmed: it stays up");
                }
                Response::Confirmed { waited }
            }
            Request::Events => Response::Error(Refusal::new(
                Kind::BadRequest,
                "events are for connections of the control socket",
            )),
            Request::History => Response::History(self.feed.history()),
            Request::Reload { dry_run } => match self.reload(dry_run).await {
                Ok(report) => Response::Reload(report),
                Err(refusal) => Response::Error(refusal),
            },
            Request::Connect { peer } => match peer.map(|peer| self.find(&peer)).transpose() {
                Ok(peer) => Response::Connecting { started: self.connect(peer) },
                Err(refusal) => Response::Error(refusal),
            },
            Request::Ping { peer, id, timeout_ms: _ } => match self.find(&peer) {
                Ok(peer) => {
                    // the connection waits, and no longer than asked for
                    self.ping(peer, Caller { id, reply });
                    return false;
                }
                Err(refusal) => Response::Error(refusal),
            },
        };
        // the caller may have gone
        let _ = reply.send(response);
        stop
    }

    /// Starts handshakes with one peer or with all; returns how many are under way.
    fn connect(&mut self, peer: Option<PeerId>) -> u32 {
        let peers: Vec<PeerId> = match peer {
            Some(peer) => vec![peer],
            None => self.book.iter().map(|(id, _)| id).collect(),
        };
        let mut started = 0;
        for peer in peers {
            let is_up = |control: &Self| {
                let status = control.engine.peer_status(peer, control.clock.instant());
                status.is_some_and(|status| status.session.is_some())
            };
            let has_endpoint = self.engine.cell(peer).is_some_and(|cell| cell.endpoint().is_some())
                || self.book.get(peer).is_some_and(|entry| entry.endpoint.is_some());
            if has_endpoint && !is_up(self) {
                self.handle(Input::Connect(peer));
                started += 1;
            }
        }
        started
    }

    /// Finds a peer by its name or public key.
    fn find(&self, wanted: &str) -> Result<PeerId, Refusal> {
        let named = self.book.iter().find(|(_, entry)| entry.label == wanted);
        let found =
            named.or_else(|| self.book.iter().find(|(_, entry)| entry.key.to_base64() == wanted));
        if let Some((id, _)) = found {
            return Ok(id);
        }
        let name = &self.file.interface.name;
        let labels: Vec<String> = self.file.peers.iter().map(|peer| peer.label()).collect();
        let known = match labels.len() {
            0 => "it has none".to_owned(),
            1..=NAMED => format!("its peers are {}", labels.join(", ")),
            more => format!("it has {more} others, see `stadium status {name}`"),
        };
        Err(Refusal::new(Kind::UnknownPeer, format!("{name} has no peer `{wanted}`; {known}")))
    }

    /// Forgets a peer that is removed.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.book.remove(peer);
        self.paths.forget(peer);
    }

    /// Takes what the file in force says of peers, and looks up the names that are new.
    pub(crate) fn note_peers(&mut self) {
        for peer in &self.file.peers {
            if let Some(id) = self.engine.peer_by_key(&peer.public_key) {
                self.book.set(id, peer);
            }
        }
        self.look_up_unknown();
    }

    /// Lists the addresses of the endpoints of `file`, as far as they are known.
    pub(crate) fn known_endpoints(&self, file: &PeerFile) -> Vec<IpAddr> {
        let mut known = Vec::new();
        for peer in &file.peers {
            match &peer.endpoint {
                None => {}
                Some(Endpoint::Address(address)) => known.push(settings::canonical(*address).ip()),
                Some(endpoint @ Endpoint::Name { .. }) => {
                    let id = self.engine.peer_by_key(&peer.public_key);
                    let entry = id.and_then(|id| self.book.get(id));
                    let same = entry.filter(|entry| entry.endpoint.as_ref() == Some(endpoint));
                    known.extend(same.iter().flat_map(|e| &e.addresses).map(SocketAddr::ip));
                }
            }
        }
        known
    }
}

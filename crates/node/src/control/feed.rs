//! The event stream: what happens to peers, told to whoever subscribed on the control socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use stadium_proto::engine::Event;
use stadium_proto::frame::CloseReason;
use stadium_proto::peer::PeerId;
use tokio::sync::broadcast;

use super::Control;
use crate::api;
use crate::stats::last_error;

/// How many events a subscriber may lag behind before it misses some.
const BACKLOG: usize = 512;

/// How many events of the past are kept for whoever asks later.
const HISTORY: usize = 256;

/// Where events go; a clone of it is where subscribers come from.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    interface: String,
    sender: broadcast::Sender<api::Event>,
    history: Arc<Mutex<VecDeque<api::Event>>>,
}

impl Feed {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            sender: broadcast::channel(BACKLOG).0,
            history: Arc::default(),
        }
    }

    /// Listens from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<api::Event> {
        self.sender.subscribe()
    }

    /// Makes an event that nobody has been told of.
    pub(super) fn event(&self, peer: Option<api::EventPeer>, what: api::What) -> api::Event {
        api::Event {
            schema: api::EVENT_SCHEMA,
            time: Timestamp::now(),
            interface: self.interface.clone(),
            peer,
            what,
        }
    }

    /// Tells all subscribers, and keeps it for those who ask later.
    pub(super) fn tell(&self, peer: Option<api::EventPeer>, what: api::What) {
        let event = self.event(peer, what);
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        drop(history);
        if self.sender.receiver_count() > 0 {
            // the last of them may have gone meanwhile
            let _ = self.sender.send(event);
        }
    }

    /// Returns the last events, oldest first.
    pub(super) fn history(&self) -> Vec<api::Event> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Control {
    /// Tells subscribers of an event of the engine, where it is one for them.
    pub(super) fn publish(&self, event: &Event) {
        use api::What;
        let (peer, what) = match event {
            Event::HandshakeStarted { peer, attempt } => {
                (peer, What::HandshakeStarted { attempt: *attempt })
            }
            Event::SessionUp { peer, id, initiator } => {
                (peer, What::SessionUp { session: *id, initiator: *initiator })
            }
            Event::SessionsEnded { peer } => (peer, What::SessionEnded),
            Event::EndpointMoved { peer, endpoint } => {
                (peer, What::EndpointMoved { endpoint: endpoint.remote })
            }
            Event::PeerClosed { peer, reason } => {
                let reason = match *reason {
                    CloseReason::SHUTDOWN => "shutdown",
                    CloseReason::REMOVED => "removed",
                    CloseReason::IDLE => "idle",
                    _ => "other",
                };
                (peer, What::PeerClosed { reason: reason.to_owned() })
            }
            Event::AttemptFailed { peer, error } => {
                (peer, What::HandshakeFailed { error: last_error(*error) })
            }
            Event::GaveUp { peer } => (peer, What::GaveUp),
            _ => return,
        };
        self.feed.tell(self.event_peer(*peer), what);
    }

    /// Tells subscribers that the peer file was applied.
    pub(crate) fn publish_reload(&self, changes: usize) {
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        self.feed.tell(None, api::What::Reloaded { changes });
    }

    fn event_peer(&self, peer: PeerId) -> Option<api::EventPeer> {
        let key = self.book.get(peer)?.key;
        let name = self.file.peer(&key).and_then(|peer| peer.name.clone());
        Some(api::EventPeer { name, public_key: key.to_base64() })
    }
}

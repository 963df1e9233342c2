//! The engine: one state machine for all handshakes, sessions and timers of a node.
//!
//! It has no clock, no socket and no random generator: time comes with every call, datagrams come
//! in as [`Input`] and go out through [`Output`], randomness comes from [`Entropy`].
//!
//! One writer per fact: the engine alone makes and ends sessions, moves endpoints and changes
//! routes, and publishes them in [`Shared`]; workers read that and write only counters and stamps.
//! A call handles its input completely; there is nothing to drain. After every call
//! [`Engine::next_timeout`] is exact.
//!
//! | module | concept |
//! |---|---|
//! | `input` | what goes in and comes out |
//! | `settings` | what a node is configured with |
//! | `peer` | what control knows about a peer |
//! | `initiate` | REQUESTs, their schedule, and the answers to them |
//! | `respond` | the responder's order of work |
//! | `sessions` | pending, next, current and previous sessions |
//! | `control` | pings, pongs, closes; roaming |
//! | `guests` | peers that nobody configured: strangers, anonymous ones |
//! | `hosts` | nodes whose key this node learns: open handshakes on first use |
//! | `liveness` | deadlines: keepalive, silence, rekey, expiry |
//! | `status` | what a user sees |
//! | `tickets` | early data: tickets issued, kept, used |

mod control;
mod guests;
mod hosts;
mod initiate;
mod input;
mod liveness;
mod peer;
mod respond;
mod sessions;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod tickets;

pub use guests::Guests;
pub use hosts::HostConfig;
pub use input::{
    DatagramClass, Event, HandshakeKind, Input, Now, OpenedNotice, Output, PeerConfig, PeerError,
    PeerState, PeerStatus, PostQuantum, SessionStatus,
};
pub use settings::{Change, Entropy, PeerRefused, Settings};
pub use tickets::Ticket;

use crate::{
    guard::Guard,
    handshake::ResponderStatics,
    identity::{Identity, NetworkKey, PublicKey},
    index::IndexAllocator,
    peer::{PeerCell, PeerId},
    routes::Routes,
    shared::{Peers, Shared},
    time::Instant,
    timers::{TimerQueue, Why},
};
use peer::Peer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The protocol engine of one node.
pub struct Engine {
    statics: ResponderStatics,
    network_key: Option<NetworkKey>,
    settings: Settings,
    entropy: Box<dyn Entropy>,
    hedge_counter: u64,
    guard: Guard,
    shared: Arc<Shared>,
    peers: Vec<Option<Box<Peer>>>,
    free_slots: VecDeque<u32>,
    by_key: BTreeMap<PublicKey, PeerId>,
    indices: IndexAllocator,
    /// Whose session or open REQUEST has an index.
    owners: BTreeMap<u32, PeerId>,
    timers: TimerQueue,
    /// The session id of the next CONSENT.
    next_session_id: u64,
    guests: guests::GuestCount,
    tickets: tickets::Issued,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("public_key", self.public_key())
            .field("peers", &self.by_key.len())
            .field("indices", &self.indices.live())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes an engine without peers.
    #[must_use]
    pub fn new(
        identity: Identity,
        network_key: Option<NetworkKey>,
        settings: Settings,
        mut entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Self {
        let guard = Guard::new(settings.handshake_rate, &mut *entropy, now.instant);
        Self {
            statics: ResponderStatics::new(Arc::new(identity), network_key.as_ref()),
            network_key,
            settings,
            entropy,
            hedge_counter: 0,
            guard,
            shared: Arc::default(),
            peers: Vec::new(),
            free_slots: VecDeque::new(),
            by_key: BTreeMap::new(),
            indices: IndexAllocator::default(),
            owners: BTreeMap::new(),
            timers: TimerQueue::default(),
            next_session_id: 1,
            guests: guests::GuestCount::default(),
            tickets: tickets::Issued::default(),
        }
    }

    /// Handles one input; what follows from it goes to `out` before the call returns.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut dyn Output) {
        match input {
            Input::Timeout => self.handle_timeout(now, out),
            Input::Handshake { remote, local, datagram } => {
                self.handle_handshake(now, remote, local, datagram, out);
            }
            Input::Opened(notice) => self.handle_opened(now, &notice, out),
            Input::Wanted(id) | Input::Connect(id) => self.handle_wanted(now, id, out),
            Input::Ping { peer, token } => self.handle_ping_wanted(now, peer, token, out),
            Input::Probe { peer, size, token } => self.handle_probe(now, peer, size, token, out),
            Input::Endpoint { peer, remote } => self.handle_endpoint(now, peer, remote, out),
            Input::Unreachable { peer, error } => {
                if let Some(peer) = self.peer_mut(peer) {
                    peer.last_error = Some(error);
                }
            }
            Input::NextAddress { peer, remote } => self.handle_next_address(peer, remote),
            Input::PathChanged(peer) => self.handle_path_changed(now, peer, out),
            Input::SourceLost(peer) => self.handle_source_lost(peer),
            Input::QueueDepth(depth) => self.guard.measure_load(depth, now.instant),
            Input::NetworkChanged => self.handle_network_changed(now, out),
            Input::Close { peer, reason } => self.handle_close(now, peer, reason, out),
            Input::Shutdown => self.handle_shutdown(now, out),
        }
    }

    /// Returns when [`Input::Timeout`] is due next, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        self.timers.next()
    }

    /// Returns what workers read.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns this node's public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.statics.identity().public()
    }

    /// Returns the settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the configured peer with this key.
    #[must_use]
    pub fn peer_by_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    /// Returns the cell that workers share of a peer.
    #[must_use]
    pub fn cell(&self, id: PeerId) -> Option<&Arc<PeerCell>> {
        self.peer(id).map(|peer| &peer.cell)
    }

    /// Returns all peers, in order of their slots.
    pub fn peer_ids(&self) -> impl Iterator<Item = PeerId> {
        self.peers.iter().flatten().map(|peer| peer.cell.id())
    }

    /// Applies changes of the configuration, and publishes routes once at the end.
    ///
    /// The results stand in the order of the changes: the peer that was added or changed.
    ///
    /// # Errors
    /// Each change for itself: [`PeerRefused`] leaves the peer as it was.
    pub fn apply(
        &mut self,
        now: Now,
        changes: impl IntoIterator<Item = Change>,
        out: &mut dyn Output,
    ) -> Vec<Result<Option<PeerId>, PeerRefused>> {
        let results = changes
            .into_iter()
            .map(|change| match change {
                Change::Add(config) => self.add_peer(now, *config, out).map(Some),
                Change::AddHost(config) => self.add_host(now, *config, out).map(Some),
                Change::Update(id, config) => {
                    self.update_peer(now, id, *config, out).map(|()| Some(id))
                }
                Change::Remove(id) => {
                    self.remove_peer(now, id, out);
                    Ok(None)
                }
                Change::Settings(settings) => {
                    self.guard.set_rate(settings.handshake_rate);
                    self.settings = *settings;
                    Ok(None)
                }
            })
            .collect();
        self.publish_peers();
        results
    }

    fn add_peer(
        &mut self,
        now: Now,
        config: PeerConfig,
        out: &mut dyn Output,
    ) -> Result<PeerId, PeerRefused> {
        if config.public_key == *self.public_key() {
            return Err(PeerRefused::OwnKey);
        }
        if self.by_key.contains_key(&config.public_key) {
            return Err(PeerRefused::Duplicate);
        }
        let key = config.public_key;
        let id = self.new_slot(|id| Peer::configured(id, config, now));
        self.by_key.insert(key, id);
        if self.peer(id).is_some_and(|peer| peer.config.heartbeat.is_some()) {
            self.handle_wanted(now, id, out);
        }
        self.reschedule(id, now.instant);
        Ok(id)
    }

    fn update_peer(
        &mut self,
        now: Now,
        id: PeerId,
        config: PeerConfig,
        out: &mut dyn Output,
    ) -> Result<(), PeerRefused> {
        let Some(peer) = self.peer_mut(id) else { return Err(PeerRefused::Unknown) };
        if peer.config.public_key != config.public_key {
            return Err(PeerRefused::KeyChanged);
        }
        let rehandshake = peer.config.preshared_key != config.preshared_key
            || peer.config.noise != config.noise
            || peer.config.noise_policy != config.noise_policy
            || peer.config.handshake != config.handshake;
        let moves_to = config.endpoint.filter(|_| peer.config.endpoint != config.endpoint);
        if peer.config.noise != config.noise {
            peer.noise_wanted = config.noise;
        }
        // a session that stands carries a new heartbeat too; without one, it makes one at once
        let starts_heartbeat = config.heartbeat.is_some()
            && peer.config.heartbeat.is_none()
            && peer.usable(now.instant).is_none();
        if peer.config.heartbeat != config.heartbeat {
            peer.heartbeat_at = config.heartbeat.map(|every| now.instant.saturating_add(every));
        }
        peer.config = config;
        let has_session = peer.current.is_some();
        if let Some(remote) = moves_to {
            self.handle_endpoint(now, id, remote, out);
        }
        if (rehandshake && has_session) || starts_heartbeat {
            self.start_handshake(now, id, out);
        }
        self.reschedule(id, now.instant);
        Ok(())
    }

    fn remove_peer(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        self.close_peer(now, id, crate::frame::CloseReason::REMOVED, out);
        self.drop_slot(id);
    }

    /// Puts a peer into a free slot.
    fn new_slot(&mut self, make: impl FnOnce(PeerId) -> Peer) -> PeerId {
        let slot = self.free_slots.pop_front().unwrap_or_else(|| {
            self.peers.push(None);
            u32::try_from(self.peers.len() - 1).expect("fewer than 2^32 peers")
        });
        let id = PeerId(slot);
        self.peers[slot as usize] = Some(Box::new(make(id)));
        id
    }

    fn drop_slot(&mut self, id: PeerId) {
        self.end_all_sessions(id);
        let Some(mut peer) = self.peers.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        for request in peer.open_requests.drain(..) {
            self.release_index(request.index);
        }
        for key in peer.early.take_rx() {
            self.release_index(key);
        }
        self.timers.replace(id.0, peer.deadline, None);
        self.shared.drops.add(crate::drop::DropReason::NoSession, peer.cell.waiting.clear());
        if let Some(key) = peer.key()
            && self.by_key.get(key) == Some(&id)
        {
            self.by_key.remove(key);
        }
        self.guests.leave(&peer);
        self.free_slots.push_back(id.0);
    }

    fn publish_peers(&self) {
        let prefixes =
            self.peers.iter().flatten().flat_map(|peer| {
                peer.config.allowed_ips.iter().map(|net| (*net, peer.cell.id().0))
            });
        let cells = self.peers.iter().map(|peer| peer.as_ref().map(|p| Arc::clone(&p.cell)));
        self.shared.publish(Peers::new(Routes::new(prefixes), cells.collect()));
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)?.as_deref()
    }

    fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Returns 32 fresh random bytes.
    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    fn random_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.random())
    }

    fn reserve_index(&mut self, owner: PeerId) -> u32 {
        let Self { indices, shared, entropy, owners, .. } = self;
        let index = indices.reserve(shared.sessions(), || {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            u32::from_le_bytes(bytes)
        });
        owners.insert(index, owner);
        index
    }

    fn release_index(&mut self, index: u32) {
        self.shared.sessions().remove(index);
        self.indices.release(index);
        self.owners.remove(&index);
    }
}

//! What follows from the engine's events: log lines, packets that waited, names to look up.

use std::sync::Arc;

use stadium_proto::engine::{Event, Input, PeerError};
use stadium_proto::frame::CloseReason;
use stadium_proto::noise::NoiseConfig;
use stadium_proto::peer::PeerId;
use stadium_proto::session::TxSession;

use super::Control;

/// REQUESTs without answer after which a peer with a session is looked for elsewhere.
const PATIENCE: u32 = 3;

impl Control {
    /// Handles everything that the engine's last calls left to do.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(event) = self.outbox.events.pop_front() {
                self.handle_event(event);
            }
            if std::mem::take(&mut self.outbox.frames) {
                self.workers.wake();
            }
            let Some(remote) = self.outbox.unreached.pop() else { return };
            let peers: Vec<PeerId> = self
                .book
                .iter()
                .map(|(id, _)| id)
                .filter(|id| {
                    let endpoint = self.engine.cell(*id).and_then(|cell| cell.endpoint());
                    endpoint.is_some_and(|endpoint| endpoint.remote == remote)
                })
                .collect();
            for peer in peers {
                self.unreachable(peer);
            }
        }
    }

    /// Tells the workers' cells how noise is made towards each peer.
    pub(crate) fn configure_noise(&self) {
        let mut shared = Arc::<NoiseConfig>::default();
        for peer in &self.file.peers {
            let id = self.engine.peer_by_key(&peer.public_key);
            if let Some(cell) = id.and_then(|id| self.engine.cell(id)) {
                let config = peer.noise.config();
                if *shared != config {
                    shared = Arc::new(config);
                }
                cell.set_noise_config(Arc::clone(&shared));
            }
        }
        self.workers.wake();
    }

    /// Wakes the workers for a noisy session, and says so where it is not as asked for.
    fn note_noise(&self, id: PeerId) {
        let Some(status) = self.engine.peer_status(id, self.clock.instant()) else { return };
        let Some(session) = status.session else { return };
        if !session.noise.is_off() {
            self.workers.wake();
        }
        let peer = self.book.label(id);
        let wanted = self.engine.cell(id).and_then(|cell| {
            let peer = self.file.peer(cell.key()?)?;
            Some(peer.noise.byte())
        });
        let weaker = wanted.is_some_and(|wanted| {
            wanted.ratio() > session.noise.ratio() || wanted.filler() > session.noise.filler()
        });
        if let (true, Some(wanted)) = (weaker, wanted) {
            tracing::warn!(
                peer,
                "the session runs with noise {}, which both sides allow, not with {wanted} as the \
                 peer file asks",
                session.noise
            );
        } else if !session.noise.is_off() {
            tracing::debug!(peer, "noise: {}", session.noise);
        }
    }

    /// Notes that the system has no way to a peer.
    pub(super) fn unreachable(&mut self, peer: PeerId) {
        self.log_error(peer, PeerError::NetworkUnreachable);
        self.handle(Input::Unreachable { peer, error: PeerError::NetworkUnreachable });
    }

    fn handle_event(&mut self, event: Event) {
        self.publish(&event);
        match event {
            Event::HandshakeStarted { peer, attempt } => {
                tracing::debug!(peer = self.book.label(peer), attempt, "handshake");
                self.try_next_address(peer, attempt);
            }
            Event::SessionUp { peer, id, initiator } => {
                if let Some(entry) = self.book.get_mut(peer) {
                    entry.logged = None;
                    entry.gave_up = false;
                }
                let asked = if initiator { "us" } else { "it" };
                let peer_name = self.book.label(peer);
                tracing::info!(
                    peer = peer_name,
                    session = id,
                    "session is up, asked for by {asked}"
                );
                self.note_noise(peer);
                self.drain_waiting(peer);
                self.send_waiting_pings(peer);
                self.ask_path(peer);
            }
            Event::CanSend { peer } => self.drain_waiting(peer),
            Event::SessionsEnded { peer } => {
                tracing::info!(peer = self.book.label(peer), "no session any more");
            }
            // only nodes reached by address alone prove a new key, and the tunnel has none
            Event::HostKey { .. } => {}
            Event::CanSendEarly { peer } => self.send_early(peer),
            Event::EarlyData { peer, accepted } => self.early_answered(peer, accepted),
            Event::EarlyAccepted { peer, id } => {
                let peer = self.book.label(peer);
                tracing::debug!(peer, session = id, "early data may come ahead of the session");
            }
            Event::TicketIssued { peer } => {
                let peer = self.book.label(peer);
                tracing::debug!(peer, "a ticket for early data has come");
            }
            Event::EndpointMoved { peer: id, endpoint } => {
                let peer = self.book.label(id);
                tracing::info!(peer, "the peer has moved to another address");
                tracing::debug!(peer, endpoint = %endpoint.remote, "its new address");
                self.ask_path(id);
            }
            Event::PeerClosed { peer, reason } => {
                let why = match reason {
                    CloseReason::SHUTDOWN => "it goes down",
                    CloseReason::REMOVED => "it has removed this node",
                    CloseReason::IDLE => "nothing was sent for long",
                    _ => "for a reason of its own",
                };
                tracing::info!(peer = self.book.label(peer), "the peer closed the session: {why}");
                self.forget_early(peer);
            }
            Event::AttemptFailed { peer, error } => self.log_error(peer, error),
            Event::GaveUp { peer } => {
                self.forget_early(peer);
                let Some(entry) = self.book.get_mut(peer) else { return };
                let text = "handshakes are given up until there is traffic again";
                if std::mem::replace(&mut entry.gave_up, true) {
                    tracing::debug!(peer = entry.label, "{text}");
                } else {
                    tracing::warn!(peer = entry.label, "{text}");
                }
            }
            Event::Silent { peer } => self.handle_silence(peer),
            Event::Pong { peer, token, rtt } => {
                if !self.paths.answered(peer, token) {
                    self.pings.answered(token, rtt);
                }
            }
            Event::PingLost { token, .. } => self.pings.lost(token),
        }
    }

    /// Logs why a peer cannot be reached, once until that changes.
    pub(super) fn log_error(&mut self, peer: PeerId, error: PeerError) {
        let Some(entry) = self.book.get_mut(peer) else { return };
        if entry.logged == Some(error) {
            tracing::debug!(peer = entry.label, "handshake: {error}");
        } else {
            entry.logged = Some(error);
            tracing::warn!(peer = entry.label, "no session: {error}");
        }
    }

    pub(super) fn drain_waiting(&mut self, peer: PeerId) {
        let (Some(cell), Some(entry)) = (self.engine.cell(peer), self.book.get_mut(peer)) else {
            return;
        };
        let scheduled =
            |session: &TxSession| session.noise().is_some_and(|noise| noise.has_schedule());
        if cell.tx_session().as_deref().is_some_and(scheduled) {
            // they leave by the schedule, which a worker keeps; early data is not sent with noise
            self.workers.wake();
        } else {
            self.drain.drain(cell, &mut entry.early, self.clock.instant());
        }
    }

    /// Has the next REQUEST go to another address of a peer that has several, in the order of RFC
    /// 8305 section 4. A session that was heard of lately stays where it is for two REQUESTs.
    fn try_next_address(&mut self, peer: PeerId, attempt: u32) {
        let Some(entry) = self.book.get(peer).filter(|entry| entry.addresses.len() > 1) else {
            return;
        };
        let status = self.engine.peer_status(peer, self.clock.instant());
        let has_session = status.is_some_and(|status| status.session.is_some());
        if has_session && attempt < PATIENCE {
            return;
        }
        let current =
            self.engine.cell(peer).and_then(|cell| cell.endpoint()).map(|endpoint| endpoint.remote);
        if let Some(remote) = entry.after(current) {
            self.handle(Input::NextAddress { peer, remote });
        }
    }

    /// Looks for another address of a peer that does not answer.
    fn handle_silence(&mut self, peer: PeerId) {
        if self.look_up(peer) {
            // what is found decides
            return;
        }
        let Some(entry) = self.book.get(peer) else { return };
        let current =
            self.engine.cell(peer).and_then(|cell| cell.endpoint()).map(|endpoint| endpoint.remote);
        let may = matches!(entry.endpoint, Some(stadium_config::Endpoint::Address(_)));
        if let Some(remote) = entry.after(current).filter(|_| may || current.is_none()) {
            tracing::debug!(peer = entry.label, %remote, "another address is tried");
            self.handle(Input::Endpoint { peer, remote });
        }
    }
}

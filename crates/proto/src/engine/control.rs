//! Frames that workers show to control: first frames, pings, pongs, closes; and roaming.

use super::{
    Engine, Event, Now, OpenedNotice, Output,
    peer::{Candidate, Peer, Purpose, SentPing},
    sessions::{send_control, send_padded},
};
use crate::{
    drop::DropReason,
    frame::Control,
    peer::{Endpoint, PeerId},
};
use std::sync::Arc;

/// The most datagrams that go to a candidate address before its path is checked
/// (`protocol.md` §6).
const MAX_TO_CANDIDATE: u8 = 8;

impl Engine {
    pub(super) fn handle_opened(
        &mut self,
        now: Now,
        notice: &OpenedNotice<'_>,
        out: &mut dyn Output,
    ) {
        let Some(&id) = self.owners.get(&notice.index) else { return };
        if notice.first {
            self.confirm_session(now, id, notice.index, notice.remote, notice.local, out);
        }
        if notice.highest {
            self.notice_address(now, id, notice, out);
        }
        if !notice.control.is_empty() {
            match Control::decode(notice.control) {
                Ok(control) => self.handle_control(now, id, notice, control, out),
                Err(reason) => self.shared.drops.count(reason),
            }
        }
        self.reschedule(id, now.instant);
    }

    fn handle_control(
        &mut self,
        now: Now,
        id: PeerId,
        notice: &OpenedNotice<'_>,
        control: Control,
        out: &mut dyn Output,
    ) {
        match control {
            Control::Ping { id: ping } => self.send_pong(now, id, notice, ping, out),
            Control::Pong { id: ping } => self.handle_pong(now, id, notice, ping, out),
            Control::Close { reason } => {
                let Some(peer) = self.peer_mut(id) else { return };
                let outdated = peer.previous.as_ref().is_some_and(|p| p.index == notice.index);
                if outdated {
                    return;
                }
                peer.closed = true;
                peer.attempt = None;
                self.end_all_sessions(id);
                self.drop_open_requests(id);
                self.drop_waiting(id);
                self.finish_early(id, false, out);
                out.event(Event::PeerClosed { peer: id, reason });
                if self.peer(id).is_some_and(Peer::is_guest) {
                    self.drop_slot(id);
                }
            }
            Control::Ticket { ticket, lifetime_s } => {
                self.keep_ticket(now, id, notice.index, ticket, lifetime_s, out);
            }
            Control::Unknown => {}
        }
    }

    /// Answers a ping in the session and to the address that it came from.
    fn send_pong(
        &mut self,
        now: Now,
        id: PeerId,
        notice: &OpenedNotice<'_>,
        ping: u64,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(tx) = peer.session(notice.index).map(|session| Arc::clone(&session.tx)) else {
            return;
        };
        if !tx.is_usable(now.instant) {
            return;
        }
        if let Some(candidate) = &mut peer.candidate
            && candidate.endpoint.remote == notice.remote
        {
            if candidate.sent >= MAX_TO_CANDIDATE {
                return;
            }
            candidate.sent += 1;
        }
        let to = Endpoint { remote: notice.remote, local: notice.local };
        send_control(&peer.cell, &tx, &Control::Pong { id: ping }, &to, now.instant, out);
    }

    fn handle_pong(
        &mut self,
        now: Now,
        id: PeerId,
        notice: &OpenedNotice<'_>,
        ping: u64,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(at) = peer.pings.iter().position(|sent| sent.id == ping) else { return };
        let sent = peer.pings.remove(at);
        let rtt = now.instant.saturating_since(sent.at);
        peer.rtt = Some(rtt);
        match sent.purpose {
            Purpose::Candidate => {
                let Some(candidate) = &peer.candidate else { return };
                if candidate.endpoint.remote == notice.remote {
                    let endpoint = Endpoint { remote: notice.remote, local: notice.local };
                    peer.candidate = None;
                    peer.cell.set_endpoint(Some(endpoint));
                    out.event(Event::EndpointMoved { peer: id, endpoint });
                }
            }
            Purpose::User(token) => out.event(Event::Pong { peer: id, token, rtt }),
            Purpose::Confirm | Purpose::Heartbeat => {}
        }
    }

    /// Makes the source of a current session's newest frame a candidate for the endpoint.
    fn notice_address(
        &mut self,
        now: Now,
        id: PeerId,
        notice: &OpenedNotice<'_>,
        out: &mut dyn Output,
    ) {
        let life = self.settings.timers.pending;
        let Some(peer) = self.peer_mut(id) else { return };
        let is_current = peer.current.as_ref().is_some_and(|s| s.index == notice.index);
        if !is_current {
            return;
        }
        let endpoint = Endpoint { remote: notice.remote, local: notice.local };
        if let Some(known) = peer.cell.endpoint()
            && known.remote == notice.remote
        {
            // the peer is where it was and speaks to another address of this node: it expects
            // answers from there (a frame of old was not the highest of its lane)
            if !known.answers_from(notice.local.map(|local| local.ip)) {
                peer.cell.set_endpoint(Some(endpoint));
            }
            return;
        }
        match &mut peer.candidate {
            Some(candidate) if candidate.endpoint.remote == notice.remote => {}
            other => {
                // a pong counts only for the address that its ping went to
                peer.pings.retain(|ping| ping.purpose != Purpose::Candidate);
                // a peer's pings to candidates keep their pace whatever the addresses
                let ping_at = other.as_ref().map_or(now.instant, |old| old.ping_at);
                let expires = now.instant.saturating_add(life);
                *other = Some(Box::new(Candidate { endpoint, expires, ping_at, sent: 0 }));
            }
        }
        self.ping_candidate(now, id, out);
    }

    /// Pings the candidate address, at most once a second.
    pub(super) fn ping_candidate(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let ping = self.random_u64();
        let pause = self.settings.timers.confirm;
        let Some(peer) = self.peer_mut(id) else { return };
        let tx = peer.usable(now.instant).map(|session| Arc::clone(&session.tx));
        let Some(candidate) = &mut peer.candidate else { return };
        if now.instant < candidate.ping_at {
            return;
        }
        candidate.ping_at = now.instant.saturating_add(pause);
        let Some(tx) = tx.filter(|_| candidate.sent < MAX_TO_CANDIDATE) else { return };
        candidate.sent += 1;
        let to = candidate.endpoint;
        send_control(&peer.cell, &tx, &Control::Ping { id: ping }, &to, now.instant, out);
        let at = now.instant;
        peer.remember_ping(SentPing { id: ping, at, purpose: Purpose::Candidate });
    }

    /// Leaves the choice of the local address to the routing table from now on.
    pub(super) fn handle_source_lost(&mut self, id: PeerId) {
        if let Some(peer) = self.peer(id)
            && let Some(endpoint) = peer.cell.endpoint()
        {
            peer.cell.set_endpoint(Some(Endpoint::to(endpoint.remote)));
        }
    }

    pub(super) fn handle_ping_wanted(
        &mut self,
        now: Now,
        id: PeerId,
        token: u64,
        out: &mut dyn Output,
    ) {
        if !self.send_ping(now, id, Purpose::User(token), out) {
            out.event(Event::PingLost { peer: id, token });
            self.start_handshake(now, id, out);
        }
        self.reschedule(id, now.instant);
    }

    pub(super) fn handle_probe(
        &mut self,
        now: Now,
        id: PeerId,
        size: u16,
        token: u64,
        out: &mut dyn Output,
    ) {
        let ping = self.random_u64();
        let sent = self.peer_mut(id).is_some_and(|peer| {
            let Some(endpoint) = peer.cell.endpoint() else { return false };
            let Some(session) = peer.usable(now.instant).filter(|s| s.noise.is_off()) else {
                return false;
            };
            let tx = Arc::clone(&session.tx);
            let control = Control::Ping { id: ping };
            let size = usize::from(size);
            if !send_padded(&peer.cell, &tx, &control, size, &endpoint, now.instant, out) {
                return false;
            }
            let purpose = Purpose::User(token);
            peer.remember_ping(SentPing { id: ping, at: now.instant, purpose });
            true
        });
        if !sent {
            out.event(Event::PingLost { peer: id, token });
        }
        self.reschedule(id, now.instant);
    }

    /// Pings the peer at its endpoint; false without a session or endpoint.
    ///
    /// The peer has to answer, so what counts as silence for payload counts here too.
    pub(super) fn send_ping(
        &mut self,
        now: Now,
        id: PeerId,
        purpose: Purpose,
        out: &mut dyn Output,
    ) -> bool {
        let ping = self.random_u64();
        let Some(peer) = self.peer_mut(id) else { return false };
        let Some(endpoint) = peer.cell.endpoint() else { return false };
        let Some(tx) = peer.usable(now.instant).map(|session| Arc::clone(&session.tx)) else {
            return false;
        };
        if !send_control(&peer.cell, &tx, &Control::Ping { id: ping }, &endpoint, now.instant, out)
        {
            self.shared.drops.count(DropReason::NoSession);
            return false;
        }
        peer.cell.unanswered_tx.set_first(now.instant);
        peer.remember_ping(SentPing { id: ping, at: now.instant, purpose });
        true
    }
}

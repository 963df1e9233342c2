//! Deadlines of a peer: exact, recomputed after everything that concerns it.

use super::{
    Engine, Event, Now, Output,
    input::PeerError,
    peer::{Peer, Purpose},
    sessions::{send_control, send_frame},
    tickets::TICKETS_SLOT,
};
use crate::{
    crypto::Cipher,
    frame::Control,
    peer::PeerId,
    time::Instant,
    timers::{Timers, Why},
};
use core::time::Duration;
use std::sync::Arc;

/// Frames in a lane after which the initiator makes a new session.
const REKEY_LANE_FRAMES: u64 = 1 << 48;
/// Frames of an AES-256-GCM session after which the initiator makes a new one: 2^32 less what
/// the fastest link sends between two looks.
const REKEY_GCM_FRAMES: u64 = (1 << 32) - (1 << 28);
/// How soon a session past its rekey age that carried nothing is looked at again.
const REKEY_RECHECK: Duration = Duration::from_secs(1);
/// The shortest pause to the next deadline, so that no state can spin.
const SHORTEST: Duration = Duration::from_micros(100);

impl Engine {
    /// Recomputes the deadline of a peer and queues it.
    pub(super) fn reschedule(&mut self, id: PeerId, now: Instant) {
        let timers = self.settings.timers;
        let Some(peer) = self.peers.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let new = deadline(peer, &timers, now);
        self.timers.replace(id.0, peer.deadline, new);
        peer.deadline = new;
    }

    pub(super) fn handle_timeout(&mut self, now: Now, out: &mut dyn Output) {
        while let Some(slot) = self.timers.due(now.instant) {
            if slot == TICKETS_SLOT {
                self.expire_tickets(now.instant);
                continue;
            }
            let id = PeerId(slot);
            self.expire(now, id, out);
            self.reschedule(id, now.instant);
            let floor = now.instant.saturating_add(SHORTEST);
            if let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_deref_mut)
                && let Some((at, why)) = peer.deadline.filter(|(at, _)| *at < floor)
            {
                self.timers.replace(slot, Some((at, why)), Some((floor, why)));
                peer.deadline = Some((floor, why));
            }
        }
    }

    /// Does everything that is due for a peer.
    fn expire(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        self.expire_requests(now, id);
        self.expire_sessions(now, id, out);
        self.expire_pings(now, id, out);
        self.expire_early(now, id, out);
        self.keep_alive(now, id, out);
        self.renew(now, id, out);
        self.heartbeat(now, id, out);
        self.continue_attempt(now, id, out);
        let left = |p: &Peer| p.is_guest() && p.attempt.is_none() && p.sessions().next().is_none();
        if self.peer(id).is_some_and(left) {
            out.event(Event::SessionsEnded { peer: id });
            self.drop_slot(id);
        }
    }

    fn expire_requests(&mut self, now: Now, id: PeerId) {
        let life = self.settings.timers.pending;
        let Some(peer) = self.peer_mut(id) else { return };
        let mut released = Vec::new();
        peer.open_requests.retain(|request| {
            let open = now.instant < request.sent_at.saturating_add(life);
            if !open {
                released.push(request.index);
            }
            open
        });
        for index in released {
            self.release_index(index);
        }
    }

    fn expire_sessions(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let timers = self.settings.timers;
        let Some(peer) = self.peer_mut(id) else { return };
        let mut released = Vec::new();
        peer.pending.retain(|session| {
            let alive = now.instant < session.born.saturating_add(timers.pending);
            if !alive {
                released.push(session.index);
            }
            alive
        });
        let had_current = peer.current.is_some();
        for slot in [&mut peer.previous, &mut peer.current] {
            if let Some(session) = slot.take_if(|session| now.instant >= session.reject_at) {
                released.push(session.index);
            }
        }
        if had_current && peer.current.is_none() {
            // an own session that waits for its confirmation may send; else nothing does
            peer.cell.set_tx_session(peer.next.as_ref().map(|next| Arc::clone(&next.tx)));
            peer.cell.unanswered_tx.clear();
            peer.cell.unanswered_rx.clear();
            out.event(Event::SessionsEnded { peer: id });
        }
        let mut unconfirmed = false;
        let mut ping = false;
        if let Some(next) = &peer.next {
            if now.instant >= next.born.saturating_add(timers.pending) {
                unconfirmed = true;
                released.push(next.index);
            } else {
                ping = now.instant >= next.ping_at;
            }
        }
        if unconfirmed {
            peer.next = None;
            let current = peer.usable(now.instant).map(|session| Arc::clone(&session.tx));
            peer.cell.set_tx_session(current);
        }
        if peer.last_session_at.is_some_and(|at| now.instant >= at.saturating_add(timers.wipe)) {
            peer.last_session_at = None;
            peer.cookie = None;
            peer.challenge = None;
            released.extend(peer.sessions().map(|session| session.index));
            peer.cell.set_tx_session(None);
            (peer.current, peer.previous, peer.next) = (None, None, None);
            peer.pending.clear();
        }
        for index in released {
            self.release_index(index);
        }
        if ping {
            self.send_confirm_ping(now, id, out);
        }
        if unconfirmed {
            self.start_handshake(now, id, out);
        }
    }

    fn expire_pings(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let life = self.settings.timers.pending;
        let Some(peer) = self.peer_mut(id) else { return };
        peer.pings.retain(|ping| {
            let open = now.instant < ping.at.saturating_add(life);
            if let (false, Purpose::User(token)) = (open, ping.purpose) {
                out.event(Event::PingLost { peer: id, token });
            }
            open
        });
        peer.candidate.take_if(|candidate| now.instant >= candidate.expires);
        if peer.candidate.as_ref().is_some_and(|candidate| now.instant >= candidate.ping_at) {
            self.ping_candidate(now, id, out);
        }
    }

    /// Sends a keepalive if payload came in and nothing has gone out since.
    fn keep_alive(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let pause = self.settings.timers.keepalive;
        let ping = self.random_u64();
        let Some(peer) = self.peer(id) else { return };
        let due = is_past(peer.cell.unanswered_rx.at(), pause, now.instant);
        let (Some(session), Some(endpoint)) = (peer.usable(now.instant), peer.cell.endpoint())
        else {
            return;
        };
        if !due {
            return;
        }
        let cell = &peer.cell;
        if session.noise.is_off() {
            send_frame(cell, &session.tx, &[], &endpoint, now.instant, out);
        } else {
            // an empty frame would stand out
            let ping = Control::Ping { id: ping };
            send_control(cell, &session.tx, &ping, &endpoint, now.instant, out);
        }
    }

    /// Starts a handshake if the peer is silent or the session has to be renewed.
    fn renew(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let timers = self.settings.timers;
        let Some(peer) = self.peer(id) else { return };
        // an own session that waits for its confirmation has a deadline of its own
        if peer.attempt.is_some() || peer.next.is_some() {
            return;
        }
        let Some(session) = peer.usable(now.instant) else { return };
        let silent = is_past(peer.cell.unanswered_tx.at(), timers.silence, now.instant);
        let old = session.initiator
            && now.instant >= session.born.saturating_add(timers.rekey)
            && worth_rekey(peer);
        let gcm = session.cipher == Cipher::Aes256Gcm && session.tx.frames() >= REKEY_GCM_FRAMES;
        let long = session.initiator && (gcm || session.tx.longest_lane() >= REKEY_LANE_FRAMES);
        if silent {
            out.event(Event::Silent { peer: id });
        }
        if peer.is_anonymous() {
            // another session would be another guest to the other side: this one lives out
            if silent {
                self.end_all_sessions(id);
                out.event(Event::SessionsEnded { peer: id });
            }
        } else if silent || ((old || long) && !peer.gave_up) {
            // after giving up only the next packet starts anew, not the age of what is left
            self.start_handshake(now, id, out);
        }
    }

    fn heartbeat(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(every) = peer.config.heartbeat else { return };
        if peer.heartbeat_at.is_some_and(|at| now.instant < at) {
            return;
        }
        peer.heartbeat_at = Some(now.instant.saturating_add(every));
        if !self.send_ping(now, id, Purpose::Heartbeat, out) {
            self.start_handshake(now, id, out);
        }
    }

    /// Sends the next REQUEST of a handshake under way, or gives it up.
    fn continue_attempt(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let give_up = self.settings.timers.give_up;
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(attempt) = peer.attempt else { return };
        if now.instant >= attempt.started.saturating_add(give_up) {
            peer.attempt = None;
            peer.gave_up = true;
            peer.last_error.get_or_insert(PeerError::NoAnswer);
            peer.cell.set_tx_session(None);
            peer.cell.unanswered_tx.clear();
            self.drop_waiting(id);
            self.finish_early(id, false, out);
            out.event(Event::GaveUp { peer: id });
        } else if now.instant >= attempt.next_at {
            self.send_scheduled_request(now, id, out);
        }
    }

    pub(super) fn handle_network_changed(&mut self, now: Now, out: &mut dyn Output) {
        let ids: Vec<PeerId> = self.peer_ids().collect();
        for id in ids {
            let Some(peer) = self.peer_mut(id) else { continue };
            let wants = peer.attempt.is_some() || peer.usable(now.instant).is_some();
            if wants {
                peer.attempt = None;
                self.handle_source_lost(id);
                self.start_handshake(now, id, out);
                self.reschedule(id, now.instant);
            }
        }
    }
}

/// Tells whether `stamp` is there and at least `pause` ago.
fn is_past(stamp: Option<Instant>, pause: Duration, now: Instant) -> bool {
    stamp.is_some_and(|at| now >= at.saturating_add(pause))
}

/// Tells whether the current session is renewed at its age: it carried payload, or heartbeat or
/// noise is set.
fn worth_rekey(peer: &Peer) -> bool {
    peer.current.as_ref().is_some_and(|session| {
        session.tx.carried_payload()
            || session.rx.carried_payload()
            || peer.config.heartbeat.is_some()
            || !session.noise.is_off()
    })
}

/// Returns the earliest moment at which something is to be done for a peer.
fn deadline(peer: &Peer, timers: &Timers, now: Instant) -> Option<(Instant, Why)> {
    let mut earliest: Option<(Instant, Why)> = None;
    let mut at = |moment: Instant, why: Why| {
        if earliest.is_none_or(|e| (moment, why) < e) {
            earliest = Some((moment, why));
        }
    };
    if let Some(attempt) = &peer.attempt {
        at(
            attempt.next_at.min(attempt.started.saturating_add(timers.give_up)),
            Why::HandshakeRetry,
        );
    }
    for request in &peer.open_requests {
        at(request.sent_at.saturating_add(timers.pending), Why::RequestExpires);
    }
    for session in &peer.pending {
        at(session.born.saturating_add(timers.pending), Why::PendingExpires);
    }
    if let Some(next) = &peer.next {
        at(next.ping_at.min(next.born.saturating_add(timers.pending)), Why::Confirm);
    }
    for session in [&peer.current, &peer.previous].into_iter().flatten() {
        at(session.reject_at, Why::SessionExpires);
    }
    if let Some(last) = peer.last_session_at {
        at(last.saturating_add(timers.wipe), Why::Wipe);
    }
    if let Some(session) = peer.usable(now) {
        let stamp = peer.cell.unanswered_rx.at().unwrap_or(now);
        at(stamp.saturating_add(timers.keepalive), Why::Keepalive);
        if peer.attempt.is_none() && peer.next.is_none() {
            let stamp = peer.cell.unanswered_tx.at().unwrap_or(now);
            at(stamp.saturating_add(timers.silence), Why::Silence);
            if session.initiator && !peer.gave_up && !peer.is_anonymous() {
                let due = session.born.saturating_add(timers.rekey);
                let recheck = now.saturating_add(REKEY_RECHECK);
                at(if worth_rekey(peer) { due } else { due.max(recheck) }, Why::Rekey);
            }
        }
    }
    if let Some(moment) = peer.early.deadline() {
        at(moment, Why::TicketExpires);
    }
    if let Some(heartbeat) = peer.heartbeat_at {
        at(heartbeat, Why::Heartbeat);
    }
    if let Some(candidate) = &peer.candidate {
        at(candidate.expires.min(candidate.ping_at.max(now)), Why::Candidate);
    }
    for ping in &peer.pings {
        at(ping.at.saturating_add(timers.pending), Why::PingExpires);
    }
    earliest
}

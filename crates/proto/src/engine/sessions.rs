//! The life of sessions: made by a handshake, confirmed by a frame, replaced, closed.
//!
//! Invariants: a pending session displaces nothing; the newest confirmed session sends; every
//! index in the table belongs to exactly one session of one peer.

use super::{
    Engine, Event, Now, Output,
    input::{DatagramClass, HandshakeKind},
    peer::{MAX_PENDING, Origin, Peer, Purpose, SentPing, Session},
};
use crate::{
    crypto::Secret,
    drop::DropReason,
    frame::{CONTROL_MAX, CloseReason, Control},
    handshake::{Established, Features, Kind, Role},
    noise::{NoiseByte, SessionNoise},
    peer::{Endpoint, LocalAddress, PeerCell, PeerId},
    session::{HEADER, OVERHEAD, RxSession, SessionTerms, TxSession},
    time::Instant,
};
use core::cmp::Ordering;
use core::net::SocketAddr;
use std::sync::Arc;

impl Engine {
    /// Makes a session of what a handshake established, and publishes its receiving half.
    pub(super) fn make_session(
        &mut self,
        now: Now,
        cell: &Arc<PeerCell>,
        established: &Established,
        asked_at: Instant,
    ) -> Box<Session> {
        let initiator = established.role == Role::Initiator;
        let reject_at = now.instant.saturating_add(self.settings.timers.reject);
        let terms = SessionTerms {
            payload_limit: usize::from(established.payload_limit),
            partial_checksum: established.features.contains(Features::CHECKSUM_OFFLOAD),
            reject_at,
        };
        let index = established.local_index();
        let rx = Arc::new(RxSession::new(established, Arc::clone(cell), &terms));
        self.shared.sessions().insert(Arc::clone(&rx));
        let own = *self.public_key();
        // both sides have checked it; OFF would only be reached by a mistake here
        let byte = NoiseByte::try_from(established.noise).unwrap_or(NoiseByte::OFF);
        let noise = (!byte.is_off())
            .then(|| SessionNoise::new(byte, &established.keys.export, Secret::new(self.random())));
        Box::new(Session {
            index,
            tx: Arc::new(TxSession::new(established, &terms).with_noise(noise)),
            rx,
            id: established.session_id,
            initiator,
            born: now.instant,
            asked_at,
            timestamp: established.timestamp,
            requester: if initiator { Some(own) } else { cell.key().copied() },
            reject_at,
            ping_at: now.instant,
            cipher: established.cipher,
            hash: established.hash,
            post_quantum: established.post_quantum,
            kind: if established.kind == Kind::Encrypted {
                HandshakeKind::Encrypted
            } else {
                HandshakeKind::Open
            },
            noise: byte,
            early: (established.kind == Kind::Encrypted
                && established.features.contains(Features::EARLY_DATA))
            .then(|| established.early_secret()),
        })
    }

    /// Keeps a session that this node granted until its first frame comes.
    pub(super) fn add_pending(&mut self, id: PeerId, session: Box<Session>) {
        let Some(peer) = self.peer_mut(id) else { return };
        let oldest = (peer.pending.len() >= MAX_PENDING).then(|| peer.pending.remove(0));
        peer.pending.push(session);
        if let Some(oldest) = oldest {
            self.release_index(oldest.index);
        }
    }

    /// Takes a session that this node asked for into use.
    pub(super) fn add_next(
        &mut self,
        now: Now,
        id: PeerId,
        session: Box<Session>,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        let replaced = peer.next.take();
        let tx = Arc::clone(&session.tx);
        peer.next = Some(session);
        // with no session to send on, data follows the first ping at once
        let sends = peer.usable(now.instant).is_none();
        if sends {
            peer.cell.set_tx_session(Some(tx));
        }
        if let Some(replaced) = replaced {
            self.release_index(replaced.index);
        }
        self.send_confirm_ping(now, id, out);
        if sends && let Some(peer) = self.peer(id) {
            peer.cell.session_settled();
            out.event(Event::CanSend { peer: id });
        }
    }

    /// Sends the initiator's first ping, or repeats it.
    pub(super) fn send_confirm_ping(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let ping = self.random_u64();
        let pause = self.settings.timers.confirm;
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(next) = peer.next.as_mut() else { return };
        next.ping_at = now.instant.saturating_add(pause);
        let Some(endpoint) = peer.cell.endpoint() else { return };
        let tx = Arc::clone(&next.tx);
        send_control(&peer.cell, &tx, &Control::Ping { id: ping }, &endpoint, now.instant, out);
        let at = now.instant;
        peer.remember_ping(SentPing { id: ping, at, purpose: Purpose::Confirm });
    }

    /// Confirms the session of `index`: its first frame has opened.
    pub(super) fn confirm_session(
        &mut self,
        now: Now,
        id: PeerId,
        index: u32,
        remote: SocketAddr,
        local: Option<LocalAddress>,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(session) = take_unconfirmed(peer, index) else { return };
        if !session.initiator {
            let endpoint = Endpoint { remote, local };
            if peer.cell.endpoint() != Some(endpoint) {
                let moved = peer.cell.endpoint().map(|e| e.remote) != Some(remote);
                peer.cell.set_endpoint(Some(endpoint));
                if moved {
                    out.event(Event::EndpointMoved { peer: id, endpoint });
                }
            }
            peer.candidate = None;
        }
        if let Some(noise) = session.tx.noise() {
            noise.confirm(now.instant);
        }
        let event = Event::SessionUp { peer: id, id: session.id, initiator: session.initiator };
        let was_unconfirmed = core::mem::take(&mut peer.unconfirmed);
        peer.attempt = None;
        peer.early.release();
        peer.closed = false;
        peer.gave_up = false;
        peer.last_error = None;
        peer.handshakes += 1;
        peer.last_handshake = Some(now.wall);
        peer.last_session_at = Some(now.instant);
        peer.challenge = None;
        let displaced = match peer.current.take() {
            Some(current) if current.tx.is_usable(now.instant) && stays(&current, &session) => {
                peer.current = Some(current);
                peer.previous.replace(session)
            }
            current => {
                session.rx.set_current(true);
                peer.current = Some(session);
                match current {
                    Some(old) => {
                        old.rx.set_current(false);
                        peer.previous.replace(old)
                    }
                    None => None,
                }
            }
        };
        if let Some(current) = &peer.current {
            peer.cell.set_tx_session(Some(Arc::clone(&current.tx)));
        }
        peer.cell.session_settled();
        if let Some(displaced) = displaced {
            self.release_index(displaced.index);
        }
        if was_unconfirmed {
            self.guests.confirm();
        }
        out.event(event);
        self.issue_ticket(now, id, index, out);
    }

    /// Ends every session of a peer and withdraws its keys.
    pub(super) fn end_all_sessions(&mut self, id: PeerId) {
        let Some(peer) = self.peer_mut(id) else { return };
        peer.cell.set_tx_session(None);
        peer.cell.unanswered_tx.clear();
        peer.cell.unanswered_rx.clear();
        let ended: Vec<u32> = peer.sessions().map(|session| session.index).collect();
        peer.pending.clear();
        peer.next = None;
        peer.current = None;
        peer.previous = None;
        peer.candidate = None;
        for index in ended {
            self.release_index(index);
        }
    }

    /// Sends close frames in every confirmed session and ends them.
    pub(super) fn close_peer(
        &mut self,
        now: Now,
        id: PeerId,
        reason: CloseReason,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        peer.attempt = None;
        if let Some(endpoint) = peer.cell.endpoint() {
            for session in [&peer.current, &peer.previous].into_iter().flatten() {
                if session.tx.is_usable(now.instant) {
                    let close = Control::Close { reason };
                    // at once: nothing leaves any more once the session has ended
                    let mut frame = [0; CONTROL_MAX];
                    let length = close.encode(&mut frame);
                    let frame = &frame[..length];
                    send_now(&peer.cell, &session.tx, frame, &endpoint, now.instant, out);
                }
            }
        }
        self.end_all_sessions(id);
        self.drop_open_requests(id);
        // also so that the next packet wakes control again
        self.drop_waiting(id);
        self.finish_early(id, false, out);
    }

    pub(super) fn drop_open_requests(&mut self, id: PeerId) {
        let Some(peer) = self.peer_mut(id) else { return };
        // the room for them goes too: between handshakes it is most of what a peer would take
        let open = core::mem::take(&mut peer.open_requests);
        let open: Vec<u32> = open.into_iter().map(|request| request.index).collect();
        for index in open {
            self.release_index(index);
        }
    }

    pub(super) fn handle_close(
        &mut self,
        now: Now,
        id: PeerId,
        reason: CloseReason,
        out: &mut dyn Output,
    ) {
        self.close_peer(now, id, reason, out);
        let Some(peer) = self.peer(id) else { return };
        if peer.origin == Origin::Configured {
            self.drop_waiting(id);
            self.reschedule(id, now.instant);
        } else {
            self.drop_slot(id);
        }
    }

    pub(super) fn handle_shutdown(&mut self, now: Now, out: &mut dyn Output) {
        let ids: Vec<PeerId> = self.peer_ids().collect();
        for id in ids {
            self.close_peer(now, id, CloseReason::SHUTDOWN, out);
            self.reschedule(id, now.instant);
        }
    }

    /// Drops the packets that wait for a session.
    pub(super) fn drop_waiting(&mut self, id: PeerId) {
        if let Some(peer) = self.peer(id) {
            peer.cell.session_settled();
            self.shared.drops.add(DropReason::NoSession, peer.cell.waiting.clear());
        }
    }
}

/// Takes a session that no frame has confirmed out of its slot.
fn take_unconfirmed(peer: &mut Peer, index: u32) -> Option<Box<Session>> {
    if peer.next.as_ref().is_some_and(|session| session.index == index) {
        return peer.next.take();
    }
    let at = peer.pending.iter().position(|session| session.index == index)?;
    Some(peer.pending.remove(at))
}

/// Tells whether `current` goes on sending after `new` was confirmed: only if their handshakes
/// crossed and `current` is the newer of the two by what both sides know.
fn stays(current: &Session, new: &Session) -> bool {
    let (ours, theirs) = match (current.initiator, new.initiator) {
        (true, false) => (current, new),
        (false, true) => (new, current),
        _ => return false,
    };
    let crossed = ours.asked_at <= theirs.born && theirs.born <= ours.born;
    crossed && order(current, new) == Ordering::Greater
}

/// Orders crossed sessions: by timestamp, then the one that the smaller key requested is newer.
fn order(a: &Session, b: &Session) -> Ordering {
    a.timestamp.cmp(&b.timestamp).then_with(|| b.requester.cmp(&a.requester))
}

/// Seals a control frame and sends it; returns false if the session has no counter left.
pub(super) fn send_control(
    cell: &PeerCell,
    tx: &TxSession,
    control: &Control,
    to: &Endpoint,
    now: Instant,
    out: &mut dyn Output,
) -> bool {
    let mut frame = [0; CONTROL_MAX];
    let length = control.encode(&mut frame);
    send_frame(cell, tx, &frame[..length], to, now, out)
}

/// Sends a frame; returns false if the lane is exhausted.
///
/// Where the session's noise has a schedule, the frame waits for its place in that.
pub(super) fn send_frame(
    cell: &PeerCell,
    tx: &TxSession,
    frame: &[u8],
    to: &Endpoint,
    now: Instant,
    out: &mut dyn Output,
) -> bool {
    let scheduled = tx.noise().is_some_and(|noise| noise.has_schedule())
        && cell.endpoint().is_some_and(|usual| usual.remote == to.remote)
        && cell.tx_session().as_ref().is_some_and(|current| core::ptr::eq(&**current, tx));
    if scheduled && cell.frames.push(frame) {
        cell.stamp_tx(now, false);
        out.frame_waits(cell.id());
        return true;
    }
    send_now(cell, tx, frame, to, now, out)
}

/// Seals a frame on control's lane and sends it at once; returns false if the lane is exhausted.
///
/// In a noisy session it has the length of some data frame.
fn send_now(
    cell: &PeerCell,
    tx: &TxSession,
    frame: &[u8],
    to: &Endpoint,
    now: Instant,
    out: &mut dyn Output,
) -> bool {
    let length = match tx.noise() {
        None => frame.len(),
        Some(noise) => noise.control_length(frame.len(), tx.payload_limit()),
    };
    send_filled(cell, tx, frame, length, to, now, out)
}

/// Seals a control frame with filler up to `size` bytes, or as far as the session allows, and
/// sends it; returns false if the session has no counter left.
pub(super) fn send_padded(
    cell: &PeerCell,
    tx: &TxSession,
    control: &Control,
    size: usize,
    to: &Endpoint,
    now: Instant,
    out: &mut dyn Output,
) -> bool {
    let mut frame = [0; CONTROL_MAX];
    let length = control.encode(&mut frame);
    let size = size.min(tx.payload_limit()).max(length);
    send_filled(cell, tx, &frame[..length], size, to, now, out)
}

/// Seals a frame that is filled up to `length` bytes, and sends it.
fn send_filled(
    cell: &PeerCell,
    tx: &TxSession,
    frame: &[u8],
    length: usize,
    to: &Endpoint,
    now: Instant,
    out: &mut dyn Output,
) -> bool {
    let Ok(counter) = tx.reserve(tx.control_lane(), 1) else { return false };
    let mut short = [0; CONTROL_MAX + OVERHEAD];
    let mut filled = Vec::new();
    let datagram = if length <= CONTROL_MAX {
        &mut short[..length + OVERHEAD]
    } else {
        filled.resize(length + OVERHEAD, 0);
        &mut filled[..]
    };
    datagram[HEADER..HEADER + frame.len()].copy_from_slice(frame);
    tx.seal(counter, 0, datagram);
    out.send(to, datagram, DatagramClass::Data);
    cell.stamp_tx(now, false);
    true
}

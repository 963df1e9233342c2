//! The engine's events, and how sessions begin and end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use stadium_proto::engine::{Event, Input, Now, PeerError};
use stadium_proto::frame::CloseReason;
use stadium_proto::identity::PublicKey;
use stadium_proto::peer::PeerId;
use stadium_proto::time::Instant;
use tokio::sync::oneshot;

use super::{Driver, Entry};
use crate::error::{Closed, ConnectError};
use crate::session::SessionInner;
use crate::tickets::{EarlyData, TicketStore};

/// How long a client goes on after a refusal: a forged one must not end the attempt, a true one
/// should not be waited out.
const AFTER_REFUSAL: Duration = Duration::from_millis(1_500);

/// A client whose first handshake is under way.
pub(crate) struct Connecting {
    reply: oneshot::Sender<Result<Connected, ConnectError>>,
    addr: SocketAddr,
    timeout: Duration,
    until: Instant,
    refused: Option<PeerError>,
    host_key: Option<PublicKey>,
    /// Messages that are to go along with the handshake.
    pub(crate) early: VecDeque<Bytes>,
    /// How many of them followed the last REQUEST.
    pub(super) early_sent: usize,
    pub(super) outcome: EarlyData,
}

/// A client's session, and the server's key if it was not known before.
pub(crate) struct Connected {
    pub(crate) session: Arc<SessionInner>,
    pub(crate) host_key: Option<PublicKey>,
    pub(crate) early: EarlyData,
    /// Messages that did not go along.
    pub(crate) unsent: VecDeque<Bytes>,
}

impl Connecting {
    pub(crate) fn new(
        reply: oneshot::Sender<Result<Connected, ConnectError>>,
        addr: SocketAddr,
        timeout: Duration,
        now: Now,
    ) -> Self {
        let until = now.instant.saturating_add(timeout);
        Self {
            reply,
            addr,
            timeout,
            until,
            refused: None,
            host_key: None,
            early: VecDeque::new(),
            early_sent: 0,
            outcome: EarlyData::None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    fn fail(self, error: ConnectError) {
        // who asked may have gone
        let _ = self.reply.send(Err(error));
    }
}

impl Driver {
    /// Takes over a handshake that has begun with `events`.
    pub(crate) fn connect(
        &mut self,
        connecting: Connecting,
        events: VecDeque<Event>,
        tickets: Option<TicketStore>,
    ) {
        self.connecting = Some(connecting);
        self.events = events;
        self.tickets = tickets;
    }

    /// Does what follows from the engine's events.
    pub(super) fn settle(&mut self, now: Now) {
        while let Some(event) = self.events.pop_front() {
            self.handle_event(now, event);
        }
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::SessionUp { peer, id, initiator } => self.begin(now, peer, id, initiator),
            Event::CanSend { peer } => self.unpark(peer.0),
            Event::SessionsEnded { peer } => {
                if self.entry(peer.0).is_some() {
                    self.feed(now, Input::Close { peer, reason: CloseReason::IDLE });
                    self.end(peer.0, Closed::Expired);
                }
            }
            Event::GaveUp { peer } => {
                if self.entry(peer.0).is_some() {
                    self.feed(now, Input::Close { peer, reason: CloseReason::IDLE });
                    self.end(peer.0, Closed::TimedOut);
                }
            }
            Event::PeerClosed { peer, reason } => self.end(peer.0, Closed::ByPeer(reason)),
            Event::EndpointMoved { peer, endpoint } => self.moved(peer.0, endpoint.remote),
            Event::HostKey { key, .. } => {
                if let Some(connecting) = &mut self.connecting {
                    connecting.host_key = Some(key);
                }
            }
            Event::AttemptFailed { error, .. } => {
                tracing::debug!(%error, "a handshake was refused");
                if let Some(connecting) = &mut self.connecting {
                    connecting.refused = Some(error);
                    // a status is proved to come from the server, and no other request will do
                    let final_word = matches!(
                        error,
                        PeerError::UnknownPeer
                            | PeerError::Busy
                            | PeerError::NoCommonHash
                            | PeerError::NoCommonCipher
                    );
                    let wait = if final_word { Duration::ZERO } else { AFTER_REFUSAL };
                    let soon = now.instant.saturating_add(wait);
                    connecting.until = connecting.until.min(soon);
                }
            }
            Event::CanSendEarly { peer } => self.send_early(now, peer),
            Event::EarlyData { accepted, .. } => self.early_answered(accepted),
            Event::EarlyAccepted { peer, id } => self.expect_early(peer.0, id),
            Event::TicketIssued { peer } => self.keep_ticket(peer),
            Event::HandshakeStarted { attempt, .. } => tracing::trace!(attempt, "handshake"),
            Event::Silent { peer } => {
                if let Some(entry) = self.entry(peer.0) {
                    tracing::debug!(session = entry.session.id, "the other side is silent");
                }
            }
            Event::Pong { token, rtt, .. } => self.answer_ping(token, Some(rtt)),
            Event::PingLost { token, .. } => self.answer_ping(token, None),
        }
    }

    fn answer_ping(&mut self, token: u64, rtt: Option<Duration>) {
        if let Some(reply) = self.pings.remove(&token) {
            // who asked may have gone
            let _ = reply.send(rtt);
        }
    }

    /// Takes a confirmed session of the engine: a new one, or new keys for one that is there.
    fn begin(&mut self, now: Now, peer: PeerId, id: u64, initiator: bool) {
        let Some(cell) = self.engine.cell(peer).map(Arc::clone) else { return };
        let (limit, streams) = {
            let keys = cell.tx_session();
            keys.as_ref().map_or((0, false), |tx| (tx.payload_limit(), tx.takes_streams()))
        };
        if let Some(entry) = self.entry(peer.0) {
            let session = &entry.session;
            session.set_payload_limit(limit);
            session.confirmed.store(true, SeqCst);
            tracing::debug!(session = session.id, "new keys");
            self.unpark(peer.0);
            return;
        }
        if !streams {
            tracing::debug!("the other side carries no streams");
            self.feed(now, Input::Close { peer, reason: CloseReason::FINISHED });
            if let Some(connecting) = self.connecting.take() {
                connecting.fail(ConnectError::NoStreams);
            }
            return;
        }
        self.early.remove(&peer.0);
        let host_key = self.connecting.as_ref().and_then(|connecting| connecting.host_key);
        let key = cell.key().copied().or(host_key);
        let endpoint = Arc::clone(&self.endpoint);
        let session = SessionInner::new(id, initiator, key, cell, self.limits, endpoint);
        session.set_payload_limit(limit);
        session.confirmed.store(true, SeqCst);
        let session = Arc::new(session);
        let idle_at = self.idle_timeout.map(|timeout| now.instant.saturating_add(timeout));
        self.add(peer, &session, idle_at);
        if let Some(connecting) = self.connecting.take() {
            let Connecting { reply, early: unsent, outcome: early, .. } = connecting;
            // where nobody waits any more the client's handle ends the driver
            let _ = reply.send(Ok(Connected { session, host_key, early, unsent }));
        }
    }

    /// Puts a session among those that users see.
    pub(super) fn add(
        &mut self,
        peer: PeerId,
        session: &Arc<SessionInner>,
        idle_at: Option<Instant>,
    ) {
        let addr = session.remote();
        if let Some(at) = idle_at {
            self.idle.insert((at, peer.0));
        }
        let slot = peer.0 as usize;
        if self.entries.len() <= slot {
            self.entries.resize_with(slot + 1, || None);
        }
        let done = Vec::new();
        let entry = Entry { session: Arc::clone(session), addr, idle_at, parked: false, done };
        self.entries[slot] = Some(entry);
        self.live += 1;
        match session.key {
            Some(key) => tracing::info!(session = session.id, %key, "session"),
            None => tracing::info!(session = session.id, "session with an anonymous client"),
        }
        tracing::debug!(session = session.id, %addr, "its address");
        if let Some(directory) = &self.endpoint.directory {
            directory.add(session, addr);
        }
    }

    /// Ends a session for its users; the engine knows already.
    pub(super) fn end(&mut self, slot: u32, why: Closed) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.live -= 1;
        if let Some(at) = entry.idle_at {
            self.idle.remove(&(at, slot));
        }
        if let Some(directory) = &self.endpoint.directory {
            directory.remove(&entry.session, entry.addr);
        }
        entry.session.finish(why);
        for done in entry.done {
            // who asked may have gone
            let _ = done.send(());
        }
        tracing::info!(session = entry.session.id, reason = %why, "session ended");
    }

    /// Lets a session send that waited for keys.
    fn unpark(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot) else { return };
        if std::mem::take(&mut entry.parked) {
            let session = Arc::clone(&entry.session);
            self.endpoint.schedule(session);
        }
    }

    fn moved(&mut self, slot: u32, to: SocketAddr) {
        let Some(entry) = self.entry(slot) else { return };
        let from = std::mem::replace(&mut entry.addr, to);
        let session = Arc::clone(&entry.session);
        tracing::debug!(session = session.id, %from, %to, "the other side has moved");
        if let Some(directory) = &self.endpoint.directory {
            directory.moved(&session, from, to);
        }
    }

    /// Ends the sessions from which nothing came for too long.
    pub(super) fn end_idle(&mut self, now: Now) {
        while let Some(&(at, slot)) = self.idle.first() {
            if at > now.instant {
                break;
            }
            self.idle.remove(&(at, slot));
            let status = self.engine.peer_status(PeerId(slot), now.instant);
            let last = status.and_then(|status| status.last_received);
            let timeout = self.idle_timeout;
            let Some(entry) = self.entry(slot) else { continue };
            entry.idle_at = None;
            if !entry.session.confirmed.load(SeqCst) {
                // early data came, but the handshake was never completed
                self.close(now, slot, CloseReason::IDLE, Closed::TimedOut);
                continue;
            }
            let Some(timeout) = timeout else { continue };
            let due = last.map_or(at, |last| last.saturating_add(timeout));
            if due > now.instant {
                entry.idle_at = Some(due);
                self.idle.insert((due, slot));
            } else {
                self.close(now, slot, CloseReason::IDLE, Closed::Idle);
            }
        }
    }

    /// Gives up a client's first handshake when its time is over.
    pub(super) fn check_connecting(&mut self, now: Now) {
        let over = |c: &mut Connecting| now.instant >= c.until || c.reply.is_closed();
        let Some(connecting) = self.connecting.take_if(over) else { return };
        let error = match connecting.refused {
            Some(error) => ConnectError::Refused(error),
            None => ConnectError::TimedOut { addr: connecting.addr, after: connecting.timeout },
        };
        connecting.fail(error);
    }
}

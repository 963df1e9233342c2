//! Early data (`protocol.md` §6): tickets issued, kept and used.
//!
//! The responder issues a ticket in each confirmed session that agreed on early data. The
//! initiator keeps it, and the next handshake that has no session to send on names it; what
//! follows that REQUEST at once is sealed under a key of the ticket's secret and the REQUEST.
//!
//! Invariants: a ticket is taken by one REQUEST of the node it was issued to, once, and is not
//! known after a restart, so a replayed REQUEST opens nothing; early data confirms no session and
//! moves no endpoint; tickets are bounded in number and time.

use super::{Engine, Event, HandshakeKind, Now, Output, peer::Peer, sessions::send_control};
use crate::{
    early::{EarlyTx, FRAMES, KEY_LIFE, TICKET_LIFE},
    frame::Control,
    handshake::{EarlySecret, OpenedRequest},
    identity::PublicKey,
    peer::PeerId,
    session::RxSession,
    time::Instant,
    timers::Why,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The slot under which the earliest end of an issued ticket is queued; no peer has it.
pub(super) const TICKETS_SLOT: u32 = u32::MAX;
/// The most tickets that are kept for a peer, in either direction: the oldest gives way.
const MAX_PER_PEER: usize = 4;
/// The most tickets issued to all peers together: the oldest gives way.
const MAX_ISSUED: usize = 65_536;

/// A ticket that a peer has issued to this node, with the secret that belongs to it.
///
/// It may be used once. Whoever keeps it beyond the engine keeps it as a secret.
#[derive(Clone, Debug)]
pub struct Ticket {
    index: u32,
    secret: EarlySecret,
    expires: Instant,
}

impl Ticket {
    /// Tells whether the ticket may still be used.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        now < self.expires
    }

    /// Returns the largest frame and filler of early data under it, in bytes.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        usize::from(self.secret.payload_limit())
    }
}

/// What a peer has to do with early data.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Tickets for the next handshakes, the newest last.
    pub(super) kept: Vec<Ticket>,
    /// The ticket of the handshake under way.
    offered: Option<Ticket>,
    /// Seals what follows the last REQUEST; boxed, since hardly a peer has it and keys are large.
    tx: Option<Box<EarlyTx>>,
    /// Indices under which early data comes in, and until when.
    rx: Vec<(u32, Instant)>,
    /// Until when the peer that has just sent early data is waited for: its first frame is about
    /// to confirm the session that it was granted, so that this node needs no handshake of its own.
    held: Option<Instant>,
    /// Packets wait for that.
    wanted: bool,
}

impl Early {
    /// Returns what a REQUEST has to name: a ticket never goes with a challenge.
    pub(super) fn offer(&mut self, with_challenge: bool, now: Instant) -> Option<u32> {
        self.tx = None;
        let usable = |ticket: &&Ticket| !with_challenge && ticket.is_usable(now);
        self.offered.as_ref().filter(usable).map(|ticket| ticket.index)
    }

    /// Returns when the next of its keys is past its time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let kept = self.kept.iter().map(|ticket| ticket.expires);
        kept.chain(self.rx.iter().map(|(_, until)| *until)).chain(self.held).min()
    }

    /// Tells whether the peer's first frame is waited for, and remembers that packets do so too.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        self.wanted = self.held.is_some_and(|until| now < until);
        self.wanted
    }

    /// Ends that wait: there is a session now.
    pub(super) fn release(&mut self) {
        (self.held, self.wanted) = (None, false);
    }

    /// Takes the indices of early data out, to be released.
    pub(super) fn take_rx(&mut self) -> Vec<u32> {
        self.rx.drain(..).map(|(index, _)| index).collect()
    }

    fn keep(&mut self, ticket: Ticket) {
        if self.kept.len() >= MAX_PER_PEER {
            self.kept.remove(0);
        }
        self.kept.push(ticket);
    }
}

/// The tickets that this node has issued and not taken back yet.
#[derive(Debug, Default)]
pub(super) struct Issued {
    pub(super) tickets: BTreeMap<u32, IssuedTicket>,
    by_end: BTreeSet<(Instant, u32)>,
    /// Of each node, the oldest first.
    pub(super) by_owner: BTreeMap<PublicKey, Vec<u32>>,
    /// The end that is queued.
    deadline: Option<(Instant, Why)>,
}

#[derive(Debug)]
pub(super) struct IssuedTicket {
    owner: PublicKey,
    secret: EarlySecret,
    expires: Instant,
}

impl Issued {
    fn is_valid(&self, index: u32, owner: &PublicKey, now: Instant) -> bool {
        let mine = |ticket: &IssuedTicket| ticket.owner == *owner && now < ticket.expires;
        self.tickets.get(&index).is_some_and(mine)
    }

    fn remove(&mut self, index: u32) -> Option<IssuedTicket> {
        let ticket = self.tickets.remove(&index)?;
        self.by_end.remove(&(ticket.expires, index));
        if let Some(indices) = self.by_owner.get_mut(&ticket.owner) {
            indices.retain(|other| *other != index);
            if indices.is_empty() {
                self.by_owner.remove(&ticket.owner);
            }
        }
        Some(ticket)
    }

    /// Adds a ticket and returns those that gave way.
    fn add(&mut self, index: u32, ticket: IssuedTicket) -> Vec<u32> {
        let mut gone = Vec::new();
        if self.tickets.len() >= MAX_ISSUED {
            gone.extend(self.by_end.first().map(|(_, index)| *index));
        }
        let of_owner = self.by_owner.entry(ticket.owner).or_default();
        if of_owner.len() >= MAX_PER_PEER {
            gone.push(of_owner[0]);
        }
        of_owner.push(index);
        self.by_end.insert((ticket.expires, index));
        self.tickets.insert(index, ticket);
        gone.retain(|index| self.remove(*index).is_some());
        gone
    }
}

impl Engine {
    /// Returns what seals the early data that may follow the last REQUEST to a peer.
    #[must_use]
    pub fn early_tx(&self, id: PeerId) -> Option<&EarlyTx> {
        self.peer(id)?.early.tx.as_deref()
    }

    /// Takes the newest ticket of a peer out, for a later engine of the same identity.
    pub fn take_ticket(&mut self, id: PeerId) -> Option<Ticket> {
        self.peer_mut(id)?.early.kept.pop()
    }

    /// Puts a ticket of a peer in, for the next handshake with it; both must be the ones that it
    /// was issued between.
    pub fn put_ticket(&mut self, now: Now, id: PeerId, ticket: Ticket) {
        if let Some(peer) = self.peer_mut(id) {
            peer.early.keep(ticket);
            self.reschedule(id, now.instant);
        }
    }

    // the responder

    /// Issues a ticket in a session that was just confirmed, if early data was agreed.
    pub(super) fn issue_ticket(&mut self, now: Now, id: PeerId, index: u32, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        let slots = [&mut peer.current, &mut peer.previous];
        let Some(session) = slots.into_iter().flatten().find(|session| session.index == index)
        else {
            return;
        };
        if session.initiator {
            return;
        }
        let tx = Arc::clone(&session.tx);
        let (Some(secret), Some(owner)) = (session.early.take(), peer.cell.key().copied()) else {
            return;
        };
        let cell = Arc::clone(&peer.cell);
        let Some(endpoint) = cell.endpoint() else { return };
        let Self { indices, shared, entropy, .. } = self;
        // not among the owners: what comes in under it concerns no session
        let ticket = indices.reserve(shared.sessions(), || {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            u32::from_le_bytes(bytes)
        });
        shared.sessions().note_ticket(ticket);
        let expires = now.instant.saturating_add(TICKET_LIFE);
        let gone = self.tickets.add(ticket, IssuedTicket { owner, secret, expires });
        for index in gone {
            self.release_index(index);
        }
        self.queue_tickets();
        let control = Control::Ticket { ticket, lifetime_s: TICKET_LIFE.as_secs() };
        send_control(&cell, &tx, &control, &endpoint, now.instant, out);
    }

    /// Tells whether a REQUEST names a ticket of the node that sent it.
    pub(super) fn takes_ticket(&self, now: Now, opened: &OpenedRequest) -> bool {
        let (Some(ticket), Some(owner)) = (opened.offered().ticket, opened.remote()) else {
            return false;
        };
        self.settings.early_data && self.tickets.is_valid(ticket, owner, now.instant)
    }

    /// Takes a ticket: from now on early data under it opens, until its key is past its time.
    pub(super) fn open_early(
        &mut self,
        now: Now,
        id: PeerId,
        ticket: u32,
        after_c1: &[u8; 32],
        session_id: u64,
        out: &mut dyn Output,
    ) {
        let Some(issued) = self.tickets.remove(ticket) else { return };
        self.queue_tickets();
        let until = now.instant.saturating_add(KEY_LIFE);
        let held = now.instant.saturating_add(self.settings.timers.retry[0]);
        let Some(peer) = self.peer_mut(id) else { return };
        peer.early.held = Some(held);
        let key = issued.secret.open_key(after_c1);
        let limit = usize::from(issued.secret.payload_limit());
        let cell = Arc::clone(&peer.cell);
        peer.early.rx.push((ticket, until));
        let rx = RxSession::early(ticket, key, limit, FRAMES, cell, until);
        self.shared.sessions().insert(Arc::new(rx));
        out.event(Event::EarlyAccepted { peer: id, id: session_id });
    }

    /// Forgets the issued tickets that are past their time.
    pub(super) fn expire_tickets(&mut self, now: Instant) {
        while let Some(&(end, index)) = self.tickets.by_end.first()
            && end <= now
        {
            self.tickets.remove(index);
            self.release_index(index);
        }
        self.queue_tickets();
    }

    fn queue_tickets(&mut self) {
        let new = self.tickets.by_end.first().map(|(end, _)| (*end, Why::TicketExpires));
        self.timers.replace(TICKETS_SLOT, self.tickets.deadline, new);
        self.tickets.deadline = new;
    }

    // the initiator

    /// Keeps a ticket that a peer has issued in one of its sessions.
    pub(super) fn keep_ticket(
        &mut self,
        now: Now,
        id: PeerId,
        index: u32,
        ticket: u32,
        lifetime_s: u64,
        out: &mut dyn Output,
    ) {
        let Some(peer) = self.peer_mut(id) else { return };
        let slots = [&mut peer.current, &mut peer.previous];
        let Some(session) = slots.into_iter().flatten().find(|session| session.index == index)
        else {
            return;
        };
        // one for each session, and only to who asked for it
        if !session.initiator || ticket == 0 {
            return;
        }
        let Some(secret) = session.early.take() else { return };
        let life = Duration::from_secs(lifetime_s).min(TICKET_LIFE);
        let expires = now.instant.saturating_add(life);
        peer.early.keep(Ticket { index: ticket, secret, expires });
        out.event(Event::TicketIssued { peer: id });
    }

    /// Chooses the ticket of a handshake that begins: only where no session sends meanwhile.
    ///
    /// Nor with noise: it begins with the session, and what goes before it would be seen as it is.
    pub(super) fn choose_ticket(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let enabled = self.settings.early_data;
        // of a handshake that was dropped for this one
        self.finish_early(id, false, out);
        let Some(peer) = self.peer_mut(id) else { return };
        let fits = peer.config.handshake == HandshakeKind::Encrypted && peer.noise_wanted.is_off();
        if enabled && fits && peer.usable(now.instant).is_none() {
            peer.early.offered = take_usable(peer, now.instant);
        }
    }

    /// Makes the key of what may follow a REQUEST that has just gone out.
    pub(super) fn begin_early(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        let (Some(ticket), Some(request)) = (&peer.early.offered, peer.open_requests.last()) else {
            return;
        };
        if request.initiator.ticket() != Some(ticket.index) {
            return;
        }
        let h = request.initiator.h();
        let tx = EarlyTx::new(ticket.index, &ticket.secret, h, now.instant);
        peer.early.tx = Some(Box::new(tx));
        out.event(Event::CanSendEarly { peer: id });
    }

    /// Tells what became of early data, if there was any.
    pub(super) fn finish_early(&mut self, id: PeerId, accepted: bool, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        peer.early.tx = None;
        if peer.early.offered.take().is_some() {
            out.event(Event::EarlyData { peer: id, accepted });
        }
    }

    /// Forgets the keys of early data that are past their time, and what hangs on them.
    pub(super) fn expire_early(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        if peer.attempt.is_none() && peer.open_requests.is_empty() {
            // another session came between, and no answer comes any more
            self.finish_early(id, false, out);
        }
        let Some(peer) = self.peer_mut(id) else { return };
        peer.early.kept.retain(|ticket| ticket.is_usable(now.instant));
        let mut released = Vec::new();
        peer.early.rx.retain(|(index, until)| {
            let open = now.instant < *until;
            if !open {
                released.push(*index);
            }
            open
        });
        let late = peer.early.held.take_if(|until| now.instant >= *until).is_some();
        let wanted = late && core::mem::take(&mut peer.early.wanted);
        for index in released {
            self.release_index(index);
        }
        if wanted {
            self.handle_wanted(now, id, out);
        }
    }
}

/// Takes the newest ticket that may still be used; older ones stay.
fn take_usable(peer: &mut Peer, now: Instant) -> Option<Ticket> {
    peer.early.kept.retain(|ticket| ticket.is_usable(now));
    peer.early.kept.pop()
}

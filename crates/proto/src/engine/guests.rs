//! Guests: peers that nobody configured, for servers of the library.
//!
//! A *stranger* proves a key that is not configured; an *anonymous* guest shows none
//! (`protocol.md` §5). Both exist as long as a session with them does, so a guest costs memory
//! only while it is there.
//!
//! Invariant: guests and unconfirmed guests are bounded, so nobody fills the memory with keys
//! made up for the purpose.

use super::{
    Engine, Now,
    peer::{Origin, Peer},
};
use crate::{
    handshake::{Kind, OpenedRequest},
    peer::PeerId,
};
use core::time::Duration;

/// The most pending sessions of anonymous guests, in all (`protocol.md` §5).
const MAX_ANONYMOUS_PENDING: usize = 64;

/// Which peers a node takes beside those that are configured.
///
/// Anonymous ones need [`Settings::allow_anonymous`](super::Settings::allow_anonymous) besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guests {
    /// Whether nodes are taken whose key is not configured; if not, they get status 6.
    pub strangers: bool,
    /// The most guests at a time; more get status 8.
    pub max: usize,
    /// The most strangers at a time whose first frame has not come; more get status 8.
    pub max_pending: usize,
    /// How often guests are pinged.
    pub heartbeat: Option<Duration>,
    /// Whether only those that have a session get another: guests and configured peers alike.
    pub draining: bool,
}

impl Guests {
    /// Takes no stranger; anonymous guests, where they are allowed, without a limit of their own
    /// number.
    pub const NONE: Self = Self {
        strangers: false,
        max: usize::MAX,
        max_pending: usize::MAX,
        heartbeat: None,
        draining: false,
    };
}

/// Counts the guests of an engine.
#[derive(Debug, Default)]
pub(super) struct GuestCount {
    pub(super) all: usize,
    pub(super) unconfirmed: usize,
}

impl GuestCount {
    /// Notes that a guest's first session is confirmed.
    pub(super) fn confirm(&mut self) {
        self.unconfirmed -= 1;
    }

    /// Notes that a peer is gone, which need not be a guest.
    pub(super) fn leave(&mut self, peer: &Peer) {
        if peer.origin == Origin::Guest {
            self.all -= 1;
            self.unconfirmed -= usize::from(peer.unconfirmed);
        }
    }
}

impl Engine {
    /// Tells whether another session may be granted: to the peer `id`, or to a new guest.
    pub(super) fn has_room(&self, now: Now, id: Option<PeerId>, kind: Kind) -> bool {
        let guests = &self.settings.guests;
        if let Some(peer) = id.and_then(|id| self.peer(id)) {
            return !guests.draining || peer.usable(now.instant).is_some();
        }
        let max_pending = match kind {
            Kind::Anonymous => MAX_ANONYMOUS_PENDING.min(guests.max_pending),
            Kind::Encrypted | Kind::Open => guests.max_pending,
        };
        !guests.draining && self.guests.all < guests.max && self.guests.unconfirmed < max_pending
    }

    /// Adds the guest whose REQUEST this is.
    pub(super) fn add_guest(&mut self, now: Now, opened: &OpenedRequest) -> PeerId {
        let key = opened.remote().copied();
        let placeholder = *self.public_key();
        let (noise, heartbeat) = (self.settings.noise, self.settings.guests.heartbeat);
        self.guests.all += 1;
        self.guests.unconfirmed += 1;
        let id = self.new_slot(|id| Peer::guest(id, key, placeholder, noise, heartbeat, now));
        if let (Some(key), Some(peer)) = (key, self.peer_mut(id)) {
            peer.largest_timestamp = Some(opened.offered().timestamp);
            self.by_key.insert(key, id);
        }
        id
    }
}

//! Tickets for early data, kept from one connection to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use stadium_proto::engine::Ticket;
use stadium_proto::identity::PublicKey;

use crate::channel::lock;
use crate::clock;

/// The most tickets that are kept for a pair of keys: the oldest gives way.
const MAX_PER_PAIR: usize = 4;
/// The most pairs of keys that tickets are kept for.
const MAX_PAIRS: usize = 1_024;

/// Tickets with which a client may send early data (0-RTT) when it connects again.
///
/// Servers issue them; they are kept in memory only, serve once, for an hour, and only the key
/// that they were issued to ([`ClientConfig::secret_key`](crate::ClientConfig::secret_key)).
/// Clones share the tickets.
#[derive(Clone, Default)]
pub struct TicketStore {
    tickets: Arc<Mutex<BTreeMap<Pair, Vec<Ticket>>>>,
}

/// The server's key and the client's.
type Pair = (PublicKey, PublicKey);

impl TicketStore {
    /// Makes a store without tickets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many tickets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.tickets).values().map(Vec::len).sum()
    }

    /// Tells whether there is no ticket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn put(&self, server: PublicKey, own: PublicKey, ticket: Ticket) {
        let mut tickets = lock(&self.tickets);
        let now = clock::instant();
        if tickets.len() >= MAX_PAIRS {
            tickets.retain(|_, kept| kept.iter().any(|ticket| ticket.is_usable(now)));
            if tickets.len() >= MAX_PAIRS {
                tickets.pop_first();
            }
        }
        let kept = tickets.entry((server, own)).or_default();
        kept.retain(|ticket| ticket.is_usable(now));
        if kept.len() >= MAX_PER_PAIR {
            kept.remove(0);
        }
        kept.push(ticket);
    }

    /// Takes the newest ticket for a server: nobody else will use it.
    pub(crate) fn take(&self, server: PublicKey, own: PublicKey) -> Option<Ticket> {
        let mut tickets = lock(&self.tickets);
        let kept = tickets.get_mut(&(server, own))?;
        kept.retain(|ticket| ticket.is_usable(clock::instant()));
        let ticket = kept.pop();
        if kept.is_empty() {
            tickets.remove(&(server, own));
        }
        ticket
    }
}

impl fmt::Debug for TicketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketStore").field("tickets", &self.len()).finish()
    }
}

/// What became of the messages of [`Client::connect_early`](crate::Client::connect_early).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyData {
    /// There was no ticket: all were sent after the handshake.
    None,
    /// So many went along with the handshake; the others, if any, after it.
    Accepted(usize),
    /// The server did not take the ticket, for example because it was restarted: all were sent
    /// again after the handshake.
    Refused,
}

//! What control publishes and workers read.

use crate::{
    drop::DropCounters,
    index::{IndexTable, SessionGuard},
    peer::PeerCell,
    routes::Routes,
};
use arc_swap::{ArcSwap, Guard};
use core::net::IpAddr;
use std::sync::Arc;

/// A snapshot of all peers and the routes to them.
#[derive(Debug, Default)]
pub struct Peers {
    routes: Routes,
    cells: Box<[Option<Arc<PeerCell>>]>,
}

impl Peers {
    pub(crate) fn new(routes: Routes, cells: Box<[Option<Arc<PeerCell>>]>) -> Self {
        Self { routes, cells }
    }

    /// Returns the peer whose allowed IPs hold `address` by longest match.
    #[inline]
    #[must_use]
    pub fn route(&self, address: IpAddr) -> Option<&Arc<PeerCell>> {
        self.cells.get(self.routes.lookup(address)? as usize)?.as_ref()
    }

    /// Returns all peers.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PeerCell>> {
        self.cells.iter().flatten()
    }
}

/// The state that the engine shares with the workers: one writer, many readers.
#[derive(Debug, Default)]
pub struct Shared {
    peers: ArcSwap<Peers>,
    sessions: IndexTable,
    /// Counts everything that was dropped.
    pub drops: DropCounters,
}

impl Shared {
    /// Returns the present snapshot of peers and routes; a worker loads it once a batch.
    #[inline]
    #[must_use]
    pub fn peers(&self) -> Guard<Arc<Peers>> {
        self.peers.load()
    }

    /// Returns the receiving session of an index.
    #[inline]
    #[must_use]
    pub fn session(&self, index: u32) -> Option<SessionGuard> {
        self.sessions.find(index)
    }

    /// Tells whether an index without a session is that of a ticket: a datagram to it may be early
    /// data that is ahead of the REQUEST it follows, and be tried again once that is answered.
    #[inline]
    #[must_use]
    pub fn expects_early(&self, index: u32) -> bool {
        self.sessions.is_ticket(index)
    }

    pub(crate) fn sessions(&self) -> &IndexTable {
        &self.sessions
    }

    pub(crate) fn publish(&self, peers: Peers) {
        self.peers.store(Arc::new(peers));
    }
}

//! Early data of the tunnel: what waits for a session goes along with the REQUEST for it.

use std::net::SocketAddr;

use stadium_proto::drop::DropReason;
use stadium_proto::engine::{DatagramClass, Output};
use stadium_proto::peer::{LocalAddress, PeerId};

use super::Control;

impl Control {
    /// Sends what waits for a session after the REQUEST that has just gone out.
    pub(super) fn send_early(&mut self, peer: PeerId) {
        let Self { engine, book, outbox, clock, .. } = self;
        let (Some(tx), Some(cell)) = (engine.early_tx(peer), engine.cell(peer)) else { return };
        let (Some(entry), Some(endpoint)) = (book.get_mut(peer), cell.endpoint()) else { return };
        let packets = entry.early.send(clock.instant(), &cell.waiting, tx, |datagram| {
            outbox.send(&endpoint, datagram, DatagramClass::Data);
        });
        tracing::debug!(peer = entry.label, packets, "early data went along with the handshake");
    }

    /// Learns what became of it; what was refused goes with the session that begins.
    pub(super) fn early_answered(&mut self, peer: PeerId, accepted: bool) {
        let (Some(cell), Some(entry)) = (self.engine.cell(peer), self.book.get_mut(peer)) else {
            return;
        };
        if accepted {
            let (packets, bytes) = entry.early.accepted();
            cell.tx.add(packets, bytes);
            tracing::debug!(peer = entry.label, packets, "early data was taken");
            return;
        }
        entry.early.refused();
        tracing::debug!(peer = entry.label, "early data was not taken");
        let now = self.clock.instant();
        if cell.tx_session().as_ref().is_some_and(|session| session.is_usable(now)) {
            // a session of the peer's came first
            self.drain_waiting(peer);
        }
    }

    /// Drops what was to go ahead, as there will be no session.
    pub(super) fn forget_early(&mut self, peer: PeerId) {
        if let Some(entry) = self.book.get_mut(peer) {
            self.engine.shared().drops.add(DropReason::NoSession, entry.early.clear());
        }
    }

    /// Opens a datagram that had come before the REQUEST that it follows was answered.
    pub(super) fn open_early(
        &mut self,
        remote: SocketAddr,
        local: Option<LocalAddress>,
        tos: u8,
        datagram: Box<[u8]>,
    ) {
        self.late.open(self.clock.instant(), remote, local, tos, datagram);
    }
}

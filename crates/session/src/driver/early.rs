//! Early data: what goes along with a client's handshake, and what a server makes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stadium_proto::early::FRAMES;
use stadium_proto::engine::{DatagramClass, Now};
use stadium_proto::frame::StreamHeader;
use stadium_proto::peer::PeerId;
use stadium_proto::session::{HEADER, OVERHEAD};

use super::Driver;
use super::outbox::send;
use crate::session::SessionInner;
use crate::tickets::EarlyData;

/// How long a session with nothing but early data is waited for.
const UNCONFIRMED_LIFE: Duration = Duration::from_secs(10);
/// The longest frame that every session takes, in bytes.
const LEAST_LIMIT: usize = stadium_proto::wire::MIN_PAYLOAD_LIMIT as usize;

impl Driver {
    /// Sends the first messages after a REQUEST; after each that names a ticket the same ones.
    pub(super) fn send_early(&mut self, now: Now, peer: PeerId) {
        let Some(connecting) = &mut self.connecting else { return };
        connecting.early_sent = 0;
        let Some(tx) = self.engine.early_tx(peer) else { return };
        let Some(endpoint) = self.engine.cell(peer).and_then(|cell| cell.endpoint()) else {
            return;
        };
        for message in connecting.early.iter().take(FRAMES as usize) {
            let Ok(length) = u16::try_from(message.len()) else { break };
            let header = StreamHeader { stream: 0, length }.to_bytes();
            let mut datagram = vec![0; OVERHEAD + header.len() + message.len()];
            let (head, body) = datagram[HEADER..].split_at_mut(header.len());
            head.copy_from_slice(&header);
            body[..message.len()].copy_from_slice(message);
            // whatever does not go now goes after the handshake, with all that follow it
            if tx.seal_next(now.instant, &mut datagram).is_err() {
                break;
            }
            send(&self.socket.get_ref().0, &endpoint, &datagram, DatagramClass::Data);
            connecting.early_sent += 1;
        }
        tracing::debug!(messages = connecting.early_sent, "early data");
    }

    /// Learns what became of it; what was refused goes after the handshake.
    pub(super) fn early_answered(&mut self, accepted: bool) {
        let Some(connecting) = &mut self.connecting else { return };
        if accepted {
            connecting.early.drain(..connecting.early_sent);
            connecting.outcome = EarlyData::Accepted(connecting.early_sent);
        } else {
            connecting.outcome = EarlyData::Refused;
        }
    }

    pub(super) fn keep_ticket(&mut self, peer: PeerId) {
        let Some(store) = &self.tickets else { return };
        let own = *self.engine.public_key();
        let server = self.engine.cell(peer).and_then(|cell| cell.key().copied());
        if let (Some(server), Some(ticket)) = (server, self.engine.take_ticket(peer)) {
            store.put(server, own, ticket);
        }
    }

    /// Notes that early data may come in a slot.
    pub(super) fn expect_early(&mut self, slot: u32, id: u64) {
        self.early.insert(slot, id);
    }

    /// Begins a session with early data, before its handshake is complete.
    pub(super) fn begin_early(&mut self, now: Now, slot: u32, from: SocketAddr) {
        let Some(id) = self.early.remove(&slot) else { return };
        let peer = PeerId(slot);
        let Some(cell) = self.engine.cell(peer).map(Arc::clone) else { return };
        let key = cell.key().copied();
        let endpoint = Arc::clone(&self.endpoint);
        let session = SessionInner::new(id, false, key, cell, self.limits, endpoint);
        session.set_payload_limit(LEAST_LIMIT);
        // nobody has set it before
        let _ = session.early_addr.set(from);
        let until = now.instant.saturating_add(UNCONFIRMED_LIFE);
        self.add(peer, &Arc::new(session), Some(until));
    }
}

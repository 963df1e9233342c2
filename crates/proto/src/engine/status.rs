//! What a user sees of a peer.

use super::{Engine, PeerState, PeerStatus, SessionStatus};
use crate::{peer::PeerId, time::Instant};

impl Engine {
    /// Returns what is known about a peer.
    #[must_use]
    pub fn peer_status(&self, id: PeerId, now: Instant) -> Option<PeerStatus> {
        let peer = self.peer(id)?;
        let session = peer.usable(now).map(|session| SessionStatus {
            id: session.id,
            age: now.saturating_since(session.born),
            cipher: session.cipher,
            hash: session.hash,
            post_quantum: session.post_quantum,
            handshake: session.kind,
            lanes: session.tx.lanes(),
            noise: session.noise,
            payload_limit: session.tx.payload_limit(),
        });
        let state = if session.is_some() && !peer.gave_up {
            PeerState::Up
        } else if peer.attempt.is_some() || peer.next.is_some() {
            PeerState::Handshaking
        } else if peer.closed {
            PeerState::Closed
        } else if peer.gave_up {
            PeerState::Down
        } else {
            PeerState::Idle
        };
        Some(PeerStatus {
            state,
            last_error: peer.last_error,
            session,
            handshakes: peer.handshakes,
            last_handshake: peer.last_handshake,
            last_received: peer.cell.last_rx.at(),
            rtt: peer.rtt,
            noise: session.map_or(peer.config.noise, |session| session.noise),
        })
    }
}

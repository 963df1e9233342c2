//! Events of a node: what a subscriber of the control socket is told, one JSON object a line.
//!
//! Invariants: fields as the schema says, none of them a secret; a subscriber that is too slow
//! is told how many events it has missed, never held back for.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::status::LastError;

/// The version of [`Event`]; it grows by one when a field changes its meaning or goes away.
pub const EVENT_SCHEMA: u32 = 1;

/// Tells of one thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version of this layout, [`EVENT_SCHEMA`].
    pub schema: u32,
    /// When it happened.
    pub time: Timestamp,
    /// The interface that it happened at.
    pub interface: String,
    /// The peer that it is about, `null` where it is about the interface.
    pub peer: Option<EventPeer>,
    /// What happened, under `event`, with the fields that belong to it.
    #[serde(flatten)]
    pub what: What,
}

/// Names a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPeer {
    /// Its name, where the peer file gives one.
    pub name: Option<String>,
    /// Its public key, base64.
    pub public_key: String,
}

/// Says what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The first line of every stream: what follows happened after it.
    Subscribed,
    /// A handshake request went out.
    HandshakeStarted {
        /// Which try it is, from 1.
        attempt: u32,
    },
    /// A handshake did not lead to a session.
    HandshakeFailed {
        /// Why.
        error: LastError,
    },
    /// Handshakes are given up until there is traffic again.
    GaveUp,
    /// A session is confirmed.
    SessionUp {
        /// Its id, as in the status.
        session: u64,
        /// Whether this node asked for it.
        initiator: bool,
    },
    /// The peer has no session any more.
    SessionEnded,
    /// The peer closed its session.
    PeerClosed {
        /// `shutdown`, `removed`, `idle` or `other`.
        reason: String,
    },
    /// Datagrams to the peer go to another address from now on.
    EndpointMoved {
        /// The address.
        endpoint: SocketAddr,
    },
    /// The peer file was applied again.
    Reloaded {
        /// How many settings changed.
        changes: u32,
    },
    /// The interface goes down; no more events follow.
    Stopping,
    /// The subscriber was too slow.
    Missed {
        /// How many events it has not seen.
        events: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            schema: EVENT_SCHEMA,
            time: Timestamp::UNIX_EPOCH,
            interface: "stadium0".into(),
            peer: Some(EventPeer { name: None, public_key: "KEY=".into() }),
            what: What::SessionUp { session: 7, initiator: true },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            "{\"schema\":1,\"time\":\"1970-01-01T00:00:00Z\",\"interface\":\"stadium0\",\"peer\":\
             {\"name\":null,\"public_key\":\"KEY=\"},\"event\":\"session_up\",\"session\":7,\
             \"initiator\":true}"
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

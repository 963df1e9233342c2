//! Two nodes with one key: the peer's address goes to and fro.

use std::net::SocketAddr;

use stadium_node::api::What;

use super::super::facts::{Facts, PeerFacts, Running};
use super::super::finding::{self, Finding};

/// How often an address must come back before it is no roaming.
const RETURNS: usize = 2;

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let twice = facts.peers.iter().filter_map(|peer| {
        let moves = moves(running, peer);
        let returns = moves.windows(3).filter(|three| three[0] == three[2]).count();
        let [.., a, b] = moves[..] else { return None };
        (returns >= RETURNS).then(|| {
            Finding::problem(
                finding::DUPLICATE_NODE,
                format!(
                    "the peer goes to and fro between {a} and {b} ({} moves lately): two nodes have \
                     the same private key",
                    moves.len()
                ),
                "a peer file belongs to one machine: make a new key with `stadium genkey` on one of \
                 the two, and add it as a peer of its own",
            )
            .about(&peer.label)
        })
    });
    twice.collect()
}

/// Where a peer was, one after the other.
fn moves(running: &Running, peer: &PeerFacts) -> Vec<SocketAddr> {
    let of_peer = running
        .history
        .iter()
        .filter(|event| event.peer.as_ref().is_some_and(|told| told.public_key == peer.public_key));
    of_peer
        .filter_map(|event| match event.what {
            What::EndpointMoved { endpoint } => Some(endpoint),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::api::{Event, EventPeer};

    fn moved(facts: &mut Facts, places: &[&str]) {
        let key = facts.peers[0].public_key.clone();
        facts.running_mut().history = places
            .iter()
            .map(|place| Event {
                schema: 1,
                time: jiff::Timestamp::UNIX_EPOCH,
                interface: "stadium0".to_owned(),
                peer: Some(EventPeer { name: None, public_key: key.clone() }),
                what: What::EndpointMoved { endpoint: place.parse().unwrap() },
            })
            .collect();
    }

    #[test]
    fn to_and_fro_is_told_from_roaming() {
        let mut facts = Facts::healthy();
        moved(&mut facts, &["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        assert!(check(&facts).is_empty());
        moved(&mut facts, &["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1"]);
        assert!(check(&facts).is_empty(), "home, away and home again");
        moved(&mut facts, &["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(check(&facts)[0].code, finding::DUPLICATE_NODE);
    }
}

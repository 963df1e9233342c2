//! What others sent that this node could not take: wrong keys, unknown keys.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let waits = facts.peers.iter().any(|peer| !facts.is_up(peer));
    let mut found = Vec::new();
    let mut counted = |reason: &str, code, what: &str, remedy: &str| {
        let (total, lately) = running.drops(reason);
        if total > 0 {
            let what = format!("{total} {what}, {lately} of them just now");
            let finding = Finding::problem(code, what, remedy);
            // the internet knocks at every door: without a peer that is missing it means little
            found.push(if waits { finding } else { finding.hint() });
        }
    };
    counted(
        "bad_mac",
        finding::WRONG_KEY,
        "handshakes came that were made for another public key or another network key than this \
         node's",
        "compare the `public_key` that the peers have for this node with that of `stadium status`, \
         and the `network_key`; nothing else is wrong where no peer is missing",
    );
    counted(
        "unknown_peer",
        finding::UNKNOWN_PEER,
        "valid handshakes came from a public key that is not in the peer file",
        "add the peer, or correct its `public_key` here",
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding::Severity;

    #[test]
    fn strangers_matter_where_a_peer_is_missing() {
        let mut facts = Facts::healthy();
        facts.running_mut().after.drops.bad_mac = 5;
        assert_eq!(check(&facts)[0].severity, Severity::Hint);
        facts.running_mut().after.peers[0].state = stadium_node::api::PeerState::Idle;
        facts.running_mut().after.drops.unknown_peer = 1;
        let found = check(&facts);
        assert_eq!(found[0].severity, Severity::Problem);
        assert_eq!((found[0].code, found[1].code), (finding::WRONG_KEY, finding::UNKNOWN_PEER));
    }
}

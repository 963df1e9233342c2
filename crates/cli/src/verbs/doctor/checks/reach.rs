//! Peers that say nothing: who is to blame, by what comes back from their host.

use stadium_node::api::LastError;

use super::super::facts::{Answer, Facts, PeerFacts, Probe};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let judged = facts.peers.iter().filter_map(|peer| {
        let finding = if facts.is_up(peer) { up_but_silent(peer) } else { not_up(facts, peer) };
        Some(finding?.about(&peer.label))
    });
    judged.collect()
}

/// A session whose heartbeats get no answer.
fn up_but_silent(peer: &PeerFacts) -> Option<Finding> {
    if peer.heartbeat != Some(None) {
        return None;
    }
    Some(match &peer.endpoint {
        None => forgotten("heartbeats of the session get no answer"),
        Some(_) => Finding::problem(
            finding::NO_ANSWER,
            "there is a session, but heartbeats get no answer: the peer has gone away, or the way \
             to it is cut",
            "see whether the peer runs; a new handshake follows by itself after 15 s of silence",
        ),
    })
}

/// The peer came from an address that was learned, and is not there any more.
fn forgotten(seen: &str) -> Finding {
    Finding::problem(
        finding::NAT,
        format!(
            "{seen}, and its address was learned from what it sent: a NAT or firewall between the \
             two has forgotten it"
        ),
        "set `heartbeat: 25s` for this node in the peer's file, so that the way stays open; until \
         then only the peer can begin",
    )
}

fn not_up(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let status = facts.status_of(peer)?;
    let silent = matches!(status.last_error, None | Some(LastError::NoAnswer));
    if peer.endpoint.is_none() && status.endpoint.is_none() {
        return Some(
            Finding::problem(
                finding::NO_ENDPOINT,
                "no session, and no `endpoint` to begin one: this side can only wait for the peer",
                "if the peer has no `endpoint` for this node either, give one of the two",
            )
            .hint(),
        );
    }
    if !facts.is_failing(peer) || !silent || matches!(peer.outer, Some((_, Err(_)))) {
        return None;
    }
    if matches!(peer.resolved, Some(Err(_))) {
        return None;
    }
    if peer.endpoint.is_none() {
        return Some(forgotten("the peer does not answer"));
    }
    peer.probe.map_or_else(|| Some(unknown("nothing came back")), |probe| of(&probe))
}

/// Judges by what came back from the host.
fn of(probe: &Probe) -> Option<Finding> {
    let at = probe.at;
    let host = at.ip();
    Some(match (probe.port, probe.other, probe.echo) {
        (Answer::Refused, _, _) => Finding::problem(
            finding::NOTHING_LISTENS,
            format!("nothing listens on UDP {at}: its host says so"),
            "start the daemon there; compare its `interface.listen` with the port of `endpoint`",
        ),
        // told as the firewall's doing
        (Answer::Forbidden, _, _) => return None,
        (Answer::Unreachable, _, _) => Finding::problem(
            finding::NO_ROUTE,
            format!("a router says that there is no way to {host}"),
            "check the address of `endpoint`, and whether that host is on the network",
        ),
        (Answer::Silence, Answer::Refused, _) => Finding::problem(
            finding::WRONG_KEY,
            format!(
                "UDP gets to {host}, and something takes what comes to port {}, but it answers no \
                 handshake: the `public_key` here is not the peer's, or the network keys differ",
                at.port()
            ),
            "compare the key with the `public_key` of `stadium status` there; where they are equal, \
             the doctor there says more (`bad_mac` counts wrong keys; a `stealth` node is silent to \
             strangers too)",
        ),
        (Answer::Silence, _, Some(true)) => Finding::problem(
            finding::UDP_BLOCKED,
            format!("the host {host} answers pings, but no UDP gets to it or back"),
            format!(
                "let UDP to port {} through the firewalls at both ends and between; a network that \
                 lets no UDP out cannot carry Stadium",
                at.port()
            ),
        ),
        (Answer::Silence, _, _) => unknown(&format!("nothing at all came back from {host}")),
    })
}

fn unknown(seen: &str) -> Finding {
    Finding::problem(
        finding::NO_ANSWER,
        format!("handshakes get no answer; {seen}"),
        "is the peer up and online, is its `endpoint` right, does a firewall drop everything? run \
         the doctor there: what it counts tells whether anything arrives",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(port: Answer, other: Answer, echo: Option<bool>) -> Vec<&'static str> {
        let mut facts = Facts::failing(Some(LastError::NoAnswer));
        let at = "192.0.2.7:51871".parse().unwrap();
        facts.peers[0].probe = Some(Probe { at, port, other, echo });
        check(&facts).iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_comes_back_decides() {
        use Answer::{Forbidden, Refused, Silence, Unreachable};
        assert_eq!(judged(Refused, Silence, None), [finding::NOTHING_LISTENS]);
        assert_eq!(judged(Silence, Refused, Some(false)), [finding::WRONG_KEY]);
        assert_eq!(judged(Silence, Silence, Some(true)), [finding::UDP_BLOCKED]);
        assert_eq!(judged(Silence, Silence, Some(false)), [finding::NO_ANSWER]);
        assert_eq!(judged(Silence, Silence, None), [finding::NO_ANSWER]);
        assert_eq!(judged(Unreachable, Silence, None), [finding::NO_ROUTE]);
        assert_eq!(judged(Forbidden, Forbidden, None), [""; 0]);
    }

    #[test]
    fn a_learned_address_that_went_silent_is_a_nat() {
        let mut facts = Facts::healthy();
        facts.peers[0].heartbeat = Some(None);
        assert_eq!(check(&facts)[0].code, finding::NO_ANSWER);
        facts.peers[0].endpoint = None;
        assert_eq!(check(&facts)[0].code, finding::NAT);
        let mut facts = Facts::failing(None);
        facts.peers[0].endpoint = None;
        assert_eq!(check(&facts)[0].code, finding::NAT);
        facts.running_mut().after.peers[0].endpoint = None;
        facts.peers[0].tried = false;
        let found = check(&facts);
        assert_eq!(found[0].code, finding::NO_ENDPOINT);
        assert_eq!(found[0].severity, finding::Severity::Hint);
    }

    #[test]
    fn an_idle_peer_that_was_not_tried_is_left_alone() {
        let mut facts = Facts::failing(None);
        facts.peers[0].tried = false;
        assert!(check(&facts).is_empty());
    }
}

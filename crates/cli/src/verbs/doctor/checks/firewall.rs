//! Packet filters of this machine.

use super::super::facts::{Answer, Facts};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let port = facts.running().and_then(|running| running.after.listen.first()).map(|a| a.port());
    let mut found = Vec::new();
    // what began inside is let back in: only who waits to be called suffers
    let suffers = facts.running().is_none() || facts.peers.iter().any(|peer| !facts.is_up(peer));
    for filtered in &facts.filters {
        let port = port.map_or_else(String::new, |port| format!(" (UDP port {port})"));
        let (what, remedy) = match filtered.hook {
            "input" => (
                format!("the packet filter drops what peers send{port}: {}", filtered.place),
                format!("let UDP to the port of `interface.listen`{port} in"),
            ),
            _ => (
                format!("the packet filter drops what Stadium sends{port}: {}", filtered.place),
                "let the daemon's UDP out".to_owned(),
            ),
        };
        let finding = Finding::problem(finding::FIREWALL, what, remedy);
        found.push(if suffers { finding } else { finding.hint() });
    }
    for peer in &facts.peers {
        if peer.probe.is_some_and(|probe| probe.port == Answer::Forbidden)
            && !facts.filters.iter().any(|filtered| filtered.hook == "output")
        {
            found.push(
                Finding::problem(
                    finding::FIREWALL,
                    "this machine's packet filter does not let UDP out to the endpoint",
                    "look at `nft list ruleset` (or `iptables -S OUTPUT`) and let it out",
                )
                .about(&peer.label),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Filtered;
    use super::*;
    use crate::verbs::doctor::finding::Severity;

    #[test]
    fn a_filter_matters_where_somebody_waits() {
        let mut facts = Facts::healthy();
        facts.filters = vec![Filtered { hook: "input", place: "policy of chain x".to_owned() }];
        assert_eq!(check(&facts)[0].severity, Severity::Hint);
        facts.running_mut().after.peers[0].state = stadium_node::api::PeerState::Idle;
        let found = check(&facts);
        assert_eq!(found[0].severity, Severity::Problem);
        assert!(found[0].remedy.contains("51871"));
    }
}

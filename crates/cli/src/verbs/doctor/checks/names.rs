//! Names of endpoints.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let unresolved = |peer: &super::super::facts::PeerFacts| {
        let (Some(Err(why)), Some(endpoint)) = (&peer.resolved, &peer.endpoint) else {
            return None;
        };
        let finding = Finding::problem(
            finding::NAME_UNRESOLVED,
            format!("the endpoint {endpoint}: {why}"),
            "check the spelling, /etc/resolv.conf and the name server; the daemon asks again by \
             itself",
        );
        // an address that was found before still serves
        let finding = if facts.is_up(peer) { finding.hint() } else { finding };
        Some(finding.about(&peer.label))
    };
    facts.peers.iter().filter_map(unresolved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding::Severity;

    #[test]
    fn an_unknown_name_matters_less_while_the_session_stands() {
        let mut facts = Facts::healthy();
        facts.peers[0].resolved = Some(Err("name does not resolve".to_owned()));
        assert_eq!(check(&facts)[0].severity, Severity::Hint);
        facts.daemon = super::super::super::facts::Daemon::Absent;
        assert_eq!(check(&facts)[0].severity, Severity::Problem);
    }
}

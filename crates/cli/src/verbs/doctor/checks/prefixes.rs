//! Allowed IPs against the networks of this machine, and against what peers send.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let index = facts.index();
    let names = facts.link_names();
    for peer in &facts.peers {
        for net in peer.allowed_ips.iter().filter(|net| net.prefix_len() > 0) {
            for other in facts.machine.addresses.iter().filter(|o| Some(o.index) != index) {
                let Some(link) = names.get(&other.index).filter(|link| **link != "lo") else {
                    continue;
                };
                let theirs = other.address.trunc();
                let host = theirs.prefix_len() == theirs.max_prefix_len();
                if host || !(net.contains(&theirs) || theirs.contains(net)) {
                    continue;
                }
                let wins = if net.prefix_len() > theirs.prefix_len() { &facts.name } else { *link };
                found.push(
                    Finding::problem(
                        finding::ALLOWED_IPS_OVERLAP,
                        format!(
                            "allowed_ips {net} overlaps with {theirs}, the network of {link}: \
                             {wins} wins where both have a route"
                        ),
                        "narrow `allowed_ips`, or renumber one of the two networks",
                    )
                    .about(&peer.label),
                );
            }
        }
    }
    let (total, lately) = facts.running().map_or((0, 0), |running| running.drops("not_allowed"));
    if total > 0 {
        let finding = Finding::problem(
            finding::SOURCE_NOT_ALLOWED,
            format!(
                "{total} packets came from inner addresses that belong to no peer or to another \
                 peer than the one that sent them, {lately} of them just now"
            ),
            "add the sender's address or network to its `allowed_ips` here; the longest prefix \
             decides, so look for a longer one at another peer too",
        );
        found.push(if lately > 0 { finding } else { finding.hint() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::system::AddressFact;

    #[test]
    fn a_network_of_this_machine_inside_allowed_ips_is_found() {
        let mut facts = Facts::healthy();
        facts.peers[0].allowed_ips = vec!["192.168.0.0/16".parse().unwrap()];
        facts.machine.addresses =
            vec![AddressFact { index: 2, address: "192.168.5.9/24".parse().unwrap() }];
        let found = check(&facts);
        assert_eq!(found[0].code, finding::ALLOWED_IPS_OVERLAP);
        assert!(found[0].what.contains("eth0 wins"), "{}", found[0].what);
        facts.machine.addresses[0].index = 7;
        assert!(check(&facts).is_empty(), "the tunnel's own network");
        facts.machine.addresses[0].index = 2;
        facts.peers[0].allowed_ips = vec!["0.0.0.0/0".parse().unwrap()];
        assert!(check(&facts).is_empty(), "a default route leaves local networks alone");
    }

    #[test]
    fn packets_that_are_not_allowed_are_a_problem_while_they_come() {
        let mut facts = Facts::healthy();
        facts.running_mut().before.drops.not_allowed = 3;
        facts.running_mut().after.drops.not_allowed = 3;
        assert_eq!(check(&facts)[0].severity, finding::Severity::Hint);
        facts.running_mut().after.drops.not_allowed = 4;
        assert_eq!(check(&facts)[0].severity, finding::Severity::Problem);
    }
}

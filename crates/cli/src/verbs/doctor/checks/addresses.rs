//! Addresses of the interface that are elsewhere on this machine too; the interface itself.

use ipnet::IpNet;

use super::super::facts::{Daemon, Facts};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let index = facts.index();
    let mut found = Vec::new();
    if matches!(facts.daemon, Daemon::Running(_)) && index.is_none() {
        found.push(
            Finding::problem(
                finding::INTERFACE_GONE,
                format!("the interface {} is not in this network namespace", facts.name),
                "if you moved it to another namespace, all is well; run the doctor there for \
                 routes and addresses",
            )
            .hint(),
        );
    }
    let Some(file) = facts.file.valid() else { return found };
    let names = facts.link_names();
    for own in &file.interface.address {
        for other in facts.machine.addresses.iter().filter(|other| Some(other.index) != index) {
            let Some(link) = names.get(&other.index) else { continue };
            let what = if other.address.addr() == own.addr() {
                format!("the address {} of {} is also that of {link}", own.addr(), facts.name)
            } else if overlap(own, &other.address) {
                format!(
                    "the network {} of {} overlaps with {} of {link}",
                    own.trunc(),
                    facts.name,
                    other.address.trunc()
                )
            } else {
                continue;
            };
            found.push(Finding::problem(
                finding::ADDRESS_CONFLICT,
                what,
                format!("give {} another `interface.address`, or {link}", facts.name),
            ));
        }
    }
    found
}

/// Tells whether two networks share addresses; a single host has no network to share.
fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    !host(a) && !host(b) && (a.contains(&b.trunc()) || b.contains(&a.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_share_addresses_and_hosts_do_not() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(overlap(&net("10.7.0.1/24"), &net("10.7.0.9/24")));
        assert!(overlap(&net("10.7.0.1/16"), &net("10.7.3.9/24")));
        assert!(!overlap(&net("10.7.0.1/24"), &net("10.8.0.9/24")));
        assert!(!overlap(&net("10.7.0.1/32"), &net("10.7.0.9/24")));
    }

    #[test]
    fn a_moved_interface_is_only_worth_a_hint() {
        let mut facts = Facts::healthy();
        facts.machine.links.retain(|link| link.link.name != "stadium0");
        let found = check(&facts);
        assert_eq!(found[0].code, finding::INTERFACE_GONE);
        assert_eq!(found[0].severity, finding::Severity::Hint);
    }
}

//! From facts to findings: one module a concept, each a pure function.

mod addresses;
mod clock;
mod duplicate;
mod file;
mod firewall;
mod forwarding;
mod handshake;
mod keys;
mod mtu;
mod names;
mod offload;
mod permission;
mod port;
mod prefixes;
mod reach;
mod reverse_path;
mod routes;

use super::facts::Facts;
use super::finding::{Finding, Severity};

/// Every check, in the order in which an operator would look.
const CHECKS: &[fn(&Facts) -> Vec<Finding>] = &[
    file::check,
    permission::check,
    clock::check,
    port::check,
    addresses::check,
    names::check,
    routes::check,
    prefixes::check,
    firewall::check,
    handshake::check,
    reach::check,
    keys::check,
    duplicate::check,
    mtu::check,
    forwarding::check,
    reverse_path::check,
    offload::check,
];

/// Judges everything; problems come first.
pub(crate) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(facts)).collect();
    findings.sort_by_key(|finding| finding.severity);
    debug_assert!(findings.is_sorted_by_key(|f| f.severity >= Severity::Hint));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding;

    #[test]
    fn a_healthy_interface_yields_nothing() {
        assert_eq!(all(&Facts::healthy()), []);
    }

    #[test]
    fn every_code_is_in_the_documentation() {
        let page = include_str!("../../../../docs/doctor.md");
        for code in finding::ALL {
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }
}

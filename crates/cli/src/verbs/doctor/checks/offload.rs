//! Offloads that do not work.

use stadium_config::AutoOff;

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    if facts.file.valid().is_some_and(|file| file.interface.offload == AutoOff::Off) {
        return Vec::new();
    }
    let offload = running.after.offload;
    let broken: Vec<&str> = [
        (offload.tun, "superpackets from the interface (TSO)"),
        (offload.udp_gso, "runs of datagrams out (UDP GSO)"),
        (offload.udp_gro, "runs of datagrams in (UDP GRO)"),
    ]
    .iter()
    .filter(|(works, _)| !works)
    .map(|(_, name)| *name)
    .collect();
    if broken.is_empty() {
        return Vec::new();
    }
    vec![Finding::problem(
        finding::OFFLOAD_BROKEN,
        format!(
            "not in use: {}; the kernel does not have it, or it failed in use. Everything works, \
             only slower",
            broken.join(", ")
        ),
        "see the daemon's log, the driver of the outer interface (`ethtool -k`), IPsec policies on \
         the way out; `interface.offload: off` says that you know",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named() {
        let mut facts = Facts::healthy();
        facts.running_mut().after.offload.udp_gso = false;
        assert!(check(&facts)[0].what.contains("UDP GSO"));
        assert!(!check(&facts)[0].what.contains("GRO"));
    }
}

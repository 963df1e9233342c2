//! The UDP port that `up` would bind.

use super::super::facts::{Daemon, Facts};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    if matches!(facts.daemon, Daemon::Running(_)) {
        return Vec::new();
    }
    let finding = |taken: &super::super::facts::Taken| {
        let who = match &taken.holder {
            Some(holder) => format!("{holder} has it"),
            None => "another process has it, which you may not see".to_owned(),
        };
        Finding::problem(
            finding::PORT_IN_USE,
            format!("UDP {} is in use: {who}", taken.address),
            "end that process, or choose another `interface.listen`",
        )
    };
    facts.taken.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Taken;
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let mut facts = Facts::healthy();
        let address = "0.0.0.0:51871".parse().unwrap();
        facts.taken = vec![Taken { address, holder: Some("dnsmasq (pid 7)".to_owned()) }];
        assert!(check(&facts).is_empty(), "our own daemon has it");
        facts.daemon = Daemon::Absent;
        assert!(check(&facts)[0].what.contains("dnsmasq (pid 7)"));
    }
}

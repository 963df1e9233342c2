//! The reverse-path filter.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let counter = facts.kernel.reverse_path;
    if counter.total == 0 || facts.running().is_none() {
        return Vec::new();
    }
    let strict = &facts.kernel.strict;
    let finding = Finding::problem(
        finding::RP_FILTER,
        format!(
            "the reverse-path filter dropped {} packets, {} of them just now: their sender is not \
             reached by the interface they came by{}",
            counter.total,
            counter.growth,
            if strict.is_empty() {
                String::new()
            } else {
                format!(" (rp_filter is 1 on {})", strict.join(", "))
            }
        ),
        format!(
            "route the senders' networks into {name} (`stadium explain {name} ADDRESS`), or set \
             `net.ipv4.conf.{name}.rp_filter` and `net.ipv4.conf.all.rp_filter` to 2",
            name = facts.name
        ),
    );
    vec![if counter.growth > 0 { finding } else { finding.hint() }]
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Counter;
    use super::*;

    #[test]
    fn packets_that_are_dropped_now_are_a_problem() {
        let mut facts = Facts::healthy();
        facts.kernel.strict = vec!["stadium0".to_owned()];
        facts.kernel.reverse_path = Counter { total: 3, growth: 1 };
        assert!(check(&facts)[0].what.contains("on stadium0"));
        assert_eq!(check(&facts)[0].severity, finding::Severity::Problem);
        facts.kernel.reverse_path.growth = 0;
        assert_eq!(check(&facts)[0].severity, finding::Severity::Hint);
    }
}

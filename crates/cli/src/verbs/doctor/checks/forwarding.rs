//! Forwarding between the tunnel and other networks.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    if facts.running().is_none() {
        return Vec::new();
    }
    let kernel = &facts.kernel;
    let families = [
        ("IPv4", kernel.forward_v4, "net.ipv4.ip_forward", kernel.not_ours[0]),
        ("IPv6", kernel.forward_v6, "net.ipv6.conf.all.forwarding", kernel.not_ours[1]),
    ];
    let off = families.into_iter().filter(|(_, on, _, _)| *on == Some(false));
    off.filter(|(_, _, _, counter)| counter.growth > 0)
        .map(|(family, _, setting, counter)| {
            Finding::problem(
                finding::FORWARDING_OFF,
                format!(
                    "{} {family} packets for other hosts arrived just now, and this machine does \
                     not forward ({setting} is 0)",
                    counter.growth
                ),
                format!(
                    "`sysctl -w {setting}=1` where it is to be a gateway (for good: in \
                     /etc/sysctl.d), and let the packet filter forward"
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Counter;
    use super::*;

    #[test]
    fn packets_for_others_without_forwarding_are_found() {
        let mut facts = Facts::healthy();
        facts.kernel.not_ours[0] = Counter { total: 9, growth: 0 };
        assert!(check(&facts).is_empty());
        facts.kernel.not_ours[0].growth = 2;
        assert!(check(&facts)[0].remedy.contains("net.ipv4.ip_forward=1"));
        facts.kernel.forward_v4 = Some(true);
        assert!(check(&facts).is_empty());
    }
}

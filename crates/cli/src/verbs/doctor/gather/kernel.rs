//! Settings and counters of the kernel, from `/proc`.

use std::fs;

use stadium_node::system::Facts as Machine;

use super::super::facts::{Counter, Kernel};

/// Counters as they were at one moment.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    not_ours: [u64; 2],
    reverse_path: u64,
}

impl Counters {
    /// Reads them; what a kernel does not count is 0.
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            not_ours: [
                paired(&text("/proc/thread-self/net/snmp"), "Ip:", "InAddrErrors"),
                listed(&text("/proc/thread-self/net/snmp6"), "Ip6InAddrErrors"),
            ],
            reverse_path: paired(
                &text("/proc/thread-self/net/netstat"),
                "TcpExt:",
                "IPReversePathFilter",
            ),
        }
    }

    /// Reads them again, and the settings.
    pub(super) fn finish(self, machine: &Machine) -> Kernel {
        let now = Self::read();
        let counter =
            |then: u64, now: u64| Counter { total: now, growth: now.saturating_sub(then) };
        Kernel {
            forward_v4: switch("net/ipv4/ip_forward"),
            forward_v6: switch("net/ipv6/conf/all/forwarding"),
            not_ours: [
                counter(self.not_ours[0], now.not_ours[0]),
                counter(self.not_ours[1], now.not_ours[1]),
            ],
            reverse_path: counter(self.reverse_path, now.reverse_path),
            strict: strict(machine),
        }
    }
}

fn setting(name: &str) -> Option<u8> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn switch(name: &str) -> Option<bool> {
    setting(name).map(|value| value != 0)
}

/// The interfaces with a strict filter: the kernel takes the greater of theirs and that of `all`.
fn strict(machine: &Machine) -> Vec<String> {
    let of = |name: &str| setting(&format!("net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    let all = of("all");
    let names = machine.links.iter().map(|link| &link.link.name).filter(|name| *name != "lo");
    names.filter(|name| of(name).max(all) == 1).cloned().collect()
}

/// Finds a counter where a line of names stands above a line of values.
fn paired(text: &str, prefix: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(prefix));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|each| each == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

/// Finds a counter where each line is a name and a value.
fn listed(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().map(str::split_whitespace);
    lines
        .find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_both_layouts() {
        let text = "Ip: Forwarding InAddrErrors\nIp: 2 17\nTcp: InAddrErrors\nTcp: 4\n";
        assert_eq!(paired(text, "Ip:", "InAddrErrors"), 17);
        assert_eq!(paired(text, "Ip:", "Nothing"), 0);
        assert_eq!(paired("", "Ip:", "InAddrErrors"), 0);
        let text = "Ip6InReceives   \t 5\nIp6InAddrErrors \t 9\n";
        assert_eq!(listed(text, "Ip6InAddrErrors"), 9);
        assert_eq!(listed(text, "Ip6"), 0);
    }
}

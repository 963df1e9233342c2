//! The packet filter of one interface: a single nftables table, set and removed as a whole.
//!
//! Invariants: everything of ours stands in the table `inet stadium-NAME` and nothing outside it
//! is touched; the table is replaced in one transaction, so that at no moment half of it holds;
//! it outlives the daemon, so that a kill switch holds until `up` or `down` clears it.
//!
//! | chain | hook | does |
//! |---|---|---|
//! | `guard` | prerouting, raw | drops what is addressed to the tunnel from outside it (CVE-2019-14899) |
//! | `mark` | prerouting, mangle | marks the peers' datagrams, so that a strict `rp_filter` sees which way they take back |
//! | `out` | output | the kill switch for this machine's own packets |
//! | `through` | forward | the kill switch for packets this machine forwards |
//! | `clamp` | forward, mangle | segment sizes of TCP that fit the tunnel |
//!
//! What the kill switch lets out beside the tunnel: our own datagrams, by mark and not by
//! destination, so that a forged answer of a name server opens nothing; DHCP, and neighbour
//! discovery with the group reports it needs. With `lan: on` also fixed private ranges, never what
//! the network announces, but for the tunnel's own prefixes and for DNS.

mod encode;
mod kernel;
mod rule;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub(super) use kernel::{has_table, is_available, is_removal, notices, remove, set};
use rule::{Chain, Hook, Part, Side};

/// The most prefixes of the tunnel that are kept out of the private ranges one by one.
const INSIDE: usize = 512;

/// What one interface wants of the packet filter.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Filter {
    /// The interface's name.
    pub interface: String,
    /// The kill switch, where there is one.
    pub kill_switch: Option<KillSwitch>,
    /// The mark of our own datagrams, which is given to those of peers too.
    pub mark: Option<u32>,
    /// The tunnel's MTU that segments of forwarded TCP connections are made to fit.
    pub clamp: Option<u32>,
}

/// Lets nothing out beside the tunnel, and nothing from outside in to the tunnel's addresses.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KillSwitch {
    /// The mark of our own datagrams.
    pub mark: u32,
    /// Whether private ranges may be reached outside the tunnel.
    pub lan: bool,
    /// The tunnel's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Prefixes that belong to the tunnel though they lie in private ranges.
    pub inside: Vec<IpNet>,
    /// Name servers in private ranges that the operator named, reached outside where `lan` is on.
    pub dns: Vec<IpAddr>,
}

impl KillSwitch {
    /// Chooses of `prefixes`, the tunnel's, those that lie in private ranges.
    pub(super) fn inside(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
        let private: Vec<IpNet> = private_ranges();
        let overlaps = |p: &IpNet| private.iter().any(|r| r.contains(p) || p.contains(r));
        let found: Vec<IpNet> =
            prefixes.into_iter().filter(|p| p.prefix_len() > 0 && overlaps(p)).collect();
        let mut found = IpNet::aggregate(&found);
        found.sort();
        found.truncate(INSIDE);
        found
    }
}

/// The private ranges of `lan: on`: RFC 1918, link-local (RFC 3927, RFC 4291), unique local
/// (RFC 4193), and multicast and broadcast of the local network.
fn private_ranges() -> Vec<IpNet> {
    let v4 =
        |a, b, c, d, length| Ipv4Net::new(Ipv4Addr::new(a, b, c, d), length).map(IpNet::from).ok();
    let v6 = |head, length| {
        Ipv6Net::new(Ipv6Addr::new(head, 0, 0, 0, 0, 0, 0, 0), length).map(IpNet::from).ok()
    };
    [
        v4(10, 0, 0, 0, 8),
        v4(172, 16, 0, 0, 12),
        v4(192, 168, 0, 0, 16),
        v4(169, 254, 0, 0, 16),
        // local multicast: link scope and the administratively scoped block (RFC 2365)
        v4(224, 0, 0, 0, 24),
        v4(239, 255, 0, 0, 16),
        v4(255, 255, 255, 255, 32),
        v6(0xfc00, 7),
        v6(0xfe80, 10),
        // link-local and site-local multicast
        v6(0xff02, 16),
        v6(0xff05, 16),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The table's name. Names of interfaces may hold `=` and `+`, which nft does not read in a name.
pub(super) fn table_name(interface: &str) -> String {
    let mut name = "stadium-".to_owned();
    for character in interface.chars() {
        match character {
            '=' => name.push_str(".eq."),
            '+' => name.push_str(".plus."),
            other => name.push(other),
        }
    }
    name
}

impl Filter {
    /// The chains in the order they are made.
    fn chains(&self) -> Vec<Chain> {
        let mut chains = Vec::new();
        if let Some(switch) = &self.kill_switch {
            chains.push(self.guard(switch));
            chains.push(self.out(switch));
            chains.push(self.through(switch));
        }
        if let Some(mark) = self.mark {
            let rule = vec![Part::Protocol(rule::UDP), Part::SocketMark(mark), Part::SetMark(mark)];
            chains.push(Chain {
                name: "mark",
                hook: Hook::Prerouting,
                priority: -150,
                rules: vec![rule],
            });
        }
        if let Some(mtu) = self.clamp {
            chains.push(self.clamp(mtu));
        }
        chains
    }

    fn guard(&self, switch: &KillSwitch) -> Chain {
        let from_outside = |address: &IpAddr| {
            vec![
                Part::InLink { name: self.interface.clone(), is: false },
                Part::Prefix(Side::Target, IpNet::from(*address)),
                Part::SourceNotLocal,
                Part::Counter,
                Part::Drop,
            ]
        };
        Chain {
            name: "guard",
            hook: Hook::Prerouting,
            priority: -300,
            rules: switch.addresses.iter().map(from_outside).collect(),
        }
    }

    fn out(&self, switch: &KillSwitch) -> Chain {
        let mut rules = vec![
            vec![Part::OutLink { name: "lo".to_owned(), is: true }, Part::Accept],
            vec![Part::OutLink { name: self.interface.clone(), is: true }, Part::Accept],
            vec![Part::Mark(switch.mark), Part::Protocol(rule::UDP), Part::Accept],
        ];
        for (v6, source, target) in [(false, 68, 67), (true, 546, 547)] {
            rules.push(vec![
                Part::Version6(v6),
                Part::Protocol(rule::UDP),
                Part::Port(Side::Source, source),
                Part::Port(Side::Target, target),
                Part::Accept,
            ]);
        }
        // neighbour discovery (RFC 4861), and the reports of groups (RFC 2710, RFC 3810) that let
        // its multicast pass switches
        for (first, last) in [(130, 132), (133, 136), (143, 143)] {
            rules.push(vec![
                Part::Protocol(rule::ICMPV6),
                Part::IcmpType(first, last),
                Part::Accept,
            ]);
        }
        rules.extend(Self::lan(switch));
        rules.push(vec![Part::Counter, Part::Reject]);
        Chain { name: "out", hook: Hook::Output, priority: 0, rules }
    }

    fn through(&self, switch: &KillSwitch) -> Chain {
        let mut rules = vec![
            vec![Part::OutLink { name: self.interface.clone(), is: true }, Part::Accept],
            vec![Part::InLink { name: self.interface.clone(), is: true }, Part::Accept],
        ];
        rules.extend(Self::lan(switch));
        rules.push(vec![Part::Counter, Part::Reject]);
        Chain { name: "through", hook: Hook::Forward, priority: 0, rules }
    }

    /// The rules that let private ranges out, if that is wanted.
    fn lan(switch: &KillSwitch) -> Vec<Vec<Part>> {
        if !switch.lan {
            return Vec::new();
        }
        let mut rules = Vec::new();
        for prefix in &switch.inside {
            rules.push(vec![Part::Prefix(Side::Target, *prefix), Part::Counter, Part::Reject]);
        }
        let dns = |protocol| [Part::Protocol(protocol), Part::Port(Side::Target, 53)];
        for protocol in [rule::UDP, rule::TCP] {
            for server in &switch.dns {
                let mut rule = vec![Part::Prefix(Side::Target, IpNet::from(*server))];
                rule.extend(dns(protocol));
                rule.push(Part::Accept);
                rules.push(rule);
            }
            let mut rule = dns(protocol).to_vec();
            rule.extend([Part::Counter, Part::Reject]);
            rules.push(rule);
        }
        let ranges = private_ranges();
        rules.extend(ranges.into_iter().map(|r| vec![Part::Prefix(Side::Target, r), Part::Accept]));
        rules
    }

    fn clamp(&self, mtu: u32) -> Chain {
        let mut rules = Vec::new();
        for (v6, headers) in [(false, 40), (true, 60)] {
            let size = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
            for outward in [true, false] {
                let (name, is) = (self.interface.clone(), true);
                let link =
                    if outward { Part::OutLink { name, is } } else { Part::InLink { name, is } };
                rules.push(vec![
                    link,
                    Part::Version6(v6),
                    Part::Protocol(rule::TCP),
                    Part::SynOnly,
                    Part::ClampSegments(size),
                ]);
            }
        }
        Chain { name: "clamp", hook: Hook::Forward, priority: -150, rules }
    }

    /// What the filter is for, in a few words.
    fn purpose(&self) -> String {
        let mut words = Vec::new();
        if let Some(switch) = &self.kill_switch {
            words.push(if switch.lan { "kill switch, LAN allowed" } else { "kill switch" });
        }
        if self.mark.is_some() {
            words.push("marks");
        }
        if self.clamp.is_some() {
            words.push("segment sizes");
        }
        words.join(", ")
    }
}

/// Prints a line of what it is for, and below it the table as nft would list it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = table_name(&self.interface);
        write!(f, "nftables table inet {table} ({})", self.purpose())?;
        for chain in self.chains() {
            for rule in &chain.rules {
                write!(f, "\n  {}", chain.name)?;
                for part in rule {
                    write!(f, " {part}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

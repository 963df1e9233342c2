//! The vocabulary of privileged changes: plain data, printed in plain words.
//!
//! Every change the node makes to the system is one [`Operation`]. An operation holds no handle,
//! closure or file descriptor, so that a list of them can be shown (`up --dry-run`), compared
//! (`reload`), written down (what a killed daemon leaves) or sent to a privileged helper.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::dns::{Dns, Resolver};
use super::filter::{Filter, table_name};
use super::hooks::Hook;

/// The routing protocol number that marks routes and rules as ours (`ip route show proto 151`).
///
/// Numbers from 16 up are free for user programs where `rt_protos` does not name them.
pub const ROUTE_PROTOCOL: u8 = 151;

/// The number of the routing table `main`.
pub const TABLE_MAIN: u32 = 254;

/// A network interface, by its name for people and its index for the kernel.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The name, 1 to 15 bytes.
    pub name: String,
    /// The kernel's index, 0 while the interface does not exist yet (a dry run).
    pub index: u32,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The prefix that holds every address of the family.
    pub fn default_prefix(self) -> IpNet {
        let address: IpAddr = match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        IpNet::new(address, 0).expect("0 is a valid prefix length")
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Target {
    /// Into an interface. Such a route vanishes with it, in whatever table it is.
    Device(Link),
    /// Nowhere: senders get "unreachable". It needs no interface and outlives ours.
    Unreachable,
}

/// One route of ours; the kernel keeps it under [`ROUTE_PROTOCOL`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The destination, host bits zero.
    pub destination: IpNet,
    /// Where it leads.
    pub target: Target,
    /// The table it stands in.
    pub table: u32,
    /// Its metric; 0 leaves it to the kernel (0 for IPv4, 1024 for IPv6).
    pub metric: u32,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Device(link) => write!(f, "{} dev {link}", self.destination)?,
            Target::Unreachable => write!(f, "unreachable {}", self.destination)?,
        }
        write!(f, " table {}", TableName(self.table))?;
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// Prints a table as `ip` names it.
struct TableName(u32);

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TABLE_MAIN => f.write_str("main"),
            253 => f.write_str("default"),
            255 => f.write_str("local"),
            number => write!(f, "{number}"),
        }
    }
}

/// What a rule of ours selects and does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RuleKind {
    /// Packets without this mark look their route up in our table.
    NotMarked {
        /// The mark our own datagrams carry.
        mark: u32,
        /// The table with the default route into the tunnel.
        table: u32,
    },
    /// Every packet looks into table `main` first, default routes there passed over.
    SuppressDefault,
}

/// One policy rule of ours; the kernel keeps it under [`ROUTE_PROTOCOL`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// IPv4 or IPv6: the kernel keeps two lists.
    pub family: Family,
    /// Its place: lower numbers are asked first.
    pub priority: u32,
    /// What it selects and does.
    pub kind: RuleKind,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} priority {} ", self.family, self.priority)?;
        match self.kind {
            RuleKind::NotMarked { mark, table } => {
                write!(f, "not fwmark {mark:#x} lookup {}", TableName(table))
            }
            RuleKind::SuppressDefault => f.write_str("lookup main suppress_prefixlength 0"),
        }
    }
}

/// One change to the system.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operation {
    /// Sets the size of the largest packet an interface takes, in bytes.
    SetMtu {
        /// The interface.
        link: Link,
        /// Bytes.
        mtu: u32,
    },
    /// Sets an interface up, and has the kernel give it no IPv6 address of its own making: from
    /// there it would send questions for routers and groups that belong to no peer.
    SetUp(Link),
    /// Sets an interface down.
    SetDown(Link),
    /// Has the kernel keep the other IPv4 addresses of a network when its first one goes.
    KeepSecondaries(Link),
    /// Gives an interface an address; IPv6 without duplicate detection, usable at once.
    AddAddress {
        /// The interface.
        link: Link,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Takes an address from an interface.
    RemoveAddress {
        /// The interface.
        link: Link,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Adds a route.
    AddRoute(Route),
    /// Removes a route of ours.
    RemoveRoute(Route),
    /// Adds a policy rule.
    AddRule(Rule),
    /// Removes a policy rule of ours.
    RemoveRule(Rule),
    /// Sets the packet filter of an interface, in place of the one that stands.
    SetFilter(Box<Filter>),
    /// Removes the packet filter of the interface of that name.
    RemoveFilter(String),
    /// Has reverse-path checks see marks (`net.ipv4.conf.all.src_valid_mark`).
    HonourMarks,
    /// Has reverse-path checks see no marks, as was before.
    IgnoreMarks,
    /// Sets the machine's name servers.
    SetDns(Box<Dns>),
    /// Has the name servers as they were before.
    RestoreDns {
        /// The interface's name.
        interface: String,
        /// Who was told.
        resolver: Resolver,
    },
    /// Runs a hook of the peer file.
    RunHook(Hook),
}

impl Operation {
    /// The operation that undoes this one, where the operation itself says what that is.
    ///
    /// `SetMtu` and `SetUp` depend on what was before; the executor returns their undo. Removals
    /// and hooks are not undone.
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::AddAddress { link, address } => {
                Some(Self::RemoveAddress { link: link.clone(), address: *address })
            }
            Self::AddRoute(route) => Some(Self::RemoveRoute(route.clone())),
            Self::AddRule(rule) => Some(Self::RemoveRule(*rule)),
            Self::SetUp(link) => Some(Self::SetDown(link.clone())),
            Self::SetFilter(filter) => Some(Self::RemoveFilter(filter.interface.clone())),
            Self::HonourMarks => Some(Self::IgnoreMarks),
            Self::SetDns(dns) => {
                Some(Self::RestoreDns { interface: dns.interface.clone(), resolver: dns.resolver })
            }
            _ => None,
        }
    }

    /// The operation on one line, for errors and logs.
    pub fn summary(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Whether this operation takes the place of `other`, rather than standing beside it.
    pub fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::SetMtu { link, .. }, Self::SetMtu { link: old, .. }) => link == old,
            (Self::SetFilter(new), Self::SetFilter(old)) => new.interface == old.interface,
            (Self::SetDns(new), Self::SetDns(old)) => {
                (&new.interface, new.resolver) == (&old.interface, old.resolver)
            }
            _ => false,
        }
    }

    /// Whether what it does stays behind when the process dies and its interface with it.
    ///
    /// Such an operation is written to the state file before it is carried out. Addresses and
    /// routes into the interface vanish by themselves, in every table.
    pub fn outlives_process(&self) -> bool {
        match self {
            Self::AddRule(_) | Self::SetFilter(_) | Self::SetDns(_) | Self::HonourMarks => true,
            Self::AddRoute(route) => route.target == Target::Unreachable,
            _ => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetMtu { link, mtu } => write!(f, "set {link} mtu {mtu}"),
            Self::SetUp(link) => write!(f, "set {link} up"),
            Self::SetDown(link) => write!(f, "set {link} down"),
            Self::KeepSecondaries(link) => write!(f, "keep secondary addresses of {link}"),
            Self::AddAddress { link, address } => write!(f, "add address {address} dev {link}"),
            Self::RemoveAddress { link, address } => {
                write!(f, "remove address {address} dev {link}")
            }
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::RemoveRoute(route) => write!(f, "remove route {route}"),
            Self::AddRule(rule) => write!(f, "add rule {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove rule {rule}"),
            Self::SetFilter(filter) => write!(f, "set {filter}"),
            Self::RemoveFilter(interface) => {
                write!(f, "remove nftables table inet {}", table_name(interface))
            }
            Self::HonourMarks => f.write_str("set net.ipv4.conf.all.src_valid_mark 1"),
            Self::IgnoreMarks => f.write_str("set net.ipv4.conf.all.src_valid_mark 0"),
            Self::SetDns(dns) => write!(f, "set {dns}"),
            Self::RestoreDns { interface, resolver } => {
                write!(f, "put back the name servers from before {interface} by {resolver}")
            }
            Self::RunHook(hook) => write!(f, "{hook}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link { name: "stadium0".into(), index: 7 }
    }

    fn route(target: Target) -> Route {
        Route { destination: "10.7.0.2/32".parse().unwrap(), target, table: TABLE_MAIN, metric: 0 }
    }

    #[test]
    fn reads_in_plain_words() {
        let address = "fd07::1/64".parse().unwrap();
        let rule = |kind| Rule { family: Family::V6, priority: 32764, kind };
        for (operation, words) in [
            (Operation::SetMtu { link: link(), mtu: 1420 }, "set stadium0 mtu 1420"),
            (
                Operation::AddAddress { link: link(), address },
                "add address fd07::1/64 dev stadium0",
            ),
            (
                Operation::AddRoute(route(Target::Device(link()))),
                "add route 10.7.0.2/32 dev stadium0 table main",
            ),
            (
                Operation::RemoveRoute(Route {
                    destination: Family::V4.default_prefix(),
                    target: Target::Unreachable,
                    table: 51871,
                    metric: 9,
                }),
                "remove route unreachable 0.0.0.0/0 table 51871 metric 9",
            ),
            (
                Operation::AddRule(rule(RuleKind::NotMarked { mark: 51871, table: 51871 })),
                "add rule IPv6 priority 32764 not fwmark 0xca9f lookup 51871",
            ),
            (
                Operation::RemoveRule(rule(RuleKind::SuppressDefault)),
                "remove rule IPv6 priority 32764 lookup main suppress_prefixlength 0",
            ),
        ] {
            assert_eq!(operation.to_string(), words);
        }
    }

    #[test]
    fn additions_have_inverses_and_survive_serialisation() {
        let added = Operation::AddRoute(route(Target::Unreachable));
        assert_eq!(added.inverse(), Some(Operation::RemoveRoute(route(Target::Unreachable))));
        assert!(added.outlives_process());
        assert!(!Operation::AddRoute(route(Target::Device(link()))).outlives_process());
        let text = serde_json::to_string(&added).unwrap();
        assert_eq!(serde_json::from_str::<Operation>(&text).unwrap(), added);
    }
}

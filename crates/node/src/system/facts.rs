//! What the machine looks like: links, addresses, routes and rules, read without privilege.

use ipnet::IpNet;

use super::dns::Resolver;
use super::error::SystemError;
use super::filter;
use super::netlink::{Netlink, question_failed};
use super::operation::{Family, Link, Route, Rule, RuleKind, TABLE_MAIN, Target};

/// A network interface as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkFact {
    /// Its name and index.
    pub link: Link,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// In a notice of removal: whether it left for another network namespace.
    pub moved: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressFact {
    /// The interface's index.
    pub index: u32,
    /// The address with its prefix length.
    pub address: IpNet,
}

/// A route, ours or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteFact {
    /// The destination.
    pub destination: IpNet,
    /// The interface it leads into, `None` for several or none.
    pub index: Option<u32>,
    /// Whether it tells senders that there is no way.
    pub unreachable: bool,
    /// The table.
    pub table: u32,
    /// The metric as the kernel keeps it.
    pub metric: u32,
    /// Whether it carries [`super::ROUTE_PROTOCOL`].
    pub ours: bool,
    /// Who set it, as in `rtnetlink(7)`: 2 the kernel, 4 static, 16 DHCP, …
    pub protocol: u8,
}

impl RouteFact {
    /// Whether the kernel would take `route` for the same as this one.
    pub fn is(&self, route: &Route) -> bool {
        // IPv6 keeps 1024 where nothing was asked for.
        let metric = match (route.metric, Family::of(route.destination.addr())) {
            (0, Family::V6) => 1024,
            (metric, _) => metric,
        };
        let target = match &route.target {
            Target::Device(link) => !self.unreachable && self.index == Some(link.index),
            Target::Unreachable => self.unreachable,
        };
        self.ours
            && target
            && self.destination == route.destination
            && self.table == route.table
            && self.metric == metric
    }
}

/// A policy rule, ours or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleFact {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its place.
    pub priority: u32,
    /// The table it looks into, 0 for none.
    pub table: u32,
    /// The mark it selects.
    pub mark: Option<u32>,
    /// Whether it selects what does not match.
    pub invert: bool,
    /// Routes of this prefix length or shorter are passed over.
    pub suppress_prefix_length: Option<u32>,
    /// Whether it carries [`super::ROUTE_PROTOCOL`].
    pub ours: bool,
}

impl RuleFact {
    /// Whether this is `rule`.
    pub fn is(&self, rule: &Rule) -> bool {
        let same = match rule.kind {
            RuleKind::NotMarked { mark, table } => {
                self.invert && self.mark == Some(mark) && self.table == table
            }
            RuleKind::SuppressDefault => {
                self.table == TABLE_MAIN && self.suppress_prefix_length == Some(0)
            }
        };
        same && self.family == rule.family && self.priority == rule.priority
    }
}

/// Everything a plan is made from, read at one moment.
#[derive(Clone, Default, Debug)]
pub struct Facts {
    /// Every interface.
    pub links: Vec<LinkFact>,
    /// Every address.
    pub addresses: Vec<AddressFact>,
    /// Every route of every table, the kernel's `local` tables left out.
    pub routes: Vec<RouteFact>,
    /// Every rule of both families.
    pub rules: Vec<RuleFact>,
    /// Whether the kernel speaks IPv6 here.
    pub ipv6: bool,
    /// The interfaces that have IPv6 switched off, by index; 0 stands for one yet to be made.
    pub without_ipv6: Vec<u32>,
    /// Whether an interface drops what would not return the way it came (`rp_filter` 1).
    pub strict_reverse_path: bool,
    /// Whether such checks see marks already (`src_valid_mark`).
    pub marks_honoured: bool,
    /// Whether the kernel has nf_tables, as far as can be told.
    pub nftables: bool,
    /// Who manages the name servers.
    pub resolver: Resolver,
}

/// The kernel's table of its own addresses.
const TABLE_LOCAL: u32 = 255;

impl Facts {
    pub(super) async fn read(netlink: &Netlink) -> Result<Self, SystemError> {
        let links = netlink.links().await.map_err(question_failed("list interfaces"))?;
        let addresses = netlink.addresses().await.map_err(question_failed("list addresses"))?;
        let mut routes = Vec::new();
        let mut rules = Vec::new();
        for family in Family::BOTH {
            let found =
                netlink.routes(family, None).await.map_err(question_failed("list routes"))?;
            routes.extend(found.into_iter().filter(|r| r.table != TABLE_LOCAL));
            rules.extend(netlink.rules(family).await.map_err(question_failed("list rules"))?);
        }
        let ipv6 = std::path::Path::new("/proc/thread-self/net/if_inet6").exists();
        let without_ipv6 = without_ipv6(&links);
        let strict_reverse_path = strict_reverse_path(&links);
        let nftables = filter::is_available();
        Ok(Self {
            links,
            addresses,
            routes,
            rules,
            ipv6,
            without_ipv6,
            strict_reverse_path,
            marks_honoured: marks_honoured(),
            nftables,
            resolver: Resolver::detect(),
        })
    }

    /// The name of an interface, for messages.
    pub fn link_name(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|l| l.link.index == index).map(|l| l.link.name.as_str())
    }

    /// Whether an interface takes IPv6; index 0 asks for one yet to be made.
    pub fn takes_ipv6(&self, index: u32) -> bool {
        self.ipv6 && !self.without_ipv6.contains(&index)
    }

    /// Whether a route of ours stands.
    pub fn has_route(&self, route: &Route) -> bool {
        self.routes.iter().any(|fact| fact.is(route))
    }

    /// Whether nobody uses a table: no route in it, no rule looks into it.
    pub fn table_is_free(&self, table: u32) -> bool {
        !self.routes.iter().any(|r| r.table == table)
            && !self.rules.iter().any(|r| r.table == table)
    }
}

/// The interfaces with `disable_ipv6` set, and 0 where new ones will have it.
fn without_ipv6(links: &[LinkFact]) -> Vec<u32> {
    let is_off = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))
            .is_ok_and(|text| text.trim() != "0")
    };
    let existing = links.iter().filter(|l| is_off(&l.link.name)).map(|l| l.link.index);
    existing.chain(is_off("default").then_some(0)).collect()
}

/// Whether any interface drops what would not return the way it came (RFC 3704 strict mode).
///
/// The kernel takes the greater of the interface's setting and that of `all`.
fn strict_reverse_path(links: &[LinkFact]) -> bool {
    let setting = |name: &str| {
        // A name with a dot or a slash is a folder of that name here, unlike in sysctl's notation.
        std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"))
            .ok()
            .and_then(|text| text.trim().parse::<u8>().ok())
            .unwrap_or(0)
    };
    let all = setting("all");
    links.iter().filter(|l| l.link.name != "lo").any(|l| setting(&l.link.name).max(all) == 1)
}

/// Where the kernel keeps whether reverse-path checks see marks.
pub(super) const SRC_VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

fn marks_honoured() -> bool {
    std::fs::read_to_string(SRC_VALID_MARK).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_recognised_with_the_metric_the_kernel_gave() {
        let link = Link { name: "stadium0".into(), index: 7 };
        let fact = RouteFact {
            destination: "fd07:1::/64".parse().unwrap(),
            index: Some(7),
            unreachable: false,
            table: TABLE_MAIN,
            metric: 1024,
            ours: true,
            protocol: super::super::ROUTE_PROTOCOL,
        };
        let route = Route {
            destination: fact.destination,
            target: Target::Device(link),
            table: TABLE_MAIN,
            metric: 0,
        };
        assert!(fact.is(&route));
        assert!(!RouteFact { ours: false, ..fact }.is(&route), "somebody else's");
        assert!(!RouteFact { index: Some(8), ..fact }.is(&route), "another interface");
        assert!(!RouteFact { table: 5, ..fact }.is(&route), "another table");
    }
}

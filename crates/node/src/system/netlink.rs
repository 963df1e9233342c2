//! The one place that speaks rtnetlink: requests out, facts back.
//!
//! Invariants: every request is bounded in time; every failure is an [`Errno`]; a dump that the
//! kernel could not filter is filtered here, so that callers see the same on any kernel.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};

use super::error::{Errno, ErrorKind, SystemError};
use super::facts::{AddressFact, LinkFact, RouteFact, RuleFact};
use super::operation::{Family, Link, ROUTE_PROTOCOL, Route, Rule, RuleKind, TABLE_MAIN, Target};

/// How long the kernel may take for one answer; it takes microseconds unless answers were lost.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection to the kernel, in the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub(super) struct Netlink {
    handle: rtnetlink::Handle,
}

/// What the kernel would do with a packet.
pub(super) struct Lookup {
    pub(super) index: Option<u32>,
    pub(super) mtu: Option<u32>,
}

impl Netlink {
    /// Opens the connection and starts the task that serves it.
    pub(super) fn open() -> Result<Self, SystemError> {
        // Strict checking lets the kernel filter dumps; before 4.20 it does not know the option.
        let opened =
            rtnetlink::new_connection_with_strict_check().or_else(|_| rtnetlink::new_connection());
        let (connection, handle, _) =
            opened.map_err(|e| SystemError::from_io("open a netlink socket", &e))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Sends one request; returns what comes back until the kernel says that this was all.
    pub(super) async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Errno> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answers = self.handle.clone().request(request).map_err(|_| Errno::IO)?;
        let collect = async {
            let mut found = Vec::new();
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    NetlinkPayload::Error(error) => {
                        if let Some(code) = error.code {
                            return Err(Errno(code.get().wrapping_abs()));
                        }
                    }
                    // Answers were lost: what is here is not the whole.
                    NetlinkPayload::Overrun(_) => return Err(Errno::IO),
                    _ => {}
                }
            }
            Ok(found)
        };
        tokio::time::timeout(ANSWER, collect).await.unwrap_or(Err(Errno::TIMEDOUT))
    }

    async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Errno> {
        self.exchange(message, NLM_F_ACK | flags).await.map(drop)
    }

    // ---- links ----

    /// Finds a link by name, `None` where there is none.
    pub(super) async fn link_by_name(&self, name: &str) -> Result<Option<LinkFact>, Errno> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message).await
    }

    /// Finds a link by index, `None` where there is none.
    pub(super) async fn link_by_index(&self, index: u32) -> Result<Option<LinkFact>, Errno> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(message).await
    }

    async fn one_link(&self, message: LinkMessage) -> Result<Option<LinkFact>, Errno> {
        match self.exchange(RouteNetlinkMessage::GetLink(message), 0).await {
            Ok(found) => Ok(found.iter().find_map(|m| match m {
                RouteNetlinkMessage::NewLink(link) => Some(link_fact(link)),
                _ => None,
            })),
            Err(Errno::NODEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Lists every link.
    pub(super) async fn links(&self) -> Result<Vec<LinkFact>, Errno> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let found = self.exchange(message, NLM_F_DUMP).await?;
        Ok(found
            .iter()
            .filter_map(|m| match m {
                RouteNetlinkMessage::NewLink(link) => Some(link_fact(link)),
                _ => None,
            })
            .collect())
    }

    pub(super) async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Errno> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }

    pub(super) async fn set_up(&self, index: u32, up: bool) -> Result<(), Errno> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Has the kernel make no IPv6 addresses for a link by itself.
    pub(super) async fn no_link_local(&self, index: u32) -> Result<(), Errno> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let inet6 = AfSpecUnspec::Inet6(vec![none]);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![inet6]));
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }

    // ---- addresses ----

    /// Lists every address of every link.
    pub(super) async fn addresses(&self) -> Result<Vec<AddressFact>, Errno> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let found = self.exchange(message, NLM_F_DUMP).await?;
        Ok(found
            .iter()
            .filter_map(|m| match m {
                RouteNetlinkMessage::NewAddress(address) => address_fact(address),
                _ => None,
            })
            .collect())
    }

    pub(super) async fn add_address(&self, index: u32, address: IpNet) -> Result<(), Errno> {
        let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL).await
    }

    pub(super) async fn remove_address(&self, index: u32, address: IpNet) -> Result<(), Errno> {
        self.change(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0).await
    }

    // ---- routes ----

    /// Lists the routes of one table, or of all of them, in one family.
    pub(super) async fn routes(
        &self,
        family: Family,
        table: Option<u32>,
    ) -> Result<Vec<RouteFact>, Errno> {
        let mut message = RouteMessage::default();
        message.header.address_family = netlink_family(family);
        if let Some(table) = table {
            set_table(&mut message, table);
        }
        let found = match self.exchange(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP).await {
            // Nobody has used that table yet, or the kernel has no such family.
            Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => return Ok(Vec::new()),
            other => other?,
        };
        Ok(found
            .iter()
            .filter_map(|m| match m {
                RouteNetlinkMessage::NewRoute(route) => route_fact(route),
                _ => None,
            })
            .filter(|fact| table.is_none_or(|t| fact.table == t))
            .collect())
    }

    pub(super) async fn add_route(&self, route: &Route) -> Result<(), Errno> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL).await
    }

    pub(super) async fn remove_route(&self, route: &Route) -> Result<(), Errno> {
        self.change(RouteNetlinkMessage::DelRoute(route_message(route)), 0).await
    }

    /// Asks which link would carry a packet to `destination` and how large it may be.
    pub(super) async fn lookup(
        &self,
        destination: IpAddr,
        mark: Option<u32>,
    ) -> Result<Lookup, Errno> {
        let mut message = RouteMessage::default();
        message.header.address_family = netlink_family(Family::of(destination));
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        if let Some(mark) = mark {
            message.attributes.push(RouteAttribute::Mark(mark));
        }
        let found = self.exchange(RouteNetlinkMessage::GetRoute(message), 0).await?;
        let Some(route) = found.iter().find_map(|m| match m {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        }) else {
            return Err(Errno::SRCH);
        };
        let mut lookup = Lookup { index: None, mtu: None };
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => lookup.index = Some(*index),
                RouteAttribute::Metrics(metrics) => {
                    lookup.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Ok(lookup)
    }

    // ---- rules ----

    /// Lists the policy rules of one family.
    pub(super) async fn rules(&self, family: Family) -> Result<Vec<RuleFact>, Errno> {
        let mut message = RuleMessage::default();
        message.header.family = netlink_family(family);
        let found = match self.exchange(RouteNetlinkMessage::GetRule(message), NLM_F_DUMP).await {
            Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => return Ok(Vec::new()),
            other => other?,
        };
        Ok(found
            .iter()
            .filter_map(|m| match m {
                RouteNetlinkMessage::NewRule(rule) => Some(rule_fact(family, rule)),
                _ => None,
            })
            .collect())
    }

    pub(super) async fn add_rule(&self, rule: Rule) -> Result<(), Errno> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL).await
    }

    pub(super) async fn remove_rule(&self, rule: Rule) -> Result<(), Errno> {
        self.change(RouteNetlinkMessage::DelRule(rule_message(rule)), 0).await
    }
}

/// Reports a failed question, which no operator can have caused.
pub(super) fn question_failed(what: &str) -> impl Fn(Errno) -> SystemError + '_ {
    move |errno| {
        let mut error = SystemError::from_errno(what, errno);
        if errno == Errno::TIMEDOUT {
            error.kind = ErrorKind::Other;
        }
        error
    }
}

pub(super) fn netlink_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn set_table(message: &mut RouteMessage, table: u32) {
    match u8::try_from(table) {
        Ok(small) => message.header.table = small,
        // RT_TABLE_UNSPEC stays in the header when the attribute says it.
        Err(_) => message.attributes.push(RouteAttribute::Table(table)),
    }
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.family = netlink_family(Family::of(address.addr()));
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if address.addr().is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let family = Family::of(route.destination.addr());
    message.header.address_family = netlink_family(family);
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    set_table(&mut message, route.table);
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.destination.addr().into()));
    }
    match &route.target {
        Target::Device(link) => {
            message.header.kind = RouteType::Unicast;
            // An IPv4 route without a gateway reaches its hosts directly; IPv6 knows no scopes.
            message.header.scope = match family {
                Family::V4 => RouteScope::Link,
                Family::V6 => RouteScope::Universe,
            };
            message.attributes.push(RouteAttribute::Oif(link.index));
        }
        Target::Unreachable => {
            message.header.kind = RouteType::Unreachable;
            message.header.scope = RouteScope::Universe;
        }
    }
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn rule_message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = netlink_family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)));
    match rule.kind {
        RuleKind::NotMarked { mark, table } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleKind::SuppressDefault => {
            message.attributes.push(RuleAttribute::Table(TABLE_MAIN));
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
        }
    }
    message
}

pub(super) fn link_fact(message: &LinkMessage) -> LinkFact {
    let mut fact = LinkFact {
        link: Link { name: String::new(), index: message.header.index },
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        moved: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => fact.link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => fact.mtu = *mtu,
            // Only a link that leaves for another namespace says under which index it goes on.
            LinkAttribute::NewIfIndex(_) => fact.moved = true,
            _ => {}
        }
    }
    fact
}

pub(super) fn address_fact(message: &AddressMessage) -> Option<AddressFact> {
    let mut local = None;
    let mut other = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the far end, `Local` always ours.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            _ => {}
        }
    }
    let address = IpNet::new(local.or(other)?, message.header.prefix_len).ok()?;
    Some(AddressFact { index: message.header.index, address })
}

/// Reads a route; `None` for one of another family or one the kernel cached.
pub(super) fn route_fact(message: &RouteMessage) -> Option<RouteFact> {
    let family = match message.header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut fact = RouteFact {
        destination: family.default_prefix(),
        index: None,
        unreachable: message.header.kind == RouteType::Unreachable,
        table: u32::from(message.header.table),
        metric: 0,
        ours: message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL),
        protocol: u8::from(message.header.protocol),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(destination) => {
                let address: IpAddr = match destination {
                    RouteAddress::Inet(address) => (*address).into(),
                    RouteAddress::Inet6(address) => (*address).into(),
                    _ => return None,
                };
                let length = message.header.destination_prefix_length;
                fact.destination = IpNet::new(address, length).ok()?;
            }
            RouteAttribute::Oif(index) => fact.index = Some(*index),
            RouteAttribute::Table(table) => fact.table = *table,
            RouteAttribute::Priority(metric) => fact.metric = *metric,
            _ => {}
        }
    }
    Some(fact)
}

pub(super) fn rule_fact(family: Family, message: &RuleMessage) -> RuleFact {
    let mut fact = RuleFact {
        family,
        priority: 0,
        table: u32::from(message.header.table),
        mark: None,
        invert: message.header.flags.contains(RuleFlags::Invert),
        suppress_prefix_length: None,
        ours: false,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => fact.priority = *priority,
            RuleAttribute::Table(table) => fact.table = *table,
            RuleAttribute::FwMark(mark) => fact.mark = Some(*mark),
            RuleAttribute::SuppressPrefixLen(length) => {
                // The kernel says -1 for "nothing".
                fact.suppress_prefix_length = (*length != u32::MAX).then_some(*length);
            }
            RuleAttribute::Protocol(protocol) => {
                fact.ours = *protocol == RouteProtocol::Other(ROUTE_PROTOCOL);
            }
            _ => {}
        }
    }
    fact
}

//! Which way the kernel would send a packet, and by which route of which table.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};

use super::error::Errno;
use super::executor::System;
use super::netlink::netlink_family;
use super::operation::Family;

/// What the kernel would do with a packet to one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The outgoing interface's index.
    pub index: Option<u32>,
    /// The table that the route stands in.
    pub table: u32,
    /// The route's destination, where the kernel says it.
    pub prefix: Option<IpNet>,
    /// The next host on the way.
    pub gateway: Option<IpAddr>,
    /// The address that the packet would come from.
    pub source: Option<IpAddr>,
    /// The route's own MTU or the learned path MTU, bytes.
    pub mtu: Option<u32>,
    /// Whether the address is one of this machine's own.
    pub local: bool,
}

/// Why there is no way to an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoWay {
    /// No route leads there.
    Unreachable,
    /// A route says that it must not be gone to.
    Prohibited,
    /// The kernel has another reason, in its words.
    Other(String),
}

impl System {
    /// Asks the kernel how it would send a packet with `mark` to `destination`.
    ///
    /// # Errors
    /// [`NoWay`]: it would not.
    pub async fn way(&self, destination: IpAddr, mark: Option<u32>) -> Result<Way, NoWay> {
        match self.matched(destination, mark, true).await {
            // `RTM_F_FIB_MATCH` is of Linux 4.13 (IPv6: 4.20)
            Err(Errno::OPNOTSUPP) => self.matched(destination, mark, false).await,
            found => found,
        }
        .map_err(|errno| match errno {
            unreachable if is_unreachable(unreachable) => NoWay::Unreachable,
            Errno::ACCESS => NoWay::Prohibited,
            other => NoWay::Other(other.to_string()),
        })
    }

    /// Asks for the next hop, and for the route that was matched, which are two answers.
    async fn matched(
        &self,
        destination: IpAddr,
        mark: Option<u32>,
        fib: bool,
    ) -> Result<Way, Errno> {
        let destination = destination.to_canonical();
        // IPv6 always tells the table, and refuses to be asked for it
        let table = match Family::of(destination) {
            Family::V4 => RouteFlags::LookupTable,
            Family::V6 => RouteFlags::empty(),
        };
        let mut way = read(&self.ask(destination, mark, table).await?);
        if fib {
            let matched = self.ask(destination, mark, table | RouteFlags::FibMatch).await?;
            way.prefix = prefix(&matched, destination);
            way.table = read(&matched).table;
        }
        Ok(way)
    }

    async fn ask(
        &self,
        destination: IpAddr,
        mark: Option<u32>,
        flags: RouteFlags,
    ) -> Result<RouteMessage, Errno> {
        let mut message = RouteMessage::default();
        message.header.address_family = netlink_family(Family::of(destination));
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.header.flags = flags;
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        if let Some(mark) = mark {
            message.attributes.push(RouteAttribute::Mark(mark));
        }
        let found = self.netlink.exchange(RouteNetlinkMessage::GetRoute(message), 0).await?;
        found
            .into_iter()
            .find_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) => Some(route),
                _ => None,
            })
            .ok_or(Errno::SRCH)
    }
}

/// Tells the numbers with which the kernel says that no route leads there.
fn is_unreachable(errno: Errno) -> bool {
    let unreachable = [rustix::io::Errno::NETUNREACH, rustix::io::Errno::HOSTUNREACH];
    errno == Errno::SRCH || unreachable.iter().any(|known| known.raw_os_error() == errno.0)
}

fn read(route: &RouteMessage) -> Way {
    let mut way = Way {
        index: None,
        table: route.header.table.into(),
        prefix: None,
        gateway: None,
        source: None,
        mtu: None,
        local: route.header.kind == RouteType::Local,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.index = Some(*index),
            RouteAttribute::Table(table) => way.table = *table,
            RouteAttribute::Gateway(address) => way.gateway = ip(address),
            RouteAttribute::PrefSource(address) => way.source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                way.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    way
}

/// The destination of the matched route; one without a destination is a default route.
fn prefix(route: &RouteMessage, asked: IpAddr) -> Option<IpNet> {
    let length = route.header.destination_prefix_length;
    let given = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    match given {
        Some(address) => IpNet::new(address, length).ok(),
        None if length == 0 => Some(Family::of(asked).default_prefix()),
        None => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_way_to_this_machine_is_local() {
        let system = System::connect().unwrap();
        let way = system.way("127.0.0.1".parse().unwrap(), None).await.unwrap();
        assert!(way.local);
        assert!(way.index.is_some());
        // until somebody adds a rule the kernel keeps `local` in `main`, and may say either
        assert!([254, 255].contains(&way.table), "{}", way.table);
        assert!(way.prefix.is_some_and(|prefix| prefix.contains(&way.source.unwrap())));
        if let Ok(way) = system.way("::1".parse().unwrap(), None).await {
            assert!(way.local);
        }
    }
}

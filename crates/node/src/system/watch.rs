//! Tells of changes in the network as they happen: links, addresses, routes, rules.
//!
//! The kernel's notices are drained at once into a bounded queue. When they come faster than the
//! reader takes them, the rest is dropped and [`NetworkEvent::Lost`] says so: look again.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::error::SystemError;
use super::facts::LinkFact;
use super::filter;
use super::netlink::{address_fact, link_fact, route_fact, rule_fact};
use super::operation::Family;

/// How many events wait for the reader.
const WAITING: usize = 256;

/// The kernel's table of its own addresses, whose routes come and go with them.
const TABLE_LOCAL: u32 = 255;

/// One change in the network.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NetworkEvent {
    /// An interface came, or changed its name, MTU or state.
    LinkChanged(LinkFact),
    /// An interface was deleted, or left for another namespace (`moved`).
    LinkRemoved(LinkFact),
    /// An address came or went.
    AddressChanged {
        /// The interface's index.
        index: u32,
        /// The address with its prefix length.
        address: IpNet,
        /// Whether it came.
        added: bool,
    },
    /// A route came or went: the way to whatever lies inside it may have changed.
    RouteChanged {
        /// The destination.
        destination: IpNet,
        /// The interface it leads into, where it is one.
        index: Option<u32>,
        /// The table.
        table: u32,
        /// Whether it came.
        added: bool,
        /// Whether it is one of ours.
        ours: bool,
    },
    /// A policy rule came or went.
    RuleChanged {
        /// IPv4 or IPv6.
        family: Family,
        /// Whether it came.
        added: bool,
        /// Whether it is one of ours.
        ours: bool,
    },
    /// A table of the packet filter was removed, by whomever.
    FilterRemoved,
    /// Events were lost: whatever was read before may be wrong.
    Lost,
}

/// The stream of [`NetworkEvent`]s; ends only when the kernel's socket fails.
#[derive(Debug)]
pub struct NetworkEvents {
    events: mpsc::Receiver<NetworkEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl NetworkEvents {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Option<NetworkEvent> {
        self.events.recv().await
    }
}

impl Stream for NetworkEvents {
    type Item = NetworkEvent;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<NetworkEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for NetworkEvents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to watch the network namespace of the calling thread, inside a tokio runtime.
///
/// # Errors
/// When no netlink socket can be had.
pub fn watch() -> Result<NetworkEvents, SystemError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
    ];
    let (connection, handle, mut notices) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|e| SystemError::from_io("watch the network by netlink", &e))?;
    let (sender, events) = mpsc::channel(WAITING);
    let filters = watch_filters(sender.clone());
    let task = tokio::spawn(async move {
        // Without a handle the connection would end.
        let _handle = handle;
        let drain = async {
            let mut lost = false;
            while let Some((notice, _)) = notices.next().await {
                let event = match notice.payload {
                    NetlinkPayload::InnerMessage(inner) => event(&inner),
                    NetlinkPayload::Overrun(_) => Some(NetworkEvent::Lost),
                    _ => None,
                };
                let Some(event) = event else { continue };
                if lost {
                    match sender.try_send(NetworkEvent::Lost) {
                        Ok(()) => lost = false,
                        Err(mpsc::error::TrySendError::Full(_)) => continue,
                        Err(mpsc::error::TrySendError::Closed(_)) => return,
                    }
                }
                match sender.try_send(event) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => lost = true,
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
        };
        tokio::select! {
            () = connection => {}
            () = drain => {}
            () = filters => {}
        }
    });
    Ok(NetworkEvents { events, task })
}

/// Tells of tables of the packet filter that go. Where the kernel does not tell us, it waits for
/// ever: then only our own look finds out.
async fn watch_filters(sender: mpsc::Sender<NetworkEvent>) {
    let opened = filter::notices().map_err(|errno| errno.to_string()).and_then(|socket| {
        // safe for what owns its descriptor and keeps it, as `OwnedFd` does; the new name of it
        // is an unsafe one since a type of the caller's might not
        #[expect(deprecated, reason = "its successor is unsafe, for other types than this one")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE);
        socket.map_err(|error| error.to_string())
    });
    let socket = match opened {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!("changes of the packet filter go unnoticed: {error}");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        match filter::is_removal(socket.get_ref()) {
            Ok(true) => {
                // a full queue ends in a look at everything anyhow
                let _ = sender.try_send(NetworkEvent::FilterRemoved);
            }
            Ok(false) => {}
            Err(_) => return std::future::pending().await,
        }
        ready.clear_ready();
    }
}

/// Reads a notice; `None` for what nobody asked about.
fn event(notice: &RouteNetlinkMessage) -> Option<NetworkEvent> {
    let address = |message, added| {
        let fact = address_fact(message)?;
        Some(NetworkEvent::AddressChanged { index: fact.index, address: fact.address, added })
    };
    let route = |message, added| {
        let fact = route_fact(message).filter(|f| f.table != TABLE_LOCAL)?;
        Some(NetworkEvent::RouteChanged {
            destination: fact.destination,
            index: fact.index,
            table: fact.table,
            added,
            ours: fact.ours,
        })
    };
    match notice {
        RouteNetlinkMessage::NewLink(m) => Some(NetworkEvent::LinkChanged(link_fact(m))),
        RouteNetlinkMessage::DelLink(m) => Some(NetworkEvent::LinkRemoved(link_fact(m))),
        RouteNetlinkMessage::NewAddress(m) => address(m, true),
        RouteNetlinkMessage::DelAddress(m) => address(m, false),
        RouteNetlinkMessage::NewRoute(m) => route(m, true),
        RouteNetlinkMessage::DelRoute(m) => route(m, false),
        RouteNetlinkMessage::NewRule(m) | RouteNetlinkMessage::DelRule(m) => {
            let family = match m.header.family {
                AddressFamily::Inet => Family::V4,
                AddressFamily::Inet6 => Family::V6,
                _ => return None,
            };
            let added = matches!(notice, RouteNetlinkMessage::NewRule(_));
            Some(NetworkEvent::RuleChanged { family, added, ours: rule_fact(family, m).ours })
        }
        _ => None,
    }
}

//! What is asked for each peer: names, ways, heartbeats, pings, datagrams.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use stadium_config::Endpoint;
use stadium_node::api::{Client, InterfaceStatus, PeerState};
use stadium_node::system::Facts as Machine;
use stadium_node::{Question, resolve_now};

use super::super::facts::{FileFact, InnerEcho, PeerFacts};
use super::{echo, probe, ways};
use crate::failure::Failure;

/// How many peers are sent anything.
const ASKED: usize = 32;

/// How many prefixes of one peer are looked up.
const PREFIXES: usize = 64;

/// How long one heartbeat, ping or datagram may take.
const ANSWER: Duration = Duration::from_millis(1200);

/// Lists the peers of the file, or of the daemon where the file says nothing.
pub(super) fn list(file: &FileFact, status: Option<&InterfaceStatus>) -> Vec<PeerFacts> {
    let blank = |label: String, public_key: String, endpoint, allowed_ips| PeerFacts {
        label,
        public_key,
        endpoint,
        allowed_ips,
        resolved: None,
        outer: None,
        inner: Vec::new(),
        tried: false,
        heartbeat: None,
        echo: None,
        probe: None,
    };
    match (file.valid(), status) {
        (Some(file), _) => file
            .peers
            .iter()
            .map(|peer| {
                let key = peer.public_key.to_string();
                blank(peer.label(), key, peer.endpoint.clone(), peer.allowed_ips.clone())
            })
            .collect(),
        (None, Some(status)) => status
            .peers
            .iter()
            .map(|peer| {
                let endpoint = peer.endpoint.map(Endpoint::Address);
                let key = peer.public_key.clone();
                blank(peer.label().to_owned(), key, endpoint, peer.allowed_ips.clone())
            })
            .collect(),
        (None, None) => Vec::new(),
    }
}

/// Looks up the endpoints that are names.
pub(super) fn resolve(peers: &mut [PeerFacts], wait: Duration) -> Result<(), Failure> {
    let named = |peer: &PeerFacts| matches!(peer.endpoint, Some(Endpoint::Name { .. }));
    let names: Vec<Endpoint> =
        peers.iter().filter(|p| named(p)).filter_map(|p| p.endpoint.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let found = resolve_now(&names, wait)?;
    for (peer, found) in peers.iter_mut().filter(|peer| named(peer)).zip(found) {
        peer.resolved = Some(found.map_err(|error| error.to_string()));
    }
    Ok(())
}

/// Where datagrams to a peer go.
fn endpoint(peer: &PeerFacts, status: Option<&InterfaceStatus>) -> Option<SocketAddr> {
    let told = status.and_then(|status| {
        status.peers.iter().find(|told| told.public_key == peer.public_key)?.endpoint
    });
    told.or_else(|| match (&peer.endpoint, &peer.resolved) {
        (Some(Endpoint::Address(address)), _) => Some(*address),
        (_, Some(Ok(found))) => found.first().copied(),
        _ => None,
    })
}

/// Asks the kernel for the ways to endpoints and into allowed IPs.
pub(super) fn ask_kernel(
    peers: &mut [PeerFacts],
    status: Option<&InterfaceStatus>,
    mark: Option<u32>,
) -> Result<(), Failure> {
    let mut questions = Vec::new();
    for peer in peers.iter() {
        let outer = endpoint(peer, status).map(|at| at.ip().to_canonical());
        questions.extend(outer.map(|destination| Question { destination, mark }));
        let inner = peer.allowed_ips.iter().take(PREFIXES);
        questions.extend(inner.map(|net| Question { destination: host_of(net), mark: None }));
    }
    let mut found = ways(&questions)?.into_iter();
    for peer in peers.iter_mut() {
        if let Some(at) = endpoint(peer, status) {
            peer.outer = found.next().map(|way| (at.ip().to_canonical(), way));
        }
        let inner: Vec<IpNet> = peer.allowed_ips.iter().take(PREFIXES).copied().collect();
        peer.inner = inner.into_iter().zip(found.by_ref()).collect();
    }
    Ok(())
}

/// An address inside a prefix that is a host's.
fn host_of(net: &IpNet) -> IpAddr {
    if net.prefix_len() == 0 {
        // 0.0.0.0 is this host, and :: is nobody; these are for documentation
        return if net.addr().is_ipv4() {
            IpAddr::from([192, 0, 2, 1])
        } else {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
        };
    }
    net.hosts().next().unwrap_or(net.addr())
}

/// Sends heartbeats and pings to peers that are up, datagrams to the endpoints of silent ones.
pub(super) fn ask_outside(
    peers: &mut [PeerFacts],
    socket: Option<&std::path::Path>,
    status: Option<&InterfaceStatus>,
    mark: Option<u32>,
) {
    let Some(status) = status else { return };
    let (mut up, mut silent) = (0, 0);
    thread::scope(|scope| {
        for peer in peers.iter_mut() {
            let told = status.peers.iter().find(|told| told.public_key == peer.public_key);
            let Some(told) = told else { continue };
            if told.state == PeerState::Up {
                up += 1;
                if up <= ASKED {
                    scope.spawn(move || ask_through(peer, socket, status.mtu));
                }
            } else if peer.tried
                && let Some(at) = endpoint(peer, Some(status))
            {
                silent += 1;
                if silent <= ASKED {
                    scope.spawn(move || peer.probe = Some(probe::probe(at, mark, ANSWER)));
                }
            }
        }
    });
}

/// Asks through the session: a heartbeat, a small ping, and one as large as the interface allows.
fn ask_through(peer: &mut PeerFacts, socket: Option<&std::path::Path>, mtu: u32) {
    let pong = socket.and_then(|socket| {
        let mut client = Client::connect(socket).ok()?;
        client.ping(&peer.public_key, 1, ANSWER * 2).ok()
    });
    peer.heartbeat = pong.map(|pong| pong.rtt_ms);
    let hosts = peer.allowed_ips.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    // IPv4 where there is a choice: every host answers there
    let Some(target) = hosts.map(IpNet::addr).min_by_key(IpAddr::is_ipv6) else { return };
    let Some(small) = echo::answers(target, 84, ANSWER, None) else { return };
    let large = small && echo::answers(target, mtu, ANSWER, None) == Some(true);
    peer.echo = Some(InnerEcho { target, small, large });
}

/// The names of the interfaces by which datagrams leave.
pub(super) fn outer_links(peers: &[PeerFacts], machine: &Machine) -> Vec<String> {
    let indices = peers.iter().filter_map(|peer| peer.outer.as_ref()?.1.as_ref().ok()?.index);
    let mut names: Vec<String> =
        indices.filter_map(|index| machine.link_name(index)).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_asked_for_by_a_host_in_it() {
        let host = |text: &str| host_of(&text.parse().unwrap()).to_string();
        assert_eq!(host("10.7.0.2/32"), "10.7.0.2");
        assert_eq!(host("10.7.0.0/24"), "10.7.0.1");
        assert_eq!(host("0.0.0.0/0"), "192.0.2.1");
        assert_eq!(host("::/0"), "2001:db8::1");
    }
}

//! The daemon's UDP sockets: one set a worker, and control's own for handshakes.
//!
//! Invariants: every socket of one family that sends has the same port, so that peers see one
//! endpoint; a port that anybody else holds is refused, never shared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use stadium_config::{Listen, ListenOn};
use stadium_udp::{BindError, BindFault, DontFragment, Options, Socket, bind_group};

use crate::workers::SocketSet;

/// How often another free port is tried when IPv6 does not have the one that IPv4 found.
const FREE_PORT_ATTEMPTS: usize = 16;

/// The size of receive buffers in bytes: about 3 ms of 10 Gbit/s, where the data path stalls.
const RECV_BUFFER: usize = 4 << 20;

/// The size of send buffers in bytes.
const SEND_BUFFER: usize = 2 << 20;

/// All sockets of a daemon.
#[derive(Debug)]
pub(crate) struct Bound {
    /// One set a worker.
    pub(crate) sets: Vec<SocketSet>,
    /// Sends IPv4 handshakes, which may be fragmented.
    pub(crate) handshake_v4: Option<Socket>,
    /// Sends IPv6 handshakes.
    pub(crate) handshake_v6: Option<Socket>,
    /// Where datagrams are received.
    pub(crate) listen: Vec<SocketAddr>,
}

impl Bound {
    /// Returns the port that peers see first.
    pub(crate) fn port(&self) -> u16 {
        self.listen.first().map_or(0, SocketAddr::port)
    }

    /// The descriptors of all sockets.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let senders = [&self.handshake_v4, &self.handshake_v6].into_iter().flatten();
        let shared = self.sets.iter().flat_map(SocketSet::all).map(|socket| &**socket);
        shared.chain(senders).flat_map(Socket::descriptors).collect()
    }

    /// Changes the mark of all sockets; 0 is none.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn set_fwmark(&mut self, mark: u32) -> std::io::Result<()> {
        for set in &self.sets {
            for socket in set.all() {
                socket2::SockRef::from(&**socket).set_mark(mark)?;
            }
        }
        for socket in [&mut self.handshake_v4, &mut self.handshake_v6].into_iter().flatten() {
            socket.set_fwmark(mark)?;
        }
        Ok(())
    }
}

/// One address with a socket for every worker.
type Group = Vec<Arc<Socket>>;

/// Binds everything that `listen` names, with a socket for each of `workers`; without `offload`
/// datagrams go and come one by one.
///
/// # Errors
/// [`BindError`] names the address, the obstacle and the remedy; nothing stays bound.
pub(crate) fn bind(
    listen: &Listen,
    workers: usize,
    fwmark: Option<u32>,
    offload: bool,
) -> Result<Bound, BindError> {
    let options = Options {
        fwmark,
        gso: offload,
        gro: offload,
        send_buffer: Some(SEND_BUFFER),
        recv_buffer: Some(RECV_BUFFER),
        dont_fragment: DontFragment::Probe,
        ..Options::default()
    };
    let mut groups: Vec<Group> = Vec::new();
    for on in &listen.0 {
        match *on {
            ListenOn::Address(address) => groups.push(group(address, workers, &options)?),
            ListenOn::Port(port) => groups.extend(both(port, workers, &options)?),
        }
    }
    let listen = groups.iter().filter_map(|g| Some(g.first()?.local_addr())).collect();
    let mut sets = vec![SocketSet::default(); workers];
    for group in groups {
        for (set, socket) in sets.iter_mut().zip(group) {
            let place = if socket.is_ipv6() { &mut set.v6 } else { &mut set.v4 };
            match place {
                None => *place = Some(socket),
                Some(_) => set.more.push(socket),
            }
        }
    }
    let handshake = Options { dont_fragment: DontFragment::Off, recv_buffer: None, ..options };
    let sender = |socket: Option<&Arc<Socket>>| {
        socket.map(|socket| Socket::bind_sender(socket, &handshake)).transpose()
    };
    let first = sets.first();
    Ok(Bound {
        handshake_v4: sender(first.and_then(|set| set.v4.as_ref()))?,
        handshake_v6: sender(first.and_then(|set| set.v6.as_ref()))?,
        sets,
        listen,
    })
}

fn group(address: SocketAddr, workers: usize, options: &Options) -> Result<Group, BindError> {
    let sockets = bind_group(address, workers, options)?;
    if workers > 1
        && let Some(first) = sockets.first()
        && let Err(error) = first.attach_lane_steering(u32::try_from(workers).unwrap_or(u32::MAX))
    {
        tracing::debug!(%error, "workers are chosen by address, not by lane");
    }
    Ok(sockets.into_iter().map(Arc::new).collect())
}

/// Binds one port of both families; IPv4 alone where this machine has no IPv6.
fn both(port: u16, workers: usize, options: &Options) -> Result<Vec<Group>, BindError> {
    // ports that IPv6 does not have stay taken until one is found that both have
    let mut rejected = Vec::new();
    loop {
        let v4 = group((Ipv4Addr::UNSPECIFIED, port).into(), workers, options)?;
        let found = v4.first().map_or(port, |socket| socket.local_addr().port());
        match group((Ipv6Addr::UNSPECIFIED, found).into(), workers, options) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if error.fault() == BindFault::NoSuchAddress => {
                tracing::warn!("IPv6 is switched off on this machine: listening on IPv4 only");
                return Ok(vec![v4]);
            }
            Err(error)
                if port == 0
                    && error.fault() == BindFault::InUse
                    && rejected.len() < FREE_PORT_ATTEMPTS =>
            {
                rejected.push(v4);
            }
            Err(error) => return Err(error),
        }
    }
}

impl SocketSet {
    /// Returns all sockets.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.v4.iter().chain(&self.v6).chain(&self.more)
    }

    /// Returns the socket that sends to `remote`.
    pub(crate) fn towards(&self, remote: IpAddr) -> Option<&Arc<Socket>> {
        if remote.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_free_port_is_the_same_for_both_families_and_all_workers() {
        let bound = bind(&Listen::default(), 3, None, true).unwrap();
        assert_eq!(bound.sets.len(), 3);
        assert_ne!(bound.port(), 0);
        for socket in bound.sets.iter().flat_map(SocketSet::all) {
            assert_eq!(socket.local_addr().port(), bound.port());
        }
        let sender = bound.handshake_v4.as_ref().unwrap();
        assert_eq!(sender.local_addr().port(), bound.port());
    }

    #[test]
    fn offload_is_left_alone_where_it_is_off() {
        for offload in [true, false] {
            let bound = bind(&Listen::default(), 2, None, offload).unwrap();
            for socket in bound.sets.iter().flat_map(SocketSet::all) {
                assert_eq!((socket.caps().gso(), socket.caps().gro()), (offload, offload));
            }
        }
    }

    #[test]
    fn a_port_that_is_in_use_is_refused_by_number() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(&Listen(vec![ListenOn::Port(port)]), 2, None, true).unwrap_err();
        assert_eq!(error.fault(), BindFault::InUse);
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }

    #[test]
    fn further_addresses_of_a_family_only_receive() {
        let on = |text: &str| ListenOn::Address(text.parse().unwrap());
        let bound =
            bind(&Listen(vec![on("127.0.0.1:0"), on("127.0.0.2:0")]), 1, None, true).unwrap();
        assert_eq!(bound.listen.len(), 2);
        assert_eq!(bound.sets[0].more.len(), 1);
        assert!(bound.sets[0].v6.is_none() && bound.handshake_v6.is_none());
    }
}

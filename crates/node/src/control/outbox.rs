//! What the engine puts out: datagrams go at once, events wait for the loop.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use stadium_proto::engine::{DatagramClass, Event, Output};
use stadium_proto::peer::{Endpoint, PeerId};
use stadium_udp::{LocalAddr, Path, Socket};

use crate::sockets::Bound;

/// How many addresses that could not be sent to are remembered between two looks.
const UNREACHED: usize = 64;

/// The engine's output.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) bound: Bound,
    pub(super) events: VecDeque<Event>,
    /// Where the system has no way to.
    pub(super) unreached: Vec<SocketAddr>,
    /// Whether frames wait for workers to send them.
    pub(super) frames: bool,
}

impl Outbox {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, events: VecDeque::new(), unreached: Vec::new(), frames: false }
    }

    fn socket(&self, remote: IpAddr, class: DatagramClass) -> Option<&Socket> {
        match class {
            DatagramClass::Handshake if remote.is_ipv4() => self.bound.handshake_v4.as_ref(),
            DatagramClass::Handshake => self.bound.handshake_v6.as_ref(),
            DatagramClass::Data => self.bound.sets.first()?.towards(remote).map(AsRef::as_ref),
        }
    }

    fn try_send(&self, to: &Endpoint, datagram: &[u8], class: DatagramClass) -> io::Result<()> {
        let Some(socket) = self.socket(to.remote.ip(), class) else {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        };
        match socket.send_one(&path(to), 0, datagram) {
            // this host has lost the address that the peer spoke to: the routes choose another
            Err(error) if to.local.is_some() && is_stale_source(&error) => {
                socket.send_one(&Path::to(to.remote), 0, datagram)
            }
            result => result,
        }
    }
}

impl Output for Outbox {
    fn send(&mut self, to: &Endpoint, datagram: &[u8], kind: DatagramClass) {
        let Err(error) = self.try_send(to, datagram, kind) else { return };
        tracing::trace!(?kind, %error, "a datagram was not sent");
        let unreachable = matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
        );
        if unreachable && self.unreached.len() < UNREACHED {
            self.unreached.push(to.remote);
        }
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    fn frame_waits(&mut self, _peer: PeerId) {
        self.frames = true;
    }
}

/// Tells whether the kernel does not have the source that was asked for.
fn is_stale_source(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::AddrNotAvailable)
}

fn path(to: &Endpoint) -> Path {
    let local = to.local.map(|local| LocalAddr { ip: local.ip, ifindex: local.interface });
    Path { remote: to.remote, local }
}

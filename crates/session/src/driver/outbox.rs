//! What the engine puts out: datagrams go at once, events wait for the driver.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use stadium_proto::engine::{DatagramClass, Event, Output};
use stadium_proto::peer::{Endpoint, LocalAddress};
use stadium_udp::{DontFragment, LocalAddr, Message, Path, Socket};

/// Datagrams up to this length fit every path that IPv6 allows, so that nobody fragments them.
const FITS_ANYWHERE: usize = 1_232;

/// A socket as tokio watches it.
#[derive(Debug)]
pub(super) struct Fd(pub(super) Socket);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The engine's output.
pub(super) struct Outbox<'a> {
    socket: &'a Socket,
    events: &'a mut VecDeque<Event>,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(socket: &'a Socket, events: &'a mut VecDeque<Event>) -> Self {
        Self { socket, events }
    }
}

/// Sends a datagram of the engine at once; what does not go is lost, as the network may lose it.
pub(crate) fn send(socket: &Socket, to: &Endpoint, datagram: &[u8], class: DatagramClass) {
    let path = path_to(to);
    let result = match try_send(socket, &path, datagram, class) {
        // this host has lost the address that the other side spoke to
        Err(error) if path.local.is_some() && is_stale_source(&error) => {
            try_send(socket, &Path::to(path.remote), datagram, class)
        }
        result => result,
    };
    if let Err(error) = result {
        tracing::trace!(?class, %error, "a datagram was not sent");
    }
}

fn try_send(socket: &Socket, path: &Path, datagram: &[u8], class: DatagramClass) -> io::Result<()> {
    if class == DatagramClass::Data || datagram.len() <= FITS_ANYWHERE {
        return socket.send_one(path, 0, datagram);
    }
    // IP may fragment a handshake; everything else leaves between such moments
    socket.set_dont_fragment(DontFragment::Off)?;
    let result = socket.send_one(path, 0, datagram);
    socket.set_dont_fragment(DontFragment::Probe)?;
    result
}

impl Output for Outbox<'_> {
    fn send(&mut self, to: &Endpoint, datagram: &[u8], class: DatagramClass) {
        send(self.socket, to, datagram, class);
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

/// Tells whether the kernel does not have the source that was asked for.
fn is_stale_source(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::AddrNotAvailable)
}

pub(super) fn path_to(to: &Endpoint) -> Path {
    let local = to.local.map(|local| LocalAddr { ip: local.ip, ifindex: local.interface });
    Path { remote: to.remote, local }
}

pub(super) fn local_of(message: &Message) -> Option<LocalAddress> {
    message.local.map(|local| LocalAddress { ip: local.ip, interface: local.ifindex })
}

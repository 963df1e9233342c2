//! One client of a relay: its socket towards the upstream and its links.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::Direction;
use crate::{
    dice::Dice,
    link::{Impairments, Link},
};

pub(super) struct Client {
    pub(super) number: u64,
    pub(super) address: SocketAddr,
    pub(super) socket: UdpSocket,
    pub(super) last_used: u64,
    forward: Link,
    backward: Link,
}

impl Client {
    pub(super) fn new(
        number: u64,
        address: SocketAddr,
        upstream: SocketAddr,
        [forward, backward]: [Impairments; 2],
        dice: (Dice, Dice),
    ) -> io::Result<Self> {
        Ok(Self {
            number,
            address,
            socket: connect(upstream)?,
            last_used: 0,
            forward: Link::with_dice(forward, dice.0),
            backward: Link::with_dice(backward, dice.1),
        })
    }

    pub(super) fn link(&mut self, direction: Direction) -> &mut Link {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        }
    }

    pub(super) fn next_release(&mut self) -> Option<u64> {
        let releases = [self.forward.next_release(), self.backward.next_release()];
        releases.into_iter().flatten().min()
    }

    /// Takes another port towards the upstream; answers to the old one are lost.
    pub(super) fn rebind(&mut self, upstream: SocketAddr) -> io::Result<()> {
        self.socket = connect(upstream)?;
        Ok(())
    }
}

/// Opens a socket that does not block and has room for bursts.
pub(super) fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // beyond the system's limit only with privilege; a smaller buffer works too
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

fn connect(upstream: SocketAddr) -> io::Result<UdpSocket> {
    let any = match upstream {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = open(any)?;
    socket.connect(upstream)?;
    Ok(socket)
}

/// Bytes: a few GSO runs of every client at once.
const RECEIVE_BUFFER: usize = 4 << 20;

//! Asks the routing table which source address it would choose for a destination.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Type};

use crate::addr::LocalAddr;

/// A socket that is connected to destinations, and never sends, to learn the source.
///
/// It is made once and kept: marking it takes a privilege that its owner may give up.
#[derive(Debug)]
pub(crate) struct RouteProbe {
    socket: socket2::Socket,
    /// Connecting and asking go together.
    turn: Mutex<()>,
}

impl RouteProbe {
    /// Makes a probe of one address family whose look-ups carry `mark`.
    pub(crate) fn new(domain: Domain, mark: Option<u32>) -> io::Result<Self> {
        let socket = socket2::Socket::new(domain, Type::DGRAM.cloexec(), None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        Ok(Self { socket, turn: Mutex::new(()) })
    }

    /// Changes the mark; 0 is none.
    pub(crate) fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.socket.set_mark(mark)
    }

    /// Returns the source that packets to `remote` would have, `None` where there is no way.
    pub(crate) fn source_towards(&self, remote: SocketAddr) -> Option<LocalAddr> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.socket.connect(&remote.into()).ok()?;
        let local = self.socket.local_addr();
        // else the next look-up would keep this source
        let free = rustix::net::connect_unspec(&self.socket);
        drop(turn);
        free.ok()?;
        let ifindex = match remote {
            SocketAddr::V6(remote) => remote.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Some(LocalAddr { ip: local.ok()?.as_socket()?.ip(), ifindex })
    }
}

impl AsFd for RouteProbe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_up_starts_anew() {
        let probe = RouteProbe::new(Domain::IPV4, None).unwrap();
        for (remote, source) in [
            ("127.0.0.1:9", "127.0.0.1"),
            ("127.0.0.9:9", "127.0.0.1"),
            ("127.0.0.1:9", "127.0.0.1"),
        ] {
            let found = probe.source_towards(remote.parse().unwrap()).unwrap();
            assert_eq!(found.ip.to_string(), source, "{remote}");
            assert_eq!(
                probe.socket.local_addr().unwrap().as_socket().unwrap().ip().to_string(),
                "0.0.0.0"
            );
        }
    }
}

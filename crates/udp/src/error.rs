//! Why a socket could not be set up.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What kind of obstacle a [`BindError`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BindFault {
    /// Another socket holds the port, be it for itself or in a `SO_REUSEPORT` group.
    InUse,
    /// The address belongs to no interface of this host, or the family is disabled.
    NoSuchAddress,
    /// The port is below 1,024 and the process lacks `CAP_NET_BIND_SERVICE`.
    PrivilegedPort,
    /// The process lacks `CAP_NET_ADMIN`, which a mark needs.
    MarkDenied,
    /// Anything else, told by the source error.
    Other,
}

/// A socket could not be made, set up or bound.
#[derive(Debug)]
pub struct BindError {
    addr: SocketAddr,
    fault: BindFault,
    source: io::Error,
}

impl BindError {
    pub(crate) fn new(addr: SocketAddr, fault: BindFault, source: io::Error) -> Self {
        Self { addr, fault, source }
    }

    /// Classifies the failure of `bind` itself.
    pub(crate) fn binding(addr: SocketAddr, source: io::Error) -> Self {
        let fault = match source.raw_os_error() {
            Some(libc::EADDRINUSE) => BindFault::InUse,
            Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => BindFault::NoSuchAddress,
            Some(libc::EACCES | libc::EPERM) => BindFault::PrivilegedPort,
            _ => BindFault::Other,
        };
        Self::new(addr, fault, source)
    }

    /// Returns the address that was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the kind of obstacle.
    #[must_use]
    pub fn fault(&self) -> BindFault {
        self.fault
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, fault, source } = self;
        match fault {
            BindFault::InUse => write!(
                f,
                "UDP port {} on {} is in use by another program; stop that program (`ss -lunp` \
                 names it) or choose another port",
                addr.port(),
                addr.ip()
            ),
            BindFault::NoSuchAddress => write!(
                f,
                "cannot listen on {addr}: no interface of this host has the address {}; add the \
                 address or listen on another",
                addr.ip()
            ),
            BindFault::PrivilegedPort => write!(
                f,
                "cannot listen on UDP port {}: permission denied; ports below 1024 need root or \
                 CAP_NET_BIND_SERVICE",
                addr.port()
            ),
            BindFault::MarkDenied => write!(
                f,
                "cannot mark the packets of the socket on {addr}: permission denied; a firewall \
                 mark needs root or CAP_NET_ADMIN"
            ),
            BindFault::Other => write!(f, "cannot set up the UDP socket on {addr}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

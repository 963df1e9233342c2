//! Why a device could not be made, and why a queue could not be used.

use std::fmt;
use std::io;

/// A TUN device could not be made. Nothing is left of the attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError {
    /// The name cannot be one of an interface.
    InvalidName {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An interface of that name exists, of whatever kind.
    NameExists {
        /// The name that was asked for.
        name: String,
    },
    /// A number of queues that no device has.
    InvalidQueues {
        /// The number that was asked for.
        queues: usize,
    },
    /// `/dev/net/tun` does not exist.
    NodeMissing,
    /// `/dev/net/tun` exists, but the kernel has no TUN driver behind it.
    DriverMissing,
    /// The process may not open `/dev/net/tun`.
    NodeDenied(io::Error),
    /// The process may not make interfaces in this network namespace.
    CreateDenied(io::Error),
    /// Anything else.
    Other {
        /// What was being done, as in "cannot …".
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CreateError {
    pub(crate) fn other(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Other { step, source }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name, reason } => write!(
                f,
                "{name:?} cannot name an interface: {reason}; use 1 to 15 of the characters \
                 a-z A-Z 0-9 _ = + . -"
            ),
            Self::NameExists { name } => write!(
                f,
                "an interface named {name} exists already; stop what made it, or choose another \
                 name"
            ),
            Self::InvalidQueues { queues } => {
                write!(f, "a TUN device has 1 to {} queues, not {queues}", crate::MAX_QUEUES)
            }
            Self::NodeMissing => f.write_str(
                "/dev/net/tun does not exist; load the driver with `modprobe tun`, or, in a \
                 container, hand the device in (`--device /dev/net/tun`)",
            ),
            Self::DriverMissing => f.write_str(
                "the kernel has no TUN driver behind /dev/net/tun; load it with `modprobe tun`",
            ),
            Self::NodeDenied(_) => f.write_str(
                "no permission to open /dev/net/tun; run as root, or let this user read and \
                 write it",
            ),
            Self::CreateDenied(_) => f.write_str(
                "no permission to make a TUN interface; run as root, or with the capability \
                 CAP_NET_ADMIN",
            ),
            Self::Other { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NodeDenied(source) | Self::CreateDenied(source) | Self::Other { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }
}

/// Why a read or a write of a queue failed; a copyable value, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The kernel has no room now: poll for writing, or drop and count.
    Full,
    /// The interface was deleted, or its namespace was; nothing helps but a new device.
    Gone,
    /// The interface is down; packets can be written once it is up again.
    Down,
    /// The kernel does not take the packet as it is. For a superpacket that is no proof of a bad
    /// packet: the caller writes the segments one by one, and offload off for good if they pass.
    Refused,
    /// Anything else, by error number (0 when the kernel gave none).
    Other(i32),
}

impl Fault {
    /// Classifies an error of `read` or `write` on a TUN descriptor.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            Some(libc::EBADFD | libc::ENODEV | libc::ENXIO) => Self::Gone,
            Some(libc::EIO) => Self::Down,
            Some(libc::EINVAL | libc::EMSGSIZE | libc::E2BIG) => Self::Refused,
            Some(code) => Self::Other(code),
            None => Self::Other(0),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the kernel has no room for packets now"),
            Self::Gone => f.write_str("the interface is gone; it was deleted by someone else"),
            Self::Down => f.write_str("the interface is down; `ip link set IFACE up` raises it"),
            Self::Refused => f.write_str("the kernel refuses the packet"),
            Self::Other(0) => f.write_str("the TUN device failed"),
            Self::Other(code) => io::Error::from_raw_os_error(*code).fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(
            match fault {
                Fault::Full => io::ErrorKind::WouldBlock,
                Fault::Gone => io::ErrorKind::NotFound,
                Fault::Down => io::ErrorKind::NetworkDown,
                Fault::Refused => io::ErrorKind::InvalidInput,
                Fault::Other(_) => io::ErrorKind::Other,
            },
            fault,
        )
    }
}

//! Taking an interface name for ourselves, and finding where the interface went.
//!
//! tun-rs does not set `IFF_TUN_EXCL`, and with several queues the kernel would let us join a
//! live interface of someone else as one more queue. Looking for the name first would leave a
//! gap between looking and making. So the name is claimed first, with `IFF_TUN_EXCL`: the kernel
//! makes the interface, or says that there is one. tun-rs then opens the queues of an interface
//! that is known to be ours, and the claim is dropped; the interface lives as long as any queue.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::CreateError;

/// The node that TUN devices are made with.
const NODE: &str = "/dev/net/tun";

/// The request for the network namespace of a TUN device (`TUNGETDEVNETNS`, Linux 5.2).
const GET_NAMESPACE: libc::Ioctl = 0x54e3;

/// An interface of our own, for as long as this value or a queue lives.
pub(crate) struct Claim {
    _fd: OwnedFd,
}

impl Claim {
    /// Makes the multi-queue TUN interface `name`, unless an interface of that name exists.
    ///
    /// `name` must have been checked.
    pub(crate) fn take(name: &str, header: bool) -> Result<Self, CreateError> {
        let fd = open()?;
        // SAFETY: ifreq consists of bytes, integers and a union of such, for which zero is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
            *to = *from as libc::c_char;
        }
        let header = if header { libc::IFF_VNET_HDR } else { 0 };
        let flags =
            libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL | header;
        // the field is signed, the flags are bits
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: the descriptor is open, and `request` is the structure that TUNSETIFF reads
        // and writes; its name ends in a zero, since a checked name is shorter than the field.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result == 0 {
            return Ok(Self { _fd: fd });
        }
        let error = io::Error::last_os_error();
        Err(match error.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => CreateError::NameExists { name: name.to_owned() },
            Some(libc::EPERM | libc::EACCES) => CreateError::CreateDenied(error),
            _ => CreateError::Other { step: "make the TUN interface", source: error },
        })
    }
}

fn open() -> Result<OwnedFd, CreateError> {
    rustix::fs::open(NODE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
        match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => CreateError::NodeMissing,
            rustix::io::Errno::NODEV | rustix::io::Errno::NXIO => CreateError::DriverMissing,
            rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => {
                CreateError::NodeDenied(error.into())
            }
            _ => CreateError::Other { step: "open /dev/net/tun", source: error.into() },
        }
    })
}

/// Opens the network namespace that a TUN device is in now.
pub(crate) fn namespace_of(tun: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open and the request takes no argument.
    let fd = unsafe { libc::ioctl(tun.as_raw_fd(), GET_NAMESPACE, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a successful request returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Tells whether a TUN device is in the network namespace of the calling thread.
///
/// Kernels that cannot tell are taken to say yes.
pub(crate) fn is_here(tun: BorrowedFd<'_>) -> io::Result<bool> {
    let there = match namespace_of(tun) {
        Ok(fd) => fd,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let there = rustix::fs::fstat(&there)?;
    let here = rustix::fs::stat("/proc/thread-self/ns/net")?;
    Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
}

//! A UDP socket: its set-up, its capabilities, single datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Type};

use crate::addr::{LocalAddr, Name, Path};
use crate::caps::Caps;
use crate::cmsg::Control;
use crate::error::{BindError, BindFault};
use crate::options::{DontFragment, Options};
use crate::route::RouteProbe;
use crate::sys;

/// The index of the drop counter in the answer to `SO_MEMINFO` (`SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;

/// Where a sending-only IPv4 socket is bound: a loopback address that nobody talks to.
const PARKED_V4: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// Where a sending-only IPv6 socket is bound: inside the discard prefix (RFC 6666).
const PARKED_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0x5374, 0x6164, 0x6975, 0x6d);

/// How the source of a datagram is chosen when its path names none.
#[derive(Debug)]
enum DefaultSource {
    /// The kernel chooses: by the address that the socket is bound to, else by its routes.
    Bound,
    /// This one, since the socket is bound elsewhere.
    Instead(IpAddr),
    /// What the routes say: IPv6 takes "unspecified" for "as bound".
    Routed(RouteProbe),
}

/// A non-blocking UDP socket of one address family.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    local: SocketAddr,
    caps: Caps,
    source: DefaultSource,
}

impl Socket {
    /// Makes a socket and binds it to `addr`; port 0 lets the kernel choose.
    ///
    /// A socket without `reuse_port` fails when anyone holds the port, a `SO_REUSEPORT` group of
    /// another program included. With it, the socket silently joins such a group of the same
    /// user: use [`crate::bind_group`], which looks first.
    ///
    /// # Errors
    ///
    /// [`BindError`] tells address, obstacle and remedy.
    pub fn bind(addr: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let inner = open(addr, options)?;
        inner.bind(&addr.into()).map_err(|error| BindError::binding(addr, error))?;
        Self::finish(inner, addr, options, DefaultSource::Bound)
    }

    /// Makes a socket that sends from the port of `group` and receives nothing.
    ///
    /// Control sends handshakes from it with [`DontFragment::Off`] while workers own the sockets
    /// of the group. It is bound to the group's port on an address that nobody talks to, and
    /// names the source of each datagram, so the kernel never chooses it for reception.
    /// `group` must have been bound with [`Options::reuse_port`] (as [`crate::bind_group`] does).
    ///
    /// # Errors
    ///
    /// [`BindError`] tells address, obstacle and remedy.
    pub fn bind_sender(group: &Self, options: &Options) -> Result<Self, BindError> {
        // what strangers of this host send to the parking address shall cost no memory
        let recv_buffer = Some(0);
        let options = Options { reuse_port: true, gro: false, recv_buffer, ..options.clone() };
        let meant = group.local;
        let inner = open(meant, &options)?;
        let other = |error| BindError::new(meant, BindFault::Other, error);
        // the parking address need not exist, not even where the loopback interface is down
        let parked: IpAddr = if meant.is_ipv4() {
            inner.set_freebind_v4(true).map_err(other)?;
            PARKED_V4.into()
        } else {
            inner.set_freebind_v6(true).map_err(other)?;
            PARKED_V6.into()
        };
        let parked = SocketAddr::new(parked, meant.port());
        inner.bind(&parked.into()).map_err(|error| BindError::binding(meant, error))?;
        let source = match meant.ip() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                DefaultSource::Routed(RouteProbe::new(Domain::IPV6, options.fwmark).map_err(other)?)
            }
            // IPv4 takes "unspecified" for "choose by route"
            ip => DefaultSource::Instead(ip),
        };
        let mut socket = Self::finish(inner, meant, &options, source)?;
        socket.local = meant;
        Ok(socket)
    }

    fn finish(
        inner: socket2::Socket,
        asked: SocketAddr,
        options: &Options,
        source: DefaultSource,
    ) -> Result<Self, BindError> {
        let local = inner
            .local_addr()
            .ok()
            .and_then(|addr| addr.as_socket())
            .ok_or_else(|| io::Error::other("the kernel reports no address"))
            .map_err(|error| BindError::new(asked, BindFault::Other, error))?;
        // known options answer, unknown ones fail with ENOPROTOOPT
        let gso = options.gso && sys::int(&inner, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok();
        let gro = options.gro && sys::set_int(&inner, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        Ok(Self { inner, local, caps: Caps::new(gso, gro), source })
    }

    /// Returns the address and port that the socket is bound to.
    ///
    /// For a sending-only socket they are those of its group.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Tells whether the socket speaks IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.local.is_ipv6()
    }

    /// Returns what the kernel does for this socket.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Sends one datagram at once, without a batch.
    ///
    /// `tos` is the type-of-service byte. Meant for control; workers send batches.
    ///
    /// # Errors
    ///
    /// The kernel's: `WouldBlock` when the send buffer is full; a source address that this host
    /// no longer has is reported (as `EINVAL`), not replaced.
    pub fn send_one(&self, path: &Path, tos: u8, payload: &[u8]) -> io::Result<()> {
        let mut name = Name::empty();
        let name_len = name.set(&path.remote);
        let mut control = Control::new();
        if let Some(source) = self.source_for(path) {
            control.push_source(&source);
        }
        if tos != 0 {
            control.push_tos(path.remote.is_ipv6(), tos);
        }
        let (control_at, control_len) = control.tx();
        let mut io =
            libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        // SAFETY: msghdr holds pointers and integers only, for which zero is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = name_len;
        message.msg_iov = &raw mut io;
        message.msg_iovlen = 1;
        message.msg_control = control_at;
        message.msg_controllen = control_len as _;
        // EINTR cannot go on for ever: the socket never sleeps
        for _ in 0..8 {
            // SAFETY: the message points to name, vector, payload and control buffer, all alive
            // here with the lengths given; the kernel only reads them.
            let sent = unsafe {
                libc::sendmsg(
                    self.inner.as_raw_fd(),
                    &raw const message,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Returns the source to name for a path, if one must be named.
    pub(crate) fn source_for(&self, path: &Path) -> Option<LocalAddr> {
        match (path.local, &self.source) {
            (Some(local), _) if local.ip.is_ipv4() == path.remote.is_ipv4() => Some(local),
            (_, DefaultSource::Bound) => None,
            (_, DefaultSource::Instead(ip)) => Some(LocalAddr::new(*ip)),
            (_, DefaultSource::Routed(probe)) => probe.source_towards(path.remote),
        }
    }

    /// Waits until there is something to receive, and tells whether there is.
    ///
    /// # Errors
    ///
    /// The kernel's, except for interruptions, which look like a wait in vain.
    pub fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        self.wait(PollFlags::IN, limit)
    }

    /// Waits until there is room in the send buffer, and tells whether there is.
    ///
    /// # Errors
    ///
    /// The kernel's, except for interruptions, which look like a wait in vain.
    pub fn wait_writable(&self, limit: Duration) -> io::Result<bool> {
        self.wait(PollFlags::OUT, limit)
    }

    fn wait(&self, events: PollFlags, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::new(&self.inner, events)];
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets whether IP may fragment what this socket sends from now on.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_dont_fragment(&self, policy: DontFragment) -> io::Result<()> {
        set_dont_fragment(&self.inner, self.is_ipv6(), policy)
    }

    /// Changes the mark for policy routing; 0 is none.
    ///
    /// # Errors
    ///
    /// The kernel's; without `CAP_NET_ADMIN`, `PermissionDenied`.
    pub fn set_fwmark(&mut self, mark: u32) -> io::Result<()> {
        self.inner.set_mark(mark)?;
        match &self.source {
            DefaultSource::Routed(probe) => probe.set_mark(mark),
            _ => Ok(()),
        }
    }

    /// Returns every descriptor that carries the mark, for whoever may change it from outside.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let probe = match &self.source {
            DefaultSource::Routed(probe) => Some(probe.as_fd()),
            _ => None,
        };
        std::iter::once(self.inner.as_fd()).chain(probe)
    }

    /// Returns how many datagrams the kernel has dropped for want of room in the receive buffer.
    ///
    /// The counter is the socket's own, starts at 0, and wraps at 2^32.
    ///
    /// # Errors
    ///
    /// The kernel's: it is unknown before Linux 4.12.
    pub fn kernel_drops(&self) -> io::Result<u32> {
        let mut info = [0i32; MEMINFO_DROPS + 1];
        let len = sys::ints(&self.inner, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
        if len > MEMINFO_DROPS {
            Ok(info[MEMINFO_DROPS].cast_unsigned())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    pub(crate) fn allow_reuse_port(&self) -> io::Result<()> {
        self.inner.set_reuse_port(true)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Makes an unbound socket with all options.
fn open(addr: SocketAddr, options: &Options) -> Result<socket2::Socket, BindError> {
    let other = |error| BindError::new(addr, BindFault::Other, error);
    let v6 = addr.is_ipv6();
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    // `new` sets close-on-exec
    let socket = socket2::Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
        .map_err(|error| BindError::binding(addr, error))?;
    if v6 {
        socket.set_only_v6(true).map_err(other)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true).map_err(other)?;
    }
    if let Some(mark) = options.fwmark {
        socket.set_mark(mark).map_err(|error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let fault = if denied { BindFault::MarkDenied } else { BindFault::Other };
            BindError::new(addr, fault, error)
        })?;
    }
    if let Some(size) = options.send_buffer {
        set_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, size).map_err(other)?;
    }
    if let Some(size) = options.recv_buffer {
        set_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, size).map_err(other)?;
    }
    if options.local_addr {
        let (level, option) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
        } else {
            (libc::IPPROTO_IP, libc::IP_PKTINFO)
        };
        sys::set_int(&socket, level, option, 1).map_err(other)?;
    }
    if options.tos {
        if v6 { socket.set_recv_tclass_v6(true) } else { socket.set_recv_tos_v4(true) }
            .map_err(other)?;
    }
    set_dont_fragment(&socket, v6, options.dont_fragment).map_err(other)?;
    Ok(socket)
}

/// Sets a buffer's size, beyond the system's limit if the process may.
fn set_buffer(socket: &socket2::Socket, forced: i32, plain: i32, size: usize) -> io::Result<()> {
    let size = i32::try_from(size).unwrap_or(i32::MAX);
    sys::set_int(socket, libc::SOL_SOCKET, forced, size)
        .or_else(|_| sys::set_int(socket, libc::SOL_SOCKET, plain, size))
}

fn set_dont_fragment(socket: &socket2::Socket, v6: bool, policy: DontFragment) -> io::Result<()> {
    if v6 {
        let policy = match policy {
            DontFragment::Off => Ipv6PathMtuDiscovery::DONT,
            DontFragment::Probe => Ipv6PathMtuDiscovery::PROBE,
            DontFragment::Do => Ipv6PathMtuDiscovery::DO,
        };
        sockopt::set_ipv6_mtu_discover(socket, policy)?;
    } else {
        let policy = match policy {
            DontFragment::Off => Ipv4PathMtuDiscovery::DONT,
            DontFragment::Probe => Ipv4PathMtuDiscovery::PROBE,
            DontFragment::Do => Ipv4PathMtuDiscovery::DO,
        };
        sockopt::set_ip_mtu_discover(socket, policy)?;
    }
    Ok(())
}

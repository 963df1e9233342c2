//! Where datagrams go and come from, and how the kernel spells it.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// One of this host's addresses, as a datagram named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The address: the destination of what was received, the source of what is sent.
    pub ip: IpAddr,
    /// The index of the interface, 0 when it is not known.
    ///
    /// Sending uses it for link-local IPv6 addresses only. Naming an interface for any other
    /// source would override the routing table, and a host whose routes are asymmetric could
    /// not answer.
    pub ifindex: u32,
}

impl LocalAddr {
    /// Names a local address without an interface.
    #[must_use]
    pub const fn new(ip: IpAddr) -> Self {
        Self { ip, ifindex: 0 }
    }
}

/// Both ends of a datagram: the peer's address and, if it is known, the local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The address and port of the other side.
    pub remote: SocketAddr,
    /// The local address to send from; without it the routing table chooses.
    pub local: Option<LocalAddr>,
}

impl Path {
    /// Names a destination and leaves the source to the routing table.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// The kernel's form of an address of either family, with room for both.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

const _: () = assert!(size_of::<Name>() == 28);

impl Name {
    pub(crate) const LEN: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    /// An address of no family, for the kernel to write over.
    pub(crate) const fn empty() -> Self {
        Self {
            v6: libc::sockaddr_in6 {
                sin6_family: 0,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        }
    }

    /// Writes `addr` and returns the length that the kernel wants to hear.
    pub(crate) fn set(&mut self, addr: &SocketAddr) -> libc::socklen_t {
        match addr {
            SocketAddr::V4(addr) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port().to_be(),
                    sin_addr: in_addr(*addr.ip()),
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(addr) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                    sin6_scope_id: addr.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// Reads what the kernel wrote, with `len` as it reported it; mapped IPv4 becomes IPv4.
    pub(crate) fn parse(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        // SAFETY: every variant starts with the family and `empty` or `set` initialised all
        // 28 bytes, so the field holds an initialised integer, for which every pattern is valid.
        let family = i32::from(unsafe { self.family });
        let len = usize::try_from(len).ok()?;
        if family == libc::AF_INET && len >= size_of::<libc::sockaddr_in>() {
            // SAFETY: all bytes are initialised (see above) and the structure holds integers only.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        } else if family == libc::AF_INET6 && len >= size_of::<libc::sockaddr_in6>() {
            // SAFETY: all bytes are initialised (see above) and the structure holds integers only.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddrV4::new(ip, port).into(),
                None => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
            })
        } else {
            None
        }
    }
}

/// Spells an IPv4 address as the kernel does, in network order.
pub(crate) fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from(ip).to_be() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.7:51820", "[2001:db8::7]:1", "0.0.0.0:0", "[::]:65535"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut name = Name::empty();
            let len = name.set(&addr);
            assert_eq!(name.parse(len), Some(addr));
        }
    }

    #[test]
    fn a_scope_is_kept_and_flow_information_is_not() {
        let mut name = Name::empty();
        let len = name.set(&SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 77, 3).into());
        let SocketAddr::V6(addr) = name.parse(len).unwrap() else { panic!("IPv6 expected") };
        assert_eq!((addr.scope_id(), addr.flowinfo()), (3, 0));
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mut name = Name::empty();
        let len = name.set(&"[::ffff:192.0.2.1]:5".parse().unwrap());
        assert_eq!(name.parse(len), Some("192.0.2.1:5".parse().unwrap()));
    }

    #[test]
    fn short_or_foreign_addresses_are_refused() {
        let mut name = Name::empty();
        assert_eq!(name.parse(28), None);
        let len = name.set(&"192.0.2.1:5".parse().unwrap());
        assert_eq!(name.parse(len - 1), None);
    }
}

//! Control messages: the part of a datagram that is not payload.
//!
//! Both directions work on plain byte buffers with checked bounds; the kernel's layout is a
//! header, then the value, each padded to the size of a word (`CMSG_ALIGN`).

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::{LocalAddr, in_addr};

const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();
const _: () = assert!(HEADER.is_multiple_of(WORD));

/// Bytes of a control buffer: an IPv6 packet information, a class and a segment size or stride.
pub(crate) const CONTROL: usize = space(size_of::<libc::in6_pktinfo>()) + 2 * space(4);

const fn align(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

const fn space(len: usize) -> usize {
    HEADER + align(len)
}

/// A control buffer, aligned as the kernel's headers are.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Control {
    bytes: [u8; CONTROL],
    len: usize,
}

impl Control {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CONTROL], len: 0 }
    }

    /// Forgets all messages.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Returns where the kernel finds the messages, and how many bytes they are.
    pub(crate) fn tx(&mut self) -> (*mut libc::c_void, usize) {
        if self.len == 0 {
            (std::ptr::null_mut(), 0)
        } else {
            (self.bytes.as_mut_ptr().cast(), self.len)
        }
    }

    /// Returns where the kernel may write messages, and how many bytes.
    pub(crate) fn rx(&mut self) -> (*mut libc::c_void, usize) {
        (self.bytes.as_mut_ptr().cast(), CONTROL)
    }

    /// Appends the source to send from.
    pub(crate) fn push_source(&mut self, source: &LocalAddr) {
        match source.ip {
            IpAddr::V4(ip) => self.push(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(ip),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                },
            ),
            IpAddr::V6(ip) => self.push(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: if ip.is_unicast_link_local() { source.ifindex } else { 0 },
                },
            ),
        }
    }

    /// Appends the type-of-service byte, which IPv6 calls traffic class.
    pub(crate) fn push_tos(&mut self, v6: bool, tos: u8) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, kind, i32::from(tos));
    }

    /// Appends the length of the datagrams that the kernel shall cut the message into.
    pub(crate) fn push_segment(&mut self, len: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, len);
    }

    fn push<T: Copy>(&mut self, level: i32, kind: i32, value: T) {
        let start = self.len;
        let end = start + space(size_of::<T>());
        assert!(end <= CONTROL, "a control buffer has room for one message of each kind");
        self.bytes[start..end].fill(0);
        // SAFETY: cmsghdr holds integers only (and on some targets padding), so zero is valid.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (HEADER + size_of::<T>()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: `start..end` lies within `bytes` (asserted above) and holds the header and,
        // at `HEADER` after it, `size_of::<T>()` bytes more; unaligned writes need no alignment.
        unsafe {
            let at = self.bytes.as_mut_ptr().add(start);
            at.cast::<libc::cmsghdr>().write_unaligned(header);
            at.add(HEADER).cast::<T>().write_unaligned(value);
        }
        self.len = end;
    }

    /// Reads the messages that the kernel wrote, with `len` as it reported it.
    pub(crate) fn parse(&self, len: usize) -> Received {
        let mut received = Received::default();
        let mut rest = &self.bytes[..len.min(CONTROL)];
        while let Some(header) = read::<libc::cmsghdr>(rest) {
            // its type differs between C libraries
            #[allow(clippy::unnecessary_cast)]
            let end = header.cmsg_len as usize;
            let Some(value) = rest.get(HEADER..end) else { break };
            received.take(header.cmsg_level, header.cmsg_type, value);
            rest = rest.get(align(end)..).unwrap_or_default();
        }
        received
    }
}

/// Reads a plain structure of the kernel's interface from the start of `bytes`.
fn read<T: Copy + Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, the read needs no alignment, and `Plain` promises that
    // every pattern is a valid `T`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Types for which every pattern of bytes is valid.
trait Plain {}
impl Plain for i32 {}
impl Plain for libc::cmsghdr {}
impl Plain for libc::in_pktinfo {}
impl Plain for libc::in6_pktinfo {}

/// What control messages told of a received message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) local: Option<LocalAddr>,
    pub(crate) tos: u8,
    /// The length of each datagram but the last, if the kernel merged several.
    pub(crate) stride: Option<usize>,
}

impl Received {
    fn take(&mut self, level: i32, kind: i32, value: &[u8]) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(info) = read::<libc::in_pktinfo>(value) {
                    // the address to answer from, which is not the destination of a broadcast
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                    let ifindex = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                    self.local = Some(LocalAddr { ip: ip.into(), ifindex });
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(info) = read::<libc::in6_pktinfo>(value) {
                    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical();
                    self.local = Some(LocalAddr { ip, ifindex: info.ipi6_ifindex });
                }
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = value.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.tos = read::<i32>(value).map_or(0, |class| (class & 0xff) as u8);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                self.stride = read::<i32>(value).and_then(|stride| usize::try_from(stride).ok());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut control = Control::new();
        let source = LocalAddr { ip: "fe80::5".parse().unwrap(), ifindex: 9 };
        control.push_source(&source);
        control.push_tos(true, 0xb9);
        control.push_segment(1452);
        assert_eq!(control.len, space(20) + space(4) + space(2));
        let received = control.parse(control.len);
        assert_eq!(received.local, Some(source));
        assert_eq!(received.tos, 0xb9);
        // UDP_SEGMENT goes out, UDP_GRO comes in
        assert_eq!(received.stride, None);
    }

    #[test]
    fn an_interface_is_named_for_link_local_sources_only() {
        let mut control = Control::new();
        control.push_source(&LocalAddr { ip: "2001:db8::1".parse().unwrap(), ifindex: 9 });
        assert_eq!(control.parse(control.len).local.unwrap().ifindex, 0);
        control.clear();
        control.push_source(&LocalAddr { ip: "192.0.2.1".parse().unwrap(), ifindex: 9 });
        assert_eq!(control.parse(control.len).local.unwrap().ifindex, 0);
    }

    #[test]
    fn ipv4_writes_an_integer_and_reads_a_byte() {
        let mut control = Control::new();
        control.push(libc::IPPROTO_IP, libc::IP_TOS, 3u8);
        assert_eq!(control.parse(control.len).tos, 3);
    }

    #[test]
    fn malformed_lengths_end_the_walk() {
        let mut control = Control::new();
        control.push_tos(true, 5);
        for len in 0..HEADER + 4 {
            assert_eq!(control.parse(len), Received::default(), "{len} bytes");
        }
        // a message that claims less than its header
        control.bytes[..WORD].copy_from_slice(&1usize.to_ne_bytes());
        assert_eq!(control.parse(CONTROL), Received::default());
        // and one that claims more than there is
        control.bytes[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(control.parse(CONTROL), Received::default());
    }
}

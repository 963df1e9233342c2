//! Which packets may be joined, and which flow they belong to.

use super::Merge;
use crate::ip::{IPV4_HEADER, IpView, Version};
use crate::transport::{Protocol, TcpView, UDP_HEADER, UdpView, tcp_flags};

/// Names a flow: addresses, ports, version and protocol, in the machine's byte order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    addresses: [u64; 4],
    ports: u32,
    version: u8,
    protocol: u8,
}

impl Key {
    /// Makes a key that has only addresses and version.
    #[inline]
    pub(super) fn of_addresses(ip: &IpView<'_>) -> Self {
        let version = match ip.version() {
            Version::V4 => 4,
            Version::V6 => 6,
        };
        Self { addresses: ip.address_words(), ports: 0, version, protocol: 0 }
    }

    /// Makes the key of a flow; `None` when `datagram` is too short for ports.
    #[inline]
    fn of_flow(ip: &IpView<'_>, protocol: Protocol, datagram: &[u8]) -> Option<Self> {
        let ports = u32::from_ne_bytes(*datagram.first_chunk()?);
        Some(Self { ports, protocol: protocol.0, ..Self::of_addresses(ip) })
    }

    /// Tells whether both name the same flow.
    ///
    /// Written out because the derived comparison calls `memcmp`.
    #[inline]
    pub(super) const fn is(&self, other: &Self) -> bool {
        let others = (self.ports ^ other.ports) as u64
            | (self.version ^ other.version) as u64
            | (self.protocol ^ other.protocol) as u64;
        self.address_difference(other) | others == 0
    }

    /// Tells whether both have the same addresses.
    #[inline]
    pub(super) const fn has_addresses_of(&self, other: &Self) -> bool {
        self.address_difference(other) == 0 && self.version == other.version
    }

    #[inline(always)]
    const fn address_difference(&self, other: &Self) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.addresses, other.addresses);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h)
    }
}

/// Says how a packet may be treated.
#[derive(Debug)]
pub(super) enum Class<'a> {
    /// It may continue or begin a run.
    Mergeable(Mergeable<'a>),
    /// It goes by itself, after what its flow has waiting; `None`: its flow is not known.
    Alone(Option<Key>),
}

/// Holds what joining needs to know of a packet.
#[derive(Debug)]
pub(super) struct Mergeable<'a> {
    pub(super) ip: IpView<'a>,
    pub(super) key: Key,
    pub(super) protocol: Protocol,
    /// Offset of the TCP or UDP header.
    pub(super) upper: usize,
    /// Length of all headers; at most 100 bytes.
    pub(super) header_len: usize,
    /// TCP's sequence number, 0 for UDP.
    pub(super) seq: u32,
    /// Whether nothing may follow it: PSH.
    pub(super) ends_run: bool,
}

impl<'a> Class<'a> {
    #[inline]
    pub(super) fn of(ip: &IpView<'a>, merge: Merge) -> Self {
        let Some(upper) = ip.upper() else { return Self::Alone(None) };
        if upper.is_fragment || !matches!(upper.protocol, Protocol::TCP | Protocol::UDP) {
            return Self::Alone(None);
        }
        let Some(datagram) = ip.packet().get(upper.offset..) else { return Self::Alone(None) };
        let Some(key) = Key::of_flow(ip, upper.protocol, datagram) else {
            return Self::Alone(None);
        };
        let has_options = ip.version() == Version::V4 && upper.offset != IPV4_HEADER;
        if has_options || upper.is_extended {
            return Self::Alone(Some(key));
        }
        let (header, seq, ends_run) = if upper.protocol == Protocol::TCP {
            let Some(tcp) = TcpView::parse(datagram) else { return Self::Alone(Some(key)) };
            let is_plain = tcp.flags() & !tcp_flags::PSH == tcp_flags::ACK;
            if !merge.tcp || !is_plain || tcp.payload().is_empty() {
                return Self::Alone(Some(key));
            }
            (tcp.header_len(), tcp.seq(), tcp.flags() & tcp_flags::PSH != 0)
        } else {
            let Some(udp) = UdpView::parse(datagram) else { return Self::Alone(Some(key)) };
            // the kernel's segmentation knows no datagram without checksum
            if !merge.udp || udp.lacks_checksum() || udp.payload().is_empty() {
                return Self::Alone(Some(key));
            }
            (UDP_HEADER, 0, false)
        };
        Self::Mergeable(Mergeable {
            ip: *ip,
            key,
            protocol: upper.protocol,
            upper: upper.offset,
            header_len: upper.offset + header,
            seq,
            ends_run,
        })
    }
}

impl Mergeable<'_> {
    /// Returns the length of the payload in bytes, at least 1.
    #[inline]
    pub(super) const fn payload_len(&self) -> usize {
        self.ip.len() - self.header_len
    }
}

//! The few words of nftables that our filters are written in, and how nft prints them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// TCP in the protocol field of an IP header.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// Where a chain stands in the kernel; the numbers are those of `enum nf_inet_hooks`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
}

/// A chain of rules; what no rule decides goes on.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    /// Chains of lower numbers are asked first.
    pub(super) priority: i32,
    pub(super) rules: Vec<Vec<Part>>,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Source,
    Target,
}

/// One word of a rule: what it selects, or what it does.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The interface it came by.
    InLink {
        name: String,
        is: bool,
    },
    /// The interface it leaves by.
    OutLink {
        name: String,
        is: bool,
    },
    /// Its mark.
    Mark(u32),
    /// It is for a socket that has this mark.
    SocketMark(u32),
    /// Gives it a mark.
    SetMark(u32),
    /// IPv6, or IPv4.
    Version6(bool),
    /// The protocol above IP.
    Protocol(u8),
    /// An address inside a prefix, which also selects the version.
    Prefix(Side, IpNet),
    /// A port; stands behind [`Part::Protocol`].
    Port(Side, u16),
    /// The ICMPv6 types from one to another; stands behind [`Part::Protocol`].
    IcmpType(u8, u8),
    /// The source is no address of this machine.
    SourceNotLocal,
    /// A TCP segment that opens a connection; stands behind [`Part::Protocol`].
    SynOnly,
    /// Lowers the largest segment that it announces.
    ClampSegments(u16),
    Counter,
    Accept,
    Drop,
    /// Tells the sender that it is forbidden.
    Reject,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |is: &bool| if *is { "" } else { "!= " };
        match self {
            Self::InLink { name, is } => write!(f, "iifname {}\"{name}\"", not(is)),
            Self::OutLink { name, is } => write!(f, "oifname {}\"{name}\"", not(is)),
            Self::Mark(mark) => write!(f, "meta mark {mark:#010x}"),
            Self::SocketMark(mark) => write!(f, "socket mark {mark:#010x}"),
            Self::SetMark(mark) => write!(f, "meta mark set {mark:#010x}"),
            Self::Version6(true) => f.write_str("meta nfproto ipv6"),
            Self::Version6(false) => f.write_str("meta nfproto ipv4"),
            Self::Protocol(TCP) => f.write_str("meta l4proto tcp"),
            Self::Protocol(UDP) => f.write_str("meta l4proto udp"),
            Self::Protocol(ICMPV6) => f.write_str("meta l4proto ipv6-icmp"),
            Self::Protocol(number) => write!(f, "meta l4proto {number}"),
            Self::Prefix(side, prefix) => {
                let version = if prefix.addr().is_ipv4() { "ip" } else { "ip6" };
                let end = if matches!(side, Side::Source) { "saddr" } else { "daddr" };
                if prefix.prefix_len() == prefix.max_prefix_len() {
                    write!(f, "{version} {end} {}", prefix.addr())
                } else {
                    write!(f, "{version} {end} {prefix}")
                }
            }
            Self::Port(Side::Source, port) => write!(f, "th sport {port}"),
            Self::Port(Side::Target, port) => write!(f, "th dport {port}"),
            Self::IcmpType(first, last) if first == last => write!(f, "icmpv6 type {first}"),
            Self::IcmpType(first, last) => write!(f, "icmpv6 type {first}-{last}"),
            Self::SourceNotLocal => f.write_str("fib saddr type != local"),
            Self::SynOnly => f.write_str("tcp flags & (syn | rst) == syn"),
            Self::ClampSegments(size) => write!(f, "tcp option maxseg size set {size}"),
            Self::Counter => f.write_str("counter"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reject => f.write_str("reject with icmpx admin-prohibited"),
        }
    }
}

/// Where an address stands in an IP header: offset and length in bytes.
pub(super) fn place(side: Side, address: IpAddr) -> (u32, u32) {
    match (address, side) {
        (IpAddr::V4(_), Side::Source) => (12, 4),
        (IpAddr::V4(_), Side::Target) => (16, 4),
        (IpAddr::V6(_), Side::Source) => (8, 16),
        (IpAddr::V6(_), Side::Target) => (24, 16),
    }
}

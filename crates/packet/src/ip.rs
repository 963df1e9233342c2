//! Checked views of IP packets.
//!
//! Invariant: an [`IpView`] covers exactly the packet, as long as its header says; whatever followed
//! it in the slice (filler of a frame, `protocol.md` §6) is cut off. Its fixed header lies inside, so
//! that no accessor can fail.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{self, Sum};
use crate::transport::{Protocol, Upper};

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6_HEADER: usize = 40;
/// Longest chain of IPv6 extension headers that is walked: RFC 8200 §4.1 names six at most once each,
/// destination options twice.
const EXTENSIONS_MAX: usize = 8;

/// Names the version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// IPv4 (RFC 791).
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

/// Lends a checked look at one IP packet.
#[derive(Clone, Copy, Debug)]
pub struct IpView<'a> {
    packet: &'a [u8],
    fixed: Fixed<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Fixed<'a> {
    V4(&'a [u8; IPV4_HEADER]),
    V6(&'a [u8; IPV6_HEADER]),
}

impl<'a> IpView<'a> {
    /// Checks the packet at the front of `frame` and cuts off what follows it.
    ///
    /// # Errors
    ///
    /// [`IpError`] for another version, a header that does not fit, an IPv4 header length below 20,
    /// or a total length below the header's or beyond the slice.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, IpError> {
        let Some(&first) = frame.first() else { return Err(IpError::Truncated) };
        match first >> 4 {
            4 => {
                let fixed = frame.first_chunk().ok_or(IpError::Truncated)?;
                let total = usize::from(word(fixed, 2));
                let header = usize::from(first & 0x0f) * 4;
                if header < IPV4_HEADER || total < header {
                    return Err(IpError::HeaderLength);
                }
                let packet = frame.get(..total).ok_or(IpError::Truncated)?;
                Ok(Self { packet, fixed: Fixed::V4(fixed) })
            }
            6 => {
                let fixed = frame.first_chunk().ok_or(IpError::Truncated)?;
                let total = IPV6_HEADER + usize::from(word(fixed, 4));
                let packet = frame.get(..total).ok_or(IpError::Truncated)?;
                Ok(Self { packet, fixed: Fixed::V6(fixed) })
            }
            _ => Err(IpError::Version),
        }
    }

    /// Returns the packet's bytes, from the IP header to its true end.
    #[inline]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Returns the true length of the packet in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a packet has a header, it is never empty")]
    pub const fn len(&self) -> usize {
        self.packet.len()
    }

    /// Returns the version.
    #[inline]
    pub const fn version(&self) -> Version {
        match self.fixed {
            Fixed::V4(_) => Version::V4,
            Fixed::V6(_) => Version::V6,
        }
    }

    /// Returns the length of the IP header in bytes: IPv4 with its options, IPv6 without extension
    /// headers.
    #[inline]
    pub const fn header_len(&self) -> usize {
        match self.fixed {
            Fixed::V4(header) => (header[0] & 0x0f) as usize * 4,
            Fixed::V6(_) => IPV6_HEADER,
        }
    }

    /// Returns what follows the IP header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        // the header fits, as `parse` checked
        self.packet.get(self.header_len()..).unwrap_or_default()
    }

    /// Returns the source address.
    #[inline]
    pub fn src(&self) -> IpAddr {
        match self.fixed {
            Fixed::V4(&[.., a, b, c, d, _, _, _, _]) => Ipv4Addr::new(a, b, c, d).into(),
            Fixed::V6(header) => Ipv6Addr::from(address(header, 8)).into(),
        }
    }

    /// Returns the destination address.
    #[inline]
    pub fn dst(&self) -> IpAddr {
        match self.fixed {
            Fixed::V4(&[.., a, b, c, d]) => Ipv4Addr::new(a, b, c, d).into(),
            Fixed::V6(header) => Ipv6Addr::from(address(header, 24)).into(),
        }
    }

    /// Returns the IPv4 protocol or the first IPv6 next header.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        match self.fixed {
            Fixed::V4(header) => Protocol(header[9]),
            Fixed::V6(header) => Protocol(header[6]),
        }
    }

    /// Returns the IPv4 TOS byte or the IPv6 traffic class: DSCP and ECN (RFC 2474, RFC 3168).
    #[inline]
    pub const fn tos(&self) -> u8 {
        match self.fixed {
            Fixed::V4(header) => header[1],
            Fixed::V6(header) => header[0] << 4 | header[1] >> 4,
        }
    }

    /// Returns the IPv4 time to live or the IPv6 hop limit.
    #[inline]
    pub const fn ttl(&self) -> u8 {
        match self.fixed {
            Fixed::V4(header) => header[8],
            Fixed::V6(header) => header[7],
        }
    }

    /// Returns the IPv4 identification; `None` for IPv6.
    #[inline]
    pub const fn id(&self) -> Option<u16> {
        match self.fixed {
            Fixed::V4(header) => Some(word(header, 4)),
            Fixed::V6(_) => None,
        }
    }

    /// Tells whether routers may not fragment the packet: the IPv4 DF flag; always for IPv6.
    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        match self.fixed {
            Fixed::V4(header) => header[6] & 0x40 != 0,
            Fixed::V6(_) => true,
        }
    }

    /// Tells whether the IPv4 header's checksum is right; IPv6 has none, so always.
    #[inline]
    pub fn header_is_intact(&self) -> bool {
        match self.fixed {
            Fixed::V4(header) if header[0] == 0x45 => Sum::of(header).is_valid(),
            Fixed::V4(_) => {
                self.packet.get(..self.header_len()).is_some_and(|h| Sum::of(h).is_valid())
            }
            Fixed::V6(_) => true,
        }
    }

    /// Finds the protocol above IP: behind IPv4 options, or behind IPv6 hop-by-hop, routing,
    /// destination and fragment headers.
    ///
    /// `None` when the chain of extension headers is cut off or longer than eight.
    #[inline]
    pub fn upper(&self) -> Option<Upper> {
        match self.fixed {
            Fixed::V4(header) => Some(Upper {
                protocol: self.protocol(),
                offset: self.header_len(),
                // more fragments, or an offset
                is_fragment: word(header, 6) & 0x3fff != 0,
                is_extended: false,
            }),
            Fixed::V6(header) => {
                let protocol = Protocol(header[6]);
                if !protocol.is_extension() {
                    return Some(Upper {
                        protocol,
                        offset: IPV6_HEADER,
                        is_fragment: false,
                        is_extended: false,
                    });
                }
                self.walk(protocol)
            }
        }
    }

    /// Walks IPv6 extension headers (RFC 8200 §4).
    #[cold]
    fn walk(&self, first: Protocol) -> Option<Upper> {
        let mut upper =
            Upper { protocol: first, offset: IPV6_HEADER, is_fragment: false, is_extended: true };
        for _ in 0..EXTENSIONS_MAX {
            let header: &[u8; 8] = self.packet.get(upper.offset..)?.first_chunk()?;
            if upper.protocol == Protocol::FRAGMENT {
                upper.offset += 8;
                // an offset, or more fragments; an atomic fragment is whole (RFC 6946)
                upper.is_fragment |= word(header, 2) & 0xfff9 != 0;
            } else {
                upper.offset += (usize::from(header[1]) + 1) * 8;
            }
            upper.protocol = Protocol(header[0]);
            let is_later = upper.is_fragment;
            if is_later || !upper.protocol.is_extension() {
                return (upper.offset <= self.packet.len()).then_some(upper);
            }
        }
        None
    }

    /// Returns both addresses as words in the machine's byte order, to compare them; IPv4 fills the
    /// first word only.
    #[inline]
    pub(crate) fn address_words(&self) -> [u64; 4] {
        match self.fixed {
            Fixed::V4(&[.., a, b, c, d, e, f, g, h]) => {
                [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), 0, 0, 0]
            }
            Fixed::V6(header) => {
                [long(header, 8), long(header, 16), long(header, 24), long(header, 32)]
            }
        }
    }

    /// Sums both addresses, as the pseudo header does.
    #[inline]
    pub(crate) fn address_sum(&self) -> Sum {
        match self.fixed {
            Fixed::V4(header) => Sum::of(&header[12..]),
            Fixed::V6(header) => Sum::of(&header[8..]),
        }
    }
}

/// Returns the true length of the IP packet that stands at the front of `frame`, whose rest is filler
/// (`protocol.md` §6).
///
/// `None` when no whole packet stands there.
#[inline]
pub fn packet_len(frame: &[u8]) -> Option<usize> {
    IpView::parse(frame).ok().map(|ip| ip.len())
}

/// Replaces the TOS byte or traffic class of the packet at the front of `packet`, and updates the
/// IPv4 header checksum (RFC 1624).
///
/// # Errors
///
/// [`IpError::Truncated`] or [`IpError::Version`] when no IP header stands there; nothing is changed
/// then.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) -> Result<(), IpError> {
    match packet.first().ok_or(IpError::Truncated)? >> 4 {
        4 => {
            let header: &mut [u8; IPV4_HEADER] =
                packet.first_chunk_mut().ok_or(IpError::Truncated)?;
            let old = [header[0], header[1]];
            let new = [header[0], tos];
            if old != new {
                let sum = checksum::update([header[10], header[11]], old, new);
                header[1] = tos;
                [header[10], header[11]] = sum;
            }
        }
        6 => {
            let header: &mut [u8; IPV6_HEADER] =
                packet.first_chunk_mut().ok_or(IpError::Truncated)?;
            header[0] = header[0] & 0xf0 | tos >> 4;
            header[1] = header[1] & 0x0f | tos << 4;
        }
        _ => return Err(IpError::Version),
    }
    Ok(())
}

/// Says why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpError {
    /// Neither version 4 nor 6.
    Version,
    /// The slice ends before the packet does.
    Truncated,
    /// An IPv4 header length below 20 bytes, or beyond the packet's total length.
    HeaderLength,
}

impl fmt::Display for IpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "neither an IPv4 nor an IPv6 packet",
            Self::Truncated => "an IP packet longer than its buffer",
            Self::HeaderLength => "an IPv4 header length that cannot be",
        })
    }
}

impl std::error::Error for IpError {}

/// Reads the big-endian word at `at`; the array's length is known, so a bad `at` shows at once.
#[inline(always)]
const fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads the eight bytes at `at` as they stand.
#[inline(always)]
fn long(header: &[u8; IPV6_HEADER], at: usize) -> u64 {
    u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes make a word"))
}

/// Reads the IPv6 address at `at`.
#[inline(always)]
fn address(header: &[u8; IPV6_HEADER], at: usize) -> [u8; 16] {
    header[at..at + 16].try_into().expect("sixteen bytes make an address")
}

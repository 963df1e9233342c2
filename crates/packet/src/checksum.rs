//! The internet checksum (RFC 1071): sums, pseudo headers, incremental updates.
//!
//! Invariants:
//!
//! - A [`Sum`] adds 16-bit words **in the byte order of the machine**. The ones' complement sum does
//!   not care (RFC 1071 §2 (B)), so nothing is swapped per word; [`Sum::fold`] and
//!   [`Sum::checksum`] hand out bytes ready for the wire.
//! - Every slice that is added starts at an even offset of the data it belongs to. Only the last one
//!   may have odd length.

use std::fmt;

use crate::ip::{IpError, IpView, Version};
use crate::transport::{Protocol, Upper};

/// Tells whether a packet's TCP or UDP checksum is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// The field holds the checksum of the packet.
    Full,
    /// The field holds only the sum of the pseudo header, as in header flag bit 0 of
    /// `protocol.md` §6 and in `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
    Partial,
}

/// Shortest slice that is summed with vectors; headers are shorter and must not pay for them.
const LONG: usize = 64;

/// Accumulates 16-bit words towards an internet checksum.
///
/// The value is not folded until [`fold`](Self::fold): 2^32 words of 32 bits fit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Sums `bytes`; a last odd byte counts as the high half of a word (RFC 1071 §4.1).
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.len() < LONG { Self(of_short(bytes)) } else { Self(of_long(bytes)) }
    }

    /// Copies `from` into `to` and sums it on the way.
    ///
    /// # Panics
    ///
    /// When the slices differ in length.
    #[inline]
    pub fn copy(from: &[u8], to: &mut [u8]) -> Self {
        assert_eq!(from.len(), to.len(), "the target of a copy must have the length of its source");
        to.copy_from_slice(from);
        Self::of(to)
    }

    /// Sums the pseudo header of TCP or UDP without its length (RFC 793 §3.1, RFC 8200 §8.1).
    ///
    /// The length is added with [`plus_word`](Self::plus_word), so that one base serves every
    /// segment of a superpacket.
    #[inline]
    pub fn pseudo(ip: &IpView<'_>, protocol: Protocol) -> Self {
        ip.address_sum().plus_word(u16::from(protocol.0))
    }

    /// Adds another sum, whose bytes start at an even offset.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Adds one word, given as its value.
    #[inline]
    #[must_use]
    pub const fn plus_word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word.to_be() as u64))
    }

    /// Adds one 32-bit field, given as its value.
    #[inline]
    #[must_use]
    pub const fn plus_long(self, long: u32) -> Self {
        Self(self.0.wrapping_add(long.to_be() as u64))
    }

    /// Folds the sum to 16 bits and returns them in wire order, not complemented: what a partial
    /// checksum field holds.
    #[inline]
    pub const fn fold(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// Returns the checksum in wire order: the folded sum, complemented.
    #[inline]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Returns the checksum in wire order for a UDP header, where zero means "no checksum" and is
    /// sent as `ff ff` (RFC 768).
    #[inline]
    pub const fn udp_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            other => other,
        }
    }

    /// Tells whether data that includes its own checksum is intact: the sum is all ones.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }

    const fn folded(self) -> u16 {
        let x = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let x = (x >> 16) + (x & 0xffff);
        let x = (x >> 16) + (x & 0xffff);
        let x = (x >> 16) + (x & 0xffff);
        x as u16
    }
}

/// Sums many bytes.
///
/// `all` adds words of 64 bits and wraps, `high` adds their upper halves; together they give the sum
/// of both halves, exactly. So written the loop is vectorised with three operations a load; widening
/// takes four, and measured twice the time. Unrolling by hand or fusing the loop with a copy gained
/// nothing.
#[inline(never)]
fn of_long(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut all = 0u64;
    let mut high = 0u64;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        all = all.wrapping_add(word);
        high = high.wrapping_add(word >> 32);
    }
    let low = all.wrapping_sub(high << 32);
    low.wrapping_add(high).wrapping_add(of_short(rest))
}

/// Sums a few bytes.
#[inline(always)]
fn of_short(bytes: &[u8]) -> u64 {
    let (longs, rest) = bytes.as_chunks::<4>();
    let mut total = 0u64;
    for long in longs {
        total = total.wrapping_add(u64::from(u32::from_ne_bytes(*long)));
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        total = total.wrapping_add(u64::from(u16::from_ne_bytes(*pair)));
    }
    match last {
        [last] => total.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0]))),
        _ => total,
    }
}

/// Updates a checksum after one of the words that it covers went from `old` to `new`, all in wire
/// order (RFC 1624, equation 3).
#[inline]
pub const fn update(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let sum = (!u16::from_ne_bytes(checksum)) as u64
        + (!u16::from_ne_bytes(old)) as u64
        + u16::from_ne_bytes(new) as u64;
    Sum(sum).checksum()
}

/// Verifies the checksum of a whole TCP or UDP packet, pseudo header included.
///
/// `None` when there is nothing to verify: another protocol, a fragment, a UDP packet over IPv4
/// without checksum, or headers that do not fit.
pub fn verify(ip: &IpView<'_>) -> Option<bool> {
    let upper = ip.upper()?;
    let offset = checksum_field(ip, &upper).ok()?;
    let is_absent = ip.packet().get(offset..offset + 2) == Some(&[0, 0]);
    if upper.protocol == Protocol::UDP && is_absent {
        // over IPv6 a zero is an error (RFC 8200 §8.1), over IPv4 it means "none"
        return (ip.version() == Version::V6).then_some(false);
    }
    let segment = ip.packet().get(upper.offset..)?;
    let length = u16::try_from(segment.len()).ok()?;
    Some(Sum::pseudo(ip, upper.protocol).plus_word(length).plus(Sum::of(segment)).is_valid())
}

/// Fills in the checksum of a packet whose field holds the pseudo-header sum (`protocol.md` §6,
/// header flag bit 0).
///
/// `packet` starts with an IP header; bytes after its true length stay as they are.
///
/// # Errors
///
/// [`PartialError`] when the packet may not carry a partial checksum.
pub fn fill_partial(packet: &mut [u8]) -> Result<(), PartialError> {
    let ip = IpView::parse(packet)?;
    let place = PartialChecksum::locate(&ip)?;
    let length = ip.len();
    place.complete(&mut packet[..length]);
    Ok(())
}

/// Names where a packet's partial checksum starts and stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Offset of the first byte that the checksum covers: the TCP or UDP header.
    pub start: u16,
    /// Offset of the checksum field from `start`.
    pub offset: u16,
}

impl PartialChecksum {
    /// Locates the partial checksum of a packet: TCP or UDP, unfragmented, no IPv6 extension
    /// headers (`protocol.md` §6).
    ///
    /// # Errors
    ///
    /// [`PartialError`] when the packet may not carry one.
    pub fn locate(ip: &IpView<'_>) -> Result<Self, PartialError> {
        let upper = ip.upper().ok_or(PartialError::Extended)?;
        if upper.is_extended {
            return Err(PartialError::Extended);
        }
        let field = checksum_field(ip, &upper)?;
        // both are within the packet, which is at most 65,575 bytes long, and the header is not at
        // its end
        Ok(Self { start: upper.offset as u16, offset: (field - upper.offset) as u16 })
    }

    /// Sums from `start` to the end, field included, and writes the complement into the field.
    ///
    /// A zero becomes `ff ff` where the field is UDP's.
    ///
    /// # Panics
    ///
    /// When the field lies outside `packet`.
    pub fn complete(self, packet: &mut [u8]) {
        let segment = &mut packet[usize::from(self.start)..];
        let sum = Sum::of(segment);
        self.put(segment, sum);
    }

    /// Writes the checksum of `sum` into `segment`, which begins at `start`.
    pub(crate) fn put(self, segment: &mut [u8], sum: Sum) {
        let is_udp = Some(usize::from(self.offset)) == Protocol::UDP.checksum_offset();
        let checksum = if is_udp { sum.udp_checksum() } else { sum.checksum() };
        segment[usize::from(self.offset)..][..2].copy_from_slice(&checksum);
    }
}

/// Returns the offset of a TCP or UDP checksum field from the front of the packet.
fn checksum_field(ip: &IpView<'_>, upper: &Upper) -> Result<usize, PartialError> {
    if upper.is_fragment {
        return Err(PartialError::Fragment);
    }
    let offset = upper.protocol.checksum_offset().ok_or(PartialError::Protocol)?;
    let field = upper.offset + offset;
    if field + 2 > ip.len() || upper.offset + upper.protocol.header_len_min() > ip.len() {
        return Err(PartialError::Truncated);
    }
    Ok(field)
}

/// Says why a packet may not carry a partial checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialError {
    /// Not an IP packet.
    Ip(IpError),
    /// Neither TCP nor UDP.
    Protocol,
    /// A fragment.
    Fragment,
    /// IPv6 extension headers.
    Extended,
    /// The TCP or UDP header does not fit.
    Truncated,
}

impl From<IpError> for PartialError {
    fn from(error: IpError) -> Self {
        Self::Ip(error)
    }
}

impl fmt::Display for PartialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(error) => error.fmt(f),
            Self::Protocol => f.write_str("a partial checksum on neither TCP nor UDP"),
            Self::Fragment => f.write_str("a partial checksum on a fragment"),
            Self::Extended => f.write_str("a partial checksum behind IPv6 extension headers"),
            Self::Truncated => f.write_str("a partial checksum on a truncated transport header"),
        }
    }
}

impl std::error::Error for PartialError {}

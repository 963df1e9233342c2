//! Cuts a superpacket into the packets that go on the wire.
//!
//! Invariants:
//!
//! - Everything is checked in [`Segments::new`]; writing a segment cannot fail.
//! - All segments have the length of the first, only the last may be shorter: they make one run.
//! - Lengths come from the packet's own headers. The kernel's `hdr_len` is a hint and is not read.
//! - What a segment's headers have in common is summed once; a segment adds its own length,
//!   sequence number, flags and payload.

use std::fmt;

use crate::checksum::{Checksum, PartialChecksum, Sum};
use crate::ip::{IPV6_HEADER, IpError, IpView, Version};
use crate::transport::{Protocol, TCP_HEADER, TcpView, UDP_HEADER, UdpView, tcp_flags};
use crate::vnet::{Gso, VnetHdr};

/// Flags that only the last segment keeps.
const LAST_ONLY: u8 = tcp_flags::FIN | tcp_flags::PSH;
/// Flags that only the first segment keeps (RFC 3168 §6.1.2).
const FIRST_ONLY: u8 = tcp_flags::CWR;

/// Lends a superpacket as the segments that it stands for.
///
/// ```
/// use stadium_packet::checksum::Checksum;
/// use stadium_packet::ip::IpView;
/// use stadium_packet::segment::Segments;
/// use stadium_packet::vnet::VnetHdr;
///
/// # fn forward(read: &[u8], arena: &mut Vec<u8>) -> Option<()> {
/// let (vnet, packet) = VnetHdr::split(read).ok()?;
/// let ip = IpView::parse(packet).ok()?;
/// let segments = Segments::new(vnet, ip, Checksum::Full).ok()?;
/// for index in 0..segments.count() {
///     let start = arena.len();
///     arena.resize(start + segments.segment_len(index), 0);
///     segments.write(index, &mut arena[start..]);
/// }
/// # Some(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    ip: IpView<'a>,
    work: Work<'a>,
    checksum: Checksum,
}

#[derive(Clone, Copy, Debug)]
enum Work<'a> {
    /// One packet, as it stands.
    Copy,
    /// One packet, whose checksum is to be completed.
    Complete(PartialChecksum),
    /// Many packets.
    Cut(Cut<'a>),
}

/// Holds what all segments of a superpacket share.
#[derive(Clone, Copy, Debug)]
struct Cut<'a> {
    /// IP header, with options or extension headers.
    ip_header: &'a [u8],
    upper: UpperHeader<'a>,
    payload: &'a [u8],
    /// Payload bytes of each segment but the last.
    size: usize,
    count: usize,
    /// Sum of the IPv4 header without total length, identification and checksum.
    ip_sum: Sum,
    /// Sum of the pseudo header without its length.
    pseudo: Sum,
    /// Sum of `pseudo` and of the upper header without all that differs between segments.
    upper_sum: Sum,
}

#[derive(Clone, Copy, Debug)]
enum UpperHeader<'a> {
    Tcp(TcpView<'a>),
    Udp(&'a [u8; UDP_HEADER]),
}

impl<'a> Segments<'a> {
    /// Checks a superpacket against the header that it was read with.
    ///
    /// With [`Checksum::Partial`] segments keep a partial checksum where the superpacket has one and
    /// the wire allows it (`protocol.md` §6); [`checksum`](Self::checksum) tells.
    ///
    /// # Errors
    ///
    /// [`SegmentError`] when the packet is not what `vnet` says.
    #[inline]
    pub fn new(vnet: VnetHdr, ip: IpView<'a>, wanted: Checksum) -> Result<Self, SegmentError> {
        if vnet.gso != Gso::None {
            return Self::cut(vnet, ip, wanted);
        }
        if !vnet.needs_checksum() {
            return Ok(Self { ip, work: Work::Copy, checksum: Checksum::Full });
        }
        let place = PartialChecksum { start: vnet.csum_start, offset: vnet.csum_offset };
        if wanted == Checksum::Partial && PartialChecksum::locate(&ip) == Ok(place) {
            return Ok(Self { ip, work: Work::Copy, checksum: Checksum::Partial });
        }
        let field = usize::from(place.start) + usize::from(place.offset);
        if usize::from(place.start) < ip.header_len() || field + 2 > ip.len() {
            return Err(SegmentError::Checksum);
        }
        Ok(Self { ip, work: Work::Complete(place), checksum: Checksum::Full })
    }

    fn cut(vnet: VnetHdr, ip: IpView<'a>, wanted: Checksum) -> Result<Self, SegmentError> {
        let upper = ip.upper().ok_or(SegmentError::Transport)?;
        if upper.is_fragment {
            return Err(SegmentError::Fragment);
        }
        let (protocol, version) = match vnet.gso {
            Gso::TcpV4 => (Protocol::TCP, Version::V4),
            Gso::TcpV6 => (Protocol::TCP, Version::V6),
            Gso::UdpL4 | Gso::None => (Protocol::UDP, ip.version()),
        };
        if (upper.protocol, ip.version()) != (protocol, version) {
            return Err(SegmentError::Protocol);
        }
        if vnet.needs_checksum()
            && (usize::from(vnet.csum_start) != upper.offset
                || Some(usize::from(vnet.csum_offset)) != protocol.checksum_offset())
        {
            return Err(SegmentError::Checksum);
        }
        let size = usize::from(vnet.gso_size);
        if size == 0 {
            return Err(SegmentError::Size);
        }
        let (ip_header, datagram) =
            ip.packet().split_at_checked(upper.offset).ok_or(SegmentError::Transport)?;
        let pseudo = Sum::pseudo(&ip, protocol);
        let (header, payload, upper_sum) = if protocol == Protocol::TCP {
            let tcp = TcpView::parse(datagram).ok_or(SegmentError::Transport)?;
            let [ports @ .., _, _, _, _, a, b, c, d, _, _, e, f, _, _, g, h] = tcp.fixed();
            let sum = pseudo
                .plus(Sum::of(ports))
                .plus(Sum::of(&[*a, *b, *c, *d, *e, *f, *g, *h]))
                .plus(Sum::of(tcp.options()));
            (UpperHeader::Tcp(tcp), tcp.payload(), sum)
        } else {
            let udp = UdpView::parse(datagram).ok_or(SegmentError::Transport)?;
            let [ports @ .., _, _, _, _] = udp.fixed();
            (UpperHeader::Udp(udp.fixed()), udp.payload(), pseudo.plus(Sum::of(ports)))
        };
        let ip_sum = match ip_header {
            [a, b, _, _, _, _, middle @ ..] if ip.version() == Version::V4 => {
                let (before, after) = middle.split_at_checked(4).ok_or(SegmentError::Transport)?;
                let after = after.get(2..).ok_or(SegmentError::Transport)?;
                Sum::of(&[*a, *b]).plus(Sum::of(before)).plus(Sum::of(after))
            }
            _ => Sum::ZERO,
        };
        let checksum = if upper.is_extended { Checksum::Full } else { wanted };
        let count = payload.len().div_ceil(size).max(1);
        let cut = Cut { ip_header, upper: header, payload, size, count, ip_sum, pseudo, upper_sum };
        Ok(Self { ip, work: Work::Cut(cut), checksum })
    }

    /// Returns the packet that is cut.
    #[inline]
    pub const fn ip(&self) -> IpView<'a> {
        self.ip
    }

    /// Returns how many segments there are: at least one, at most the bytes of payload.
    #[inline]
    pub const fn count(&self) -> usize {
        match &self.work {
            Work::Cut(cut) => cut.count,
            Work::Copy | Work::Complete(_) => 1,
        }
    }

    /// Tells how every segment's checksum is written. A partial one must be marked with header flag
    /// bit 0 (`protocol.md` §6).
    #[inline]
    pub const fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Returns the length of the longest segment in bytes: of all of them but the last.
    #[inline]
    pub fn max_segment_len(&self) -> usize {
        self.segment_len(0)
    }

    /// Returns the length of segment `index` in bytes, IP header included; 0 where there is none.
    #[inline]
    pub fn segment_len(&self, index: usize) -> usize {
        match &self.work {
            Work::Cut(cut) if index < cut.count => {
                cut.ip_header.len() + cut.upper.len() + cut.piece(index).len()
            }
            Work::Copy | Work::Complete(_) if index == 0 => self.ip.len(),
            _ => 0,
        }
    }

    /// Writes segment `index` to the front of `out` and returns its length in bytes.
    ///
    /// # Panics
    ///
    /// When there is no such segment, or `out` is shorter than
    /// [`segment_len(index)`](Self::segment_len).
    #[inline]
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        assert!(index < self.count(), "a superpacket has only so many segments");
        match &self.work {
            Work::Cut(cut) => match self.ip.version() {
                Version::V4 => cut.write::<true>(index, self.checksum, out),
                Version::V6 => cut.write::<false>(index, self.checksum, out),
            },
            Work::Copy => {
                out[..self.ip.len()].copy_from_slice(self.ip.packet());
                self.ip.len()
            }
            Work::Complete(place) => {
                let (start, out) = (usize::from(place.start), &mut out[..self.ip.len()]);
                let (header, covered) = self.ip.packet().split_at(start);
                let (header_out, covered_out) = out.split_at_mut(start);
                header_out.copy_from_slice(header);
                let sum = Sum::copy(covered, covered_out);
                place.put(covered_out, sum);
                self.ip.len()
            }
        }
    }
}

impl Cut<'_> {
    /// Returns the payload of segment `index`.
    #[inline]
    fn piece(&self, index: usize) -> &[u8] {
        let rest = self.payload.get(index * self.size..).unwrap_or_default();
        rest.get(..self.size).unwrap_or(rest)
    }

    fn write<const V4: bool>(&self, index: usize, checksum: Checksum, out: &mut [u8]) -> usize {
        let piece = self.piece(index);
        let upper_len = self.upper.len() + piece.len();
        let total = self.ip_header.len() + upper_len;
        let (ip_out, upper_out) = out[..total].split_at_mut(self.ip_header.len());
        ip_out.copy_from_slice(self.ip_header);
        if V4 {
            self.patch_ipv4(index, total, ip_out);
        } else {
            let length = (total - IPV6_HEADER) as u16;
            ip_out[4..6].copy_from_slice(&length.to_be_bytes());
        }
        // at most 65,535: the superpacket's own length field holds more
        let upper_len = upper_len as u16;
        match self.upper {
            UpperHeader::Tcp(tcp) => self.write_tcp(&tcp, index, upper_len, checksum, upper_out),
            UpperHeader::Udp(udp) => self.write_udp(udp, index, upper_len, checksum, upper_out),
        }
        total
    }

    /// Sets total length, identification and checksum. Each segment has an identification of its
    /// own, so that segments may be fragmented (RFC 791 §3.2).
    #[inline]
    fn patch_ipv4(&self, index: usize, total: usize, header: &mut [u8]) {
        let [_, _, l0, l1, i0, i1, _, _, _, _, c0, c1, ..] = header else {
            unreachable!("an IPv4 header has twenty bytes")
        };
        let id = u16::from_be_bytes([*i0, *i1]).wrapping_add(index as u16);
        let total = total as u16;
        [*l0, *l1] = total.to_be_bytes();
        [*i0, *i1] = id.to_be_bytes();
        [*c0, *c1] = self.ip_sum.plus_word(total).plus_word(id).checksum();
    }

    #[inline]
    fn write_tcp(
        &self,
        tcp: &TcpView<'_>,
        index: usize,
        length: u16,
        checksum: Checksum,
        out: &mut [u8],
    ) {
        let Some((fixed, rest)) = out.split_first_chunk_mut::<TCP_HEADER>() else {
            unreachable!("a TCP segment has a header")
        };
        let (options, body) = rest.split_at_mut(tcp.options().len());
        *fixed = *tcp.fixed();
        options.copy_from_slice(tcp.options());
        let mut flags = tcp.flags();
        if index + 1 < self.count {
            flags &= !LAST_ONLY;
        }
        if index > 0 {
            flags &= !FIRST_ONLY;
        }
        let seq = tcp.seq().wrapping_add((index * self.size) as u32);
        fixed[4..8].copy_from_slice(&seq.to_be_bytes());
        fixed[13] = flags;
        let word = match checksum {
            Checksum::Full => self
                .upper_sum
                .plus_word(length)
                .plus_long(seq)
                .plus_word(u16::from_be_bytes([fixed[12], flags]))
                .plus(Sum::copy(self.piece(index), body))
                .checksum(),
            Checksum::Partial => {
                body.copy_from_slice(self.piece(index));
                self.pseudo.plus_word(length).fold()
            }
        };
        fixed[16..18].copy_from_slice(&word);
    }

    #[inline]
    fn write_udp(
        &self,
        udp: &[u8; UDP_HEADER],
        index: usize,
        length: u16,
        checksum: Checksum,
        out: &mut [u8],
    ) {
        let Some((header, body)) = out.split_first_chunk_mut::<UDP_HEADER>() else {
            unreachable!("a UDP datagram has a header")
        };
        let word = match checksum {
            // the length counts twice: in the pseudo header and in UDP's own
            Checksum::Full => self
                .upper_sum
                .plus_word(length)
                .plus_word(length)
                .plus(Sum::copy(self.piece(index), body))
                .udp_checksum(),
            Checksum::Partial => {
                body.copy_from_slice(self.piece(index));
                self.pseudo.plus_word(length).fold()
            }
        };
        let [p0, p1, p2, p3, ..] = *udp;
        let [l0, l1] = length.to_be_bytes();
        let [c0, c1] = word;
        *header = [p0, p1, p2, p3, l0, l1, c0, c1];
    }
}

impl UpperHeader<'_> {
    #[inline]
    const fn len(&self) -> usize {
        match self {
            Self::Tcp(tcp) => tcp.header_len(),
            Self::Udp(_) => UDP_HEADER,
        }
    }
}

/// Says why a superpacket cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentError {
    /// Not an IP packet.
    Ip(IpError),
    /// Not of the version and protocol that the virtio-net header names.
    Protocol,
    /// A fragment, which cannot be cut further.
    Fragment,
    /// The transport header does not fit or contradicts the IP header.
    Transport,
    /// Segments of no length.
    Size,
    /// The place of the checksum lies outside the packet or is not the protocol's.
    Checksum,
}

impl From<IpError> for SegmentError {
    fn from(error: IpError) -> Self {
        Self::Ip(error)
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip(error) => return error.fmt(f),
            Self::Protocol => "a superpacket of another protocol than its header names",
            Self::Fragment => "a superpacket that is a fragment",
            Self::Transport => "a superpacket whose transport header does not fit",
            Self::Size => "a superpacket with segments of no length",
            Self::Checksum => "a superpacket whose checksum stands where it cannot",
        })
    }
}

impl std::error::Error for SegmentError {}

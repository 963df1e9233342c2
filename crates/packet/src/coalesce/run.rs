//! A run while it grows, and as it is handed out.

use super::Extended;
use super::flow::Mergeable;
use crate::checksum::{Checksum, PartialChecksum, Sum, verify};
use crate::ip::{IPV4_HEADER, IPV6_HEADER, IpView, Version};
use crate::transport::{Protocol, TCP_HEADER, tcp_flags};
use crate::vnet::{Gso, NEEDS_CSUM, VnetHdr};

/// Most packets in one run: what the kernel cuts a UDP superpacket into at most
/// (`UDP_MAX_SEGMENTS` of older kernels), and more than 64 KiB of full-sized TCP segments need.
pub const RUN_PACKETS_MAX: usize = 64;
/// Longest superpacket in bytes: what IPv4's total length holds.
const LENGTH_MAX: usize = 65_535;
/// Room for rewritten headers: IPv6 or IPv4 without options, TCP with options.
const HEADER_MAX: usize = IPV6_HEADER + 60;

/// Names bytes of the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Count of bytes.
    pub len: u32,
}

impl Span {
    /// Lends the bytes.
    #[inline]
    fn of(self, slab: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &slab[start..start + self.len as usize]
    }
}

/// Lends what is to be written to the TUN with one call: `vnet`, `header`, then the slices.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What the packet is to be cut into.
    pub vnet: VnetHdr,
    /// Rewritten headers of the superpacket; empty when a packet goes as it came.
    pub header: &'a [u8],
    /// The payloads, or the one packet that goes as it came; 1 to [`RUN_PACKETS_MAX`].
    pub spans: &'a [Span],
    slab: &'a [u8],
}

impl<'a> Run<'a> {
    /// Hands out a packet as it came.
    #[inline]
    pub(super) fn alone(
        slab: &'a [u8],
        whole: &'a [Span; 1],
        place: Option<PartialChecksum>,
    ) -> Self {
        let vnet = match place {
            None => VnetHdr::PLAIN,
            Some(place) => VnetHdr {
                flags: NEEDS_CSUM,
                // as much as the kernel must have in one piece to complete the checksum
                hdr_len: place.start + place.offset + 2,
                csum_start: place.start,
                csum_offset: place.offset,
                ..VnetHdr::PLAIN
            },
        };
        Self { vnet, header: &[], spans: whole, slab }
    }

    /// Iterates over the slices that follow `header`.
    #[inline]
    pub fn slices(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let slab = self.slab;
        self.spans.iter().map(move |span| span.of(slab))
    }

    /// Returns how many packets were joined.
    #[inline]
    pub const fn packets(&self) -> usize {
        self.spans.len()
    }

    /// Returns the length of the superpacket in bytes, without its virtio-net header.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a run has at least one packet")]
    pub fn len(&self) -> usize {
        self.header.len() + self.spans.iter().map(|span| span.len as usize).sum::<usize>()
    }
}

/// Says how IPv4 identifications go on from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdStep {
    /// There is one packet, or it is IPv6.
    Unknown,
    Rising,
    Fixed,
}

/// Holds a run that may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// The first packet, whole.
    head: Span,
    checksum: Checksum,
    /// Whether the head's checksums were found right. Only joining asks for it: a packet that stays
    /// alone is not read.
    head_is_intact: bool,
    protocol: Protocol,
    version: Version,
    upper: u8,
    header_len: u8,
    ends_with_push: bool,
    id_step: IdStep,
    /// Identification that the next packet has when they rise.
    next_id: u16,
    next_seq: u32,
    /// Length of the superpacket so far, headers included once.
    total: usize,
    /// Payload bytes of each packet but the last.
    size: usize,
    count: usize,
    payloads: [Span; RUN_PACKETS_MAX],
}

impl Open {
    pub(super) const EMPTY: Self = Self {
        head: Span { start: 0, len: 0 },
        checksum: Checksum::Full,
        head_is_intact: false,
        protocol: Protocol(0),
        version: Version::V4,
        upper: 0,
        header_len: 0,
        ends_with_push: false,
        id_step: IdStep::Unknown,
        next_id: 0,
        next_seq: 0,
        total: 0,
        size: 0,
        count: 0,
        payloads: [Span { start: 0, len: 0 }; RUN_PACKETS_MAX],
    };

    #[inline]
    pub(super) fn begin(&mut self, whole: Span, packet: &Mergeable<'_>, checksum: Checksum) {
        let size = packet.payload_len();
        self.head = whole;
        self.checksum = checksum;
        self.head_is_intact = false;
        self.protocol = packet.protocol;
        self.version = packet.ip.version();
        // at most 100, see `Mergeable`
        self.upper = packet.upper as u8;
        self.header_len = packet.header_len as u8;
        self.ends_with_push = false;
        self.id_step = IdStep::Unknown;
        self.next_id = packet.ip.id().unwrap_or(0).wrapping_add(1);
        self.next_seq = packet.seq.wrapping_add(size as u32);
        self.total = packet.ip.len();
        self.size = size;
        self.count = 1;
        self.payloads[0] = payload_span(whole, packet.header_len);
    }

    /// Offers the next packet of the flow to the run.
    #[inline]
    pub(super) fn extend(
        &mut self,
        slab: &[u8],
        whole: Span,
        packet: &Mergeable<'_>,
        checksum: Checksum,
    ) -> Extended {
        let len = packet.payload_len();
        let Some(slot) = self.payloads.get_mut(self.count) else { return Extended::Refused };
        if packet.seq != self.next_seq && self.protocol == Protocol::TCP
            || len > self.size
            || self.total + len > LENGTH_MAX
            || packet.header_len != usize::from(self.header_len)
        {
            return Extended::Refused;
        }
        let head = self.head.of(slab);
        if !headers_agree(head, packet, self.version) {
            return Extended::Refused;
        }
        let Some(id_step) = next_id_step(self.id_step, self.next_id, &packet.ip) else {
            return Extended::Refused;
        };
        if !self.head_is_intact {
            if !is_intact_packet(head, self.checksum) {
                return Extended::Refused;
            }
            self.head_is_intact = true;
        }
        if !is_intact(&packet.ip, checksum) {
            return Extended::Corrupt;
        }
        *slot = payload_span(whole, packet.header_len);
        self.count += 1;
        self.total += len;
        self.id_step = id_step;
        if id_step == IdStep::Rising {
            self.next_id = self.next_id.wrapping_add(1);
        }
        self.next_seq = self.next_seq.wrapping_add(len as u32);
        self.ends_with_push = packet.ends_run;
        // a run that has no room for another packet of full size may still take a shorter last one
        let is_complete = packet.ends_run || len < self.size || self.count == RUN_PACKETS_MAX;
        if is_complete { Extended::Complete } else { Extended::Open }
    }

    /// Hands out the run.
    #[inline]
    pub(super) fn emit(&self, slab: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        let (start, offset) = match self.protocol {
            Protocol::TCP => (self.upper, 16),
            _ => (self.upper, 6),
        };
        let place = PartialChecksum { start: u16::from(start), offset };
        if self.count < 2 {
            let place = (self.checksum == Checksum::Partial).then_some(place);
            sink(Run::alone(slab, &[self.head], place));
            return;
        }
        let mut room = [0; HEADER_MAX];
        let header_len = usize::from(self.header_len);
        let header = &mut room[..header_len];
        header.copy_from_slice(&self.head.of(slab)[..header_len]);
        self.rewrite(header);
        let gso = match (self.protocol, self.version) {
            (Protocol::TCP, Version::V4) => Gso::TcpV4,
            (Protocol::TCP, Version::V6) => Gso::TcpV6,
            _ => Gso::UdpL4,
        };
        let vnet = VnetHdr {
            flags: NEEDS_CSUM,
            gso,
            ecn: false,
            hdr_len: u16::from(self.header_len),
            gso_size: self.size as u16,
            csum_start: place.start,
            csum_offset: place.offset,
        };
        sink(Run { vnet, header, spans: &self.payloads[..self.count], slab });
    }

    /// Makes the head's headers those of the superpacket: lengths, the last packet's PSH, the IPv4
    /// checksum, and the pseudo-header sum in the place of the checksum.
    fn rewrite(&self, header: &mut [u8]) {
        let (ip, upper) = header.split_at_mut(usize::from(self.upper));
        let upper_len = (self.total - ip.len()) as u16;
        let addresses = match self.version {
            Version::V4 => {
                let ip: &mut [u8; IPV4_HEADER] = ip.try_into().expect("runs have no IPv4 options");
                let total = self.total as u16;
                ip[2..4].copy_from_slice(&total.to_be_bytes());
                ip[10..12].fill(0);
                let sum = Sum::of(ip).checksum();
                ip[10..12].copy_from_slice(&sum);
                Sum::of(&ip[12..])
            }
            Version::V6 => {
                let ip: &mut [u8; IPV6_HEADER] =
                    ip.try_into().expect("runs have no IPv6 extension headers");
                ip[4..6].copy_from_slice(&upper_len.to_be_bytes());
                Sum::of(&ip[8..])
            }
        };
        let pseudo = addresses.plus_word(u16::from(self.protocol.0)).plus_word(upper_len).fold();
        if self.protocol == Protocol::TCP {
            let tcp: &mut [u8; TCP_HEADER] =
                upper.first_chunk_mut().expect("a TCP run has a TCP header");
            if self.ends_with_push {
                tcp[13] |= tcp_flags::PSH;
            }
            tcp[16..18].copy_from_slice(&pseudo);
        } else {
            upper[4..6].copy_from_slice(&upper_len.to_be_bytes());
            upper[6..8].copy_from_slice(&pseudo);
        }
    }
}

#[inline]
const fn payload_span(whole: Span, header_len: usize) -> Span {
    let header_len = header_len as u32;
    Span { start: whole.start + header_len, len: whole.len - header_len }
}

/// Tells whether a packet's headers equal the head's in all that a superpacket has only once.
///
/// Addresses and ports are equal already, they are the flow's key. Fields are compared as words under
/// a mask: a packet must not pay for a dozen comparisons of slices.
#[inline]
fn headers_agree(head: &[u8], packet: &Mergeable<'_>, version: Version) -> bool {
    let (Some((old_ip, old)), Some((new_ip, new))) =
        (head.split_at_checked(packet.upper), packet.ip.packet().split_at_checked(packet.upper))
    else {
        return false;
    };
    let (Some(old_ip), Some(new_ip)) =
        (old_ip.first_chunk::<IPV4_HEADER>(), new_ip.first_chunk::<IPV4_HEADER>())
    else {
        return false;
    };
    let (front, ttl) = match version {
        // version, length, TOS, flags; TTL and protocol
        Version::V4 => ([0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff], 0xffff),
        // version, class, flow label, next header, hop limit
        Version::V6 => ([0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff], 0),
    };
    let mut differs = (long(old_ip, 0) ^ long(new_ip, 0)) & u64::from_ne_bytes(front);
    differs |= u64::from((short(old_ip, 8) ^ short(new_ip, 8)) & ttl);
    if packet.protocol != Protocol::TCP {
        return differs == 0;
    }
    let options = packet.header_len - packet.upper - TCP_HEADER;
    let (Some((old, old_options)), Some((new, new_options))) =
        (old.split_first_chunk::<TCP_HEADER>(), new.split_first_chunk::<TCP_HEADER>())
    else {
        return false;
    };
    let (Some(old_options), Some(new_options)) =
        (old_options.get(..options), new_options.get(..options))
    else {
        return false;
    };
    // acknowledgement, data offset, window; `Class` has seen to the flags between them
    let middle = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff]);
    differs |= (long(old, 8) ^ long(new, 8)) & middle;
    // urgent pointer
    differs |= u64::from(short(old, 18) ^ short(new, 18));
    differs == 0 && same_words(old_options, new_options)
}

#[inline(always)]
fn long(header: &[u8; 20], at: usize) -> u64 {
    u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes make a word"))
}

#[inline(always)]
const fn short(header: &[u8; 20], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

/// Compares TCP options, which are at most ten words: too few for a call.
#[inline]
fn same_words(old: &[u8], new: &[u8]) -> bool {
    let (old, new) = (old.as_chunks::<4>().0, new.as_chunks::<4>().0);
    let differs = |sum, (old, new): (&[u8; 4], &[u8; 4])| {
        sum | (u32::from_ne_bytes(*old) ^ u32::from_ne_bytes(*new))
    };
    old.len() == new.len() && old.iter().zip(new).fold(0, differs) == 0
}

/// Follows the IPv4 identifications of a run; `None` when the packet breaks it.
#[inline]
fn next_id_step(step: IdStep, rising: u16, ip: &IpView<'_>) -> Option<IdStep> {
    let Some(id) = ip.id() else { return Some(IdStep::Unknown) };
    let is_rising = id == rising;
    // `rising` stays one above the head's as long as the step is not known to be rising
    let is_fixed = id == rising.wrapping_sub(1) && ip.dont_fragment();
    match step {
        IdStep::Unknown | IdStep::Rising if is_rising => Some(IdStep::Rising),
        IdStep::Unknown | IdStep::Fixed if is_fixed => Some(IdStep::Fixed),
        _ => None,
    }
}

/// Tells whether all checksums of a packet are right, those aside that its peer vouches for.
#[inline]
fn is_intact(ip: &IpView<'_>, checksum: Checksum) -> bool {
    ip.header_is_intact() && (checksum == Checksum::Partial || verify(ip) == Some(true))
}

#[inline]
fn is_intact_packet(packet: &[u8], checksum: Checksum) -> bool {
    IpView::parse(packet).is_ok_and(|ip| is_intact(&ip, checksum))
}

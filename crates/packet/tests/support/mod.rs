//! Packets built and judged byte by byte, sharing no code with the crate: the oracle of the tests.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use proptest::prelude::*;

/// Describes one packet; `build` turns it into bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub v6: bool,
    pub udp: bool,
    pub host: u8,
    pub ports: (u16, u16),
    pub tos: u8,
    pub ttl: u8,
    pub flow_label: u32,
    pub id: u16,
    pub df: bool,
    pub ip_options: Vec<u8>,
    /// Destination-options headers of 8 bytes each.
    pub extensions: usize,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Spec {
    pub fn new(v6: bool, udp: bool) -> Self {
        Self {
            v6,
            udp,
            host: 1,
            ports: (40_000, 443),
            tos: 0,
            ttl: 64,
            flow_label: 0x12345,
            id: 7,
            df: true,
            ip_options: vec![],
            extensions: 0,
            seq: 1000,
            ack: 77,
            flags: 0x10,
            window: 500,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: vec![],
        }
    }

    pub fn with_payload(mut self, len: usize, salt: u8) -> Self {
        self.payload = (0..len).map(|i| (i * 31 + i / 251) as u8 ^ salt).collect();
        self
    }

    pub fn upper_offset(&self) -> usize {
        if self.v6 { 40 + 8 * self.extensions } else { 20 + self.ip_options.len() }
    }

    pub fn header_len(&self) -> usize {
        self.upper_offset() + if self.udp { 8 } else { 20 + self.tcp_options.len() }
    }

    pub fn checksum_at(&self) -> usize {
        self.upper_offset() + if self.udp { 6 } else { 16 }
    }

    pub fn build(&self) -> Vec<u8> {
        let protocol = if self.udp { 17 } else { 6 };
        let mut upper = vec![];
        upper.extend(self.ports.0.to_be_bytes());
        upper.extend(self.ports.1.to_be_bytes());
        if self.udp {
            upper.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            upper.extend([0, 0]);
        } else {
            upper.extend(self.seq.to_be_bytes());
            upper.extend(self.ack.to_be_bytes());
            upper.push((((20 + self.tcp_options.len()) / 4) << 4) as u8);
            upper.push(self.flags);
            upper.extend(self.window.to_be_bytes());
            upper.extend([0, 0, 0, 0]);
            upper.extend(&self.tcp_options);
        }
        upper.extend(&self.payload);
        let mut packet = vec![];
        if self.v6 {
            let class = u32::from(self.tos) << 20;
            packet.extend((0x6000_0000 | class | self.flow_label).to_be_bytes());
            packet.extend(((8 * self.extensions + upper.len()) as u16).to_be_bytes());
            packet.push(if self.extensions > 0 { 60 } else { protocol });
            packet.push(self.ttl);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, self.host]);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9]);
            for i in 0..self.extensions {
                let next = if i + 1 < self.extensions { 60 } else { protocol };
                packet.extend([next, 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            let total = 20 + self.ip_options.len() + upper.len();
            packet.push(0x40 | ((20 + self.ip_options.len()) / 4) as u8);
            packet.push(self.tos);
            packet.extend((total as u16).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend(if self.df { [0x40, 0] } else { [0, 0] });
            packet.extend([self.ttl, protocol, 0, 0]);
            packet.extend([10, 0, 1, self.host, 10, 0, 2, 9]);
            packet.extend(&self.ip_options);
        }
        packet.extend(&upper);
        fill(&mut packet);
        packet
    }
}

/// The checksum of RFC 1071, one byte at a time.
pub fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for (i, byte) in bytes.iter().enumerate() {
        sum += u64::from(*byte) << if i % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Returns protocol and offset of the upper header, walking destination options.
pub fn upper(packet: &[u8]) -> (u8, usize) {
    if packet[0] >> 4 == 4 {
        return (packet[9], usize::from(packet[0] & 15) * 4);
    }
    let (mut next, mut at) = (packet[6], 40);
    while next == 60 {
        (next, at) = (packet[at], at + 8 + 8 * usize::from(packet[at + 1]));
    }
    (next, at)
}

/// Returns pseudo header and upper-layer bytes of a packet.
pub fn covered(packet: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (protocol, at) = upper(packet);
    let length = (packet.len() - at) as u32;
    let mut pseudo = vec![];
    if packet[0] >> 4 == 4 {
        pseudo.extend(&packet[12..20]);
        pseudo.extend([0, protocol]);
        pseudo.extend((length as u16).to_be_bytes());
    } else {
        pseudo.extend(&packet[8..40]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
    }
    (pseudo, packet[at..].to_vec())
}

/// Fills in all checksums of a packet.
pub fn fill(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        packet[10..12].fill(0);
        let sum = naive(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let (protocol, at) = upper(packet);
    let field = at + if protocol == 6 { 16 } else { 6 };
    packet[field..field + 2].fill(0);
    let (pseudo, data) = covered(packet);
    let mut sum = naive(&[pseudo, data].concat());
    if sum == 0 && protocol == 17 {
        sum = 0xffff;
    }
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Replaces the transport checksum by the pseudo-header sum.
pub fn make_partial(packet: &mut [u8]) {
    let (protocol, at) = upper(packet);
    let field = at + if protocol == 6 { 16 } else { 6 };
    let (pseudo, _) = covered(packet);
    packet[field..field + 2].copy_from_slice(&(!naive(&pseudo)).to_be_bytes());
}

/// Cuts a superpacket the slow way: by describing each segment anew.
pub fn cut(spec: &Spec, size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = spec.payload.chunks(size).collect();
    let mut packets = vec![];
    for (i, piece) in pieces.iter().enumerate() {
        let mut one = spec.clone();
        one.payload = piece.to_vec();
        one.id = spec.id.wrapping_add(i as u16);
        one.seq = spec.seq.wrapping_add((i * size) as u32);
        if i + 1 < pieces.len() {
            one.flags &= !0x09;
        }
        if i > 0 {
            one.flags &= !0x80;
        }
        packets.push(one.build());
    }
    packets
}

/// The header that a kernel puts before a superpacket.
pub fn vnet_of(spec: &Spec, size: usize) -> stadium_packet::VnetHdr {
    use stadium_packet::vnet::{Gso, NEEDS_CSUM, VnetHdr};
    VnetHdr {
        flags: NEEDS_CSUM,
        gso: match (spec.udp, spec.v6) {
            (true, _) => Gso::UdpL4,
            (false, false) => Gso::TcpV4,
            (false, true) => Gso::TcpV6,
        },
        ecn: false,
        // deliberately wrong: it must not be trusted
        hdr_len: 3,
        gso_size: size as u16,
        csum_start: spec.upper_offset() as u16,
        csum_offset: if spec.udp { 6 } else { 16 },
    }
}

/// Any flow's packet without payload.
pub fn any_spec() -> impl Strategy<Value = Spec> {
    (
        any::<(bool, bool, u8, (u16, u16), u8, u8)>(),
        any::<(u16, bool, u32, u32, u16)>(),
        0u32..1 << 20,
        prop_oneof![3 => Just(0usize), 1 => 1usize..=10],
        prop_oneof![3 => Just(0usize), 1 => 1usize..=3],
        proptest::collection::vec(any::<u8>(), 0..=40),
    )
        .prop_map(|(a, b, flow_label, ip_options, extensions, mut tcp_options)| {
            tcp_options.truncate(tcp_options.len() / 4 * 4);
            let (v6, udp, host, ports, tos, ttl) = a;
            let (id, df, seq, ack, window) = b;
            Spec {
                v6,
                udp,
                host,
                ports,
                tos,
                ttl,
                flow_label,
                id,
                df,
                ip_options: vec![1; ip_options * 4],
                extensions,
                seq,
                ack,
                flags: 0x10,
                window,
                tcp_options,
                payload: vec![],
            }
        })
}

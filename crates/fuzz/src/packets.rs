//! IP packets built and judged byte by byte, in the plainest way.

use crate::input::Input;

/// One TCP or UDP packet in words; [`build`](Self::build) makes its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// UDP instead of TCP.
    pub udp: bool,
    /// The last byte of the source address.
    pub host: u8,
    /// The source port.
    pub port: u16,
    /// TOS or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The low byte of the IPv6 flow label.
    pub label: u8,
    /// The IPv4 identification.
    pub id: u16,
    /// The IPv4 flag against fragmentation.
    pub dont_fragment: bool,
    /// IPv4 options, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// The TCP sequence number.
    pub seq: u32,
    /// The TCP acknowledgement number.
    pub ack: u32,
    /// The TCP flags.
    pub flags: u8,
    /// The TCP window.
    pub window: u16,
    /// The TCP urgent pointer.
    pub urgent: u16,
    /// TCP options, a multiple of four bytes.
    pub tcp_options: Vec<u8>,
    /// What is carried.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Takes the headers of a flow from an input.
    pub fn take(input: &mut Input<'_>) -> Self {
        let bits = input.byte();
        Self {
            v6: bits & 1 != 0,
            udp: bits & 2 != 0,
            host: input.choice(3),
            port: 1000 + u16::from(input.choice(3)),
            tos: input.byte(),
            ttl: 64,
            label: 5,
            id: input.word(),
            dont_fragment: bits & 4 != 0,
            ip_options: vec![1; if bits & 0x30 == 0x30 { 8 } else { 0 }],
            seq: u32::from_be_bytes(input.array()),
            ack: 77,
            flags: if bits & 8 != 0 { input.byte() } else { ACK },
            window: 500,
            urgent: 0,
            tcp_options: vec![1; if bits & 0xc0 == 0xc0 { 12 } else { 0 }],
            payload: Vec::new(),
        }
    }

    /// Gives the offset of the TCP or UDP header.
    pub fn upper(&self) -> usize {
        if self.v6 { 40 } else { 20 + self.ip_options.len() }
    }

    /// Gives the length of all headers.
    pub fn headers(&self) -> usize {
        self.upper() + if self.udp { 8 } else { 20 + self.tcp_options.len() }
    }

    /// Makes the packet's bytes, with right checksums.
    pub fn build(&self) -> Vec<u8> {
        let mut upper = Vec::new();
        upper.extend(self.port.to_be_bytes());
        upper.extend(443_u16.to_be_bytes());
        if self.udp {
            upper.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            upper.extend([0, 0]);
        } else {
            upper.extend(self.seq.to_be_bytes());
            upper.extend(self.ack.to_be_bytes());
            upper.push(((20 + self.tcp_options.len()) / 4 * 16) as u8);
            upper.push(self.flags);
            upper.extend(self.window.to_be_bytes());
            upper.extend([0, 0]);
            upper.extend(self.urgent.to_be_bytes());
            upper.extend(&self.tcp_options);
        }
        upper.extend(&self.payload);
        let protocol = if self.udp { 17 } else { 6 };
        let mut packet = Vec::new();
        if self.v6 {
            packet.extend(
                (0x6000_0000 | u32::from(self.tos) << 20 | u32::from(self.label)).to_be_bytes(),
            );
            packet.extend((upper.len() as u16).to_be_bytes());
            packet.extend([protocol, self.ttl]);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, self.host]);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9]);
        } else {
            let header = 20 + self.ip_options.len();
            packet.extend([0x40 | (header / 4) as u8, self.tos]);
            packet.extend(((header + upper.len()) as u16).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
            packet.extend([10, 0, 1, self.host, 10, 0, 2, 9]);
            packet.extend(&self.ip_options);
        }
        packet.extend(upper);
        fix_header(&mut packet);
        let sum = self.sum(&packet, false);
        let at = self.checksum_at();
        packet[at..at + 2].copy_from_slice(&sum);
        packet
    }

    /// Puts the sum of the pseudo header in the place of the checksum.
    pub fn make_partial(&self, packet: &mut [u8]) {
        let sum = self.sum(packet, true);
        let at = self.checksum_at();
        packet[at..at + 2].copy_from_slice(&sum);
    }

    /// Gives the offset of the TCP or UDP checksum.
    pub fn checksum_at(&self) -> usize {
        self.upper() + if self.udp { 6 } else { 16 }
    }

    fn sum(&self, packet: &[u8], pseudo_only: bool) -> [u8; 2] {
        let upper = &packet[self.upper()..];
        let mut bytes = Vec::new();
        bytes.extend(if self.v6 { &packet[8..40] } else { &packet[12..20] });
        bytes.extend((upper.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, if self.udp { 17 } else { 6 }]);
        if pseudo_only {
            return (!checksum(&bytes)).to_be_bytes();
        }
        bytes.extend(upper);
        let at = bytes.len() - upper.len() + self.checksum_at() - self.upper();
        bytes[at..at + 2].fill(0);
        match checksum(&bytes) {
            0 if self.udp => [0xff, 0xff],
            sum => sum.to_be_bytes(),
        }
    }
}

/// Computes the checksum of an IPv4 header anew; leaves IPv6 alone.
pub fn fix_header(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The checksum of RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for (at, byte) in bytes.iter().enumerate() {
        sum += u64::from(*byte) << if at % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

const ACK: u8 = 0x10;

//! The header that a TUN device with `IFF_VNET_HDR` puts before each packet: `struct virtio_net_hdr`.
//!
//! Its fields are in the machine's byte order, as the kernel has it unless asked otherwise. Reading
//! is strict, so that a kernel which one day says more than is understood here does not get its
//! packets mangled.

use std::fmt;

/// Flag: the checksum of the packet is partial, `csum_start` and `csum_offset` say where.
pub const NEEDS_CSUM: u8 = 1;
/// Flag: the kernel has verified the packet's checksum.
pub const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Names what the packet behind a [`VnetHdr`] is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gso {
    /// Nothing: one packet.
    None,
    /// TCP segments over IPv4.
    TcpV4,
    /// TCP segments over IPv6.
    TcpV6,
    /// UDP datagrams over either (`UDP_SEGMENT`).
    UdpL4,
}

/// Holds the fields of a `virtio_net_hdr` (virtio 1.2 §5.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VnetHdr {
    /// [`NEEDS_CSUM`] and [`DATA_VALID`], no others.
    pub flags: u8,
    /// What the packet is to be cut into.
    pub gso: Gso,
    /// Whether the first TCP segment carries CWR, so that the others must not.
    pub ecn: bool,
    /// Length of all headers in bytes; a hint that is never trusted, only written.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Offset of the first byte that the partial checksum covers.
    pub csum_start: u16,
    /// Offset of the checksum field from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Length in bytes on a TUN device whose header size was not changed.
    pub const LEN: usize = 10;

    /// The header of a packet that stands for itself and has its full checksum.
    pub const PLAIN: Self = Self {
        flags: 0,
        gso: Gso::None,
        ecn: false,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`VnetError`] for flags or segmentation that Stadium does not know, and for segmentation
    /// without a size.
    #[inline]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, VnetError> {
        let [flags, gso, a, b, c, d, e, f, g, h] = *bytes;
        if flags & !(NEEDS_CSUM | DATA_VALID) != 0 {
            return Err(VnetError::Flags(flags));
        }
        let ecn = gso & GSO_ECN != 0;
        let kind = match gso & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::UdpL4,
            _ => return Err(VnetError::Gso(gso)),
        };
        if ecn && !matches!(kind, Gso::TcpV4 | Gso::TcpV6) {
            return Err(VnetError::Gso(gso));
        }
        let header = Self {
            flags,
            gso: kind,
            ecn,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        };
        if kind != Gso::None && header.gso_size == 0 {
            return Err(VnetError::GsoSize);
        }
        Ok(header)
    }

    /// Reads the header at the front of what a TUN read returned, and lends the packet behind it.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`VnetError::Truncated`] below ten bytes.
    #[inline]
    pub fn split(read: &[u8]) -> Result<(Self, &[u8]), VnetError> {
        let (header, packet) = read.split_first_chunk().ok_or(VnetError::Truncated)?;
        Ok((Self::decode(header)?, packet))
    }

    /// Writes the header.
    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let gso = match self.gso {
            Gso::None => GSO_NONE,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::UdpL4 => GSO_UDP_L4,
        };
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, gso | if self.ecn { GSO_ECN } else { 0 }, a, b, c, d, e, f, g, h]
    }

    /// Tells whether the packet's checksum is partial.
    #[inline]
    pub const fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }
}

/// Says why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VnetError {
    /// Fewer bytes than a header has.
    Truncated,
    /// Flags besides [`NEEDS_CSUM`] and [`DATA_VALID`].
    Flags(u8),
    /// An unknown kind of segmentation.
    Gso(u8),
    /// Segmentation into pieces of no length.
    GsoSize,
}

impl fmt::Display for VnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a read shorter than its virtio-net header"),
            Self::Flags(flags) => write!(f, "unknown virtio-net flags {flags:#04x}"),
            Self::Gso(gso) => write!(f, "unknown virtio-net segmentation {gso:#04x}"),
            Self::GsoSize => f.write_str("virtio-net segmentation without a size"),
        }
    }
}

impl std::error::Error for VnetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_is_encoded_again() {
        let bytes = [1, 0x81, 66, 0, 0x64, 5, 34, 0, 16, 0];
        let header = VnetHdr::decode(&bytes).unwrap();
        assert_eq!((header.gso, header.ecn, header.needs_checksum()), (Gso::TcpV4, true, true));
        if cfg!(target_endian = "little") {
            assert_eq!((header.hdr_len, header.gso_size), (66, 1380));
            assert_eq!((header.csum_start, header.csum_offset), (34, 16));
        }
        assert_eq!(header.encode(), bytes);
        assert_eq!(VnetHdr::PLAIN.encode(), [0; 10]);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let with = |flags, gso, size| VnetHdr::decode(&[flags, gso, 0, 0, size, 0, 0, 0, 0, 0]);
        assert_eq!(with(4, 0, 0), Err(VnetError::Flags(4)));
        assert_eq!(with(0, 3, 1), Err(VnetError::Gso(3)));
        assert_eq!(with(0, 0x80, 1), Err(VnetError::Gso(0x80)));
        assert_eq!(with(0, 0x85, 1), Err(VnetError::Gso(0x85)));
        assert_eq!(with(1, 1, 0), Err(VnetError::GsoSize));
        assert_eq!(VnetHdr::split(&[0; 9]), Err(VnetError::Truncated));
        assert_eq!(VnetHdr::split(&[0; 11]), Ok((VnetHdr::PLAIN, &[0][..])));
    }
}

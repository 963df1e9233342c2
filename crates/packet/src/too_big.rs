//! The notice that a packet does not fit: "fragmentation needed" (RFC 1191) and "packet too big"
//! (RFC 4443 §3.2).
//!
//! It goes back to the sender in the name of the packet's destination: that address is routed
//! into the tunnel, so no filter on the reverse path minds it, and the interface needs none of its
//! own.

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::ip::{IPV4_HEADER, IPV6_HEADER, IpView, Version};
use crate::transport::Protocol;

/// The longest notice: what IPv6 carries everywhere (RFC 4443 §2.4 (c)).
pub const NOTICE_MAX: usize = 1280;

/// The longest notice over IPv4 (RFC 1812 §4.3.2.3).
const NOTICE_MAX_V4: usize = 576;

/// The ICMP header of either version.
const ICMP_HEADER: usize = 8;

/// How many hops a notice may travel.
const HOPS: u8 = 64;

/// Writes the notice that `packet` is longer than `mtu` bytes, and returns its length.
///
/// `None` where no notice may be sent: about another ICMP error, about a later fragment, from or to
/// what is no single host (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).
#[cold]
pub fn too_big(packet: &IpView<'_>, mtu: u32, notice: &mut [u8; NOTICE_MAX]) -> Option<usize> {
    if is_error(packet) || !is_host(packet.src()) || !is_host(packet.dst()) {
        return None;
    }
    match packet.version() {
        Version::V4 => write_v4(packet.packet(), mtu, notice),
        Version::V6 => write_v6(packet.packet(), mtu, notice),
    }
}

fn write_v4(packet: &[u8], mtu: u32, notice: &mut [u8; NOTICE_MAX]) -> Option<usize> {
    let original: &[u8; IPV4_HEADER] = packet.first_chunk()?;
    if u16::from_be_bytes([original[6], original[7]]) & 0x1fff != 0 {
        return None;
    }
    let quoted = packet.len().min(NOTICE_MAX_V4 - IPV4_HEADER - ICMP_HEADER);
    let length = IPV4_HEADER + ICMP_HEADER + quoted;
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let notice = &mut notice[..length];
    notice[IPV4_HEADER + ICMP_HEADER..].copy_from_slice(&packet[..quoted]);
    let (header, icmp) = notice.split_at_mut(IPV4_HEADER);
    icmp[..ICMP_HEADER].copy_from_slice(&[3, 4, 0, 0, 0, 0, 0, 0]);
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    let sum = Sum::of(icmp).checksum();
    icmp[2..4].copy_from_slice(&sum);
    header.fill(0);
    header[0] = 0x45;
    // at most 576
    header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    header[8] = HOPS;
    header[9] = Protocol::ICMP.0;
    header[12..16].copy_from_slice(&original[16..20]);
    header[16..20].copy_from_slice(&original[12..16]);
    let sum = Sum::of(header).checksum();
    header[10..12].copy_from_slice(&sum);
    Some(length)
}

fn write_v6(packet: &[u8], mtu: u32, notice: &mut [u8; NOTICE_MAX]) -> Option<usize> {
    let original: &[u8; IPV6_HEADER] = packet.first_chunk()?;
    let quoted = packet.len().min(NOTICE_MAX - IPV6_HEADER - ICMP_HEADER);
    let length = IPV6_HEADER + ICMP_HEADER + quoted;
    let notice = &mut notice[..length];
    notice[IPV6_HEADER + ICMP_HEADER..].copy_from_slice(&packet[..quoted]);
    let (header, icmp) = notice.split_at_mut(IPV6_HEADER);
    icmp[..4].copy_from_slice(&[2, 0, 0, 0]);
    icmp[4..8].copy_from_slice(&mtu.to_be_bytes());
    header.fill(0);
    header[0] = 0x60;
    // at most 1,240
    let carried = icmp.len() as u16;
    header[4..6].copy_from_slice(&carried.to_be_bytes());
    header[6] = Protocol::ICMPV6.0;
    header[7] = HOPS;
    header[8..24].copy_from_slice(&original[24..40]);
    header[24..40].copy_from_slice(&original[8..24]);
    let pseudo =
        Sum::of(&header[8..40]).plus_word(carried).plus_word(u16::from(Protocol::ICMPV6.0));
    let sum = pseudo.plus(Sum::of(icmp)).checksum();
    icmp[2..4].copy_from_slice(&sum);
    Some(length)
}

/// Tells whether a packet is itself an ICMP error, or hides whether it is one.
fn is_error(packet: &IpView<'_>) -> bool {
    let Some(upper) = packet.upper() else { return true };
    let kind = packet.packet().get(upper.offset).copied();
    match (upper.protocol, kind) {
        (Protocol::ICMP, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (Protocol::ICMPV6, Some(kind)) => kind < 128,
        (Protocol::ICMP | Protocol::ICMPV6, None) => true,
        _ => false,
    }
}

/// Tells whether an address is that of one host.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || address.is_multicast() || address.is_unspecified() || address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;

    fn v4(length: usize, protocol: u8, destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        packet[8] = 64;
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[10, 7, 0, 1]);
        packet[16..20].copy_from_slice(&destination);
        packet
    }

    fn v6(length: usize, protocol: u8) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(length - 40).unwrap().to_be_bytes());
        packet[6] = protocol;
        packet[8] = 0xfd;
        packet[23] = 1;
        packet[24] = 0xfd;
        packet[39] = 2;
        packet
    }

    fn notice(packet: &[u8], mtu: u32) -> Option<Vec<u8>> {
        let mut room = [0xaa; NOTICE_MAX];
        let length = too_big(&IpView::parse(packet).unwrap(), mtu, &mut room)?;
        Some(room[..length].to_vec())
    }

    #[test]
    fn ipv4_names_the_mtu_and_quotes_the_packet() {
        let packet = v4(1440, UDP, [10, 7, 0, 2]);
        let notice = notice(&packet, 1420).unwrap();
        let ip = IpView::parse(&notice).unwrap();
        assert!(ip.header_is_intact());
        assert_eq!((ip.len(), ip.protocol()), (576, Protocol::ICMP));
        assert_eq!(
            (ip.src().to_string(), ip.dst().to_string()),
            ("10.7.0.2".into(), "10.7.0.1".into())
        );
        assert!(Sum::of(ip.payload()).is_valid());
        assert_eq!(ip.payload()[..2], [3, 4]);
        assert_eq!(ip.payload()[6..8], 1420_u16.to_be_bytes());
        assert_eq!(ip.payload()[8..], packet[..548]);
    }

    #[test]
    fn ipv6_names_the_mtu_and_quotes_the_packet() {
        let packet = v6(1440, UDP);
        let notice = notice(&packet, 1420).unwrap();
        let ip = IpView::parse(&notice).unwrap();
        assert_eq!((ip.len(), ip.protocol()), (NOTICE_MAX, Protocol::ICMPV6));
        assert_eq!(
            (ip.src().to_string(), ip.dst().to_string()),
            ("fd00::2".into(), "fd00::1".into())
        );
        let pseudo = Sum::pseudo(&ip, Protocol::ICMPV6).plus_word(1240);
        assert!(pseudo.plus(Sum::of(ip.payload())).is_valid());
        assert_eq!(ip.payload()[..2], [2, 0]);
        assert_eq!(ip.payload()[4..8], 1420_u32.to_be_bytes());
        assert_eq!(ip.payload()[8..], packet[..1232]);
    }

    #[test]
    fn no_notice_answers_an_error_a_later_fragment_or_a_group() {
        let mut error = v4(1440, 1, [10, 7, 0, 2]);
        error[20] = 3;
        assert_eq!(notice(&error, 1420), None);
        error[20] = 8;
        assert!(notice(&error, 1420).is_some(), "an echo request is no error");
        let mut fragment = v4(1440, UDP, [10, 7, 0, 2]);
        fragment[7] = 9;
        assert_eq!(notice(&fragment, 1420), None);
        for group in [[224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0], [127, 0, 0, 1]] {
            assert_eq!(notice(&v4(1440, UDP, group), 1420), None, "{group:?}");
        }
        let mut error = v6(1440, 58);
        error[40] = 2;
        assert_eq!(notice(&error, 1420), None);
        error[40] = 128;
        assert!(notice(&error, 1420).is_some());
        let mut group = v6(1440, UDP);
        group[24] = 0xff;
        assert_eq!(notice(&group, 1420), None);
    }
}

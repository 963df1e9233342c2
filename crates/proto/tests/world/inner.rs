//! Inner packets: numbered, and each byte of them follows from the number, so that a loss, a
//! duplicate, a change and another order are all visible to the receiver.

use std::net::Ipv4Addr;

/// Bytes of an IPv4 header without options.
const HEADER: usize = 20;
/// The shortest and the longest inner packet, in bytes.
const LENGTHS: (u64, u64) = (60, 1_400);

/// Names a packet: the number of the node that made it, and its own.
pub(crate) type PacketId = (u16, u64);

/// Returns the inner address of a node.
pub(crate) fn address(node: u16) -> Ipv4Addr {
    let [high, low] = node.to_be_bytes();
    Ipv4Addr::new(10, 7, high, low)
}

/// Returns the node with an inner address, if it is one of [`address`].
pub(crate) fn node_of(address: Ipv4Addr) -> Option<u16> {
    let [10, 7, high, low] = address.octets() else { return None };
    Some(u16::from_be_bytes([high, low]))
}

/// Makes the packet of `source` with a number.
pub(crate) fn packet(source: u16, dest: u16, number: u64) -> Vec<u8> {
    let mut state = mix(number ^ (u64::from(source) << 48) ^ (u64::from(dest) << 32));
    let length = LENGTHS.0 + state % (LENGTHS.1 - LENGTHS.0 + 1);
    let mut packet = vec![0; length as usize];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 253;
    packet[12..16].copy_from_slice(&address(source).octets());
    packet[16..20].copy_from_slice(&address(dest).octets());
    packet[HEADER..HEADER + 8].copy_from_slice(&number.to_be_bytes());
    for chunk in packet[HEADER + 8..].chunks_mut(8) {
        state = mix(state);
        chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]);
    }
    packet
}

/// Reads source and destination of a packet without a look at the rest.
pub(crate) fn ends(packet: &[u8]) -> Option<(u16, u16)> {
    let at = |from: usize| Some(Ipv4Addr::from(*packet.get(from..)?.first_chunk::<4>()?));
    Some((node_of(at(12)?)?, node_of(at(16)?)?))
}

/// Names a packet if it is byte for byte one of [`packet`].
pub(crate) fn check(bytes: &[u8]) -> Option<PacketId> {
    let (source, dest) = ends(bytes)?;
    let number = u64::from_be_bytes(*bytes.get(HEADER..)?.first_chunk()?);
    (packet(source, dest, number) == bytes).then_some((source, number))
}

/// Spreads a number over 64 bits.
pub(crate) fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Tells datagrams apart (FNV-1a).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_packet_tells_every_change() {
    for number in [0, 1, 77, u64::MAX] {
        let good = packet(3, 600, number);
        assert_eq!(check(&good), Some((3, number)));
        for at in 12..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(check(&bad), None, "byte {at}");
        }
    }
}

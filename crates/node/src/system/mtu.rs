//! `interface.mtu: auto`: the largest inner packet that fits every path unfragmented.

use std::net::IpAddr;

/// The MTU assumed where a path is unknown (`interface.md`, "The peer file").
pub const UNKNOWN_PATH_MTU: u32 = 1420;

/// The least MTU an interface may have: IPv6 inside needs it (RFC 8200 section 5).
pub const LEAST_MTU: u32 = 1280;

/// The UDP header of the outer packet.
const UDP_HEADER: u32 = 8;

/// What StadiumP adds to an inner packet: header and tag.
const STADIUM_OVERHEAD: u32 = 32;

/// The longest IPv4 packet, and the longest payload behind an IPv6 header.
const LENGTH_FIELD: u32 = 65535;

/// The largest inner packet that fits a path of `path_mtu` bytes to an outer address.
pub fn inner_mtu(endpoint: IpAddr, path_mtu: u32) -> u32 {
    let (largest, header) = match endpoint.to_canonical() {
        IpAddr::V4(_) => (LENGTH_FIELD, 20),
        // The length field of IPv6 does not count its header.
        IpAddr::V6(_) => (LENGTH_FIELD + 40, 40),
    };
    path_mtu.min(largest).saturating_sub(header + UDP_HEADER + STADIUM_OVERHEAD)
}

/// Computes the MTU for `mtu: auto` from the endpoints and what is known of the paths to them.
///
/// The least of all counts, an unknown path as 1420; without endpoints 1420. Never less than
/// [`LEAST_MTU`]: over a narrower path outer datagrams are fragmented.
pub fn auto_mtu(paths: impl IntoIterator<Item = (IpAddr, Option<u32>)>) -> u32 {
    paths
        .into_iter()
        .map(|(endpoint, mtu)| mtu.map_or(UNKNOWN_PATH_MTU, |mtu| inner_mtu(endpoint, mtu)))
        .min()
        .unwrap_or(UNKNOWN_PATH_MTU)
        .clamp(LEAST_MTU, LENGTH_FIELD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn v6() -> IpAddr {
        "2001:db8::1".parse().unwrap()
    }

    #[test]
    fn subtracts_what_the_outer_packet_adds() {
        assert_eq!(inner_mtu(v4(), 1500), 1440);
        assert_eq!(inner_mtu(v6(), 1500), 1420);
        assert_eq!(inner_mtu("::ffff:192.0.2.1".parse().unwrap(), 1500), 1440);
    }

    #[test]
    fn the_length_field_bounds_a_loopback_path() {
        // 65535 - 20 - 8 bytes is the longest UDP payload over IPv4.
        assert_eq!(inner_mtu(v4(), 65536) + STADIUM_OVERHEAD, 65507);
        assert_eq!(inner_mtu(v6(), 70000) + STADIUM_OVERHEAD, 65527);
    }

    #[test]
    fn the_least_path_decides() {
        assert_eq!(auto_mtu([]), 1420);
        assert_eq!(auto_mtu([(v4(), Some(1500))]), 1440);
        assert_eq!(auto_mtu([(v4(), Some(1500)), (v6(), Some(1500))]), 1420);
        assert_eq!(auto_mtu([(v4(), Some(9000)), (v6(), None)]), 1420);
        assert_eq!(auto_mtu([(v4(), Some(1400)), (v6(), None)]), 1340);
        assert_eq!(auto_mtu([(v6(), Some(9000))]), 8920);
    }

    #[test]
    fn never_too_small_for_ipv6() {
        assert_eq!(auto_mtu([(v6(), Some(1280))]), 1280);
        assert_eq!(auto_mtu([(v4(), Some(0))]), 1280);
    }
}

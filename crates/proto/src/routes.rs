//! Which peer an inner address belongs to: longest match over all allowed IPs.
//!
//! The table is immutable: control builds a new one and publishes it. Nested prefixes are
//! flattened into disjoint ranges, so a look-up is one binary search over a sorted array,
//! whatever the prefix lengths, at 8 (IPv4) or 20 (IPv6) bytes a range.

use core::net::IpAddr;
use ipnet::IpNet;

/// Stands for "no peer" inside the arrays.
const NOBODY: u32 = u32::MAX;

/// Maps inner addresses to values below `u32::MAX` (peer slots) by longest prefix match.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Routes {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Sorted starts of disjoint ranges; each reaches to the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges<A> {
    starts: Box<[A]>,
    values: Box<[u32]>,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Self { starts: Box::default(), values: Box::default() }
    }
}

impl Routes {
    /// Builds the table from prefixes and their values; of equal prefixes the last wins.
    ///
    /// Host bits are ignored. Values must be below `u32::MAX`.
    #[must_use]
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, value) in prefixes {
            debug_assert!(value != NOBODY);
            match net {
                IpNet::V4(n) => {
                    v4.push((
                        n.network().to_bits(),
                        n.broadcast().to_bits(),
                        n.prefix_len(),
                        value,
                    ));
                }
                IpNet::V6(n) => {
                    v6.push((
                        n.network().to_bits(),
                        n.broadcast().to_bits(),
                        n.prefix_len(),
                        value,
                    ));
                }
            }
        }
        Self {
            v4: Ranges::new(v4, |a| a.checked_add(1)),
            v6: Ranges::new(v6, |a| a.checked_add(1)),
        }
    }

    /// Returns the value of the longest prefix that holds `address`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(a) => self.v4.lookup(a.to_bits()),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits()),
        }
    }
}

impl<A: Copy + Ord> Ranges<A> {
    /// Sweeps over the prefixes in order of their first address, outer before inner, with a stack
    /// of the prefixes that are open at that address.
    fn new(mut prefixes: Vec<(A, A, u8, u32)>, after: impl Fn(A) -> Option<A>) -> Self {
        // a stable sort, so that of equal prefixes the last given comes last and wins
        prefixes.sort_by_key(|&(first, _, len, _)| (first, len));
        let mut starts: Vec<A> = Vec::new();
        let mut values: Vec<u32> = Vec::new();
        let mut emit = |start: A, value: u32| {
            if starts.last() == Some(&start) {
                values.pop();
                starts.pop();
            }
            if values.last() != Some(&value) {
                starts.push(start);
                values.push(value);
            }
        };
        let mut open: Vec<(A, u32)> = Vec::new();
        for (first, last, _, value) in prefixes {
            while let Some(&(end, _)) = open.last() {
                if end >= first {
                    break;
                }
                open.pop();
                if let Some(next) = after(end) {
                    emit(next, open.last().map_or(NOBODY, |o| o.1));
                }
            }
            emit(first, value);
            open.push((last, value));
        }
        while let Some((end, _)) = open.pop() {
            if let Some(next) = after(end) {
                emit(next, open.last().map_or(NOBODY, |o| o.1));
            }
        }
        Self { starts: starts.into(), values: values.into() }
    }

    #[inline]
    fn lookup(&self, address: A) -> Option<u32> {
        let after = self.starts.partition_point(|&start| start <= address);
        let value = *self.values.get(after.checked_sub(1)?)?;
        (value != NOBODY).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    fn net(s: &str) -> IpNet {
        s.parse().unwrap()
    }

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    /// Longest match by looking at every prefix.
    fn oracle(prefixes: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
        let mut best: Option<(u8, u32)> = None;
        for &(net, value) in prefixes {
            if net.contains(&address) && best.is_none_or(|(len, _)| net.prefix_len() >= len) {
                best = Some((net.prefix_len(), value));
            }
        }
        best.map(|b| b.1)
    }

    #[test]
    fn longest_match_wins() {
        let routes = Routes::new([
            (net("0.0.0.0/0"), 1),
            (net("10.0.0.0/8"), 2),
            (net("10.7.0.0/24"), 3),
            (net("10.7.0.2/32"), 4),
            (net("255.255.255.255/32"), 5),
            (net("fd07::/64"), 6),
            (net("fd07::2/128"), 7),
        ]);
        for (address, value) in [
            ("1.1.1.1", Some(1)),
            ("10.255.255.255", Some(2)),
            ("11.0.0.0", Some(1)),
            ("10.7.0.1", Some(3)),
            ("10.7.0.2", Some(4)),
            ("10.7.0.3", Some(3)),
            ("255.255.255.255", Some(5)),
            ("0.0.0.0", Some(1)),
            ("fd07::1", Some(6)),
            ("fd07::2", Some(7)),
            ("fd08::", None),
            ("::", None),
        ] {
            assert_eq!(routes.lookup(ip(address)), value, "{address}");
        }
    }

    #[test]
    fn an_empty_table_routes_nothing() {
        let routes = Routes::default();
        assert_eq!(routes.lookup(ip("10.0.0.1")), None);
        assert_eq!(routes.lookup(ip("::1")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn agrees_with_the_oracle(
            prefixes in prop::collection::vec((any::<u32>(), 0_u8..=32, 0_u32..50, any::<bool>()), 0..60),
            probes in prop::collection::vec(any::<u32>(), 1..50),
        ) {
            // few distinct bits, so that prefixes nest and touch
            let squeeze = |a: u32| (a & 0x0300_0003) | if a & 4 == 0 { 0 } else { 0xfc00_0000 };
            let mut table: Vec<(IpNet, u32)> = Vec::new();
            for &(a, len, value, v6) in &prefixes {
                let a = squeeze(a);
                table.push(if v6 {
                    let wide = (u128::from(a) << 96) | u128::from(a);
                    (IpNet::new(Ipv6Addr::from_bits(wide).into(), len * 4).unwrap().trunc(), value)
                } else {
                    (IpNet::new(Ipv4Addr::from_bits(a).into(), len).unwrap().trunc(), value)
                });
            }
            let routes = Routes::new(table.iter().copied());
            let mut addresses: Vec<IpAddr> = Vec::new();
            for p in probes {
                for a in [squeeze(p), p] {
                    addresses.push(Ipv4Addr::from_bits(a).into());
                    addresses.push(Ipv6Addr::from_bits((u128::from(a) << 96) | u128::from(a)).into());
                }
            }
            for (net, _) in &table {
                addresses.push(net.network());
                addresses.push(net.broadcast());
            }
            for address in addresses {
                prop_assert_eq!(routes.lookup(address), oracle(&table, address), "{}", address);
            }
        }
    }
}

//! Which peer an inner address belongs to: longest match over all allowed IPs.
//!
//! The table is immutable: control builds a new one and publishes it. Nested prefixes are
//! flattened into disjoint ranges (`ranges`), and those are folded into a compressed trie
//! (`trie`): a look-up visits at most 6 nodes for IPv4 and 22 for IPv6, however many prefixes
//! there are, and 2 or 3 in tables as people write them.

mod ranges;
mod trie;

use core::net::IpAddr;
use ipnet::IpNet;

use ranges::Prefix;
use trie::Trie;

/// Stands for "no peer" inside the tables.
const NOBODY: u32 = u32::MAX;

/// Maps inner addresses to values below `u32::MAX` (peer slots) by longest prefix match.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Routes {
    v4: Trie<u32>,
    v6: Trie<u128>,
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
                IpNet::V4(n) => v4.push(Prefix {
                    first: n.network().to_bits(),
                    last: n.broadcast().to_bits(),
                    len: n.prefix_len(),
                    value,
                }),
                IpNet::V6(n) => v6.push(Prefix {
                    first: n.network().to_bits(),
                    last: n.broadcast().to_bits(),
                    len: n.prefix_len(),
                    value,
                }),
            }
        }
        Self { v4: Trie::new(&ranges::flatten(v4)), v6: Trie::new(&ranges::flatten(v6)) }
    }

    /// Returns the value of the longest prefix that holds `address`, in constant time.
    #[inline]
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<u32> {
        let value = match address {
            IpAddr::V4(a) => self.v4.lookup(a.to_bits()),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits()),
        };
        (value != NOBODY).then_some(value)
    }

    /// Returns how many bytes the table holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
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

    /// A table that changes a little between look-ups, against the oracle: a million steps.
    #[test]
    fn a_million_steps_agree_with_the_oracle() {
        const STEPS: u32 = 1_000_000;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d)
        };
        // addresses that are near each other in some places and far in others
        let near = |r: u64| {
            let (high, low) = ((r >> 32) as u32, r as u32);
            match r >> 62 {
                0 => high,
                1 => 0x0a00_0000 | (low & 0xff),
                2 => 0x0a00_0000 | (low & 0x00ff_0003),
                _ => 0xffff_ff00 | (low & 0xff),
            }
        };
        let wide = |r: u64| {
            let near = u128::from(near(r));
            match (r >> 58) & 3 {
                0 => (0xfd07 << 112) | near,
                1 => (near << 96) | 1,
                2 => (near << 96) | (0xff << 56) | near,
                _ => u128::MAX << 32 | near,
            }
        };
        let mut table: Vec<(IpNet, u32)> = Vec::new();
        let mut routes = Routes::default();
        let (mut found, mut changed) = (0_u32, 0_u32);
        for step in 0..STEPS {
            let (what, r) = (random() % 400, random());
            let v6 = r & 1 != 0;
            match what {
                0 | 1 if table.len() < 150 => {
                    let (r, value) = (random(), random() as u32 % 1000);
                    let net = if v6 {
                        let len = [128, 64, (random() % 129) as u8][random() as usize % 3];
                        IpNet::new(Ipv6Addr::from_bits(wide(r)).into(), len)
                    } else {
                        let len = [32, 24, (random() % 33) as u8][random() as usize % 3];
                        IpNet::new(Ipv4Addr::from_bits(near(r)).into(), len)
                    };
                    table.push((net.unwrap().trunc(), value));
                }
                0..=2 if !table.is_empty() => {
                    table.remove(random() as usize % table.len());
                }
                _ => {
                    let address: IpAddr = match (table.get(random() as usize % 300), v6) {
                        (Some((net, _)), true) => net.broadcast(),
                        (Some((net, _)), false) => net.network(),
                        (None, true) => Ipv6Addr::from_bits(wide(r)).into(),
                        (None, false) => Ipv4Addr::from_bits(near(r)).into(),
                    };
                    let wanted = oracle(&table, address);
                    found += u32::from(wanted.is_some());
                    assert_eq!(routes.lookup(address), wanted, "step {step}: {address}");
                    continue;
                }
            }
            routes = Routes::new(table.iter().copied());
            changed += 1;
        }
        assert!(found > STEPS / 4 && changed > STEPS / 500, "{found} found, {changed} changes");
    }
}

//! An address translator: mappings with an idle timeout, rewritten ports, filtering.
//!
//! Words are those of RFC 4787. Invariants:
//! - An inner address has a stable outer port as long as its mapping lives.
//! - Nothing comes in without a live mapping and, where filtering asks for it, a live permission.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use crate::{dice::Dice, link::nanos};

/// What a mapping or a filter looks at beside the inner address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Nothing: one outer port serves all remotes; everybody may answer.
    EndpointIndependent,
    /// The remote's address and port, as with Linux connection tracking.
    AddressAndPort,
}

/// How a translator behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// The address that the outside sees; only packets of its family are translated.
    pub external: IpAddr,
    /// How long a mapping lives without traffic.
    pub idle_timeout: Duration,
    /// What outer ports are chosen by.
    pub mapping: Dependence,
    /// Who may send to an outer port.
    pub filtering: Dependence,
    /// Whether packets from outside keep a mapping alive too.
    pub refreshed_from_outside: bool,
    /// The outer ports to choose from.
    pub ports: RangeInclusive<u16>,
}

impl NatConfig {
    /// Describes a translator that behaves as Linux masquerading does, with an idle timeout.
    pub fn strict(external: IpAddr, idle_timeout: Duration) -> Self {
        Self {
            external,
            idle_timeout,
            mapping: Dependence::AddressAndPort,
            filtering: Dependence::AddressAndPort,
            refreshed_from_outside: true,
            ports: 1024..=65535,
        }
    }

    /// Describes a translator that keeps one port per inner address and lets everybody answer.
    pub fn full_cone(external: IpAddr, idle_timeout: Duration) -> Self {
        Self {
            mapping: Dependence::EndpointIndependent,
            filtering: Dependence::EndpointIndependent,
            ..Self::strict(external, idle_timeout)
        }
    }
}

/// The inner address, and the remote where the mapping depends on it.
type Flow = (SocketAddr, Option<SocketAddr>);

/// The translator's state.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    dice: Dice,
    by_flow: BTreeMap<Flow, u16>,
    by_port: BTreeMap<u16, Mapping>,
}

#[derive(Clone, Debug)]
struct Mapping {
    flow: Flow,
    last_used: u64,
    /// Remotes that were sent to, and when last.
    permitted: BTreeMap<SocketAddr, u64>,
}

impl Nat {
    /// Makes a translator without mappings; ports are drawn from the seed.
    pub fn new(config: NatConfig, seed: u64) -> Self {
        Self { config, dice: Dice::new(seed), by_flow: BTreeMap::new(), by_port: BTreeMap::new() }
    }

    /// Tells the address that the outside sees.
    pub fn external(&self) -> IpAddr {
        self.config.external
    }

    /// Translates the source of a datagram on its way out, making a mapping where there is none.
    ///
    /// Gives `None` when no outer port is free.
    pub fn outbound(
        &mut self,
        now: u64,
        inner: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let key = match self.config.mapping {
            Dependence::EndpointIndependent => None,
            Dependence::AddressAndPort => Some(remote),
        };
        let flow = (inner, key);
        let port = match self.by_flow.get(&flow) {
            Some(port) => *port,
            None => self.map(flow)?,
        };
        let mapping = self.by_port.get_mut(&port).expect("both maps hold the same mappings");
        mapping.last_used = now;
        mapping.permitted.insert(remote, now);
        Some(SocketAddr::new(self.config.external, port))
    }

    /// Translates the destination of a datagram on its way in.
    ///
    /// Gives `None` when no live mapping has the port, or the remote may not use it.
    pub fn inbound(&mut self, now: u64, remote: SocketAddr, port: u16) -> Option<SocketAddr> {
        self.expire(now);
        let config = &self.config;
        let mapping = self.by_port.get_mut(&port)?;
        let permitted = mapping.permitted.get_mut(&remote);
        if config.filtering == Dependence::AddressAndPort {
            let since = permitted?;
            if config.refreshed_from_outside {
                *since = now;
            }
        }
        if config.refreshed_from_outside {
            mapping.last_used = now;
        }
        Some(mapping.flow.0)
    }

    /// Forgets all mappings, as a translator does that restarts.
    pub fn forget(&mut self) {
        self.by_flow.clear();
        self.by_port.clear();
    }

    /// Counts the mappings that are alive at a time.
    pub fn mappings(&mut self, now: u64) -> usize {
        self.expire(now);
        self.by_port.len()
    }

    fn map(&mut self, flow: Flow) -> Option<u16> {
        let (first, last) = (*self.config.ports.start(), *self.config.ports.end());
        let start = self.dice.between(u64::from(first), u64::from(last)) as u16;
        let port = (start..=last).chain(first..start).find(|p| !self.by_port.contains_key(p))?;
        self.by_flow.insert(flow, port);
        self.by_port.insert(port, Mapping { flow, last_used: 0, permitted: BTreeMap::new() });
        Some(port)
    }

    fn expire(&mut self, now: u64) {
        let timeout = nanos(self.config.idle_timeout);
        let alive = |last: u64| now.saturating_sub(last) < timeout;
        let by_flow = &mut self.by_flow;
        self.by_port.retain(|_, mapping| {
            mapping.permitted.retain(|_, last| alive(*last));
            let keep = alive(mapping.last_used);
            if !keep {
                by_flow.remove(&mapping.flow);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn strict() -> Nat {
        Nat::new(NatConfig::strict(addr("203.0.113.1:0").ip(), Duration::from_secs(2)), 1)
    }

    #[test]
    fn a_mapping_dies_of_idleness_and_not_before() {
        let (mut nat, inner, remote) = (strict(), addr("10.0.0.2:5000"), addr("198.51.100.1:53"));
        let outer = nat.outbound(0, inner, remote).unwrap();
        assert_eq!(outer.ip(), nat.external());
        assert_eq!(nat.inbound(2 * SECOND - 1, remote, outer.port()), Some(inner));
        // the answer counted as use
        assert_eq!(nat.inbound(4 * SECOND - 2, remote, outer.port()), Some(inner));
        assert_eq!(nat.inbound(6 * SECOND - 2, remote, outer.port()), None);
        assert_eq!(nat.mappings(6 * SECOND), 0);
    }

    #[test]
    fn traffic_from_outside_alone_need_not_keep_a_mapping() {
        let mut config = NatConfig::strict(addr("203.0.113.1:0").ip(), Duration::from_secs(2));
        config.refreshed_from_outside = false;
        let (mut nat, inner, remote) =
            (Nat::new(config, 1), addr("10.0.0.2:5000"), addr("198.51.100.1:53"));
        let port = nat.outbound(0, inner, remote).unwrap().port();
        assert_eq!(nat.inbound(SECOND, remote, port), Some(inner));
        assert_eq!(nat.inbound(2 * SECOND, remote, port), None);
    }

    #[test]
    fn strict_filters_strangers_and_full_cone_does_not() {
        let (inner, remote, stranger) =
            (addr("10.0.0.2:5000"), addr("198.51.100.1:53"), addr("198.51.100.9:53"));
        let mut nat = strict();
        let port = nat.outbound(0, inner, remote).unwrap().port();
        assert_eq!(nat.inbound(0, stranger, port), None);
        assert_ne!(nat.outbound(0, inner, stranger).unwrap().port(), port);

        let config = NatConfig::full_cone(addr("203.0.113.1:0").ip(), Duration::from_secs(2));
        let mut nat = Nat::new(config, 1);
        let port = nat.outbound(0, inner, remote).unwrap().port();
        assert_eq!(nat.inbound(0, stranger, port), Some(inner));
        assert_eq!(nat.outbound(0, inner, stranger).unwrap().port(), port);
    }

    #[test]
    fn ports_run_out_and_a_restart_frees_them() {
        let mut config = NatConfig::strict(addr("203.0.113.1:0").ip(), Duration::from_secs(2));
        config.ports = 4000..=4002;
        let mut nat = Nat::new(config, 1);
        let remote = addr("198.51.100.1:53");
        let ports: Vec<_> = (1..=4)
            .map(|port| nat.outbound(0, SocketAddr::new(remote.ip(), port), remote))
            .map(|outer| outer.map(|outer| outer.port()))
            .collect();
        let mut taken: Vec<_> = ports[..3].iter().map(|port| port.unwrap()).collect();
        taken.sort_unstable();
        assert_eq!((taken, ports[3]), (vec![4000, 4001, 4002], None));
        nat.forget();
        assert_eq!(nat.inbound(0, remote, 4000), None);
        assert!(nat.outbound(0, addr("10.0.0.2:4"), remote).is_some());
    }

    proptest! {
        #[test]
        fn live_mappings_are_one_to_one(
            flows in proptest::collection::vec((0..20_u16, 0..4_u16, 0..SECOND), 1..100),
            full_cone: bool, seed: u64,
        ) {
            let external = addr("203.0.113.1:0").ip();
            let timeout = Duration::from_secs(2);
            let config = if full_cone {
                NatConfig::full_cone(external, timeout)
            } else {
                NatConfig::strict(external, timeout)
            };
            let mut nat = Nat::new(config, seed);
            let mut now = 0;
            for (inner, remote, pause) in flows {
                now += pause;
                let inner = SocketAddr::new(addr("10.0.0.2:0").ip(), 1000 + inner);
                let remote = SocketAddr::new(addr("198.51.100.1:0").ip(), 1000 + remote);
                let outer = nat.outbound(now, inner, remote).unwrap();
                prop_assert_eq!(nat.inbound(now, remote, outer.port()), Some(inner));
                prop_assert_eq!(nat.outbound(now, inner, remote), Some(outer));
                prop_assert_eq!(nat.by_flow.len(), nat.by_port.len());
                prop_assert!(nat.by_flow.iter().all(|(f, p)| nat.by_port[p].flow == *f));
            }
        }
    }
}

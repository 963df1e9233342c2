//! Worlds of simulated nodes and shorthands to build and read them.

use crate::{
    inner,
    ledger::{Balance, Tapped, balance},
    node::SimNode,
};
use stadium_netsim::{
    link::Impairments,
    world::{HostId, Outbox, World},
};
use stadium_proto::{
    crypto::HashAlg,
    engine::{HandshakeKind, Input, PeerConfig, PeerError, PeerState, PostQuantum, Settings},
    identity::{Identity, NetworkKey, PresharedKey, SecretKey},
    noise::{NoiseByte, NoisePolicy},
    peer::LocalAddress,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// Where the clock of every world starts: 0 would be no moment to the stamps.
const START: u64 = SECOND;
/// The wall time at which worlds start, in nanoseconds since 1970.
const WALL: i64 = 1_790_000_000_000_000_000;
/// Ten years in nanoseconds.
pub(crate) const TEN_YEARS: i64 = 315_576_000 * SECOND as i64;

/// What distinguishes one node's start from another's.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) seed: u64,
    /// What its wall clock is ahead of the world's clock, in nanoseconds.
    pub(crate) wall: i64,
    /// Whether bursts of handshake datagrams count as a queue before control.
    pub(crate) models_queue: bool,
}

impl Setup {
    pub(crate) fn seeded(seed: u64) -> Self {
        let settings = Settings { lanes: 2, ..Settings::default() };
        Self { settings, network_key: None, seed, wall: WALL, models_queue: false }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn classic(self) -> Self {
        self.with(|settings| settings.post_quantum = PostQuantum::Off)
    }

    pub(crate) fn only_sha512(self) -> Self {
        self.with(|settings| settings.hashes = vec![HashAlg::Sha512])
    }
}

/// Returns the outer address of a node.
pub(crate) fn outer(node: u16) -> SocketAddr {
    let [high, low] = node.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(198, 18, high, low).into(), 51_871)
}

/// Returns an address that no node has to begin with.
pub(crate) fn elsewhere(n: u8, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(203, 0, 113, n).into(), port)
}

pub(crate) fn local_address(local: SocketAddr) -> LocalAddress {
    LocalAddress { ip: local.ip(), interface: 1 }
}

pub(crate) fn secret(node: u16) -> SecretKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&node.to_be_bytes());
    SecretKey::from_seed(seed)
}

/// Returns the configuration of `node` as a peer: its inner address, and where it is reached.
pub(crate) fn peer(node: u16, endpoint: Option<SocketAddr>) -> PeerConfig {
    PeerConfig {
        public_key: *Identity::new(secret(node)).public(),
        preshared_key: PresharedKey::NONE,
        endpoint,
        allowed_ips: vec![IpAddr::V4(inner::address(node)).into()],
        heartbeat: None,
        handshake: HandshakeKind::Encrypted,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    }
}

/// A world of nodes numbered from 1.
pub(crate) struct Net {
    pub(crate) world: World<SimNode>,
    hosts: Vec<HostId>,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self { world: World::starting_at(seed, START), hosts: Vec::new() }
    }

    /// Makes two nodes; 1 knows where 2 is, 2 learns where 1 is.
    pub(crate) fn pair(seed: u64) -> Self {
        Self::pair_of(seed, Setup::seeded(seed), Setup::seeded(seed))
    }

    pub(crate) fn pair_of(seed: u64, one: Setup, two: Setup) -> Self {
        let mut net = Self::new(seed);
        net.add(one);
        net.add(two);
        net.introduce(1, peer(2, Some(outer(2))));
        net.introduce(2, peer(1, None));
        net
    }

    /// Lets a node join at its usual address.
    pub(crate) fn add(&mut self, setup: Setup) -> u16 {
        let number = self.hosts.len() as u16 + 1;
        let node = SimNode::new(number, setup, self.world.now());
        self.hosts.push(self.world.join(node, &[outer(number)]));
        number
    }

    /// Writes a peer into a node's peer file.
    pub(crate) fn introduce(&mut self, node: u16, config: PeerConfig) {
        self.with(node, |sim, now, out| {
            let IpAddr::V4(address) = config.allowed_ips[0].addr() else { unreachable!() };
            sim.add_peer(now, inner::node_of(address).unwrap(), config, out);
        });
    }

    pub(crate) fn host(&self, node: u16) -> HostId {
        self.hosts[usize::from(node) - 1]
    }

    pub(crate) fn node(&self, node: u16) -> &SimNode {
        self.world.node(self.host(node))
    }

    pub(crate) fn with<R>(
        &mut self,
        node: u16,
        act: impl FnOnce(&mut SimNode, u64, &mut Outbox) -> R,
    ) -> R {
        self.world.with_node(self.host(node), act)
    }

    /// Changes a node without a look at the time.
    pub(crate) fn edit<R>(&mut self, node: u16, change: impl FnOnce(&mut SimNode) -> R) -> R {
        self.with(node, |sim, _, _| change(sim))
    }

    /// Keeps what a node sends from now on, for [`Self::take_tap`].
    pub(crate) fn tap(&mut self, node: u16) {
        self.edit(node, |sim| sim.ledger.tap = Some(Vec::new()));
    }

    pub(crate) fn take_tap(&mut self, node: u16) -> Vec<Tapped> {
        self.edit(node, |sim| sim.ledger.take_tap())
    }

    pub(crate) fn drive(&mut self, node: u16, input: Input<'_>) {
        self.with(node, |sim, now, out| sim.drive(now, input, out));
    }

    /// Starts flows of inner packets both ways.
    pub(crate) fn talk(&mut self, a: u16, b: u16, interval: Duration, count: u64) {
        for (from, to) in [(a, b), (b, a)] {
            self.flow(from, to, interval, count);
        }
    }

    pub(crate) fn flow(&mut self, from: u16, to: u16, interval: Duration, count: u64) {
        let interval = interval.as_nanos() as u64;
        self.with(from, |sim, now, _| sim.start_flow(now, to, interval, count));
    }

    /// Sends one inner packet.
    pub(crate) fn send(&mut self, from: u16, to: u16) {
        self.with(from, |sim, now, out| sim.send_packet(now, to, out));
    }

    pub(crate) fn restart(&mut self, node: u16) {
        self.world.remark(format!("node {node} restarts"));
        self.with(node, |sim, now, out| sim.restart(now, out));
    }

    /// Sets a travel time on the access links of all nodes.
    pub(crate) fn delay(&mut self, each_way: Duration) {
        for host in self.hosts.clone() {
            let half = each_way / 2;
            self.world.impair_both(host, Impairments::NONE.with_delay(half, half));
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        self.world.run_for(span);
    }

    /// Runs until both nodes have a session with each other, and tells how long that took.
    pub(crate) fn run_until_up(&mut self, a: u16, b: u16, limit: Duration) -> Option<Duration> {
        let start = self.world.now();
        let (ha, hb) = (self.host(a), self.host(b));
        let up = self.world.run_until_holds(limit, |world| {
            let now = world.now();
            world.node(ha).is_up(now, b) && world.node(hb).is_up(now, a)
        });
        up.then(|| Duration::from_nanos(self.world.now() - start))
    }

    /// Sends a packet from `a` to `b` and runs until both are up, which must not take long.
    pub(crate) fn connect(&mut self, a: u16, b: u16) {
        self.send(a, b);
        assert!(self.run_until_up(a, b, Duration::from_secs(5)).is_some(), "{}", self.world);
    }

    pub(crate) fn state(&self, node: u16, peer: u16) -> PeerState {
        self.node(node).status(self.world.now(), peer).state
    }

    pub(crate) fn last_error(&self, node: u16, peer: u16) -> Option<PeerError> {
        self.node(node).status(self.world.now(), peer).last_error
    }

    pub(crate) fn balance(&self, from: u16, to: u16) -> Balance {
        balance((from, &self.node(from).ledger), (to, &self.node(to).ledger))
    }

    /// Checks what must hold in every world: nothing twice, nothing altered, no counter twice.
    pub(crate) fn check_invariants(&self) {
        for host in &self.hosts {
            let node = self.world.node(*host);
            let ledger = &node.ledger;
            assert_eq!(ledger.duplicates, 0, "node {} took twice\n{}", node.number, self.world);
            assert_eq!(ledger.altered, 0, "node {} took altered\n{}", node.number, self.world);
            assert_eq!(ledger.repeated_counters, 0, "node {}\n{}", node.number, self.world);
        }
    }
}

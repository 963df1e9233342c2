//! Nodes, links, address translators and a virtual clock.
//!
//! Each host hangs on the network by an access link of its own with two directions, outgoing and
//! incoming; a datagram passes the sender's outgoing one, perhaps an address translator, and the
//! receiver's incoming one. Invariants:
//! - Time never goes back, and events of one time happen in the order in which they were caused.
//! - A run depends on the seed and on the calls, on nothing else: equal runs have equal
//!   [`digest`](Trace::digest)s.
//! - A node's timeout is handled at the time it named, not earlier, not later.

mod nat;
mod trace;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    net::SocketAddr,
    time::Duration,
};

pub use self::{
    nat::{Dependence, Nat, NatConfig},
    trace::{Event, Summary, Trace, What},
};
use crate::{
    dice::Dice,
    link::{Delivery, Impairments, Link, LinkCounters, nanos},
};

/// A protocol under test: it is told of datagrams and of time, and answers into an [`Outbox`].
///
/// Times are nanoseconds of the world's clock, which starts where the test says.
pub trait Node {
    /// Takes a datagram that arrived at `local` from `remote`; the bytes may be changed in place.
    fn handle_datagram(
        &mut self,
        now: u64,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    );

    /// Does what is due by `now`.
    fn handle_timeout(&mut self, now: u64, out: &mut Outbox);

    /// Says when it wants to be woken up next, if at all; a time in the past means at once.
    fn next_timeout(&self) -> Option<u64>;
}

/// Collects what a node sends.
#[derive(Debug, Default)]
pub struct Outbox(Vec<Outgoing>);

#[derive(Debug)]
struct Outgoing {
    local: Option<SocketAddr>,
    remote: SocketAddr,
    bytes: Vec<u8>,
}

impl Outbox {
    /// Sends a datagram from the host's first address of the destination's family.
    pub fn send(&mut self, remote: SocketAddr, bytes: impl Into<Vec<u8>>) {
        self.0.push(Outgoing { local: None, remote, bytes: bytes.into() });
    }

    /// Sends a datagram from one of the host's addresses.
    ///
    /// When the host no longer has that address, the datagram leaves from the first one of the
    /// destination's family, as from a socket whose pinned source vanished.
    pub fn send_from(&mut self, local: SocketAddr, remote: SocketAddr, bytes: impl Into<Vec<u8>>) {
        self.0.push(Outgoing { local: Some(local), remote, bytes: bytes.into() });
    }
}

/// Names a host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(usize);

impl HostId {
    /// Gives the host's number, counted from 0 in the order of joining.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Names an address translator of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(usize);

/// Names a direction of a host's access link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the host to the network.
    Outgoing,
    /// From the network to the host.
    Incoming,
}

/// What became of datagrams outside the links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldCounters {
    /// Datagrams handed to nodes.
    pub delivered: u64,
    /// Datagrams to addresses that nobody has, or no longer has.
    pub unroutable: u64,
    /// Datagrams that a translator did not let pass.
    pub nat_blocked: u64,
    /// Datagrams of a host without an address of the destination's family.
    pub no_source: u64,
    /// Timeouts handled.
    pub timeouts: u64,
}

/// Nodes on a simulated network with a virtual clock.
pub struct World<N> {
    now: u64,
    seed: u64,
    dice: Dice,
    hosts: Vec<Host<N>>,
    nats: Vec<Nat>,
    /// Who has which address; inside a translator addresses are the translator's own.
    addresses: BTreeMap<(Realm, SocketAddr), HostId>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    trace: Trace,
    counters: WorldCounters,
    /// Handled timeouts since time moved last, to notice a node that never lets it.
    spins: u32,
}

/// Where an address is valid: outside, or behind one translator.
type Realm = Option<NatId>;

struct Host<N> {
    node: N,
    addresses: Vec<SocketAddr>,
    nat: Option<NatId>,
    outgoing: Access,
    incoming: Access,
    /// What the node asked for.
    timeout: Option<u64>,
    /// The earliest wake-up that stands in the queue for it.
    wake_up: Option<u64>,
}

/// One direction of an access link; datagrams carry their source and destination.
struct Access {
    link: Link<(SocketAddr, SocketAddr)>,
    /// The earliest release that stands in the queue for it.
    release: Option<u64>,
}

struct Scheduled {
    at: u64,
    order: u64,
    action: Action,
}

enum Action {
    WakeUp(HostId),
    Release(HostId, Direction),
    /// The datagram has passed its sender's outgoing link.
    Route {
        sender: HostId,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The datagram has passed its receiver's incoming link.
    Arrive {
        host: HostId,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    },
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<N: Node> World<N> {
    /// Makes an empty world whose clock stands at 0.
    pub fn new(seed: u64) -> Self {
        Self::starting_at(seed, 0)
    }

    /// Makes an empty world whose clock stands at `now` nanoseconds.
    pub fn starting_at(seed: u64, now: u64) -> Self {
        Self {
            now,
            seed,
            dice: Dice::new(seed),
            hosts: Vec::new(),
            nats: Vec::new(),
            addresses: BTreeMap::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            trace: Trace::new(256),
            counters: WorldCounters::default(),
            spins: 0,
        }
    }

    /// Lets a node join with its addresses, over a perfect access link.
    ///
    /// # Panics
    ///
    /// When another host has one of the addresses.
    pub fn join(&mut self, node: N, addresses: &[SocketAddr]) -> HostId {
        self.join_at(node, addresses, None)
    }

    /// Lets a node join behind an address translator.
    ///
    /// # Panics
    ///
    /// When another host behind the same translator has one of the addresses.
    pub fn join_behind(&mut self, node: N, addresses: &[SocketAddr], nat: NatId) -> HostId {
        self.join_at(node, addresses, Some(nat))
    }

    /// Adds an address translator.
    pub fn add_nat(&mut self, config: NatConfig) -> NatId {
        let id = NatId(self.nats.len());
        let seed = self.dice.number();
        self.nats.push(Nat::new(config, seed));
        id
    }

    /// Gives an address translator, to look into or to make forget.
    pub fn nat_mut(&mut self, nat: NatId) -> &mut Nat {
        &mut self.nats[nat.0]
    }

    /// Tells the time.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Tells the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Gives a node to look at.
    pub fn node(&self, host: HostId) -> &N {
        &self.hosts[host.0].node
    }

    /// Does something with a node at the present time, and sends what it puts into the outbox.
    pub fn with_node<R>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut N, u64, &mut Outbox) -> R,
    ) -> R {
        let mut out = Outbox::default();
        let result = act(&mut self.hosts[host.0].node, self.now, &mut out);
        self.settle(host, out);
        result
    }

    /// Puts another node in a host's place, as a restart does, and gives the old one.
    pub fn replace(&mut self, host: HostId, node: N) -> N {
        self.note(Some(host), "node replaced".into());
        let old = std::mem::replace(&mut self.hosts[host.0].node, node);
        self.settle(host, Outbox::default());
        old
    }

    /// Changes the impairments of one direction of a host's access link.
    pub fn impair(&mut self, host: HostId, direction: Direction, impairments: Impairments) {
        self.note(Some(host), format!("{direction:?} {impairments:?}"));
        self.access(host, direction).link.set_impairments(impairments);
    }

    /// Changes the impairments of both directions of a host's access link.
    pub fn impair_both(&mut self, host: HostId, impairments: Impairments) {
        self.impair(host, Direction::Outgoing, impairments);
        self.impair(host, Direction::Incoming, impairments);
    }

    /// Takes a host's access link down or up, in both directions.
    pub fn set_link_up(&mut self, host: HostId, up: bool) {
        self.note(Some(host), format!("link up: {up}"));
        self.access(host, Direction::Outgoing).link.set_up(up);
        self.access(host, Direction::Incoming).link.set_up(up);
    }

    /// Tells what one direction of a host's access link has done.
    pub fn link_counters(&self, host: HostId, direction: Direction) -> LinkCounters {
        let host = &self.hosts[host.0];
        match direction {
            Direction::Outgoing => host.outgoing.link.counters(),
            Direction::Incoming => host.incoming.link.counters(),
        }
    }

    /// Tells a host's addresses.
    pub fn addresses(&self, host: HostId) -> &[SocketAddr] {
        &self.hosts[host.0].addresses
    }

    /// Moves a host to other addresses, outside or behind a translator; datagrams under way to the
    /// old ones are dropped.
    ///
    /// # Panics
    ///
    /// When another host has one of the addresses there.
    pub fn roam(&mut self, host: HostId, addresses: &[SocketAddr], nat: Option<NatId>) {
        self.note(Some(host), format!("roams to {addresses:?} behind {nat:?}"));
        self.addresses.retain(|_, owner| *owner != host);
        self.hosts[host.0].addresses = addresses.to_vec();
        self.hosts[host.0].nat = nat;
        for address in addresses {
            let realm = self.realm(nat, *address);
            let before = self.addresses.insert((realm, *address), host);
            assert!(before.is_none(), "{address} belongs to another host already");
        }
    }

    /// Puts a datagram on the network as if it came from any address, past every outgoing link and
    /// translator: replayed and spoofed traffic.
    pub fn inject(&mut self, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.note(None, format!("injected from {source}"));
        self.route_outside(source, destination, bytes.to_vec());
    }

    /// Writes a remark into the trace.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.note(None, text.into());
    }

    /// Gives the trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Changes how many events the trace keeps (256 to begin with).
    pub fn set_trace_capacity(&mut self, capacity: usize) {
        self.trace.set_capacity(capacity);
    }

    /// Tells what became of datagrams outside the links.
    pub fn counters(&self) -> WorldCounters {
        self.counters
    }

    /// Tells when something happens next, if anything does.
    pub fn next_event(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(scheduled)| scheduled.at)
    }

    /// Goes to the next event, handles it, and tells its time; `None` if there is none.
    ///
    /// # Panics
    ///
    /// When a node keeps asking for a timeout that has passed, so that time cannot go on.
    pub fn step(&mut self) -> Option<u64> {
        let Reverse(Scheduled { at, action, .. }) = self.queue.pop()?;
        if at > self.now {
            self.now = at;
            self.spins = 0;
        }
        match action {
            Action::WakeUp(host) => self.wake_up(host),
            Action::Release(host, direction) => {
                let mut out = Vec::new();
                let access = self.access(host, direction);
                access.release = access.release.filter(|scheduled| *scheduled > at);
                access.link.release(at, &mut out);
                self.forward(host, direction, out);
            }
            Action::Route { sender, source, destination, bytes } => {
                self.route(sender, source, destination, bytes);
            }
            Action::Arrive { host, source, destination, bytes } => {
                self.arrive(host, source, destination, bytes);
            }
        }
        Some(self.now)
    }

    /// Handles everything up to and including a time, and stands there.
    pub fn run_until(&mut self, time: u64) {
        while self.next_event().is_some_and(|next| next <= time) {
            self.step();
        }
        if time > self.now {
            self.now = time;
            self.spins = 0;
        }
    }

    /// Handles everything in a span of time, and stands at its end.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now.saturating_add(nanos(span)));
    }

    /// Runs until a condition holds, and says whether it did within a span of time.
    ///
    /// The condition is looked at before the first event and after each.
    pub fn run_until_holds(
        &mut self,
        span: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> bool {
        let limit = self.now.saturating_add(nanos(span));
        loop {
            if condition(self) {
                return true;
            }
            if self.next_event().is_none_or(|next| next > limit) {
                self.run_until(limit);
                return condition(self);
            }
            self.step();
        }
    }

    fn join_at(&mut self, node: N, addresses: &[SocketAddr], nat: Option<NatId>) -> HostId {
        let id = HostId(self.hosts.len());
        let mut access =
            || Access { link: Link::with_dice(Impairments::NONE, self.dice.fork()), release: None };
        let (outgoing, incoming) = (access(), access());
        self.hosts.push(Host {
            node,
            addresses: Vec::new(),
            nat: None,
            outgoing,
            incoming,
            timeout: None,
            wake_up: None,
        });
        self.roam(id, addresses, nat);
        self.settle(id, Outbox::default());
        id
    }

    /// Sends what a node put into its outbox, and notes when it wants to wake up.
    fn settle(&mut self, host: HostId, out: Outbox) {
        for outgoing in out.0 {
            self.send(host, outgoing);
        }
        let owner = &mut self.hosts[host.0];
        owner.timeout = owner.node.next_timeout().map(|at| at.max(self.now));
        // an earlier wake-up in the queue serves a later timeout too: it looks again
        if let Some(at) = owner.timeout.filter(|at| owner.wake_up.is_none_or(|w| w > *at)) {
            owner.wake_up = Some(at);
            self.schedule(at, Action::WakeUp(host));
        }
    }

    fn wake_up(&mut self, host: HostId) {
        let owner = &mut self.hosts[host.0];
        if owner.wake_up == Some(self.now) {
            owner.wake_up = None;
        }
        if owner.timeout.is_some_and(|at| at <= self.now) {
            self.spins += 1;
            assert!(
                self.spins < SPIN_LIMIT,
                "host {} asks again and again for a timeout that has passed\n{self}",
                host.0,
            );
            self.counters.timeouts += 1;
            self.record(Some(host), What::Timeout, None);
            let mut out = Outbox::default();
            self.hosts[host.0].node.handle_timeout(self.now, &mut out);
            self.settle(host, out);
        } else if let Some(at) = owner.timeout.filter(|at| owner.wake_up.is_none_or(|w| w > *at)) {
            owner.wake_up = Some(at);
            self.schedule(at, Action::WakeUp(host));
        }
    }

    fn send(&mut self, host: HostId, outgoing: Outgoing) {
        let Outgoing { local, remote, bytes } = outgoing;
        let owned = &self.hosts[host.0].addresses;
        let source = local
            .filter(|local| owned.contains(local))
            .or_else(|| owned.iter().copied().find(|own| own.is_ipv4() == remote.is_ipv4()));
        let Some(source) = source else {
            self.counters.no_source += 1;
            self.record(Some(host), What::NoSource, None);
            return;
        };
        let summary = Summary::new(source, remote, &bytes);
        let mut out = Vec::new();
        let link = &mut self.hosts[host.0].outgoing.link;
        let fate = link.transmit_tagged(self.now, (source, remote), bytes, &mut out);
        self.record(Some(host), What::Sent(fate), Some(summary));
        self.forward(host, Direction::Outgoing, out);
    }

    /// Schedules what leaves a link, and the link's own next event.
    fn forward(
        &mut self,
        host: HostId,
        direction: Direction,
        deliveries: Vec<Delivery<(SocketAddr, SocketAddr)>>,
    ) {
        for Delivery { at, tag: (source, destination), bytes, .. } in deliveries {
            let action = match direction {
                Direction::Outgoing => Action::Route { sender: host, source, destination, bytes },
                Direction::Incoming => Action::Arrive { host, source, destination, bytes },
            };
            self.schedule(at, action);
        }
        let access = self.access(host, direction);
        let next = access.link.next_release();
        if let Some(at) = next.filter(|at| access.release.is_none_or(|release| release > *at)) {
            access.release = Some(at);
            self.schedule(at, Action::Release(host, direction));
        }
    }

    fn route(
        &mut self,
        sender: HostId,
        mut source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let realm = self.realm(self.hosts[sender.0].nat, source);
        if let Some(nat) = realm {
            if let Some(host) = self.addresses.get(&(realm, destination)) {
                return self.deliver(*host, source, destination, bytes);
            }
            let Some(outer) = self.nats[nat.0].outbound(self.now, source, destination) else {
                return self.block(source, destination, &bytes);
            };
            source = outer;
        }
        self.route_outside(source, destination, bytes);
    }

    fn route_outside(&mut self, source: SocketAddr, destination: SocketAddr, bytes: Vec<u8>) {
        if let Some(host) = self.addresses.get(&(None, destination)) {
            return self.deliver(*host, source, destination, bytes);
        }
        let Some(nat) = self.nats.iter().position(|nat| nat.external() == destination.ip()) else {
            return self.unroutable(source, destination, &bytes);
        };
        let Some(inner) = self.nats[nat].inbound(self.now, source, destination.port()) else {
            return self.block(source, destination, &bytes);
        };
        match self.addresses.get(&(Some(NatId(nat)), inner)) {
            Some(host) => self.deliver(*host, source, inner, bytes),
            None => self.unroutable(source, inner, &bytes),
        }
    }

    /// Puts a datagram into the receiver's incoming link.
    fn deliver(
        &mut self,
        host: HostId,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let summary = Summary::new(source, destination, &bytes);
        let mut out = Vec::new();
        let link = &mut self.hosts[host.0].incoming.link;
        let fate = link.transmit_tagged(self.now, (source, destination), bytes, &mut out);
        self.record(Some(host), What::Routed(fate), Some(summary));
        self.forward(host, Direction::Incoming, out);
    }

    fn arrive(
        &mut self,
        host: HostId,
        source: SocketAddr,
        destination: SocketAddr,
        mut bytes: Vec<u8>,
    ) {
        if !self.hosts[host.0].addresses.contains(&destination) {
            return self.unroutable(source, destination, &bytes);
        }
        self.counters.delivered += 1;
        let summary = Summary::new(source, destination, &bytes);
        self.record(Some(host), What::Delivered, Some(summary));
        let mut out = Outbox::default();
        let node = &mut self.hosts[host.0].node;
        node.handle_datagram(self.now, destination, source, &mut bytes, &mut out);
        self.settle(host, out);
    }

    fn unroutable(&mut self, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.counters.unroutable += 1;
        self.record(None, What::Unroutable, Some(Summary::new(source, destination, bytes)));
    }

    fn block(&mut self, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.counters.nat_blocked += 1;
        self.record(None, What::NatBlocked, Some(Summary::new(source, destination, bytes)));
    }

    /// Says where an address of a host behind `nat` is valid: translators know one family only.
    fn realm(&self, nat: Option<NatId>, address: SocketAddr) -> Realm {
        nat.filter(|nat| self.nats[nat.0].external().is_ipv4() == address.is_ipv4())
    }

    fn access(&mut self, host: HostId, direction: Direction) -> &mut Access {
        let host = &mut self.hosts[host.0];
        match direction {
            Direction::Outgoing => &mut host.outgoing,
            Direction::Incoming => &mut host.incoming,
        }
    }

    fn schedule(&mut self, at: u64, action: Action) {
        let order = self.scheduled;
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), order, action }));
    }

    fn note(&mut self, host: Option<HostId>, text: String) {
        self.record(host, What::Note(text), None);
    }

    fn record(&mut self, host: Option<HostId>, what: What, datagram: Option<Summary>) {
        self.trace.push(Event { at: self.now, host, what, datagram });
    }
}

/// Prints the seed and the last events: what a failed test should show.
impl<N> fmt::Display for World<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world with seed {} at {} ns", self.seed, self.now)?;
        write!(f, "{}", self.trace)
    }
}

impl<N> fmt::Debug for World<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("now", &self.now).finish()
    }
}

/// Handled timeouts at one time after which a node counts as stuck.
const SPIN_LIMIT: u32 = 100_000;

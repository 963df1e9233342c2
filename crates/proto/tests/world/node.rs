//! A node of the simulated world: a real engine with a small data plane around it.

use crate::{
    inner,
    ledger::Ledger,
    net::{Setup, outer},
};
use stadium_netsim::{dice::Dice, world::Outbox};
use stadium_proto::{
    drop::DropReason,
    engine::{
        Change, DatagramClass, Engine, Event, Input, Now, Output, PeerConfig, PeerState, PeerStatus,
    },
    identity::Identity,
    peer::{Endpoint, PeerCell, PeerId},
    time::{Instant, WallTime},
    timers::Why,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// How long a name takes to be resolved again, in nanoseconds.
const LOOKUP: u64 = 20_000_000;
/// Inner packets to another node at an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) dest: u16,
    pub(crate) interval: u64,
    pub(crate) due: u64,
    pub(crate) left: u64,
}

/// A node.
pub(crate) struct SimNode {
    pub(crate) number: u16,
    pub(crate) setup: Setup,
    pub(crate) engine: Engine,
    /// The peer file: what a restarted node starts with.
    pub(crate) peers: BTreeMap<u16, (PeerId, PeerConfig)>,
    /// Where names lead; a silent peer's is looked up again.
    pub(crate) names: BTreeMap<u16, SocketAddr>,
    pub(crate) lookups: Vec<(u64, u16)>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) ledger: Ledger,
    pub(crate) events: Vec<(u64, Event)>,
    /// Timeouts of the engine that were handled, by their reason.
    pub(crate) wake_ups: BTreeMap<Why, u64>,
    restarts: u64,
    /// The start of the present span of the queue's model, and datagrams in it.
    pub(crate) queue: (u64, usize),
}

/// Keeps what the engine puts out during one call.
#[derive(Default)]
struct Sink {
    sent: Vec<(Endpoint, Vec<u8>)>,
    events: Vec<Event>,
}

impl Output for Sink {
    fn send(&mut self, to: &Endpoint, datagram: &[u8], _class: DatagramClass) {
        self.sent.push((*to, datagram.to_vec()));
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl SimNode {
    pub(crate) fn new(number: u16, setup: Setup, now: u64) -> Self {
        let engine = start_engine(number, &setup, 0, now);
        Self {
            number,
            setup,
            engine,
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            lookups: Vec::new(),
            flows: Vec::new(),
            ledger: Ledger::default(),
            events: Vec::new(),
            wake_ups: BTreeMap::new(),
            restarts: 0,
            queue: (0, 0),
        }
    }

    /// Returns both clocks.
    pub(crate) fn at(&self, now: u64) -> Now {
        clocks(&self.setup, now)
    }

    /// Starts anew as after `kill -9`: same identity and peer file, nothing else.
    pub(crate) fn restart(&mut self, now: u64, out: &mut Outbox) {
        self.restarts += 1;
        self.engine = start_engine(self.number, &self.setup, self.restarts, now);
        self.lookups.clear();
        let configs: Vec<_> = self.peers.values().map(|(_, config)| config.clone()).collect();
        self.peers.clear();
        for config in configs {
            let number = inner_of(&config);
            self.add_peer(now, number, config, out);
        }
    }

    pub(crate) fn add_peer(&mut self, now: u64, number: u16, config: PeerConfig, out: &mut Outbox) {
        let id = self.apply(now, Change::Add(Box::new(config.clone())), out).unwrap();
        self.peers.insert(number, (id, config));
    }

    /// Changes a peer as a reload of the peer file does.
    pub(crate) fn update_peer(
        &mut self,
        now: u64,
        number: u16,
        change: impl FnOnce(&mut PeerConfig),
        out: &mut Outbox,
    ) {
        let (id, config) = self.peers.get_mut(&number).unwrap();
        change(config);
        let change = Change::Update(*id, Box::new(config.clone()));
        self.apply(now, change, out);
    }

    pub(crate) fn remove_peer(&mut self, now: u64, number: u16, out: &mut Outbox) {
        let (id, _) = self.peers.remove(&number).unwrap();
        self.apply(now, Change::Remove(id), out);
    }

    pub(crate) fn apply(&mut self, now: u64, change: Change, out: &mut Outbox) -> Option<PeerId> {
        let mut sink = Sink::default();
        let result = self.engine.apply(self.at(now), [change], &mut sink).remove(0).unwrap();
        self.settle(now, sink, out);
        result
    }

    /// Hands the engine an input and does what follows from it.
    pub(crate) fn drive(&mut self, now: u64, input: Input<'_>, out: &mut Outbox) {
        let mut sink = Sink::default();
        self.engine.handle(self.at(now), input, &mut sink);
        self.settle(now, sink, out);
    }

    fn settle(&mut self, now: u64, sink: Sink, out: &mut Outbox) {
        for (to, datagram) in sink.sent {
            self.transmit(now, &to, datagram, out);
        }
        for event in sink.events {
            match event {
                Event::SessionUp { peer, .. } | Event::CanSend { peer } => {
                    self.send_waiting(now, peer, out);
                }
                Event::Silent { peer } => {
                    let known = self.peers.iter().find(|(_, (id, _))| *id == peer);
                    if let Some((number, _)) = known
                        && self.names.contains_key(number)
                        && self.lookups.iter().all(|(_, n)| n != number)
                    {
                        self.lookups.push((now + LOOKUP, *number));
                    }
                }
                _ => {}
            }
            self.events.push((now, event));
        }
    }

    pub(crate) fn transmit(
        &mut self,
        now: u64,
        to: &Endpoint,
        datagram: Vec<u8>,
        out: &mut Outbox,
    ) {
        self.ledger.note_sent(now, to.remote, &datagram);
        match to.local {
            Some(local) => {
                let from = SocketAddr::new(local.ip, outer(self.number).port());
                out.send_from(from, to.remote, datagram);
            }
            None => out.send(to.remote, datagram),
        }
    }

    /// Starts a flow of inner packets.
    pub(crate) fn start_flow(&mut self, now: u64, dest: u16, interval: u64, count: u64) {
        self.flows.push(Flow { dest, interval, due: now, left: count });
    }

    /// Makes an inner packet for another node and sends it.
    pub(crate) fn send_packet(&mut self, now: u64, dest: u16, out: &mut Outbox) {
        let number = self.ledger.make(now, dest);
        self.send_inner(now, &inner::packet(self.number, dest, number), out);
    }

    /// Returns what the peer file says of a peer.
    pub(crate) fn config(&self, peer: u16) -> &PeerConfig {
        &self.peers[&peer].1
    }

    pub(crate) fn id(&self, peer: u16) -> PeerId {
        self.peers[&peer].0
    }

    pub(crate) fn cell(&self, peer: u16) -> &Arc<PeerCell> {
        self.engine.cell(self.id(peer)).unwrap()
    }

    pub(crate) fn endpoint(&self, peer: u16) -> Option<SocketAddr> {
        self.cell(peer).endpoint().map(|endpoint| endpoint.remote)
    }

    pub(crate) fn status(&self, now: u64, peer: u16) -> PeerStatus {
        self.engine.peer_status(self.id(peer), self.at(now).instant).unwrap()
    }

    pub(crate) fn is_up(&self, now: u64, peer: u16) -> bool {
        self.status(now, peer).state == PeerState::Up
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.engine.shared().drops.of(reason)
    }

    /// Returns how many indices are live, as `Debug` of the engine tells.
    pub(crate) fn indices(&self) -> usize {
        let text = format!("{:?}", self.engine);
        let after = text.split_once("indices: ").unwrap().1;
        after.split_once(',').unwrap().0.parse().unwrap()
    }

    pub(crate) fn count_events(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| what(event)).count()
    }

    /// Returns how many sessions this node saw confirmed, over all its lives.
    pub(crate) fn sessions(&self) -> usize {
        self.count_events(|event| matches!(event, Event::SessionUp { .. }))
    }
}

fn start_engine(number: u16, setup: &Setup, life: u64, now: u64) -> Engine {
    let identity = Identity::new(crate::net::secret(number));
    let mut dice = Dice::new(inner::mix(setup.seed ^ (u64::from(number) << 32) ^ (life << 50)));
    let entropy = Box::new(move |bytes: &mut [u8]| dice.fill(bytes));
    let now = clocks(setup, now);
    Engine::new(identity, setup.network_key.clone(), setup.settings.clone(), entropy, now)
}

fn clocks(setup: &Setup, now: u64) -> Now {
    let wall = i128::from(now) + i128::from(setup.wall);
    let wall = u64::try_from(wall.max(0)).unwrap_or(u64::MAX);
    Now { instant: Instant::from_nanos(now), wall: WallTime::from_nanos(wall) }
}

/// Returns the node that a peer of the configuration is: its first allowed IP names it.
fn inner_of(config: &PeerConfig) -> u16 {
    let std::net::IpAddr::V4(address) = config.allowed_ips[0].addr() else {
        unreachable!("inner addresses of the world are IPv4")
    };
    inner::node_of(address).unwrap()
}

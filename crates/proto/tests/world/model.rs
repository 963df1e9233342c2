//! Random histories of two nodes: whatever happened, once the network is well and traffic flows,
//! both have a session again, and nothing was taken twice.

use crate::net::{Net, SECOND, Setup, elsewhere, outer, peer};
use proptest::prelude::*;
use stadium_netsim::{
    link::{Delay, Impairments, Reorder},
    world::Direction,
};
use stadium_proto::{
    engine::{Input, PostQuantum},
    identity::PresharedKey,
};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    /// A flow of packets from a node to the other.
    Send {
        from: u16,
        packets: u64,
        gap_ms: u64,
    },
    /// Time passes, in milliseconds.
    Pass(u64),
    /// What a node sends is treated so from now on.
    Link {
        node: u16,
        loss: f64,
        duplicate: f64,
        corrupt: f64,
        delay_ms: u64,
        hold: f64,
    },
    /// A node's link goes down or up.
    Cut {
        node: u16,
        up: bool,
    },
    Restart(u16),
    /// A node moves to one of a few places.
    Roam {
        node: u16,
        place: u8,
    },
    /// A node's wall clock jumps, in years.
    Clock {
        node: u16,
        years: i64,
    },
    /// A node's preshared key is changed.
    Psk {
        node: u16,
        key: u8,
    },
    PostQuantum {
        node: u16,
        policy: PostQuantum,
    },
    Close(u16),
    NetworkChanged(u16),
    /// A node forgets the other and learns it anew.
    Reload(u16),
    Load(u16),
    Ping(u16),
}

fn node() -> impl Strategy<Value = u16> {
    1_u16..=2
}

fn op() -> impl Strategy<Value = Op> {
    let policy =
        prop_oneof![Just(PostQuantum::Prefer), Just(PostQuantum::Off), Just(PostQuantum::Require)];
    prop_oneof![
        6 => (node(), 1_u64..40, 1_u64..400)
            .prop_map(|(from, packets, gap_ms)| Op::Send { from, packets, gap_ms }),
        4 => (1_u64..3_000).prop_map(Op::Pass),
        3 => (3_000_u64..30_000).prop_map(Op::Pass),
        2 => (30_000_u64..250_000).prop_map(Op::Pass),
        3 => (node(), 0.0..0.9_f64, 0.0..0.3_f64, 0.0..0.2_f64, 0_u64..1_500, 0.0..0.5_f64)
            .prop_map(|(node, loss, duplicate, corrupt, delay_ms, hold)| {
                Op::Link { node, loss, duplicate, corrupt, delay_ms, hold }
            }),
        2 => (node(), any::<bool>()).prop_map(|(node, up)| Op::Cut { node, up }),
        2 => node().prop_map(Op::Restart),
        2 => (node(), 0_u8..3).prop_map(|(node, place)| Op::Roam { node, place }),
        1 => (node(), -10_i64..=10).prop_map(|(node, years)| Op::Clock { node, years }),
        1 => (node(), 0_u8..2).prop_map(|(node, key)| Op::Psk { node, key }),
        1 => (node(), policy).prop_map(|(node, policy)| Op::PostQuantum { node, policy }),
        1 => node().prop_map(Op::Close),
        1 => node().prop_map(Op::NetworkChanged),
        1 => node().prop_map(Op::Reload),
        1 => node().prop_map(Op::Load),
        1 => node().prop_map(Op::Ping),
    ]
}

/// How the two nodes know each other.
#[derive(Clone, Debug)]
struct Knowledge {
    /// Whether node 2 has an endpoint for node 1; node 1 always has one for node 2.
    mutual: bool,
    heartbeats: [Option<u64>; 2],
}

fn knowledge() -> impl Strategy<Value = Knowledge> {
    let heartbeat = || prop::option::weighted(0.3, 1_u64..30);
    (any::<bool>(), heartbeat(), heartbeat())
        .prop_map(|(mutual, one, two)| Knowledge { mutual, heartbeats: [one, two] })
}

fn place(node: u16, place: u8) -> SocketAddr {
    if place == 0 { outer(node) } else { elsewhere(node as u8, 1_000 + u16::from(place)) }
}

struct Model {
    net: Net,
    mutual: bool,
}

impl Model {
    fn new(seed: u64, knowledge: &Knowledge) -> Self {
        let mut net = Net::new(seed);
        for _ in 0..2 {
            net.add(Setup::seeded(seed));
        }
        let mutual = knowledge.mutual;
        for (node, other) in [(1, 2), (2, 1)] {
            let knows = node == 1 || mutual;
            let mut config = peer(other, knows.then(|| outer(other)));
            config.heartbeat = knowledge.heartbeats[usize::from(node) - 1].map(Duration::from_secs);
            net.introduce(node, config);
        }
        net.world.set_trace_capacity(60);
        Self { net, mutual }
    }

    fn apply(&mut self, op: &Op) {
        let net = &mut self.net;
        net.world.remark(format!("{op:?}"));
        match *op {
            Op::Send { from, packets, gap_ms } => {
                net.flow(from, 3 - from, Duration::from_millis(gap_ms), packets);
            }
            Op::Pass(ms) => net.run(Duration::from_millis(ms)),
            Op::Link { node, loss, duplicate, corrupt, delay_ms, hold } => {
                let link = Impairments {
                    loss,
                    duplicate,
                    corrupt,
                    delay: Delay {
                        min: Duration::ZERO,
                        max: Duration::from_millis(delay_ms),
                        ordered: false,
                    },
                    reorder: Reorder {
                        probability: hold,
                        depth: 20,
                        patience: Duration::from_secs(1),
                    },
                    ..Impairments::NONE
                };
                net.world.impair(net.host(node), Direction::Outgoing, link);
            }
            Op::Cut { node, up } => net.world.set_link_up(net.host(node), up),
            Op::Restart(node) => net.restart(node),
            Op::Roam { node, place: to } => {
                net.world.roam(net.host(node), &[place(node, to)], None);
                if node == 2 || self.mutual {
                    // its name follows
                    net.edit(3 - node, |sim| sim.names.insert(node, place(node, to)));
                }
            }
            Op::Clock { node, years } => {
                let year = crate::net::TEN_YEARS / 10;
                net.edit(node, |sim| sim.setup.wall += years * year);
            }
            Op::Psk { node, key } => net.with(node, |sim, now, out| {
                let psk = PresharedKey::from_bytes([key; 32]);
                sim.update_peer(now, 3 - node, |config| config.preshared_key = psk, out);
            }),
            Op::PostQuantum { node, policy } => self.set_policy(node, policy),
            Op::Close(node) => net.drive(node, Input::Shutdown),
            Op::NetworkChanged(node) => net.drive(node, Input::NetworkChanged),
            Op::Reload(node) => net.with(node, |sim, now, out| {
                let config = sim.config(3 - node).clone();
                sim.remove_peer(now, 3 - node, out);
                sim.add_peer(now, 3 - node, config, out);
            }),
            Op::Load(node) => net.drive(node, Input::QueueDepth(1_000)),
            Op::Ping(node) => {
                let peer = net.node(node).id(3 - node);
                net.drive(node, Input::Ping { peer, token: 1 });
            }
        }
    }

    fn set_policy(&mut self, node: u16, policy: PostQuantum) {
        self.net.with(node, |sim, now, out| {
            sim.setup.settings.post_quantum = policy;
            let settings = Box::new(sim.setup.settings.clone());
            sim.apply(now, stadium_proto::engine::Change::Settings(settings), out);
        });
    }

    /// Makes the network well, and the configurations agree.
    fn heal(&mut self) {
        for node in [1, 2] {
            self.apply(&Op::Psk { node, key: 0 });
            self.set_policy(node, PostQuantum::Prefer);
            self.net.world.set_link_up(self.net.host(node), true);
            self.net.world.impair_both(self.net.host(node), Impairments::NONE);
            self.net.edit(node, |sim| sim.flows.clear());
        }
        self.net.world.remark("healed");
    }
}

/// How many histories are tried; more with `STADIUM_HISTORIES`.
fn cases() -> u32 {
    std::env::var("STADIUM_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

fn check(seed: u64, knowledge: &Knowledge, ops: &[Op]) {
    let mut model = Model::new(seed, knowledge);
    for op in ops {
        model.apply(op);
        for node in [1, 2] {
            // 4 pending sessions, 4 open REQUESTs and 3 slots at most
            assert!(model.net.node(node).indices() <= 11, "{}", model.net.world);
        }
    }
    model.heal();
    let Model { mut net, .. } = model;
    net.talk(1, 2, Duration::from_millis(100), 400);
    let healed = net.world.now();
    let up = net.run_until_up(1, 2, Duration::from_secs(20));
    assert!(up.is_some(), "not up\n{}", net.world);
    net.run(Duration::from_nanos(healed + 60 * SECOND - net.world.now()));
    // from 20 s after the healing on nothing is lost
    for (from, to) in [(1, 2), (2, 1)] {
        let late = (0_u64..)
            .zip(&net.node(from).ledger.made)
            .filter(|(_, (at, _))| *at >= healed + 20 * SECOND);
        let missing = late
            .filter(|(number, _)| !net.node(to).ledger.taken.contains_key(&(from, *number)))
            .count();
        assert_eq!(missing, 0, "from {from}\n{}", net.world);
        assert!(net.node(from).is_up(net.world.now(), to), "{}", net.world);
        let seconds = net.world.now() / SECOND;
        let wake_ups = &net.node(from).wake_ups;
        let all: u64 = wake_ups.values().sum();
        assert!(all <= 10 * seconds + 200, "{wake_ups:?} in {seconds} s\n{}", net.world);
    }
    net.check_invariants();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_ends_well(
        seed: u64,
        knowledge in knowledge(),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        check(seed, &knowledge, &ops);
    }
}

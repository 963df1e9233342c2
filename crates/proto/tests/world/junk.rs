//! Whatever a stranger sends: an engine does not panic, answers no more bytes than came, to where
//! they came from, and remembers nothing for long.

use crate::{
    guard::{junk_request, mac_key, set_mac, stranger},
    ledger::Tapped,
    net::{Net, Setup, outer, peer},
};
use proptest::prelude::*;
use stadium_netsim::{dice::Dice, world::Node as _};
use stadium_proto::engine::{HandshakeKind, Input, PostQuantum};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Junk {
    /// Random bytes after a first byte, or after the magic.
    Random { kind: u8, length: usize, seed: u64 },
    /// A REQUEST of random bytes with a mac that verifies.
    Request { flag: u8, length: usize, seed: u64 },
    /// A recorded datagram with bytes changed, cut or lengthened; perhaps with a new mac.
    Mutated { which: usize, edits: Vec<(usize, u8)>, cut: usize, append: usize, new_mac: bool },
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Control's queue is long.
    Load,
}

fn junk() -> impl Strategy<Value = Junk> {
    let edits = prop::collection::vec((0_usize..1_500, any::<u8>()), 0..4);
    prop_oneof![
        2 => (0_u8..8, 0_usize..1_600, any::<u64>())
            .prop_map(|(kind, length, seed)| Junk::Random { kind, length, seed }),
        3 => (prop_oneof![Just(0x7a), any::<u8>()], 60_usize..1_470, any::<u64>())
            .prop_map(|(flag, length, seed)| Junk::Request { flag, length, seed }),
        10 => (any::<usize>(), edits, prop_oneof![4 => Just(0), 1 => 0_usize..200],
            prop_oneof![4 => Just(0), 1 => 0_usize..200], any::<bool>())
            .prop_map(|(which, edits, cut, append, new_mac)| {
                Junk::Mutated { which, edits, cut, append, new_mac }
            }),
        1 => (1_u64..3_000).prop_map(Junk::Pass),
        1 => Just(Junk::Load),
    ]
}

#[derive(Clone, Debug)]
struct Policy {
    post_quantum: PostQuantum,
    open: bool,
    anonymous: bool,
    stealth: bool,
    handshake: HandshakeKind,
}

fn policy() -> impl Strategy<Value = Policy> {
    let post_quantum =
        prop_oneof![Just(PostQuantum::Prefer), Just(PostQuantum::Require), Just(PostQuantum::Off)];
    let handshake = prop_oneof![Just(HandshakeKind::Encrypted), Just(HandshakeKind::Open)];
    (post_quantum, any::<bool>(), any::<bool>(), any::<bool>(), handshake).prop_map(
        |(post_quantum, open, anonymous, stealth, handshake)| Policy {
            post_quantum,
            open,
            anonymous,
            stealth,
            handshake,
        },
    )
}

/// Makes two nodes that have asked each other for a session, and no answer has arrived; returns
/// everything that they have sent, answers too.
fn before_the_answers(policy: &Policy) -> (Net, Vec<Tapped>) {
    let ours = Setup::seeded(95).with(|s| {
        s.post_quantum = policy.post_quantum;
        (s.allow_open, s.allow_anonymous) = (policy.open, policy.anonymous);
        s.stealth = policy.stealth;
    });
    let theirs = Setup::seeded(95).with(|s| s.allow_open = true);
    let mut net = Net::new(95);
    net.add(ours);
    net.add(theirs);
    for (node, other) in [(1, 2), (2, 1)] {
        let mut config = peer(other, Some(outer(other)));
        config.handshake = policy.handshake;
        net.introduce(node, config);
        net.tap(node);
    }
    // REQUESTs arrive at node 2 only, which answers; what node 2 asks of node 1 is recorded
    net.world.impair(
        net.host(2),
        stadium_netsim::world::Direction::Outgoing,
        stadium_netsim::link::Impairments::lossy(1.0),
    );
    net.send(1, 2);
    net.send(2, 1);
    net.run(Duration::from_millis(100));
    let mut recorded = net.take_tap(1);
    recorded.extend(net.take_tap(2));
    (net, recorded)
}

fn bytes_of(junk: &Junk, recorded: &[Tapped], keys: &[[u8; 32]; 2]) -> Option<Vec<u8>> {
    let key_of = |bytes: &[u8]| &keys[usize::from(bytes.get(8) != Some(&0x7a))];
    let bytes = match *junk {
        Junk::Random { kind, length, seed } => {
            let mut bytes = vec![0; length];
            Dice::new(seed).fill(&mut bytes);
            if kind == 0 && length >= 8 {
                bytes[..8].copy_from_slice(b"StadiumP");
            } else if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            bytes
        }
        Junk::Request { flag, length, seed } => {
            let key = &keys[usize::from(flag != 0x7a)];
            junk_request(&mut Dice::new(seed), flag, length, key)
        }
        Junk::Mutated { which, ref edits, cut, append, new_mac } => {
            let original = &recorded[which % recorded.len()];
            let mut bytes = original.bytes.clone();
            for &(at, value) in edits {
                let at = at % bytes.len();
                bytes[at] ^= value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.resize(bytes.len() + append, 0x5a);
            if new_mac && bytes.len() >= 62 && bytes.starts_with(b"StadiumP") {
                let key = *key_of(&bytes);
                set_mac(&mut bytes, &key);
            }
            bytes
        }
        Junk::Pass(_) | Junk::Load => return None,
    };
    // what a peer has really sent is no junk
    (!recorded.iter().any(|t| t.bytes == bytes)).then_some(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_answer_is_never_longer_than_what_caused_it(
        policy in policy(),
        junk in prop::collection::vec(junk(), 1..60),
        seed: u64,
    ) {
        let (mut net, recorded) = before_the_answers(&policy);
        let keys = [mac_key(1, true), mac_key(1, false)];
        let mut dice = Dice::new(seed);
        for junk in &junk {
            match junk {
                Junk::Pass(ms) => net.run(Duration::from_millis(*ms)),
                Junk::Load => net.drive(1, Input::QueueDepth(1_000)),
                _ => {}
            }
            let Some(bytes) = bytes_of(junk, &recorded, &keys) else { continue };
            let from = if dice.chance(0.5) { outer(2) } else { stranger(&mut dice) };
            net.take_tap(1);
            net.with(1, |sim, now, out| {
                sim.handle_datagram(now, outer(1), from, &mut bytes.clone(), out);
            });
            let answers = net.take_tap(1);
            prop_assert!(answers.len() <= 1, "{junk:?} got {} answers", answers.len());
            for answer in &answers {
                // a RETRY or an ERROR that this node takes for true would make it ask again
                prop_assert!(!answer.is_request(), "{junk:?} made a REQUEST");
                prop_assert!(answer.bytes.len() <= bytes.len(), "{junk:?}: {}", answer.bytes.len());
                prop_assert_eq!(answer.to, from);
            }
            prop_assert!(net.node(1).indices() <= 4 + 64, "{junk:?}");
        }
        let sessions = net.node(1).sessions();
        prop_assert_eq!(sessions, 0);
        // nothing is left of it once this node's own handshake is given up
        net.run(Duration::from_secs(120));
        prop_assert_eq!(net.node(1).indices(), 0);
        prop_assert_eq!(net.node(1).engine.next_timeout(), None);
    }
}

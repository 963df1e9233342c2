//! Rogue peers: one wrong thing at a time against a whole engine, in each role and each phase.
//!
//! A rogue holds real keys and follows `protocol.md` in everything but one cell, one field or one
//! step. Every case says exactly what the engine does: silence, an ERROR, a status, a RETRY or a
//! session, and which counter counts it. After every case an honest attempt must still succeed:
//! what is refused leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cells;
mod consent_cells;
mod consent_fields;
mod data;
mod initiator;
mod junk;
mod keys;
mod request_cells;
mod request_fields;
mod request_open;
mod responder;
mod retry_error;
#[path = "../support/schedule.rs"]
mod schedule;

use stadium_proto::{
    drop::{DROP_REASONS, DropReason},
    engine::{DatagramClass, Engine, Entropy, Event, Now, Output, PeerConfig, Settings},
    identity::{Identity, PresharedKey, PublicKey, SecretKey},
    noise::{NoiseByte, NoisePolicy},
    peer::Endpoint,
    time::{Instant, WallTime},
};
use std::net::SocketAddr;

/// Changes a good datagram.
type Change = Box<dyn Fn(&mut Vec<u8>)>;

/// Keeps what an engine puts out.
#[derive(Default)]
struct Outbox {
    sent: Vec<(Endpoint, Vec<u8>)>,
    events: Vec<Event>,
}

impl Output for Outbox {
    fn send(&mut self, to: &Endpoint, datagram: &[u8], _class: DatagramClass) {
        self.sent.push((*to, datagram.to_vec()));
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// A repeatable source of bytes.
fn entropy(seed: u64) -> Box<dyn Entropy> {
    let mut state = seed;
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    })
}

/// The wall time of all worlds here, in nanoseconds since 1970.
const WALL: u64 = 1_790_000_000_000_000_000;

fn at(ms: u64) -> Now {
    Now {
        instant: Instant::from_nanos(1_000_000_000 + ms * 1_000_000),
        wall: WallTime::from_nanos(WALL + ms * 1_000_000),
    }
}

/// The nodes of these tests: 1 is the initiator, 2 the responder, others are strangers.
fn identity(n: u8) -> Identity {
    Identity::new(SecretKey::from_seed([n; 32]))
}

fn address(n: u8) -> SocketAddr {
    format!("192.0.2.{n}:51871").parse().unwrap()
}

fn engine(n: u8, settings: Settings) -> Engine {
    Engine::new(identity(n), None, settings, entropy(u64::from(n)), at(0))
}

fn peer_config(key: PublicKey, endpoint: Option<SocketAddr>) -> PeerConfig {
    PeerConfig {
        public_key: key,
        preshared_key: PresharedKey::NONE,
        endpoint,
        allowed_ips: vec!["10.7.0.0/24".parse().unwrap(), "fd07::/64".parse().unwrap()],
        heartbeat: None,
        handshake: stadium_proto::engine::HandshakeKind::Encrypted,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    }
}

/// Asserts that between two readings exactly one drop was counted, for `reason`, or none.
fn assert_counted(
    engine: &Engine,
    before: &[u64; DROP_REASONS],
    reason: Option<DropReason>,
    name: &str,
) {
    let after = engine.shared().drops.all();
    for (at, each) in DropReason::ALL.iter().enumerate() {
        let counted = after[at] - before[at];
        assert_eq!(counted, u64::from(Some(*each) == reason), "{name}: counter {}", each.name());
    }
}

#[test]
fn there_are_at_least_150_cases_and_no_name_twice() {
    let mut names = Vec::new();
    names.extend(request_cells::cases().into_iter().map(|case| case.name));
    names.extend(request_fields::cases().into_iter().map(|case| case.name));
    names.extend(request_open::cases().into_iter().map(|case| case.name));
    names.extend(consent_cells::cases().into_iter().map(|case| case.name));
    names.extend(consent_fields::cases().into_iter().map(|case| case.name));
    names.extend(retry_error::cases().into_iter().map(|case| case.name));
    names.extend(data::cases().into_iter().map(|case| case.name));
    assert!(names.len() >= 700, "{} cases", names.len());
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two cases have one name");
    }
}

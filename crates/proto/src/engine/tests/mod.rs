//! Tests of the engine that need its insides; whole worlds of engines are in `tests/world`.

mod early;
mod guests;
mod judge;
mod lifecycle;
mod moving;
mod noise;

use super::{DatagramClass, Engine, Event, Now, Output, PeerConfig, Settings};
use crate::{
    identity::{Identity, NetworkKey, PresharedKey, PublicKey, SecretKey},
    noise::{NoiseByte, NoisePolicy},
    peer::{Endpoint, PeerId},
    time::{Instant, WallTime},
};
use core::net::SocketAddr;

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

/// A repeatable source of bytes that are all different.
fn entropy(seed: u64) -> Box<dyn super::Entropy> {
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

fn at(ms: u64) -> Now {
    Now {
        instant: Instant::from_nanos(1_000_000_000 + ms * 1_000_000),
        wall: WallTime::from_nanos(1_790_000_000_000_000_000 + ms * 1_000_000),
    }
}

fn identity(n: u8) -> Identity {
    Identity::new(SecretKey::from_seed([n; 32]))
}

fn address(n: u8) -> SocketAddr {
    format!("192.0.2.{n}:51871").parse().unwrap()
}

fn engine(n: u8, settings: Settings, network_key: Option<NetworkKey>) -> Engine {
    Engine::new(identity(n), network_key, settings, entropy(u64::from(n)), at(0))
}

fn peer_config(key: PublicKey, endpoint: Option<SocketAddr>) -> PeerConfig {
    PeerConfig {
        public_key: key,
        preshared_key: PresharedKey::NONE,
        endpoint,
        allowed_ips: vec!["10.7.0.0/24".parse().unwrap()],
        heartbeat: None,
        handshake: super::HandshakeKind::Encrypted,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    }
}

fn add(engine: &mut Engine, config: PeerConfig, now: Now, out: &mut Outbox) -> PeerId {
    let change = super::Change::Add(Box::new(config));
    engine.apply(now, [change], out).remove(0).unwrap().unwrap()
}

/// Hands everything in `from` to the engine `to`, as coming from address `source`.
///
/// DATA is opened as a worker would, and shown to control as far as control must see it.
fn deliver(from: &mut Outbox, source: u8, to: &mut Engine, now: Now, out: &mut Outbox) {
    use super::{Input, OpenedNotice};
    use crate::{frame::Frame, session::DataHeader};
    for (_, mut datagram) in from.sent.drain(..) {
        let remote = address(source);
        if datagram[0] != crate::session::DATA {
            to.handle(now, Input::Handshake { remote, local: None, datagram: &datagram }, out);
            continue;
        }
        let header = DataHeader::parse(&datagram).unwrap();
        let Some(session) = to.shared().session(header.index) else { continue };
        let session = std::sync::Arc::clone(&session);
        let opened = {
            let mut window = session.window(header.lane()).unwrap();
            session.open(&header, &mut window, &mut datagram)
        };
        let Ok(opened) = opened else { continue };
        let plaintext = &datagram[opened.plaintext];
        let frame = Frame::parse(plaintext).unwrap();
        session.peer().stamp_rx(now.instant, matches!(frame, Frame::Packet { .. }));
        let notice = OpenedNotice {
            index: header.index,
            remote,
            local: None,
            highest: opened.highest,
            first: session.confirm(),
            control: if frame == Frame::Control { plaintext } else { &[] },
        };
        to.handle(now, Input::Opened(notice), out);
    }
}

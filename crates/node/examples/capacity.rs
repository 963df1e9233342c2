//! Measures what a node can hold and do on one core: handshakes, peers, the peer file.
//!
//! `capacity handshakes [SECONDS]` answers full handshakes and counts them; `capacity peers [COUNT]`
//! adds idle peers to an engine, then looks their addresses up; `capacity file [COUNT]` loads a
//! peer file with that many peers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant as Clock};

use stadium_config::{Environment, parse};
use stadium_proto::engine::{
    Change, DatagramClass, Engine, Entropy, Event, HandshakeKind, Input, Now, OpenedNotice, Output,
    PeerConfig, PostQuantum, Settings,
};
use stadium_proto::guard::HandshakeRate;
use stadium_proto::identity::{Identity, PresharedKey, PublicKey, SecretKey};
use stadium_proto::noise::{NoiseByte, NoisePolicy};
use stadium_proto::peer::Endpoint;
use stadium_proto::session::DataHeader;
use stadium_proto::time::{Instant, WallTime};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = args.get(1).and_then(|text| text.parse::<u32>().ok());
    match args.first().map(String::as_str) {
        Some("handshakes") => {
            let time = Duration::from_secs(number.unwrap_or(3).into());
            handshakes("classic", PostQuantum::Off, time)?;
            handshakes("hybrid", PostQuantum::Require, time)
        }
        Some("peers") => peers(number.unwrap_or(100_000) as usize),
        Some("file") => file(number.unwrap_or(10_000) as usize),
        _ => say("usage: capacity handshakes [SECONDS] | peers [COUNT] | file [COUNT]"),
    }
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn now(nanos: u64) -> Now {
    let second = 1_000_000_000;
    Now {
        instant: Instant::from_nanos(second + nanos),
        wall: WallTime::from_nanos((1 << 60) + nanos),
    }
}

/// Not random: a measurement needs only that nothing repeats.
fn entropy(mut state: u64) -> Box<dyn Entropy> {
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            *byte = (state >> 40) as u8;
        }
    })
}

fn identity(number: u64) -> Identity {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::new(SecretKey::from_seed(seed))
}

fn peer(public_key: PublicKey, endpoint: Option<SocketAddr>, address: Ipv4Addr) -> PeerConfig {
    PeerConfig {
        public_key,
        preshared_key: PresharedKey::NONE,
        endpoint,
        allowed_ips: vec![IpAddr::from(address).into()],
        heartbeat: None,
        handshake: HandshakeKind::Encrypted,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number as u32)
}

/// Returns what this thread has used of a core, whatever else the machine does.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Keeps what an engine sends.
#[derive(Default)]
struct Wire {
    sent: VecDeque<Vec<u8>>,
    sessions: usize,
}

impl Output for Wire {
    fn send(&mut self, _to: &Endpoint, datagram: &[u8], _class: DatagramClass) {
        self.sent.push_back(datagram.to_vec());
    }

    fn event(&mut self, event: Event) {
        self.sessions += usize::from(matches!(event, Event::SessionUp { .. }));
    }
}

/// Hands datagrams to an engine as the inbound worker and control do together.
fn deliver(engine: &mut Engine, now: Now, remote: SocketAddr, datagram: &mut [u8], out: &mut Wire) {
    let Ok(header) = DataHeader::parse(datagram) else {
        engine.handle(now, Input::Handshake { remote, local: None, datagram }, out);
        return;
    };
    let Some(session) = engine.shared().session(header.index) else { return };
    let Some(mut window) = session.window(header.lane()) else { return };
    let Ok(opened) = session.open(&header, &mut window, datagram) else { return };
    let first = session.confirm();
    drop(window);
    drop(session);
    let notice = OpenedNotice {
        index: header.index,
        remote,
        local: None,
        highest: opened.highest,
        first,
        control: &datagram[opened.plaintext],
    };
    engine.handle(now, Input::Opened(notice), out);
}

/// Counts full handshakes (REQUEST, CONSENT, the frame that confirms) by the responder's time.
fn handshakes(name: &str, post_quantum: PostQuantum, time: Duration) -> io::Result<()> {
    const INITIATORS: usize = 64;
    let settings = Settings {
        post_quantum,
        handshake_rate: HandshakeRate { per_second: 1_000_000, burst: 1_000_000 },
        ..Settings::default()
    };
    let here: SocketAddr = ([192, 0, 2, 1], 51_871).into();
    let start = now(0);
    let responder_key = identity(0);
    let public = *responder_key.public();
    let mut responder = Engine::new(responder_key, None, settings.clone(), entropy(1), start);
    let mut out = Wire::default();
    let mut initiators = Vec::new();
    for number in 1..=INITIATORS {
        let own = identity(number as u64);
        let there = SocketAddr::new(address(number).into(), 51_871);
        let config = peer(*own.public(), None, address(number));
        let added = responder.apply(start, [Change::Add(Box::new(config))], &mut out);
        let seed = entropy(number as u64 + 1);
        let mut engine = Engine::new(own, None, settings.clone(), seed, start);
        let config = peer(public, Some(here), address(0));
        let id = engine.apply(start, [Change::Add(Box::new(config))], &mut Wire::default());
        if let (Some(Ok(Some(id))), Some(Ok(_))) = (id.first(), added.first()) {
            initiators.push((engine, *id, there));
        }
    }
    let (mut spent, mut nanos) = (Duration::ZERO, 0);
    out = Wire::default();
    while spent < time {
        for (engine, id, there) in &mut initiators {
            nanos += 200_000_000;
            let mut wire = Wire::default();
            // a session that is closed makes room for the next handshake
            let reason = stadium_proto::frame::CloseReason::REMOVED;
            engine.handle(now(nanos), Input::Close { peer: *id, reason }, &mut wire);
            wire.sent.clear();
            nanos += 11_000_000_000;
            engine.handle(now(nanos), Input::Timeout, &mut wire);
            responder.handle(now(nanos), Input::Timeout, &mut out);
            engine.handle(now(nanos), Input::Connect(*id), &mut wire);
            let mut one = Duration::ZERO;
            while !(wire.sent.is_empty() && out.sent.is_empty()) {
                for mut datagram in std::mem::take(&mut wire.sent) {
                    let begun = processor_time();
                    deliver(&mut responder, now(nanos), *there, &mut datagram, &mut out);
                    one += processor_time().saturating_sub(begun);
                }
                for mut datagram in std::mem::take(&mut out.sent) {
                    deliver(engine, now(nanos), here, &mut datagram, &mut wire);
                }
            }
            spent += one;
        }
    }
    let count = out.sessions;
    let each = spent.as_secs_f64() / count.max(1) as f64;
    say(&format!(
        "{name}: {:.0} full handshakes a second of processor time as responder ({:.0} µs each, {count} measured)",
        1.0 / each,
        each * 1e6
    ))
}

/// Returns this process's resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Adds idle peers, then looks addresses up.
fn peers(count: usize) -> io::Result<()> {
    let keys: Vec<PublicKey> = (1..=count).map(|n| *identity(n as u64).public()).collect();
    let mut engine = Engine::new(identity(0), None, Settings::default(), entropy(1), now(0));
    let mut out = Wire::default();
    let before = resident();
    let begun = Clock::now();
    let changes =
        keys.iter().enumerate().map(|(n, key)| Change::Add(Box::new(peer(*key, None, address(n)))));
    let added = engine.apply(now(0), changes, &mut out).iter().filter(|r| r.is_ok()).count();
    let took = begun.elapsed();
    let bytes = (resident() - before) as usize / added.max(1);
    say(&format!("{added} peers added in {:.0} ms, {bytes} bytes each", took.as_secs_f64() * 1e3))?;
    let begun = Clock::now();
    let extra = peer(*identity(count as u64 + 1).public(), None, address(count));
    let _ = engine.apply(now(0), [Change::Add(Box::new(extra))], &mut out);
    say(&format!("one more added in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3))?;
    let snapshot = engine.shared().peers();
    let (mut at, mut found) = (0_usize, 0_usize);
    const LOOKUPS: u32 = 2_000_000;
    let begun = processor_time();
    for _ in 0..LOOKUPS {
        at = (at + 40_503) % count.max(1);
        found += usize::from(snapshot.route(black_box(address(at).into())).is_some());
    }
    let each = processor_time().saturating_sub(begun) / LOOKUPS;
    say(&format!("{found} of {LOOKUPS} addresses found, {} ns each", each.as_nanos()))
}

/// Loads a peer file.
fn file(count: usize) -> io::Result<()> {
    let own = SecretKey::from_seed([9; 32]).to_base64();
    let mut text = format!(
        "interface:\n  name: big\n  private_key: {}\n  address: [10.255.0.1/8]\npeers:\n",
        own.as_str()
    );
    for number in 0..count {
        let key = identity(number as u64 + 1).public().to_base64();
        let _ = writeln!(
            text,
            "  - name: peer{number}\n    public_key: {key}\n    allowed_ips: [{}/32]",
            address(number)
        );
    }
    let environment = Environment { credentials: None };
    let before = resident();
    let begun = Clock::now();
    let loaded = parse(&text, Path::new("big.yaml"), &environment)
        .map_err(|faults| io::Error::other(faults.to_string()))?;
    let took = begun.elapsed();
    let peers = loaded.file.peers.len();
    let bytes = (resident() - before) as usize / peers.max(1);
    say(&format!(
        "{peers} peers ({} KiB of text) loaded in {:.0} ms; resident memory grew by {bytes} bytes a peer",
        text.len() / 1024,
        took.as_secs_f64() * 1e3
    ))
}

//! From a validated peer file to what the engine and the system want.
//!
//! Invariant: what this version cannot do is warned of here, never silently left out.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use stadium_config as config;
use stadium_config::PeerFile;
use stadium_proto::engine::{HandshakeKind, PeerConfig, PostQuantum, Settings};
use stadium_proto::guard::HandshakeRate;
use stadium_proto::identity::PresharedKey;
use stadium_proto::noise::{NoisePolicy, NoiseRatio};
use stadium_proto::timers::Timers;

use crate::system::InterfaceSpec;

/// The least and the largest payload limit: what IPv6 needs, and what a UDP datagram holds.
const PAYLOAD_LIMIT: std::ops::RangeInclusive<u32> = 1280..=65503;

/// The most workers: each has a lane of its own, and control has lane 0.
pub(crate) const MAX_WORKERS: usize = 63;

/// The variable that shortens timers in tests.
pub(crate) const TEST_TIMERS: &str = "STADIUM_TEST_TIMERS";

/// The variable that sets the wall clock wrong in tests.
pub(crate) const TEST_CLOCK: &str = "STADIUM_TEST_CLOCK";

/// Returns what of `file` this version leaves undone, each with what that means.
pub(crate) fn warnings(file: &PeerFile) -> Vec<String> {
    let mut warnings = Vec::new();
    let interface = &file.interface;
    for peer in &file.peers {
        let noise = &peer.noise;
        if noise.ratio == NoiseRatio::Off && noise.engine != config::NoiseEngine::Ledger {
            warnings.push(format!(
                "peer {}: the noise engine `{}` does nothing without noise packets; set a ratio",
                peer.label(),
                noise.engine
            ));
        }
        if interface.early_data && !noise.is_off() {
            warnings.push(format!(
                "peer {}: early data would go before there is noise, so with this peer \
                 `early_data` does nothing",
                peer.label()
            ));
        }
        if !noise.is_off() && peer.handshake == config::HandshakeKind::Open {
            warnings.push(format!(
                "peer {}: the handshake is open, so that everyone on the way reads the noise \
                 parameters",
                peer.label()
            ));
        }
    }
    if interface.stealth && interface.allow_open {
        warnings
            .push("interface.stealth excludes open handshakes: allow_open has no effect".into());
    }
    warnings
}

/// Returns how many workers run.
pub(crate) fn workers(file: &PeerFile) -> usize {
    match file.interface.workers {
        config::Workers::Auto => {
            std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
        }
        config::Workers::Count(count) => usize::from(count),
    }
    .clamp(1, MAX_WORKERS)
}

/// Returns the engine's settings for an interface of `mtu` bytes with `workers` workers.
pub(crate) fn engine(
    file: &PeerFile,
    mtu: u32,
    workers: usize,
    partial_checksum: bool,
    timers: Timers,
) -> Settings {
    let interface = &file.interface;
    let limit = mtu.clamp(*PAYLOAD_LIMIT.start(), *PAYLOAD_LIMIT.end());
    Settings {
        ciphers: file.ciphers.list().to_vec(),
        post_quantum: match file.post_quantum {
            config::PostQuantum::Prefer => PostQuantum::Prefer,
            config::PostQuantum::Require => PostQuantum::Require,
            config::PostQuantum::Off => PostQuantum::Off,
        },
        payload_limit: u16::try_from(limit).unwrap_or(u16::MAX),
        // lane 0 is control's own
        lanes: u8::try_from(workers.clamp(1, MAX_WORKERS) + 1).unwrap_or(u8::MAX),
        partial_checksum,
        allow_open: interface.allow_open,
        stealth: interface.stealth,
        early_data: interface.early_data,
        handshake_rate: HandshakeRate {
            per_second: interface.handshake_rate.per_second,
            burst: interface.handshake_rate.burst,
        },
        noise: NoisePolicy::OFF,
        timers,
        ..Settings::default()
    }
}

/// Returns what the engine needs to know of a peer; a name as endpoint is told later.
pub(crate) fn peer(peer: &config::Peer) -> PeerConfig {
    PeerConfig {
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.clone().unwrap_or(PresharedKey::NONE),
        endpoint: match &peer.endpoint {
            Some(config::Endpoint::Address(address)) => Some(canonical(*address)),
            Some(config::Endpoint::Name { .. }) | None => None,
        },
        allowed_ips: peer.allowed_ips.clone(),
        heartbeat: peer.heartbeat,
        handshake: match peer.handshake {
            config::HandshakeKind::Encrypted => HandshakeKind::Encrypted,
            config::HandshakeKind::Open => HandshakeKind::Open,
        },
        noise: peer.noise.byte(),
        noise_policy: peer.noise.policy,
    }
}

/// Writes an IPv4 address inside IPv6 as what it is: it leaves from the IPv4 socket.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Returns what the system is asked for; `endpoints` are the addresses that are known.
pub(crate) fn interface_spec(
    file: &PeerFile,
    mtu: u32,
    index: u32,
    endpoints: Vec<IpAddr>,
) -> InterfaceSpec {
    InterfaceSpec { index, file: absolute(&file.path), ..InterfaceSpec::of(file, mtu, endpoints) }
}

/// Writes a path from the root: hooks and reloads may run elsewhere.
pub(crate) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads timers for tests: `rekey=2s,reject=5s`.
///
/// # Errors
/// A message that names the part that is wrong, and what would be right.
pub(crate) fn test_timers(text: &str) -> Result<Timers, String> {
    let mut timers = Timers::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = |why: String| format!("{TEST_TIMERS}: `{part}`: {why}");
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| wrong("it is not NAME=DURATION, such as rekey=2s".to_owned()))?;
        let value: Duration = config::parse_duration(value.trim())
            .map_err(|error| wrong(format!("`{value}` is no duration: {error}")))?;
        if value.is_zero() {
            return Err(wrong("a timer must be longer than 0".to_owned()));
        }
        if !timers.set(name.trim(), value) {
            return Err(wrong(format!("no timer has that name; use {}", Timers::NAMES.join(", "))));
        }
    }
    Ok(timers)
}

/// Reads by how many nanoseconds the wall clock shall be wrong in a test: `+3650d`, `-1h`.
///
/// # Errors
/// A message that says what would be right.
pub(crate) fn test_clock(text: &str) -> Result<i64, String> {
    let wrong = || format!("{TEST_CLOCK}: `{text}` is not a sign and a duration, such as -3650d");
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').ok_or_else(wrong)?),
    };
    let duration = config::parse_duration(rest).map_err(|_| wrong())?;
    i64::try_from(duration.as_nanos()).map(|nanos| sign * nanos).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_has_a_sign_and_a_duration() {
        assert_eq!(test_clock("+1s"), Ok(1_000_000_000));
        assert_eq!(test_clock("-3650d"), Ok(-3650 * 86_400 * 1_000_000_000));
        for wrong in ["1s", "", "+", "-soon", "+999999d"] {
            assert!(test_clock(wrong).unwrap_err().contains("such as -3650d"), "{wrong}");
        }
    }

    #[test]
    fn timers_are_read_or_refused_with_a_remedy() {
        let timers = test_timers("rekey=2s, reject=5s,").unwrap();
        assert_eq!(timers.rekey, Duration::from_secs(2));
        assert_eq!(timers.reject, Duration::from_secs(5));
        assert_eq!(timers.wipe, Timers::default().wipe);
        assert!(test_timers("rekey").unwrap_err().contains("NAME=DURATION"));
        assert!(test_timers("rekey=soon").unwrap_err().contains("no duration"));
        assert!(test_timers("rekeys=2s").unwrap_err().contains("rekey, reject"));
        assert!(test_timers("rekey=0s").unwrap_err().contains("longer than 0"));
    }

    #[test]
    fn mapped_addresses_leave_from_the_ipv4_socket() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:7".parse().unwrap());
        let real: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
        assert_eq!(canonical(real), real);
    }

    fn parse(more: &str) -> PeerFile {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let text = format!("interface:\n  private_key: {key}\n{more}");
        let environment = config::Environment::default();
        let loaded = config::parse(&text, Path::new("/tmp/stadium7.yaml"), &environment);
        loaded.unwrap_or_else(|error| panic!("{error}")).file
    }

    #[test]
    fn what_cannot_be_done_is_warned_of() {
        assert_eq!(warnings(&parse("")), [""; 0]);
        let noisy = parse("noise: {ratio: \"1:1\", filler: full}\n");
        assert_eq!(warnings(&noisy), [""; 0]);
        let in_force = "  dns: [10.7.0.1]\n  lan: on\n  mss_clamp: auto\n  early_data: true\n";
        assert_eq!(warnings(&parse(in_force)), [""; 0]);
        let bob = stadium_proto::identity::SecretKey::from_seed([7; 32]).public();
        let peers = format!("peers: [{{public_key: {bob}, allowed_ips: [10.7.0.2/32]}}]\n");
        let noisy = format!("  early_data: true\nnoise: {{ratio: \"1:1\"}}\n{peers}");
        let said = warnings(&parse(&noisy)).join("\n");
        assert!(said.contains("early data would go before there is noise"), "{said}");
    }

    #[test]
    fn the_engine_hears_of_limits_and_lanes() {
        let file = parse("  allow_open: true\n");
        let settings = engine(&file, 65535, 2, true, Timers::default());
        assert_eq!((settings.payload_limit, settings.lanes), (65503, 3));
        assert!(settings.allow_open && settings.partial_checksum);
        let small = engine(&file, 576, 100, false, Timers::default());
        assert_eq!((small.payload_limit, small.lanes), (1280, 64));
    }
}

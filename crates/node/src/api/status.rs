//! The status of a node, field for field what `stadium status --json` prints.
//!
//! Invariants: every field is always present (an absent value is `null`), counters are
//! integers, times are RFC 3339 or seconds as the name says, and no secret has a place here.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of [`Status`]; it grows by one when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Describes every interface that was asked for: the whole answer of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this layout, [`SCHEMA`].
    pub schema: u32,
    /// The running interfaces, by name; a daemon answers with exactly one.
    pub interfaces: Vec<InterfaceStatus>,
}

impl Status {
    /// Wraps `interfaces` with the current [`SCHEMA`].
    pub fn new(interfaces: Vec<InterfaceStatus>) -> Self {
        Self { schema: SCHEMA, interfaces }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// Describes one interface and its peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// The interface's name as configured.
    pub name: String,
    /// This node's public key, base64.
    pub public_key: String,
    /// The bound UDP addresses.
    pub listen: Vec<SocketAddr>,
    /// The MTU inside the tunnel, bytes.
    pub mtu: u32,
    /// How many pairs of data-plane workers run.
    pub workers: u32,
    /// Which offloads are in use right now.
    pub offload: Offload,
    /// Seconds since the interface came up.
    pub uptime_s: f64,
    /// What was dropped, by reason.
    pub drops: Drops,
    /// The configured peers, in the peer file's order.
    pub peers: Vec<PeerStatus>,
}

/// Says which offloads an interface uses; one that failed in use reads `false` from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offload {
    /// The TUN device hands over superpackets (`IFF_VNET_HDR` with TSO or USO).
    pub tun: bool,
    /// UDP runs are sent with `UDP_SEGMENT`.
    pub udp_gso: bool,
    /// UDP runs are received with `UDP_GRO`.
    pub udp_gro: bool,
}

/// Declares [`Drops`] from one list, so that names, order and fields cannot drift apart.
macro_rules! drops {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts dropped packets and datagrams by reason; every name is always present.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub struct Drops {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Drops {
            /// The names in the order in which `status` prints them.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// Fills every counter with what `count` returns for its name.
            pub fn from_fn(mut count: impl FnMut(&'static str) -> u64) -> Self {
                Self { $($name: count(stringify!($name)),)+ }
            }

            /// Lists the names with their counters, in the order of [`Self::NAMES`].
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}

drops! {
    /// Not a datagram or packet that the specification allows.
    malformed,
    /// A handshake request whose `mac` does not verify: not meant for this node.
    bad_mac,
    /// A source address asked for more handshakes than its share.
    rate_limited,
    /// A handshake whose signature does not verify.
    bad_signature,
    /// A valid handshake from a key that is not configured.
    unknown_peer,
    /// A handshake whose timestamp is not newer than the last accepted one.
    stale_timestamp,
    /// A handshake request that was seen before.
    repeated_request,
    /// A data frame for a session that does not exist (any more).
    unknown_index,
    /// A data frame that does not authenticate.
    bad_tag,
    /// A data frame that was seen before or is too old.
    replay,
    /// An inner packet whose source address does not belong to the peer that sent it.
    not_allowed,
    /// An inner packet whose destination no peer's allowed IPs cover.
    no_route,
    /// An inner packet for a peer that has no session, beyond what waits for one.
    no_session,
    /// A packet longer than the tunnel or the peer takes.
    too_large,
    /// A full queue, here or in the kernel.
    queue_full,
}

impl Drops {
    /// Adds up all counters.
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

/// Describes one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer's name, where the peer file gives one.
    pub name: Option<String>,
    /// The peer's public key, base64.
    pub public_key: String,
    /// Where datagrams to this peer go now.
    pub endpoint: Option<SocketAddr>,
    /// The inner prefixes that belong to this peer.
    pub allowed_ips: Vec<IpNet>,
    /// Whether traffic can flow.
    pub state: PeerState,
    /// Why the last handshake or the last session failed, until one succeeds.
    pub last_error: Option<LastError>,
    /// The current confirmed session.
    pub session: Option<SessionStatus>,
    /// How many handshakes completed since the interface came up.
    pub handshakes: u64,
    /// When the last handshake completed.
    pub last_handshake: Option<Timestamp>,
    /// When the last authentic datagram of this peer arrived.
    pub last_received: Option<Timestamp>,
    /// Inner traffic from this peer.
    pub rx: Received,
    /// Inner traffic to this peer.
    pub tx: Sent,
    /// The last measured round-trip time of a heartbeat, milliseconds.
    pub rtt_ms: Option<f64>,
    /// The noise agreed for the session, or configured where there is none.
    pub noise: NoiseStatus,
}

impl PeerStatus {
    /// Returns the peer's name, or its public key where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.public_key)
    }
}

/// Says where a peer's session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// A confirmed session younger than 180 s.
    Up,
    /// A handshake is under way.
    Handshaking,
    /// No session, and none wanted.
    Idle,
    /// The peer closed; nothing happens until the next traffic.
    Closed,
    /// Gave up after 90 s of handshakes; nothing happens until the next traffic.
    Down,
}

impl PeerState {
    /// Returns the name as in `status --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Handshaking => "handshaking",
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Says why a peer has no session, in words that a user can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastError {
    /// Status 1: the peer does not speak this version.
    #[serde(rename = "unsupported version")]
    UnsupportedVersion,
    /// Status 2: the peer could not open the request.
    #[serde(rename = "cannot decrypt")]
    CannotDecrypt,
    /// Status 3.
    #[serde(rename = "no common hash")]
    NoCommonHash,
    /// Status 5.
    #[serde(rename = "no common cipher")]
    NoCommonCipher,
    /// Status 6: the peer does not have this node's key.
    #[serde(rename = "unknown peer")]
    UnknownPeer,
    /// Status 7: the two noise policies have nothing in common.
    #[serde(rename = "noise refused")]
    NoiseRefused,
    /// Status 8: the peer has no room.
    #[serde(rename = "busy")]
    Busy,
    /// Status 11: the peer takes post-quantum handshakes only.
    #[serde(rename = "post-quantum required")]
    PostQuantumRequired,
    /// The consent did not open: another preshared key or another identity.
    #[serde(rename = "preshared key or identity mismatch")]
    KeyMismatch,
    /// Nothing came back.
    #[serde(rename = "no answer")]
    NoAnswer,
    /// The endpoint is a name that has no address.
    #[serde(rename = "name does not resolve")]
    NameDoesNotResolve,
    /// The system has no way to the endpoint.
    #[serde(rename = "network unreachable")]
    NetworkUnreachable,
}

impl LastError {
    /// Returns the words of `status --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedVersion => "unsupported version",
            Self::CannotDecrypt => "cannot decrypt",
            Self::NoCommonHash => "no common hash",
            Self::NoCommonCipher => "no common cipher",
            Self::UnknownPeer => "unknown peer",
            Self::NoiseRefused => "noise refused",
            Self::Busy => "busy",
            Self::PostQuantumRequired => "post-quantum required",
            Self::KeyMismatch => "preshared key or identity mismatch",
            Self::NoAnswer => "no answer",
            Self::NameDoesNotResolve => "name does not resolve",
            Self::NetworkUnreachable => "network unreachable",
        }
    }
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Describes a confirmed session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The session id that the responder gave (cell `0x0d`).
    pub id: u64,
    /// Seconds since the handshake completed.
    pub age_s: f64,
    /// The AEAD of data frames: `aes-256-gcm` or `chacha20-poly1305`.
    pub cipher: String,
    /// The hash of the data keys: `sha-256`, `sha-512` or `blake2s-256`.
    pub hash: String,
    /// Whether ML-KEM-768 went into the keys.
    pub post_quantum: bool,
    /// Which kind of handshake made it.
    pub handshake: HandshakeKind,
    /// How many sending lanes this node uses.
    pub lanes: u32,
}

/// Names the two kinds of handshake (`protocol.md` section 2, `flag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandshakeKind {
    /// Its parameters were encrypted.
    Encrypted,
    /// Its parameters were readable on the way.
    Open,
}

impl HandshakeKind {
    /// Returns the name as in `status --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Open => "open",
        }
    }
}

/// Counts what came from a peer; `bytes` and `packets` are inner IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Received {
    /// Bytes of inner IP packets.
    pub bytes: u64,
    /// Inner IP packets.
    pub packets: u64,
    /// Noise packets.
    pub noise_packets: u64,
    /// Bytes of noise packets.
    pub noise_bytes: u64,
}

/// Counts what went to a peer; `bytes` and `packets` are inner IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Bytes of inner IP packets.
    pub bytes: u64,
    /// Inner IP packets.
    pub packets: u64,
    /// Noise packets.
    pub noise_packets: u64,
    /// Bytes of noise packets.
    pub noise_bytes: u64,
    /// Bytes of filler behind inner IP packets.
    pub filler_bytes: u64,
}

/// Describes the noise of a session by its byte and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseStatus {
    /// The noise byte (`protocol.md` section 7).
    pub byte: u8,
    /// Noise packets to real ones: `off` or `1:8` to `4:1`.
    pub ratio: String,
    /// How noise packets are sized: `match`, `uniform`, `mean` or `half`.
    pub size: String,
    /// Filler in ordinary packets: `off`, `full` or `random`.
    pub filler: String,
}

impl NoiseStatus {
    /// Describes `byte` in words.
    ///
    /// Size code 0 stands for `match` and for `uniform` alike; `uniform` says which of them this
    /// node draws with. A reserved code, which no session can have, reads `reserved`.
    pub fn from_byte(byte: u8, uniform: bool) -> Self {
        let ratio = match byte >> 5 {
            0 => "off",
            1 => "1:8",
            2 => "1:4",
            3 => "1:2",
            4 => "1:1",
            5 => "2:1",
            6 => "4:1",
            _ => "reserved",
        };
        let size = match (byte >> 3) & 3 {
            0 if uniform => "uniform",
            0 => "match",
            1 => "mean",
            2 => "half",
            _ => "reserved",
        };
        let filler = match (byte >> 1) & 3 {
            0 => "off",
            1 => "full",
            2 => "random",
            _ => "reserved",
        };
        Self { byte, ratio: ratio.to_owned(), size: size.to_owned(), filler: filler.to_owned() }
    }
}

impl Default for NoiseStatus {
    fn default() -> Self {
        Self::from_byte(0, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the contract, with its ellipses filled in.
    const SAMPLE: &str = r#"{"schema":1,"interfaces":[{"name":"stadium0","public_key":"AAAA","listen":["0.0.0.0:51871","[::]:51871"],"mtu":1420,"workers":2,"offload":{"tun":true,"udp_gso":true,"udp_gro":true},"uptime_s":12.3,"drops":{"malformed":0,"bad_mac":0,"rate_limited":0,"bad_signature":0,"unknown_peer":0,"stale_timestamp":0,"repeated_request":0,"unknown_index":0,"bad_tag":0,"replay":0,"not_allowed":0,"no_route":0,"no_session":0,"too_large":0,"queue_full":0},"peers":[{"name":"bob","public_key":"BBBB","endpoint":"192.0.2.7:51871","allowed_ips":["10.7.0.2/32"],"state":"up","last_error":null,"session":{"id":7,"age_s":31.0,"cipher":"aes-256-gcm","hash":"sha-256","post_quantum":true,"handshake":"encrypted","lanes":2},"handshakes":3,"last_handshake":"2026-01-01T00:00:00Z","last_received":"2026-01-01T00:00:01Z","rx":{"bytes":1,"packets":1,"noise_packets":0,"noise_bytes":0},"tx":{"bytes":1,"packets":1,"noise_packets":0,"noise_bytes":0,"filler_bytes":0},"rtt_ms":0.4,"noise":{"byte":130,"ratio":"1:1","size":"match","filler":"full"}}]}]}"#;

    #[test]
    fn the_contract_sample_round_trips_byte_for_byte() {
        let status: Status = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(serde_json::to_string(&status).unwrap(), SAMPLE);
        assert_eq!(status.interfaces[0].peers[0].noise, NoiseStatus::from_byte(130, false));
    }

    #[test]
    fn nothing_running_is_an_empty_list() {
        let text = serde_json::to_string(&Status::default()).unwrap();
        assert_eq!(text, r#"{"schema":1,"interfaces":[]}"#);
    }

    #[test]
    fn absent_values_are_null_and_not_left_out() {
        let mut status: Status = serde_json::from_str(SAMPLE).unwrap();
        let peer = &mut status.interfaces[0].peers[0];
        peer.name = None;
        peer.endpoint = None;
        peer.session = None;
        peer.last_handshake = None;
        peer.last_received = None;
        peer.rtt_ms = None;
        let value = serde_json::to_value(&status).unwrap();
        let peer = &value["interfaces"][0]["peers"][0];
        for name in ["name", "endpoint", "session", "last_handshake", "last_received", "rtt_ms"] {
            assert_eq!(peer.get(name), Some(&serde_json::Value::Null), "{name}");
        }
    }

    #[test]
    fn drops_keep_names_and_order_and_add_up() {
        let mut next = 0;
        let drops = Drops::from_fn(|_| {
            next += 1;
            next
        });
        assert_eq!(Drops::NAMES.len(), 15);
        assert_eq!(drops.malformed, 1);
        assert_eq!(drops.queue_full, 15);
        assert_eq!(drops.total(), (1..=15).sum::<u64>());
        let names: Vec<_> = drops.iter().map(|(name, _)| name).collect();
        assert_eq!(names, Drops::NAMES);
    }

    #[test]
    fn errors_and_states_serialize_as_they_print() {
        for error in [
            LastError::UnsupportedVersion,
            LastError::CannotDecrypt,
            LastError::NoCommonHash,
            LastError::NoCommonCipher,
            LastError::UnknownPeer,
            LastError::NoiseRefused,
            LastError::Busy,
            LastError::PostQuantumRequired,
            LastError::KeyMismatch,
            LastError::NoAnswer,
            LastError::NameDoesNotResolve,
            LastError::NetworkUnreachable,
        ] {
            assert_eq!(serde_json::to_value(error).unwrap(), error.as_str());
        }
        for state in [
            PeerState::Up,
            PeerState::Handshaking,
            PeerState::Idle,
            PeerState::Closed,
            PeerState::Down,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}

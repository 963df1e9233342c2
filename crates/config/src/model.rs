//! A validated peer file: domain types only, nothing left to check.
//!
//! Invariants: no two peers share a public key, a name or a prefix; no peer has this node's key;
//! allowed IPs have no host bits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use stadium_proto::crypto::{Cipher, preferred_ciphers};
use stadium_proto::identity::{NetworkKey, PresharedKey, PublicKey, SecretKey};

use crate::name::InterfaceName;
use crate::noise::NoiseSettings;

/// Holds a whole peer file, validated, its secrets read.
///
/// `Debug` prints no secret; secrets are wiped when it is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFile {
    /// Where the file is, as it was given; the base of relative paths in it.
    pub path: PathBuf,
    /// This node: its key, addresses, ports and policies.
    pub interface: Interface,
    /// How the running daemon is reached.
    pub control: Control,
    /// The noise of peers that say nothing else (already merged into every [`Peer::noise`]).
    pub noise: NoiseSettings,
    /// Whether handshakes carry ML-KEM-768.
    pub post_quantum: PostQuantum,
    /// Which ciphers are offered and taken.
    pub ciphers: Ciphers,
    /// The peers, in the order of the file.
    pub peers: Vec<Peer>,
    /// Whether hooks of this file may run.
    pub hook_trust: HookTrust,
    /// Whether a secret stands in the file itself.
    pub inline_secrets: bool,
}

impl PeerFile {
    /// Returns the peer with this public key.
    #[must_use]
    pub fn peer(&self, public_key: &PublicKey) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.public_key == *public_key)
    }

    /// Returns the peer with this name.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name.as_deref() == Some(name))
    }

    /// Tells whether some peer may carry everything of one address family: a prefix of length 0.
    #[must_use]
    pub fn has_default_route(&self) -> bool {
        self.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|net| net.prefix_len() == 0)
    }
}

/// Describes this node (`interface:`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name of the TUN interface.
    pub name: InterfaceName,
    /// The node's Ed25519 seed.
    pub private_key: SecretKey,
    /// The interface's addresses, host bits kept.
    pub address: Vec<IpNet>,
    /// Where datagrams are received.
    pub listen: Listen,
    /// The MTU of the interface, in bytes.
    pub mtu: Mtu,
    /// Whether and where routes for allowed IPs are made.
    pub routes: Routes,
    /// The mark of the daemon's own datagrams.
    pub fwmark: Fwmark,
    /// Whether traffic beside the tunnel is blocked.
    pub kill_switch: Switch,
    /// With a default route: whether private ranges stay outside the tunnel.
    pub lan: bool,
    /// Name servers to use while the interface is up.
    pub dns: Vec<IpAddr>,
    /// Commands around up and down; see [`PeerFile::hook_trust`].
    pub hooks: Hooks,
    /// Whether the MSS of TCP connections is clamped to the MTU.
    pub mss_clamp: AutoOff,
    /// Whether the DSCP of inner packets is copied to outer ones.
    pub copy_dscp: bool,
    /// Whether open handshakes are answered.
    pub allow_open: bool,
    /// Whether early data (0-RTT) is sent and taken.
    pub early_data: bool,
    /// Whether no handshake error is ever answered.
    pub stealth: bool,
    /// The key of the whole network.
    pub network_key: Option<NetworkKey>,
    /// How many handshakes one source address may start.
    pub handshake_rate: HandshakeRate,
    /// How many data-plane workers there are.
    pub workers: Workers,
    /// Whether segmentation offloads are used.
    pub offload: AutoOff,
}

/// Says where datagrams are received; empty never: the default is any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(pub Vec<ListenOn>);

impl Default for Listen {
    fn default() -> Self {
        Self(vec![ListenOn::Port(0)])
    }
}

impl Listen {
    /// Returns the addresses to bind; a port alone is that of both families, 0 any free port.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .flat_map(|on| match *on {
                ListenOn::Port(port) => vec![
                    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
                ],
                ListenOn::Address(address) => vec![address],
            })
            .collect()
    }
}

/// Names one place to receive datagrams at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenOn {
    /// This port on every address, IPv4 and IPv6; 0 means any free port.
    Port(u16),
    /// This address and port.
    Address(SocketAddr),
}

/// Says how the interface's MTU is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mtu {
    /// Least of (route MTU − outer headers) over the endpoints; 1420 where unknown.
    #[default]
    Auto,
    /// This many bytes, 1280 to 65535.
    Fixed(u16),
}

/// Says whether and where routes for allowed IPs are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routes {
    /// In the main table; a prefix of length 0 gets policy routing.
    #[default]
    Auto,
    /// No routes.
    Off,
    /// In the table with this number.
    Table(u32),
}

/// Says which mark the daemon's own datagrams carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fwmark {
    /// One is chosen when a prefix of length 0 needs it.
    #[default]
    Auto,
    /// No mark.
    Off,
    /// This mark, not 0.
    Mark(u32),
}

/// Says whether something is on, off, or as the rest of the file suggests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// As the rest of the file suggests.
    #[default]
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

/// Says whether something is used where it can be, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoOff {
    /// Used where it can be.
    #[default]
    Auto,
    /// Not used.
    Off,
}

/// Holds commands for `sh -c`, in the order they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the interface comes up.
    pub pre_up: Vec<String>,
    /// After it has come up.
    pub post_up: Vec<String>,
    /// Before it goes down.
    pub pre_down: Vec<String>,
    /// After it has gone down.
    pub post_down: Vec<String>,
}

impl Hooks {
    /// Tells whether there is no command at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.pre_up, &self.post_up, &self.pre_down, &self.post_down]
            .iter()
            .all(|commands| commands.is_empty())
    }
}

/// Tells whether hooks of a peer file may run: only where root owns it and nobody else can
/// write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookTrust {
    /// Root owns the file, and nobody else can write it.
    RootOnly,
    /// Somebody else owns the file.
    OwnedBy(u32),
    /// Group or others can write the file; the permission bits.
    WritableByOthers(u32),
    /// The text came from no regular file, so nobody vouches for it.
    NotAFile,
}

impl HookTrust {
    /// Tells whether hooks may run.
    #[must_use]
    pub const fn may_run(self) -> bool {
        matches!(self, Self::RootOnly)
    }
}

impl fmt::Display for HookTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootOnly => f.write_str("root owns the file and nobody else can write it"),
            Self::OwnedBy(uid) => write!(f, "the file belongs to user {uid}, not to root"),
            Self::WritableByOthers(mode) => {
                write!(f, "others than root can write the file (mode {mode:04o})")
            }
            Self::NotAFile => f.write_str("the text does not come from a regular file"),
        }
    }
}

/// Bounds the handshakes of one source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeRate {
    /// Handshakes a second, at least 1.
    pub per_second: u32,
    /// How many may come at once, at least 1.
    pub burst: u32,
}

impl Default for HandshakeRate {
    fn default() -> Self {
        Self { per_second: 20, burst: 5 }
    }
}

/// Says how many data-plane workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One per core.
    #[default]
    Auto,
    /// This many, 1 to 64 (each has a lane of its own).
    Count(u8),
}

/// Says how the running daemon is reached (`control:`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The control socket.
    pub socket: PathBuf,
    /// The group that may use the socket: a name or a number.
    pub group: Option<String>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
}

/// Says whether handshakes carry ML-KEM-768 (`protocol.md` §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostQuantum {
    /// Hybrid first, classic where the other end has nothing else.
    #[default]
    Prefer,
    /// Hybrid only.
    Require,
    /// Classic only.
    Off,
}

/// Says which ciphers are offered and taken, preferred first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ciphers {
    /// All, the fastest on this processor first.
    #[default]
    Auto,
    /// These; never empty, no duplicates.
    List(Vec<Cipher>),
}

impl Ciphers {
    /// Returns the ciphers in order of preference.
    #[must_use]
    pub fn list(&self) -> &[Cipher] {
        match self {
            Self::Auto => preferred_ciphers(),
            Self::List(list) => list,
        }
    }
}

/// Describes one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, unique in the file.
    pub name: Option<String>,
    /// Its Ed25519 key, unique in the file.
    pub public_key: PublicKey,
    /// The key shared with it beforehand.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is reached.
    pub endpoint: Option<Endpoint>,
    /// The inner addresses that are its own, host bits zero, no duplicates.
    pub allowed_ips: Vec<IpNet>,
    /// How often it is pinged.
    pub heartbeat: Option<Duration>,
    /// The kind of handshake sent to it.
    pub handshake: HandshakeKind,
    /// Its noise: its own settings over those of the file.
    pub noise: NoiseSettings,
}

impl Peer {
    /// Returns what people call the peer: its name, or its public key.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.public_key.to_string())
    }
}

/// Says which kind of handshake is sent to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeKind {
    /// Sealed to the peer's key.
    #[default]
    Encrypted,
    /// Open: parameters are readable, both sides sign.
    Open,
}

/// Says where a peer is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address and a port, not 0.
    Address(SocketAddr),
    /// A name to resolve, and a port, not 0.
    Name {
        /// The host name, without a final dot.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

macro_rules! words {
    ($($type:ident { $($variant:ident => $word:literal),+ })+) => {$(
        impl $type {
            /// Every value that a single word of the peer file names, with that word.
            pub(crate) const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, Self::$variant)),+];
        }
    )+};
}

words! {
    Mtu { Auto => "auto" }
    Routes { Auto => "auto", Off => "off" }
    Fwmark { Auto => "auto", Off => "off" }
    Switch { Auto => "auto", On => "on", Off => "off" }
    AutoOff { Auto => "auto", Off => "off" }
    Workers { Auto => "auto" }
    PostQuantum { Prefer => "prefer", Require => "require", Off => "off" }
    HandshakeKind { Encrypted => "encrypted", Open => "open" }
}

/// Writes what the word of the peer file is, or the value that stands in its place.
macro_rules! show {
    ($($type:ident { $($variant:ident($value:ident)),* })+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant($value) => $value.fmt(f),)*
                    word => f.write_str(word_of(Self::WORDS, word)),
                }
            }
        }
    )+};
}

show! {
    Mtu { Fixed(mtu) }
    Fwmark { Mark(mark) }
    Switch {}
    AutoOff {}
    Workers { Count(count) }
    PostQuantum {}
    HandshakeKind {}
}

impl fmt::Display for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            word => f.write_str(word_of(Self::WORDS, word)),
        }
    }
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, named)| named == value).map_or("", |(word, _)| word)
}

/// Returns the folder that relative paths of the peer file at `path` start from; empty for the
/// current one.
pub(crate) fn base_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

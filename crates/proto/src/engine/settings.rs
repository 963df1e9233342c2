//! What a node is configured with, as far as the protocol is concerned.

use super::{
    Guests, HostConfig,
    input::{PeerConfig, PostQuantum},
};
use crate::{
    crypto::{Cipher, HashAlg, preferred_ciphers},
    guard::HandshakeRate,
    noise::NoisePolicy,
    peer::PeerId,
    timers::Timers,
};

/// Random bytes from outside: the operating system's, or a test's.
pub trait Entropy: Send {
    /// Fills `bytes` with fresh random ones.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8]) + Send> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// The settings of a node that concern all its peers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hash algorithms, preferred first.
    pub hashes: Vec<HashAlg>,
    /// Symmetric algorithms, preferred first.
    pub ciphers: Vec<Cipher>,
    /// Whether ML-KEM-768 is used.
    pub post_quantum: PostQuantum,
    /// Largest frame and filler that this node takes, in bytes: at least 1,280.
    pub payload_limit: u16,
    /// Sending lanes of this node, 1 to 64; lane 0 is control's own.
    pub lanes: u8,
    /// Whether this node takes packets whose transport checksum is partial.
    pub partial_checksum: bool,
    /// Whether stream frames are taken (library users only).
    pub streams: bool,
    /// Whether early data is sent and taken, and tickets for it issued.
    pub early_data: bool,
    /// Whether open handshakes are taken.
    pub allow_open: bool,
    /// Whether open handshakes without a key are taken (library users only).
    pub allow_anonymous: bool,
    /// Peers that nobody configured (library users only).
    pub guests: Guests,
    /// Whether neither errors nor statuses are sent; excludes open handshakes.
    pub stealth: bool,
    /// Handshakes that a source may start.
    pub handshake_rate: HandshakeRate,
    /// The noise that is granted.
    pub noise: NoisePolicy,
    /// The protocol's times.
    pub timers: Timers,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hashes: HashAlg::ALL.to_vec(),
            ciphers: preferred_ciphers().to_vec(),
            post_quantum: PostQuantum::Prefer,
            payload_limit: 1_420,
            lanes: 1,
            partial_checksum: false,
            streams: false,
            early_data: false,
            allow_open: false,
            allow_anonymous: false,
            guests: Guests::NONE,
            stealth: false,
            handshake_rate: HandshakeRate::default(),
            noise: NoisePolicy::OFF,
            timers: Timers::default(),
        }
    }
}

/// A change of the configuration.
#[derive(Debug)]
pub enum Change {
    /// A peer is new.
    Add(Box<PeerConfig>),
    /// A node whose key this node learns from its answer (library users only).
    AddHost(Box<HostConfig>),
    /// A peer changed, all but its key; sessions stay, unless the handshake itself changed.
    Update(PeerId, Box<PeerConfig>),
    /// A peer is gone: its sessions are closed.
    Remove(PeerId),
    /// The node's settings changed; sessions stay as they were agreed.
    Settings(Box<Settings>),
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRefused {
    /// It has this node's own key.
    OwnKey,
    /// Another peer has the same key.
    Duplicate,
    /// There is no such peer.
    Unknown,
    /// A peer's key cannot change: it would be another peer.
    KeyChanged,
}

impl core::fmt::Display for PeerRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::OwnKey => "the peer has this node's own public key; put the other node's there",
            Self::Duplicate => "another peer has the same public key; keep one of the two",
            Self::Unknown => "there is no such peer",
            Self::KeyChanged => "a peer's key cannot change; remove the peer and add it anew",
        })
    }
}

impl core::error::Error for PeerRefused {}

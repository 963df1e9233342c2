//! The live profile of noise, field for field what `stadium status --noise --json` prints.
//!
//! Inside is what real packets look like, outside what an observer of the link sees.

use serde::{Deserialize, Serialize};

use super::status::NoiseStatus;

/// The version of [`NoiseProfiles`]; it grows by one when a field changes its meaning or goes away.
pub const NOISE_SCHEMA: u32 = 1;

/// Describes the noise of every interface that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseProfiles {
    /// The version of this layout, [`NOISE_SCHEMA`].
    pub schema: u32,
    /// The running interfaces, by name; a daemon answers with exactly one.
    pub interfaces: Vec<InterfaceNoise>,
}

impl NoiseProfiles {
    /// Wraps `interfaces` with the current [`NOISE_SCHEMA`].
    pub fn new(interfaces: Vec<InterfaceNoise>) -> Self {
        Self { schema: NOISE_SCHEMA, interfaces }
    }
}

/// Describes the noise of one interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceNoise {
    /// The interface's name as configured.
    pub name: String,
    /// The configured peers, in the peer file's order.
    pub peers: Vec<PeerNoise>,
}

/// Describes the noise towards and from one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerNoise {
    /// The peer's name, where the peer file gives one.
    pub name: Option<String>,
    /// The peer's public key, base64.
    pub public_key: String,
    /// The noise agreed for the session, or configured where there is none.
    pub noise: NoiseStatus,
    /// What schedules this node's noise: `ledger`, `shaped`, `constant` or `machine`.
    pub engine: String,
    /// The ceiling, or the rate of engines that have one, bits a second.
    pub budget_bits: Option<u64>,
    /// What this node sent; `null`: nothing in any noisy session.
    pub tx: Option<NoiseDirection>,
    /// What this node received, likewise.
    pub rx: Option<NoiseDirection>,
}

impl PeerNoise {
    /// Returns the peer's name, or its public key where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.public_key)
    }
}

/// Profiles one direction, over all noisy sessions since the interface came up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseDirection {
    /// Real packets.
    pub packets: u64,
    /// Bytes of real packets, without filler.
    pub bytes: u64,
    /// Bytes of filler behind real packets and control frames.
    pub filler_bytes: u64,
    /// Noise packets.
    pub noise_packets: u64,
    /// Bytes of noise packets.
    pub noise_bytes: u64,
    /// Noise packets for a real one; `null` before there is a real one.
    pub ratio: Option<f64>,
    /// Noise packets for a real one, as the session's byte says.
    pub agreed_ratio: f64,
    /// Noise packets that are owed; negative where noise is ahead. Known to the sender only.
    pub owed: Option<i64>,
    /// Noise packets that were due and not sent. Known to the sender only.
    pub shed: Option<u64>,
    /// What filler and noise add to the bytes of real packets, per cent.
    pub overhead_percent: Option<f64>,
    /// What real packets look like.
    pub inside: Inside,
    /// What an observer of the link sees.
    pub outside: Outside,
}

/// Histograms of real packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Their sizes: buckets of 64 bytes, the last of all that are longer.
    pub sizes: Vec<u64>,
    /// Their gaps: below 1 µs, then up to 2, 4, 8 … µs, the last of all that are longer.
    pub gaps: Vec<u64>,
}

/// Histograms of frames with their filler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Sizes of real packets and control frames, in buckets as above.
    pub real_sizes: Vec<u64>,
    /// Sizes of noise packets.
    pub noise_sizes: Vec<u64>,
    /// Gaps between all frames, in buckets as above.
    pub gaps: Vec<u64>,
}

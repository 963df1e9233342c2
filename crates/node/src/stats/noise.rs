//! The live profile of noise: the readings of all lanes, added up.

use stadium_config::{Peer, SizeLaw};
use stadium_proto::engine::Now;
use stadium_proto::noise::{NoiseByte, ProfileCounts};

use super::round;
use crate::api::{
    Inside, InterfaceNoise, NoiseDirection, NoiseProfiles, NoiseStatus, Outside, PeerNoise,
};
use crate::control::Control;

impl Control {
    /// Returns what `stadium status --noise` shows.
    pub(crate) fn noise_profiles(&self) -> NoiseProfiles {
        let now = self.clock.now();
        let peers = self.file.peers.iter().filter_map(|peer| self.peer_noise(peer, now));
        let name = self.file.interface.name.to_string();
        NoiseProfiles::new(vec![InterfaceNoise { name, peers: peers.collect() }])
    }

    fn peer_noise(&self, peer: &Peer, now: Now) -> Option<PeerNoise> {
        let id = self.engine.peer_by_key(&peer.public_key)?;
        let cell = self.engine.cell(id)?;
        let byte = self.engine.peer_status(id, now.instant)?.noise;
        let uniform = peer.noise.size == SizeLaw::Uniform;
        Some(PeerNoise {
            name: peer.name.clone(),
            public_key: peer.public_key.to_base64(),
            noise: NoiseStatus::from_byte(byte.value(), uniform),
            engine: peer.noise.engine.to_string(),
            budget_bits: peer.noise.budget.map(|rate| rate.0),
            tx: cell.tx_profile().map(|counts| direction(&counts, byte, true)),
            rx: cell.rx_profile().map(|counts| direction(&counts, byte, false)),
        })
    }
}

fn direction(counts: &ProfileCounts, byte: NoiseByte, sender: bool) -> NoiseDirection {
    let (num, den) = byte.ratio().fraction();
    NoiseDirection {
        packets: counts.real(),
        bytes: counts.inside_bytes,
        filler_bytes: counts.real_bytes.saturating_sub(counts.inside_bytes),
        noise_packets: counts.noise(),
        noise_bytes: counts.noise_bytes,
        ratio: counts.ratio().map(round),
        agreed_ratio: f64::from(num) / f64::from(den),
        owed: sender.then_some(counts.owed),
        shed: sender.then_some(counts.shed),
        overhead_percent: counts.overhead_percent().map(round),
        inside: Inside { sizes: counts.inside_sizes.into(), gaps: counts.inside_gaps.into() },
        outside: Outside {
            real_sizes: counts.real_sizes.into(),
            noise_sizes: counts.noise_sizes.into(),
            gaps: counts.outside_gaps.into(),
        },
    }
}

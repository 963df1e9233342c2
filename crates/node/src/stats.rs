//! The status of a running node: the engine's view, the workers' counters, the sockets' state.

mod noise;

use jiff::Timestamp;
use stadium_config::SizeLaw;
use stadium_proto::drop::DropReason;
use stadium_proto::engine as proto;
use stadium_proto::time::{Instant, WallTime};

use crate::api::{
    Drops, HandshakeKind, InterfaceStatus, LastError, NoiseStatus, Offload, PeerState, PeerStatus,
    Received, Sent, SessionStatus, Status,
};
use crate::control::Control;
use crate::sockets::Bound;

impl Control {
    /// Returns what `stadium status` shows.
    pub(crate) fn status(&self) -> Status {
        let now = self.clock.now();
        let bound = &self.outbox.bound;
        let peers = self.file.peers.iter().filter_map(|peer| self.peer_status(peer, now));
        Status::new(vec![InterfaceStatus {
            name: self.file.interface.name.to_string(),
            public_key: self.engine.public_key().to_base64(),
            listen: bound.listen.clone(),
            mtu: self.mtu,
            workers: u32::try_from(self.worker_count).unwrap_or(u32::MAX),
            offload: Offload {
                tun: self.device.offload().tso && !self.device.has_given_up(),
                udp_gso: all(bound, stadium_udp::Caps::gso),
                udp_gro: all(bound, stadium_udp::Caps::gro),
            },
            uptime_s: seconds(now.instant.saturating_since(self.started)),
            drops: self.drops(),
            peers: peers.collect(),
        }])
    }

    fn drops(&self) -> Drops {
        let counters = &self.engine.shared().drops;
        let mut drops = Drops::from_fn(|name| {
            let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
            reason.map_or(0, |reason| counters.of(*reason))
        });
        // what the kernel drops before a worker sees it is a full queue too
        let sockets = self.outbox.bound.sets.iter().flat_map(|set| set.all());
        let kernel: u64 = sockets.map(|socket| u64::from(socket.kernel_drops().unwrap_or(0))).sum();
        drops.queue_full = drops.queue_full.saturating_add(kernel);
        drops
    }

    fn peer_status(&self, peer: &stadium_config::Peer, now: proto::Now) -> Option<PeerStatus> {
        let id = self.engine.peer_by_key(&peer.public_key)?;
        let cell = self.engine.cell(id)?;
        let status = self.engine.peer_status(id, now.instant)?;
        let (rx, tx) = (cell.rx.counts(), cell.tx.counts());
        let uniform = peer.noise.size == SizeLaw::Uniform;
        Some(PeerStatus {
            name: peer.name.clone(),
            public_key: peer.public_key.to_base64(),
            endpoint: cell.endpoint().map(|endpoint| endpoint.remote),
            allowed_ips: peer.allowed_ips.clone(),
            state: state(status.state),
            last_error: status.last_error.map(last_error),
            session: status.session.map(session),
            handshakes: status.handshakes,
            last_handshake: status.last_handshake.and_then(timestamp),
            last_received: status.last_received.and_then(|at| timestamp(wall_of(at, now))),
            rx: Received {
                bytes: rx.bytes,
                packets: rx.packets,
                noise_packets: rx.noise_packets,
                noise_bytes: rx.noise_bytes,
            },
            tx: Sent {
                bytes: tx.bytes,
                packets: tx.packets,
                noise_packets: tx.noise_packets,
                noise_bytes: tx.noise_bytes,
                filler_bytes: tx.filler_bytes,
            },
            rtt_ms: status.rtt.map(|rtt| round(rtt.as_secs_f64() * 1_000.0)),
            noise: NoiseStatus::from_byte(status.noise.value(), uniform),
        })
    }
}

/// Tells whether every socket of the workers still has an offload.
fn all(bound: &Bound, has: impl Fn(&stadium_udp::Caps) -> bool) -> bool {
    bound.sets.iter().flat_map(|set| set.all()).all(|socket| has(socket.caps()))
}

/// The wall time of a moment of this run, by how long ago it was.
fn wall_of(at: Instant, now: proto::Now) -> WallTime {
    let ago = u64::try_from(now.instant.saturating_since(at).as_nanos()).unwrap_or(u64::MAX);
    WallTime::from_nanos(now.wall.as_nanos().saturating_sub(ago))
}

/// A wall time to the millisecond, as people read it.
fn timestamp(wall: WallTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(wall.as_nanos() / 1_000_000).ok()?).ok()
}

/// Seconds to the millisecond.
fn seconds(duration: std::time::Duration) -> f64 {
    round(duration.as_secs_f64())
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn session(session: proto::SessionStatus) -> SessionStatus {
    SessionStatus {
        id: session.id,
        age_s: seconds(session.age),
        cipher: session.cipher.name().to_owned(),
        hash: session.hash.name().to_owned(),
        post_quantum: session.post_quantum,
        handshake: match session.handshake {
            proto::HandshakeKind::Encrypted => HandshakeKind::Encrypted,
            proto::HandshakeKind::Open => HandshakeKind::Open,
        },
        lanes: session.lanes.into(),
    }
}

fn state(state: proto::PeerState) -> PeerState {
    match state {
        proto::PeerState::Up => PeerState::Up,
        proto::PeerState::Handshaking => PeerState::Handshaking,
        proto::PeerState::Idle => PeerState::Idle,
        proto::PeerState::Closed => PeerState::Closed,
        proto::PeerState::Down => PeerState::Down,
    }
}

pub(crate) fn last_error(error: proto::PeerError) -> LastError {
    use proto::PeerError as From;
    match error {
        From::UnsupportedVersion => LastError::UnsupportedVersion,
        From::CannotDecrypt => LastError::CannotDecrypt,
        From::NoCommonHash => LastError::NoCommonHash,
        From::NoCommonCipher => LastError::NoCommonCipher,
        From::UnknownPeer => LastError::UnknownPeer,
        From::NoiseRefused => LastError::NoiseRefused,
        From::Busy => LastError::Busy,
        From::PostQuantumRequired => LastError::PostQuantumRequired,
        From::KeyMismatch => LastError::KeyMismatch,
        From::NoAnswer => LastError::NoAnswer,
        From::NameDoesNotResolve => LastError::NameDoesNotResolve,
        From::NetworkUnreachable => LastError::NetworkUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn errors_have_the_same_words_on_both_sides() {
        use proto::PeerError::*;
        for error in [
            UnsupportedVersion,
            CannotDecrypt,
            NoCommonHash,
            NoCommonCipher,
            UnknownPeer,
            NoiseRefused,
            Busy,
            PostQuantumRequired,
            KeyMismatch,
            NoAnswer,
            NameDoesNotResolve,
            NetworkUnreachable,
        ] {
            assert_eq!(last_error(error).as_str(), error.name());
        }
    }

    #[test]
    fn drop_names_are_those_of_the_engine() {
        let names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names, Drops::NAMES);
    }

    #[test]
    fn moments_of_this_run_become_wall_times() {
        let now = proto::Now {
            instant: Instant::ZERO + Duration::from_secs(100),
            wall: WallTime::from_nanos(1_767_225_600_000_000_000),
        };
        let at = Instant::ZERO + Duration::from_secs(40);
        let text = timestamp(wall_of(at, now)).unwrap().to_string();
        assert_eq!(text, "2025-12-31T23:59:00Z");
    }
}

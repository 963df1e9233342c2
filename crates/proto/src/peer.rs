//! The part of a peer that workers and control share: stable, one per peer, atomics only.
//!
//! Invariant: control alone writes the session and the endpoint; workers write only counters,
//! stamps and the ring of waiting packets.

use crate::{
    identity::PublicKey,
    noise::{NoiseConfig, Profile, ProfileCounts},
    session::TxSession,
    time::Instant,
};
use arc_swap::{ArcSwapOption, Guard};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Names a peer by its slot in the engine; slots are reused after a peer is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// The local address that a datagram came to, so that the answer leaves from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub ip: IpAddr,
    /// The index of the interface; 0 lets the routing table decide.
    pub interface: u32,
}

/// Where a peer is reached, and from which of this node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// This node's address towards it; `None` lets the routing table decide.
    pub local: Option<LocalAddress>,
}

impl Endpoint {
    /// Names an address without a preference for the local one.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }

    /// Tells whether what was sent to this node's address `local` is answered from there. Where
    /// the routing table decides, or nobody knows, it counts as such.
    #[must_use]
    pub fn answers_from(&self, local: Option<IpAddr>) -> bool {
        match (self.local, local) {
            (Some(own), Some(local)) => own.ip == local,
            _ => true,
        }
    }
}

/// Counts the traffic of one direction; inner IP packets, and noise apart.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
    noise_packets: AtomicU64,
    noise_bytes: AtomicU64,
    filler_bytes: AtomicU64,
}

/// A reading of [`Traffic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Inner IP packets.
    pub packets: u64,
    /// Bytes of inner IP packets.
    pub bytes: u64,
    /// Noise frames.
    pub noise_packets: u64,
    /// Bytes of noise frames.
    pub noise_bytes: u64,
    /// Bytes of filler behind frames.
    pub filler_bytes: u64,
}

impl Traffic {
    /// Counts packets and their bytes.
    #[inline]
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts noise frames and their bytes.
    #[inline]
    pub fn add_noise(&self, packets: u64, bytes: u64) {
        self.noise_packets.fetch_add(packets, Relaxed);
        self.noise_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes of filler.
    #[inline]
    pub fn add_filler(&self, bytes: u64) {
        self.filler_bytes.fetch_add(bytes, Relaxed);
    }

    /// Reads all counts.
    #[must_use]
    pub fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            noise_packets: self.noise_packets.load(Relaxed),
            noise_bytes: self.noise_bytes.load(Relaxed),
            filler_bytes: self.filler_bytes.load(Relaxed),
        }
    }
}

/// When something happened last, in nanoseconds of [`Instant`]; 0 stands for never.
#[derive(Debug, Default)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    /// Stamps `now`.
    #[inline]
    pub(crate) fn set(&self, now: Instant) {
        self.0.store(now.as_nanos().max(1), Relaxed);
    }

    /// Stamps `now` if there is no stamp.
    #[inline]
    pub(crate) fn set_first(&self, now: Instant) {
        if self.0.load(Relaxed) == 0 {
            self.set(now);
        }
    }

    /// Takes the stamp away; without a write where there is none.
    #[inline]
    pub(crate) fn clear(&self) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }

    /// Reads the stamp.
    #[inline]
    pub(crate) fn at(&self) -> Option<Instant> {
        match self.0.load(Relaxed) {
            0 => None,
            n => Some(Instant::from_nanos(n)),
        }
    }
}

/// Packets that wait for a session: bounded in number and bytes, the oldest gives way.
#[derive(Debug, Default)]
pub struct Waiting {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    packets: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Waiting {
    /// The most packets that wait.
    pub const MAX_PACKETS: usize = 128;
    /// The most bytes that wait.
    pub const MAX_BYTES: usize = 512 * 1024;

    /// Adds a packet, in the caller's own encoding, and returns how many gave way for it.
    pub fn push(&self, packet: Box<[u8]>) -> u64 {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        ring.bytes += packet.len();
        ring.packets.push_back(packet);
        while ring.packets.len() > Self::MAX_PACKETS || ring.bytes > Self::MAX_BYTES {
            let Some(old) = ring.packets.pop_front() else { break };
            ring.bytes -= old.len();
            dropped += 1;
        }
        dropped
    }

    /// Takes the packet that has waited longest.
    pub fn pop(&self) -> Option<Box<[u8]>> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let packet = ring.packets.pop_front()?;
        ring.bytes -= packet.len();
        if ring.packets.is_empty() {
            *ring = Ring::default();
        }
        Some(packet)
    }

    /// Drops everything and returns how many packets there were.
    pub fn clear(&self) -> u64 {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = ring.packets.len() as u64;
        *ring = Ring::default();
        dropped
    }
}

/// The profiles of one direction: each has one writer, all are read together.
#[derive(Debug, Default)]
struct Profiles(Mutex<Vec<Arc<Profile>>>);

impl Profiles {
    fn add(&self, profile: Arc<Profile>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(profile);
    }

    fn read(&self) -> Option<ProfileCounts> {
        let profiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        profiles.iter().map(|profile| profile.read()).reduce(|mut sum, more| {
            sum.add(&more);
            sum
        })
    }
}

/// Control frames that leave in the midst of the data of a noisy session.
///
/// Frames of control's own would stand out by their time. A worker that keeps a schedule takes
/// them over; where none does, control sends them itself.
#[derive(Debug, Default)]
pub struct Frames {
    taken_over: AtomicBool,
    ring: Mutex<VecDeque<Box<[u8]>>>,
}

impl Frames {
    /// The most frames that wait; further ones control sends itself.
    pub const MOST: usize = 16;

    /// Says that a worker looks after the frames from now on.
    pub fn take_over(&self) {
        self.taken_over.store(true, Relaxed);
    }

    /// Adds a frame; false where nobody would send it soon.
    pub(crate) fn push(&self, frame: &[u8]) -> bool {
        if !self.taken_over.load(Relaxed) {
            return false;
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ring.len() < Self::MOST;
        if room {
            ring.push_back(frame.into());
        }
        room
    }

    /// Takes the frame that has waited longest.
    pub fn pop(&self) -> Option<Box<[u8]>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The cell of one peer: what workers need to send to it and to receive from it.
pub struct PeerCell {
    id: PeerId,
    key: Option<PublicKey>,
    tx_session: ArcSwapOption<TxSession>,
    endpoint: ArcSwapOption<Endpoint>,
    wanted: AtomicBool,
    noise: ArcSwapOption<NoiseConfig>,
    tx_profiles: Profiles,
    rx_profiles: Profiles,
    /// Inner packets sent.
    pub tx: Traffic,
    /// Inner packets received.
    pub rx: Traffic,
    /// Packets that wait for a session.
    pub waiting: Waiting,
    /// Control frames that leave with the data.
    pub frames: Frames,
    pub(crate) last_tx: Stamp,
    pub(crate) last_rx: Stamp,
    pub(crate) unanswered_rx: Stamp,
    pub(crate) unanswered_tx: Stamp,
    pub(crate) last_move_notice: Stamp,
}

impl core::fmt::Debug for PeerCell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PeerCell")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl PeerCell {
    /// Makes the cell of a peer; `key` is `None` for an anonymous one.
    #[must_use]
    pub fn new(id: PeerId, key: Option<PublicKey>, endpoint: Option<Endpoint>) -> Self {
        Self {
            id,
            key,
            tx_session: ArcSwapOption::empty(),
            endpoint: ArcSwapOption::from_pointee(endpoint),
            wanted: AtomicBool::new(false),
            noise: ArcSwapOption::empty(),
            tx_profiles: Profiles::default(),
            rx_profiles: Profiles::default(),
            tx: Traffic::default(),
            rx: Traffic::default(),
            waiting: Waiting::default(),
            frames: Frames::default(),
            last_tx: Stamp::default(),
            last_rx: Stamp::default(),
            unanswered_rx: Stamp::default(),
            unanswered_tx: Stamp::default(),
            last_move_notice: Stamp::default(),
        }
    }

    /// Returns the peer's slot.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Returns the peer's public key; `None` for an anonymous peer.
    #[must_use]
    pub fn key(&self) -> Option<&PublicKey> {
        self.key.as_ref()
    }

    /// Returns the session that sends, if there is one; it may be past its time.
    #[inline]
    #[must_use]
    pub fn tx_session(&self) -> Guard<Option<Arc<TxSession>>> {
        self.tx_session.load()
    }

    /// Returns where the peer is reached.
    #[inline]
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.load().as_deref().copied()
    }

    pub(crate) fn set_tx_session(&self, session: Option<Arc<TxSession>>) {
        self.tx_session.store(session);
    }

    pub(crate) fn set_endpoint(&self, endpoint: Option<Endpoint>) {
        self.endpoint.store(endpoint.map(Arc::new));
    }

    /// Returns how this node makes noise towards the peer; the same `Arc` until it changes.
    #[inline]
    #[must_use]
    pub fn noise_config(&self) -> Guard<Option<Arc<NoiseConfig>>> {
        self.noise.load()
    }

    /// Sets how this node makes noise towards the peer; for control alone.
    ///
    /// Peers whose noise is made alike may share it.
    pub fn set_noise_config(&self, config: impl Into<Arc<NoiseConfig>>) {
        let config = config.into();
        if self.noise.load().as_deref() != Some(&*config) {
            self.noise.store(Some(config));
        }
    }

    /// Adds the profile that a sending lane writes from now on.
    pub fn add_tx_profile(&self, profile: Arc<Profile>) {
        self.tx_profiles.add(profile);
    }

    /// Adds the profile that a receiving worker writes from now on.
    pub fn add_rx_profile(&self, profile: Arc<Profile>) {
        self.rx_profiles.add(profile);
    }

    /// Reads the profiles of all lanes together; `None` where there never was noise.
    #[must_use]
    pub fn tx_profile(&self) -> Option<ProfileCounts> {
        self.tx_profiles.read()
    }

    /// Reads the profiles of all receiving workers together; `None` where there never was noise.
    #[must_use]
    pub fn rx_profile(&self) -> Option<ProfileCounts> {
        self.rx_profiles.read()
    }

    /// Says that packets wait; returns true for the first, which wakes control
    /// ([`Input::Wanted`](crate::engine::Input::Wanted)).
    #[inline]
    #[must_use]
    pub fn want_session(&self) -> bool {
        !self.wanted.load(Relaxed) && !self.wanted.swap(true, Relaxed)
    }

    pub(crate) fn session_settled(&self) {
        self.wanted.store(false, Relaxed);
    }

    /// Stamps that frames went out; `payload` if an IP packet or stream frame was among them.
    #[inline]
    pub fn stamp_tx(&self, now: Instant, payload: bool) {
        self.last_tx.set(now);
        self.unanswered_rx.clear();
        if payload {
            self.unanswered_tx.set_first(now);
        }
    }

    /// Stamps that authenticated frames other than noise came in; `payload` as above.
    #[inline]
    pub fn stamp_rx(&self, now: Instant, payload: bool) {
        self.last_rx.set(now);
        self.unanswered_tx.clear();
        if payload {
            self.unanswered_rx.set_first(now);
        }
    }

    /// Tells whether a frame from `remote` to this node's address `local` should be shown to control
    /// as a sign of roaming, the peer's or this node's own;
    /// true at most every 50 ms a peer, so that a burst makes one notice.
    #[inline]
    #[must_use]
    pub fn notices_move(&self, remote: SocketAddr, local: Option<IpAddr>, now: Instant) -> bool {
        let same = self
            .endpoint
            .load()
            .as_ref()
            .is_some_and(|e| e.remote == remote && e.answers_from(local));
        if same {
            return false;
        }
        let recently =
            self.last_move_notice.at().is_some_and(|at| now.saturating_since(at).as_millis() < 50);
        if !recently {
            self.last_move_notice.set(now);
        }
        !recently
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_packets_are_bounded_and_in_order() {
        let waiting = Waiting::default();
        let mut dropped = 0;
        for n in 0..200_u32 {
            dropped += waiting.push(n.to_le_bytes().into());
        }
        assert_eq!(dropped, 72);
        assert_eq!(waiting.pop().as_deref(), Some(&72_u32.to_le_bytes()[..]));
        assert_eq!(waiting.clear(), 127);
        assert_eq!(waiting.pop(), None);
        for _ in 0..20 {
            dropped = waiting.push(vec![0; 60_000].into());
        }
        assert_eq!(dropped, 1);
        assert_eq!(waiting.clear(), 8);
    }

    #[test]
    fn frames_wait_for_a_worker_only_and_are_bounded() {
        let frames = Frames::default();
        assert!(!frames.push(b"ping"), "control sends it");
        frames.take_over();
        assert!((0..Frames::MOST).all(|n| frames.push(&[n as u8])));
        assert!(!frames.push(b"more"));
        assert_eq!(frames.pop().as_deref(), Some(&[0][..]));
        assert!(frames.push(b"more"));
    }

    #[test]
    fn one_packet_wakes_control() {
        let cell = PeerCell::new(PeerId(1), None, None);
        assert!(cell.want_session());
        assert!(!cell.want_session());
        cell.session_settled();
        assert!(cell.want_session());
    }

    #[test]
    fn stamps_keep_the_first_unanswered_time() {
        let cell = PeerCell::new(PeerId(1), None, None);
        let at = |n| Instant::from_nanos(n);
        cell.stamp_tx(at(5), true);
        cell.stamp_tx(at(9), true);
        assert_eq!(cell.unanswered_tx.at(), Some(at(5)));
        cell.stamp_rx(at(10), true);
        assert_eq!(cell.unanswered_tx.at(), None);
        cell.stamp_rx(at(12), true);
        assert_eq!(cell.unanswered_rx.at(), Some(at(10)));
        cell.stamp_tx(at(13), false);
        assert_eq!(cell.unanswered_rx.at(), None);
        assert_eq!(cell.unanswered_tx.at(), None);
    }
}

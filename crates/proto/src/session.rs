//! The two halves of a session: what a handshake hands out, without timers (`protocol.md` §6).
//!
//! Invariants: a counter of a lane is reserved once and sealed once, so no nonce repeats under a
//! key; a frame is marked in the replay window only after its tag has verified.

use crate::{
    crypto::{OpenKey, SealKey, TAG_LEN},
    drop::DropReason,
    handshake::{Established, Features},
    noise::SessionNoise,
    peer::PeerCell,
    replay::ReplayWindow,
    time::Instant,
    wire::Counter,
};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::wire::{
    DATA_FLAG_PARTIAL_CHECKSUM as FLAG_PARTIAL_CHECKSUM, DATA_HEADER_LEN as HEADER,
    DATA_OVERHEAD as OVERHEAD, DataHeader, KIND_DATA as DATA,
};

/// No lane is used from this sequence on (2^56 − 8,192).
pub const SEQUENCE_LIMIT: u64 = Counter::SEQUENCES - 8_192;

/// A lane has no sequence left: the session must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneExhausted;

/// A counter of its own cache line, as each lane belongs to another worker.
#[repr(align(64))]
#[derive(Default)]
struct Lane(AtomicU64);

/// The sending half of a session.
pub struct TxSession {
    remote_index: u32,
    key: SealKey,
    lanes: Box<[Lane]>,
    payload_limit: usize,
    partial_checksum: bool,
    streams: bool,
    reject_at: Instant,
    used: AtomicBool,
    /// Absent where the byte is off, so that it costs nothing then.
    noise: Option<Box<SessionNoise>>,
}

impl core::fmt::Debug for TxSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TxSession").field("cipher", &self.key.cipher()).finish_non_exhaustive()
    }
}

/// What both halves of a session keep to, beside what the handshake established.
#[derive(Clone, Copy, Debug)]
pub struct SessionTerms {
    /// Largest frame and filler, in bytes.
    pub payload_limit: usize,
    /// Whether both sides take partial checksums.
    pub partial_checksum: bool,
    /// When nobody uses the session any more.
    pub reject_at: Instant,
}

impl TxSession {
    /// Makes the sending half of what a handshake established.
    #[must_use]
    pub fn new(established: &Established, terms: &SessionTerms) -> Self {
        Self {
            remote_index: established.remote_index(),
            key: established.seal_key(),
            lanes: (0..established.tx_lanes()).map(|_| Lane::default()).collect(),
            payload_limit: terms.payload_limit,
            partial_checksum: terms.partial_checksum,
            streams: established.features.contains(Features::STREAMS),
            reject_at: terms.reject_at,
            used: AtomicBool::new(false),
            noise: None,
        }
    }

    /// Makes what seals early data to a ticket: one lane, no features.
    pub(crate) fn early(index: u32, key: SealKey, payload_limit: usize, until: Instant) -> Self {
        Self {
            remote_index: index,
            key,
            lanes: Box::new([Lane::default()]),
            payload_limit,
            partial_checksum: false,
            streams: false,
            reject_at: until,
            used: AtomicBool::new(false),
            noise: None,
        }
    }

    /// Adds the noise that was agreed, if any.
    #[must_use]
    pub fn with_noise(self, noise: Option<SessionNoise>) -> Self {
        Self { noise: noise.map(Box::new), ..self }
    }

    /// Returns the noise of the session; `None` without noise and filler.
    #[inline]
    #[must_use]
    pub fn noise(&self) -> Option<&SessionNoise> {
        self.noise.as_deref()
    }

    /// Returns the lane that control uses, also for what waited for a session.
    ///
    /// It is lane 0, which no worker has. In a noisy session it is the first worker's, if there is
    /// one: the lane stands in clear text, and would tell control frames from data. Counters are
    /// reserved atomically, so that the two senders do no harm to each other.
    #[inline]
    #[must_use]
    pub fn control_lane(&self) -> u8 {
        u8::from(self.noise.is_some() && self.lanes.len() > 1)
    }

    /// Returns the largest frame and filler, in bytes.
    #[inline]
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.payload_limit
    }

    /// Tells whether the peer takes partial checksums.
    #[inline]
    #[must_use]
    pub fn takes_partial_checksum(&self) -> bool {
        self.partial_checksum
    }

    /// Tells whether the peer takes stream frames.
    #[inline]
    #[must_use]
    pub fn takes_streams(&self) -> bool {
        self.streams
    }

    /// Tells whether the session may still be used.
    #[inline]
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        now < self.reject_at
    }

    /// Reserves `n` consecutive counters of `lane` and returns the first; see [`Self::seal`].
    ///
    /// # Errors
    /// [`LaneExhausted`] where the lane has not that many left.
    ///
    /// # Panics
    /// If `lane` is not below the number of lanes announced.
    #[inline]
    pub fn reserve(&self, lane: u8, n: u64) -> Result<u64, LaneExhausted> {
        let first = self.lanes[usize::from(lane)].0.fetch_add(n, Relaxed);
        if first.saturating_add(n) > SEQUENCE_LIMIT {
            // far from the end of the u64, so giving back cannot race into a wrap
            self.lanes[usize::from(lane)].0.fetch_sub(n, Relaxed);
            return Err(LaneExhausted);
        }
        Ok(Counter::new(lane, first).0)
    }

    /// Seals a datagram in place.
    ///
    /// `datagram` is header, plaintext (frame and filler) and room for the tag; header and tag are
    /// written here. The counter comes from [`Self::reserve`] and is used once.
    ///
    /// # Panics
    /// If `datagram` is shorter than [`OVERHEAD`].
    #[inline]
    pub fn seal(&self, counter: u64, flags: u8, datagram: &mut [u8]) {
        let (header, rest) =
            datagram.split_first_chunk_mut::<HEADER>().expect("a datagram has room for its header");
        let (plaintext, tag) =
            rest.split_last_chunk_mut::<TAG_LEN>().expect("a datagram has room for its tag");
        let counter = Counter(counter);
        *header = DataHeader { flags, index: self.remote_index, counter }.to_bytes();
        *tag = self.key.seal(counter.nonce(), header, plaintext);
    }

    /// Notes that payload went out in this session, which makes it worth a rekey.
    #[inline]
    pub fn note_payload(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    pub(crate) fn carried_payload(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// Returns how many frames all lanes have sent together.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.0.load(Relaxed)).fold(0, u64::saturating_add)
    }

    /// Returns the frames of the lane that has sent the most.
    #[must_use]
    pub fn longest_lane(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.0.load(Relaxed)).max().unwrap_or(0)
    }

    /// Returns the number of lanes.
    #[must_use]
    pub fn lanes(&self) -> u8 {
        u8::try_from(self.lanes.len()).unwrap_or(u8::MAX)
    }
}

/// What the opening of a datagram yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFrame {
    /// Where frame and filler stand in the datagram.
    pub plaintext: Range<usize>,
    /// Whether the sequence is the highest of its lane so far.
    pub highest: bool,
}

/// The receiving half of a session.
pub struct RxSession {
    index: u32,
    key: OpenKey,
    windows: Box<[Mutex<ReplayWindow>]>,
    payload_limit: usize,
    partial_checksum: bool,
    /// Sequences from this one on are dropped.
    sequences: u64,
    reject_at: Instant,
    peer: Arc<PeerCell>,
    takes_packets: bool,
    noisy: bool,
    confirmed: AtomicBool,
    current: AtomicBool,
    used: AtomicBool,
}

impl core::fmt::Debug for RxSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RxSession").field("peer", &self.peer.id()).finish_non_exhaustive()
    }
}

impl RxSession {
    /// Makes the receiving half of what a handshake with `peer` established.
    #[must_use]
    pub fn new(established: &Established, peer: Arc<PeerCell>, terms: &SessionTerms) -> Self {
        Self {
            index: established.local_index(),
            key: established.open_key(),
            windows: (0..established.rx_lanes()).map(|_| Mutex::default()).collect(),
            payload_limit: terms.payload_limit,
            partial_checksum: terms.partial_checksum,
            sequences: Counter::SEQUENCES,
            reject_at: terms.reject_at,
            takes_packets: peer.key().is_some(),
            noisy: established.noise != 0,
            peer,
            confirmed: AtomicBool::new(false),
            current: AtomicBool::new(false),
            used: AtomicBool::new(false),
        }
    }

    /// Makes what opens early data to a ticket: one lane of `sequences` frames, no features.
    ///
    /// It counts as confirmed and never as current, so that its frames confirm nothing and move
    /// no endpoint.
    pub(crate) fn early(
        index: u32,
        key: OpenKey,
        payload_limit: usize,
        sequences: u64,
        peer: Arc<PeerCell>,
        until: Instant,
    ) -> Self {
        Self {
            index,
            key,
            windows: Box::new([Mutex::default()]),
            payload_limit,
            partial_checksum: false,
            sequences,
            reject_at: until,
            takes_packets: peer.key().is_some(),
            noisy: false,
            peer,
            confirmed: AtomicBool::new(true),
            current: AtomicBool::new(false),
            used: AtomicBool::new(false),
        }
    }

    /// Returns this node's index of the session.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the peer that sends.
    #[inline]
    #[must_use]
    pub fn peer(&self) -> &Arc<PeerCell> {
        &self.peer
    }

    /// Tells whether IP packets are taken: not from an anonymous peer.
    #[inline]
    #[must_use]
    pub fn takes_packets(&self) -> bool {
        self.takes_packets
    }

    /// Tells whether noise or filler was agreed, so that what comes in is profiled.
    #[inline]
    #[must_use]
    pub fn is_noisy(&self) -> bool {
        self.noisy
    }

    /// Tells whether the session may still be used.
    #[inline]
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        now < self.reject_at
    }

    /// Locks the replay window of a lane; `None` where the lane was not announced.
    ///
    /// Taken once a run, not once a packet; a lane reaches one worker as a rule, so nobody waits.
    #[inline]
    #[must_use]
    pub fn window(&self, lane: u8) -> Option<MutexGuard<'_, ReplayWindow>> {
        let window = self.windows.get(usize::from(lane))?;
        Some(window.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a datagram in place: replay check, tag, mark.
    ///
    /// `window` is that of the header's lane. Returns where frame and filler stand.
    ///
    /// # Errors
    /// [`DropReason::TooLarge`] beyond the payload limit, [`DropReason::Malformed`] for a flag that
    /// was not negotiated, [`DropReason::Replay`], [`DropReason::BadTag`].
    #[inline]
    pub fn open(
        &self,
        header: &DataHeader,
        window: &mut ReplayWindow,
        datagram: &mut [u8],
    ) -> Result<OpenedFrame, DropReason> {
        let length = datagram.len().checked_sub(OVERHEAD).ok_or(DropReason::Malformed)?;
        if length > self.payload_limit {
            return Err(DropReason::TooLarge);
        }
        if header.flags & FLAG_PARTIAL_CHECKSUM != 0 && !self.partial_checksum {
            return Err(DropReason::Malformed);
        }
        let sequence = header.sequence();
        if sequence >= self.sequences || !window.accepts(sequence) {
            return Err(DropReason::Replay);
        }
        let (ad, rest) = datagram.split_first_chunk_mut::<HEADER>().ok_or(DropReason::Malformed)?;
        let (ciphertext, tag) =
            rest.split_last_chunk_mut::<TAG_LEN>().ok_or(DropReason::Malformed)?;
        self.key
            .open(header.counter.nonce(), ad, ciphertext, tag)
            .map_err(|_| DropReason::BadTag)?;
        let highest = window.mark(sequence);
        Ok(OpenedFrame { plaintext: HEADER..HEADER + length, highest })
    }

    /// Notes that a frame opened; returns true for the first of the session, which control must
    /// hear of ([`Input::Opened`](crate::engine::Input::Opened)).
    #[inline]
    #[must_use]
    pub fn confirm(&self) -> bool {
        !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed)
    }

    /// Tells whether a frame of the session has opened before.
    #[inline]
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Relaxed)
    }

    /// Tells whether this is the peer's current session, whose frames may move the endpoint.
    #[inline]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.current.load(Relaxed)
    }

    pub(crate) fn set_current(&self, current: bool) {
        self.current.store(current, Relaxed);
    }

    /// Notes that payload came in, which makes the session worth a rekey.
    #[inline]
    pub fn note_payload(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    pub(crate) fn carried_payload(&self) -> bool {
        self.used.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{Cipher, HashAlg, Secret},
        handshake::{DataKeys, Kind, Role},
        peer::PeerId,
    };
    use proptest::prelude::*;

    /// Two ends of one session in which the initiator has `lanes` lanes.
    fn established(role: Role, cipher: Cipher, lanes: u8) -> Established {
        let key = |n| Secret::new([n; 32]);
        Established {
            role,
            kind: Kind::Encrypted,
            remote: None,
            index_i: 7,
            index_r: 8,
            hash: HashAlg::Sha256,
            cipher,
            features: Features::NONE,
            payload_limit: 1_420,
            lanes_i: lanes,
            lanes_r: 1,
            noise: 0,
            session_id: 1,
            post_quantum: false,
            timestamp: 0,
            ticket: None,
            keys: DataKeys { i2r: key(1), r2i: key(2), early: key(3), export: key(4) },
        }
    }

    fn pair(cipher: Cipher, lanes: u8) -> (TxSession, RxSession) {
        let terms = SessionTerms {
            payload_limit: 1_420,
            partial_checksum: false,
            reject_at: Instant::from_nanos(1_000),
        };
        let peer = Arc::new(PeerCell::new(PeerId(0), None, None));
        let tx = TxSession::new(&established(Role::Initiator, cipher, lanes), &terms);
        let rx = RxSession::new(&established(Role::Responder, cipher, lanes), peer, &terms);
        (tx, rx)
    }

    fn open(rx: &RxSession, datagram: &mut [u8]) -> Result<Range<usize>, DropReason> {
        let header = DataHeader::parse(datagram)?;
        let mut window = rx.window(header.lane()).ok_or(DropReason::Malformed)?;
        rx.open(&header, &mut window, datagram).map(|o| o.plaintext)
    }

    fn sealed(tx: &TxSession, lane: u8, frame: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; OVERHEAD + frame.len()];
        datagram[HEADER..HEADER + frame.len()].copy_from_slice(frame);
        tx.seal(tx.reserve(lane, 1).unwrap(), 0, &mut datagram);
        datagram
    }

    #[test]
    fn what_is_sealed_opens_once() {
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
            let (tx, rx) = pair(cipher, 2);
            for lane in [0, 1] {
                let datagram = sealed(&tx, lane, b"Ebb and flow");
                let mut first = datagram.clone();
                let range = open(&rx, &mut first).unwrap();
                assert_eq!(&first[range], b"Ebb and flow");
                assert_eq!(open(&rx, &mut datagram.clone()), Err(DropReason::Replay));
            }
            assert_eq!(tx.frames(), 2);
            assert_eq!(tx.longest_lane(), 1);
        }
    }

    #[test]
    fn a_lane_that_was_not_announced_is_dropped() {
        let (tx, _) = pair(Cipher::Aes256Gcm, 3);
        let (_, rx) = pair(Cipher::Aes256Gcm, 2);
        assert_eq!(open(&rx, &mut sealed(&tx, 2, b"")), Err(DropReason::Malformed));
    }

    #[test]
    fn a_forged_frame_does_not_move_the_window() {
        let (tx, rx) = pair(Cipher::Aes256Gcm, 1);
        let mut forged = sealed(&tx, 0, b"x");
        forged[8] = 0xff;
        assert_eq!(open(&rx, &mut forged), Err(DropReason::BadTag));
        assert_eq!(rx.window(0).unwrap().highest(), None);
    }

    #[test]
    fn the_limit_counts_frame_and_filler() {
        let (tx, rx) = pair(Cipher::Aes256Gcm, 1);
        assert!(open(&rx, &mut sealed(&tx, 0, &[0; 1_420])).is_ok());
        assert_eq!(open(&rx, &mut sealed(&tx, 0, &[0; 1_421])), Err(DropReason::TooLarge));
    }

    #[test]
    fn flags_and_reserved_bytes_must_be_zero() {
        let (tx, rx) = pair(Cipher::Aes256Gcm, 1);
        let good = sealed(&tx, 0, b"x");
        for (at, value) in [(0, 5), (1, 2), (1, 0x80), (2, 1), (3, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(open(&rx, &mut bad), Err(DropReason::Malformed), "byte {at}");
        }
        let mut no_index = good.clone();
        no_index[4..8].fill(0);
        assert_eq!(open(&rx, &mut no_index), Err(DropReason::Malformed));
        let mut not_agreed = good.clone();
        not_agreed[1] = FLAG_PARTIAL_CHECKSUM;
        assert_eq!(open(&rx, &mut not_agreed), Err(DropReason::Malformed));
        assert!(open(&rx, &mut good.clone()).is_ok());
        assert!(DataHeader::parse(&good[..31]).is_err());
    }

    #[test]
    fn an_exhausted_lane_reserves_nothing() {
        let (tx, _) = pair(Cipher::Aes256Gcm, 1);
        assert_eq!(tx.reserve(0, SEQUENCE_LIMIT - 1), Ok(0));
        assert_eq!(tx.reserve(0, 2), Err(LaneExhausted));
        assert_eq!(tx.reserve(0, 1), Ok(SEQUENCE_LIMIT - 1));
        assert_eq!(tx.reserve(0, 1), Err(LaneExhausted));
    }

    #[test]
    fn a_session_confirms_once_and_ends_in_time() {
        let (tx, rx) = pair(Cipher::Aes256Gcm, 1);
        assert!(rx.confirm());
        assert!(!rx.confirm());
        assert!(tx.is_usable(Instant::from_nanos(999)));
        assert!(!rx.is_usable(Instant::from_nanos(1_000)));
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(
            frame in prop::collection::vec(any::<u8>(), 0..200),
            position in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (tx, rx) = pair(Cipher::ChaCha20Poly1305, 1);
            let mut datagram = sealed(&tx, 0, &frame);
            let at = position.index(datagram.len());
            datagram[at] ^= 1 << bit;
            // bytes 4..8 are the index, which the table checks before a session is asked
            prop_assume!(!(4..8).contains(&at));
            prop_assert!(open(&rx, &mut datagram).is_err());
        }
    }
}

//! Noise on the way out: what a worker keeps for each peer whose session has noise or filler.
//!
//! The worker that sends a peer's packets also makes its noise, on the same lane, from the same
//! arena, in the same system calls: so nothing but content tells the two apart, and that is
//! sealed. Invariants: real packets leave in order; frames that wait lie in buffers of a pool that
//! grows to what was needed at once and is used again, so that nothing is allocated per packet;
//! what fills a datagram is zeroed, as the arena holds what was written there last.

use std::collections::VecDeque;
use std::sync::Arc;

use stadium_packet::segment::Segments;
use stadium_proto::drop::DropReason;
use stadium_proto::noise::{Arrival, NoiseConfig, Profile, SessionNoise, TxNoise};
use stadium_proto::peer::{Endpoint, PeerCell};
use stadium_proto::session::{HEADER, OVERHEAD, TxSession};
use stadium_proto::time::Instant;
use stadium_udp::{Failure, Path};

use super::pipeline::{Pipeline, path};

/// In a noisy session the byte is 0 on every datagram: an inner packet's would mark it as real.
const TOS: u8 = 0;

/// The noisy peers of one lane.
#[derive(Debug, Default)]
pub(super) struct Noisy {
    /// By the peers' slots.
    peers: Vec<Option<Box<NoisyPeer>>>,
    pool: Vec<Box<[u8]>>,
    /// Peers with noise in the batch at hand.
    in_batch: Vec<usize>,
    /// The earliest moment at which something is due; `None` until it is looked for again.
    next: Option<Instant>,
}

/// What a lane keeps for a noisy peer.
#[derive(Debug)]
struct NoisyPeer {
    cell: Arc<PeerCell>,
    session: Arc<TxSession>,
    config: Option<Arc<NoiseConfig>>,
    noise: TxNoise,
    /// Whether the session is confirmed, so that noise packets may go.
    confirmed: bool,
    held: VecDeque<Held>,
    next: Option<Instant>,
    profile: Arc<Profile>,
    seen: Seen,
    /// Packets that this lane has sent.
    own: u64,
    /// Noise in the batch at hand: packets and bytes.
    in_batch: (u32, u64),
}

/// A frame that waits: a packet, or one of control's.
#[derive(Debug)]
struct Held {
    control: bool,
    buffer: Box<[u8]>,
    length: usize,
    /// With filler.
    filled: usize,
}

/// The peer's counters when they were read last.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    received: u64,
    received_noise: u64,
    /// Sent on other lanes.
    others: u64,
}

/// What is to be sent, in which session and where to.
struct Target<'a> {
    session: &'a TxSession,
    path: Path,
    lane: u8,
}

impl NoisyPeer {
    fn new(
        now: Instant,
        cell: &Arc<PeerCell>,
        session: &Arc<TxSession>,
        noise: &SessionNoise,
        lane: u8,
    ) -> Box<Self> {
        let config = cell.noise_config().clone();
        let profile = Arc::new(Profile::default());
        cell.add_tx_profile(Arc::clone(&profile));
        Box::new(Self {
            noise: make(now, config.as_deref(), session, noise, lane),
            cell: Arc::clone(cell),
            session: Arc::clone(session),
            config,
            confirmed: noise.is_confirmed(),
            held: VecDeque::new(),
            next: None,
            profile,
            seen: Seen::read(cell),
            own: 0,
            in_batch: (0, 0),
        })
    }

    /// Takes notice of a new session, of its confirmation, and of changed settings.
    fn refresh(&mut self, now: Instant, session: &Arc<TxSession>, noise: &SessionNoise, lane: u8) {
        let config = self.cell.noise_config();
        let same = match (config.as_ref(), &self.config) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.config = config.clone();
            self.noise = make(now, self.config.as_deref(), session, noise, lane);
        } else if !Arc::ptr_eq(session, &self.session) || self.confirmed != noise.is_confirmed() {
            self.noise.rekey(&noise.terms(lane, session.payload_limit()), now);
        }
        if !Arc::ptr_eq(session, &self.session) {
            self.session = Arc::clone(session);
        }
        self.confirmed = noise.is_confirmed();
    }

    /// Tells the schedule what else the two nodes have exchanged since the last look.
    fn observe(&mut self, now: Instant) {
        let old = self.seen;
        let rx = self.cell.rx.counts();
        // what this lane has sent may not be in the counter yet
        let others = self.cell.tx.counts().packets.saturating_sub(self.own).max(old.others);
        self.seen = Seen { received: rx.packets, received_noise: rx.noise_packets, others };
        let real = rx.packets - old.received + (others - old.others);
        let noise = rx.noise_packets - old.received_noise;
        if real + noise > 0 {
            let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
            self.noise.on_peer(now, count(real), count(noise));
        }
    }
}

impl Seen {
    fn read(cell: &PeerCell) -> Self {
        let rx = cell.rx.counts();
        Self {
            received: rx.packets,
            received_noise: rx.noise_packets,
            others: cell.tx.counts().packets,
        }
    }
}

fn make(
    now: Instant,
    config: Option<&NoiseConfig>,
    session: &TxSession,
    noise: &SessionNoise,
    lane: u8,
) -> TxNoise {
    let config = config.cloned().unwrap_or_default();
    // lane 0 is control's, the others are the workers'
    let workers = u32::from(session.lanes().saturating_sub(1)).max(1);
    TxNoise::new(&config, &noise.terms(lane, session.payload_limit()), workers, now)
}

impl Noisy {
    /// Takes the state of a peer out, made or brought up to date.
    fn take(
        &mut self,
        now: Instant,
        cell: &Arc<PeerCell>,
        session: &Arc<TxSession>,
        noise: &SessionNoise,
        lane: u8,
    ) -> Box<NoisyPeer> {
        let slot = cell.id().0 as usize;
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, || None);
        }
        match self.peers[slot].take().filter(|peer| Arc::ptr_eq(&peer.cell, cell)) {
            Some(mut peer) => {
                peer.refresh(now, session, noise, lane);
                peer
            }
            None => NoisyPeer::new(now, cell, session, noise, lane),
        }
    }

    /// Puts the state of a peer back.
    fn put(&mut self, now: Instant, mut peer: Box<NoisyPeer>) {
        peer.next = if peer.confirmed { peer.noise.next_deadline(now) } else { None };
        self.next = [self.next, peer.next].into_iter().flatten().min();
        let slot = peer.cell.id().0 as usize;
        if peer.in_batch.0 > 0 && !self.in_batch.contains(&slot) {
            self.in_batch.push(slot);
        }
        self.peers[slot] = Some(peer);
    }

    /// Returns the earliest moment at which something is due.
    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Settles the noise of a batch that was sent: of `whole` datagrams `full` found no room.
    pub(super) fn settle(&mut self, full: usize, whole: usize) {
        for slot in self.in_batch.drain(..) {
            let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else { continue };
            let (noise, bytes) = std::mem::take(&mut peer.in_batch);
            // the kernel does not say which they were: as many of each kind
            let refused = (u64::from(noise) * full as u64).div_ceil(whole.max(1) as u64);
            let refused = u32::try_from(refused).unwrap_or(noise).min(noise);
            if refused > 0 {
                peer.noise.on_refused(refused);
            }
            let sent = u64::from(noise - refused);
            peer.cell.tx.add_noise(sent, bytes * sent / u64::from(noise).max(1));
            peer.profile.set_account(&peer.noise.counts());
        }
    }

    /// Finds a buffer of at least `length` bytes.
    fn buffer(&mut self, length: usize, limit: usize) -> Box<[u8]> {
        match self.pool.pop() {
            Some(buffer) if buffer.len() >= length => buffer,
            _ => vec![0; limit.max(length)].into_boxed_slice(),
        }
    }
}

impl Pipeline {
    /// Sends the segments of a superpacket in a noisy session, or keeps them for their moment.
    pub(super) fn push_noisy(
        &mut self,
        now: Instant,
        segments: &Segments<'_>,
        cell: &Arc<PeerCell>,
        session: &Arc<TxSession>,
        noise: &SessionNoise,
        endpoint: &Endpoint,
    ) {
        let lane = self.data_lane(session);
        let target = Target { session, path: path(endpoint), lane };
        let mut peer = self.noisy.take(now, cell, session, noise, lane);
        let count = segments.count() as u32;
        let longest = segments.max_segment_len();
        peer.profile.inside(now, longest, count);
        // control's own path has no clock to send later by
        let scheduled = peer.confirmed && !self.is_controls();
        let arrival =
            if scheduled { peer.noise.arrive(now, count) } else { Arrival::Send { noise: 0 } };
        #[cfg(feature = "lab")]
        let arrival = self.lab.leak_after(arrival, count, &mut peer.noise);
        let run = peer.noise.run_length(longest);
        session.note_payload();
        match arrival {
            Arrival::Hold(kept) => {
                for index in 0..kept as usize {
                    let length = segments.segment_len(index);
                    let mut buffer = self.noisy.buffer(length, session.payload_limit());
                    segments.write(index, &mut buffer[..length]);
                    let filled = run.unwrap_or(length);
                    peer.held.push_back(Held { control: false, buffer, length, filled });
                }
                if kept < count {
                    self.shared().drops.add(DropReason::QueueFull, u64::from(count - kept));
                }
            }
            Arrival::Send { mut noise } => {
                let held = peer.held.len();
                self.send_held(now, &mut peer, &target, held, 0);
                let mut counter = self.counters(&target, u64::from(count) + u64::from(noise));
                let (mut bytes, mut filler) = (0, 0);
                for index in 0..count {
                    while peer.noise.is_noise_next(count - index, noise) {
                        noise -= 1;
                        self.send_noise(now, &mut peer, &target, &mut counter, run);
                    }
                    let length = segments.segment_len(index as usize);
                    let filled = run.unwrap_or(length);
                    self.send_frame(&target, &mut counter, filled, |frame| {
                        segments.write(index as usize, &mut frame[..length]);
                        frame[length..].fill(0);
                    });
                    bytes += length as u64;
                    filler += (filled - length) as u64;
                    note_sent(&mut peer, now, filled, 1);
                }
                for _ in 0..noise {
                    self.send_noise(now, &mut peer, &target, &mut counter, run);
                }
                peer.cell.tx.add_filler(filler);
                self.count_real(&mut peer, u64::from(count), bytes, now);
            }
        }
        self.noisy.put(now, peer);
    }

    /// Sends what is due at this moment; `report` hears of what could not be sent.
    pub(crate) fn tick(&mut self, now: Instant, mut report: impl FnMut(&Failure)) {
        if self.noisy.next.is_none_or(|next| next > now) {
            return;
        }
        self.noisy.next = None;
        for slot in 0..self.noisy.peers.len() {
            let due = match &self.noisy.peers[slot] {
                Some(peer) => peer.next,
                None => continue,
            };
            match due {
                Some(next) if next <= now => self.release(now, slot, &mut report),
                later => self.noisy.next = [self.noisy.next, later].into_iter().flatten().min(),
            }
        }
    }

    /// Looks for noisy sessions that have no state yet, and forgets peers that are gone.
    pub(crate) fn attend(&mut self, now: Instant) {
        let shared = Arc::clone(self.shared());
        let peers = shared.peers();
        for slot in 0..self.noisy.peers.len() {
            let gone = self.noisy.peers[slot]
                .as_ref()
                .is_some_and(|known| !peers.iter().any(|cell| Arc::ptr_eq(cell, &known.cell)));
            if gone && let Some(mut peer) = self.noisy.peers[slot].take() {
                self.drop_held(&mut peer);
            }
        }
        for cell in peers.iter() {
            let session = cell.tx_session();
            let Some(session) = session.as_ref().filter(|session| session.is_usable(now)) else {
                continue;
            };
            if let Some(noise) = session.noise() {
                let lane = self.data_lane(session);
                let peer = self.noisy.take(now, cell, session, noise, lane);
                self.noisy.put(now, peer);
                // one worker does what control leaves to them, so that packets keep their order
                if noise.has_schedule() && lane == session.control_lane() {
                    self.take_over(now, cell, session, noise);
                }
            }
        }
    }

    /// Brings control's frames and the packets that waited for the session into the schedule.
    fn take_over(
        &mut self,
        now: Instant,
        cell: &Arc<PeerCell>,
        session: &Arc<TxSession>,
        noise: &SessionNoise,
    ) {
        cell.frames.take_over();
        let lane = self.data_lane(session);
        let Some(endpoint) = cell.endpoint() else { return };
        let target = Target { session, path: path(&endpoint), lane };
        while let Some(frame) = cell.frames.pop() {
            let mut peer = self.noisy.take(now, cell, session, noise, lane);
            self.push_frame(now, &mut peer, &target, &frame);
            self.noisy.put(now, peer);
        }
        while let Some(waiting) = cell.waiting.pop() {
            if let Some((header, packet)) = waiting.split_first_chunk() {
                self.push_waiting(now, header, packet);
            }
        }
    }

    /// Keeps a control frame for its moment; the schedule takes it for a real packet.
    fn push_frame(
        &mut self,
        now: Instant,
        peer: &mut NoisyPeer,
        target: &Target<'_>,
        frame: &[u8],
    ) {
        let limit = target.session.payload_limit();
        let arrival = peer.noise.arrive(now, 1);
        let mut buffer = self.noisy.buffer(frame.len(), limit);
        buffer[..frame.len()].copy_from_slice(frame);
        let filled = peer.noise.control_length(frame.len()).min(limit);
        let held = Held { control: true, buffer, length: frame.len(), filled };
        match arrival {
            Arrival::Hold(1..) => peer.held.push_back(held),
            // a queue that is full has no place for it, and it is needed
            Arrival::Hold(0) => {
                peer.held.push_front(held);
                self.send_held(now, peer, target, 1, 0);
            }
            Arrival::Send { noise } => {
                peer.held.push_back(held);
                let all = peer.held.len();
                self.send_held(now, peer, target, all, noise);
            }
        }
    }

    /// Sends what the schedule of one peer releases.
    fn release(&mut self, now: Instant, slot: usize, report: &mut impl FnMut(&Failure)) {
        let Some(mut peer) = self.noisy.peers[slot].take() else { return };
        let cell = Arc::clone(&peer.cell);
        let session = cell.tx_session();
        let session = session.as_ref().filter(|session| session.is_usable(now));
        let (Some(session), Some(endpoint)) = (session, cell.endpoint()) else {
            self.drop_held(&mut peer);
            // a new session, or the next packet, wakes it again
            peer.next = None;
            self.noisy.peers[slot] = Some(peer);
            return;
        };
        let lane = self.data_lane(session);
        let Some(noise) = session.noise() else {
            // the new session has no noise: what waits goes as it is
            let target = Target { session, path: path(&endpoint), lane };
            let held = peer.held.len();
            self.send_held(now, &mut peer, &target, held, 0);
            return;
        };
        peer.refresh(now, session, noise, lane);
        peer.observe(now);
        let release = peer.noise.poll(now);
        // all that the schedule does not keep, also what an older one kept
        let real = peer.held.len().saturating_sub(peer.noise.held() as usize);
        if real > 0 || release.noise > 0 {
            let exact = release.at.filter(|at| *at > now);
            if exact.is_some() {
                self.flush(&mut *report);
            }
            let target = Target { session, path: path(&endpoint), lane };
            self.send_held(now, &mut peer, &target, real, release.noise);
            self.noisy.put(now, peer);
            if let Some(at) = exact {
                // sealed already, so that the moment does not tell what it is
                std::thread::sleep(at.saturating_since(now));
                #[cfg(feature = "lab")]
                self.lab.leak_late(real);
                self.flush(&mut *report);
            }
        } else {
            self.noisy.put(now, peer);
        }
    }

    /// Sends the frames that have waited longest, with noise among them.
    fn send_held(
        &mut self,
        now: Instant,
        peer: &mut NoisyPeer,
        target: &Target<'_>,
        real: usize,
        mut noise: u32,
    ) {
        let mut counter = self.counters(target, real as u64 + u64::from(noise));
        let (mut packets, mut bytes, mut filler) = (0, 0, 0);
        let mut run = None;
        for left in (1..=real).rev() {
            let Some(held) = peer.held.pop_front() else { break };
            while peer.noise.is_noise_next(left as u32, noise) {
                noise -= 1;
                self.send_noise(now, peer, target, &mut counter, Some(held.filled));
            }
            let Held { control, buffer, length, filled } = held;
            // a session with a smaller limit may have come since
            if length > target.session.payload_limit() {
                self.shared().drops.count(DropReason::TooLarge);
                self.noisy.pool.push(buffer);
                continue;
            }
            let filled = filled.min(target.session.payload_limit());
            self.send_frame(target, &mut counter, filled, |frame| {
                frame[..length].copy_from_slice(&buffer[..length]);
                frame[length..].fill(0);
            });
            self.noisy.pool.push(buffer);
            if !control {
                packets += 1;
                bytes += length as u64;
            }
            filler += (filled - length) as u64;
            run = Some(filled);
            note_sent(peer, now, filled, 1);
        }
        for _ in 0..noise {
            self.send_noise(now, peer, target, &mut counter, run);
        }
        peer.cell.tx.add_filler(filler);
        if packets > 0 {
            self.count_real(peer, packets, bytes, now);
        }
    }

    fn send_noise(
        &mut self,
        now: Instant,
        peer: &mut NoisyPeer,
        target: &Target<'_>,
        counter: &mut Option<u64>,
        run: Option<usize>,
    ) {
        let length = peer.noise.noise_length(run).min(target.session.payload_limit());
        // the first byte, 0, says noise
        self.send_frame(target, counter, length, |frame| frame.fill(0));
        #[cfg(feature = "lab")]
        self.lab.was_noise();
        peer.in_batch.0 += 1;
        peer.in_batch.1 += length as u64;
        let slot = peer.cell.id().0 as usize;
        if !self.noisy.in_batch.contains(&slot) {
            self.noisy.in_batch.push(slot);
        }
        peer.profile.outside(now, length, 1, true);
    }

    /// Seals one frame into the batch, which is sent first where it is full.
    fn send_frame(
        &mut self,
        target: &Target<'_>,
        counter: &mut Option<u64>,
        length: usize,
        write: impl FnOnce(&mut [u8]),
    ) {
        let Some(counter) = counter else {
            self.shared().drops.count(DropReason::NoSession);
            return;
        };
        if self.batch().reserve(OVERHEAD + length).is_err() {
            self.flush_early();
        }
        let Ok(mut datagram) = self.batch().reserve(OVERHEAD + length) else {
            self.shared().drops.count(DropReason::TooLarge);
            return;
        };
        write(&mut datagram[HEADER..HEADER + length]);
        target.session.seal(*counter, 0, &mut datagram);
        #[cfg(feature = "lab")]
        let header = super::lab::header(&datagram);
        datagram.commit(&target.path, TOS);
        #[cfg(feature = "lab")]
        self.lab.sent(header);
        *counter += 1;
    }

    /// Reserves counters; `None` where the lane has none left.
    fn counters(&self, target: &Target<'_>, n: u64) -> Option<u64> {
        target.session.reserve(target.lane, n).ok()
    }

    fn count_real(&mut self, peer: &mut NoisyPeer, packets: u64, bytes: u64, now: Instant) {
        peer.own += packets;
        let cell = Arc::clone(&peer.cell);
        self.tally_add(&cell, packets, bytes, now);
    }

    fn drop_held(&mut self, peer: &mut NoisyPeer) {
        if !peer.held.is_empty() {
            self.shared().drops.add(DropReason::NoSession, peer.held.len() as u64);
        }
        self.noisy.pool.extend(peer.held.drain(..).map(|held| held.buffer));
        peer.noise.on_dropped();
    }
}

fn note_sent(peer: &mut NoisyPeer, now: Instant, filled: usize, n: u32) {
    peer.noise.on_sent(filled, n);
    peer.profile.outside(now, filled, n, false);
}

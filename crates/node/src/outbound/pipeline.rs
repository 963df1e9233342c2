//! What happens to a packet on its way out, without the TUN: testable with sockets alone.

use std::net::SocketAddr;
use std::sync::Arc;

use stadium_packet::checksum::Checksum;
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use stadium_packet::vnet::VnetHdr;
use stadium_proto::drop::DropReason;
use stadium_proto::peer::{Endpoint, PeerCell, PeerId};
use stadium_proto::session::{FLAG_PARTIAL_CHECKSUM, HEADER, OVERHEAD, TxSession};
use stadium_proto::shared::Shared;
use stadium_proto::time::Instant;
use stadium_tun::Superpacket;
use stadium_udp::{Failure, LocalAddr, OnFull, Path, TxBatch};

use super::noise::Noisy;
use crate::workers::{NOISE, SocketSet};

/// Bytes of the arena: more than the flush threshold and the longest superpacket together.
const ARENA: usize = 384 * 1024;
/// Runs of a batch.
const RUNS: usize = 256;
/// ECN bits of a TOS byte.
const ECN_BITS: u8 = 0b11;

/// What became of a superpacket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is in the batch, waits for a session, or was dropped and counted.
    Done,
    /// The arena is full: flush, then push the rest.
    Full,
    /// It is longer than this many bytes, which is what the session takes: dropped and counted,
    /// and its sender should hear of it.
    TooBig(u32),
}

/// The outbound path of one lane.
#[derive(Debug)]
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    batch: TxBatch,
    sockets: SocketSet,
    lane: u8,
    copy_dscp: bool,
    tally: Tally,
    /// The segment of the superpacket at hand that found no room.
    rest: usize,
    pub(super) noisy: Noisy,
    /// A failure of a flush that nobody listened to.
    unreported: Option<Failure>,
    #[cfg(feature = "lab")]
    pub(super) lab: super::lab::Lab,
}

/// Counts packets of one peer until another peer's turn.
#[derive(Debug, Default)]
struct Tally {
    cell: Option<Arc<PeerCell>>,
    packets: u64,
    bytes: u64,
    now: Instant,
}

impl Tally {
    #[inline]
    fn add(&mut self, cell: &Arc<PeerCell>, packets: u64, bytes: u64, now: Instant) {
        if !self.cell.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, cell)) {
            self.settle();
            self.cell = Some(Arc::clone(cell));
        }
        self.now = now;
        self.packets += packets;
        self.bytes += bytes;
    }

    /// Writes the counts to the peer's cell.
    fn settle(&mut self) {
        if let Some(cell) = self.cell.take()
            && self.packets > 0
        {
            cell.tx.add(self.packets, self.bytes);
            cell.stamp_tx(self.now, true);
        }
        (self.packets, self.bytes) = (0, 0);
    }
}

impl Pipeline {
    /// Makes the path that sends on `lane` from `sockets`.
    pub(crate) fn new(shared: Arc<Shared>, sockets: SocketSet, lane: u8, copy_dscp: bool) -> Self {
        let batch = TxBatch::new(ARENA, RUNS);
        Self {
            shared,
            batch,
            sockets,
            lane,
            copy_dscp,
            tally: Tally::default(),
            rest: 0,
            noisy: Noisy::default(),
            unreported: None,
            #[cfg(feature = "lab")]
            lab: super::lab::Lab::from_environment(lane),
        }
    }

    /// Returns when [`Self::tick`] is due: never without a noisy peer.
    #[inline]
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if NOISE { self.noisy.next() } else { None }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn batch(&mut self) -> &mut TxBatch {
        &mut self.batch
    }

    /// Tells whether this is control's path, for what waited for a session.
    pub(super) fn is_controls(&self) -> bool {
        self.lane == 0
    }

    /// Returns the lane that data of a session goes out on.
    pub(super) fn data_lane(&self, session: &TxSession) -> u8 {
        if self.is_controls() { session.control_lane() } else { self.lane }
    }

    pub(super) fn tally_add(
        &mut self,
        cell: &Arc<PeerCell>,
        packets: u64,
        bytes: u64,
        now: Instant,
    ) {
        self.tally.add(cell, packets, bytes, now);
    }

    /// Sends what is in the batch before its end, to make room; the next flush tells of failures.
    pub(super) fn flush_early(&mut self) {
        let mut failed = None;
        self.flush(|failure| failed = Some(*failure));
        self.unreported = failed.or(self.unreported);
    }

    /// Returns the bytes that wait to be sent.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Seals a superpacket into the batch, or keeps it until its peer has a session; `wanted` is
    /// called for a peer that needs one.
    #[inline]
    pub(crate) fn push(
        &mut self,
        now: Instant,
        superpacket: Superpacket<'_>,
        wanted: impl FnOnce(&PeerCell),
    ) -> Pushed {
        self.rest = 0;
        self.route(now, superpacket.header, superpacket.packet, Some(wanted))
    }

    /// Goes on with a superpacket for which the arena was full.
    pub(crate) fn push_rest(
        &mut self,
        now: Instant,
        superpacket: Superpacket<'_>,
        wanted: impl FnOnce(&PeerCell),
    ) {
        if self.route(now, superpacket.header, superpacket.packet, Some(wanted)) == Pushed::Full {
            self.shared.drops.count(DropReason::TooLarge);
        }
    }

    /// Seals a packet that has waited, in the encoding of [`Self::wait`]; without a session it is
    /// dropped.
    pub(crate) fn push_waiting(
        &mut self,
        now: Instant,
        header: &[u8; VnetHdr::LEN],
        packet: &[u8],
    ) {
        self.rest = 0;
        if self.route(now, header, packet, None::<fn(&PeerCell)>) == Pushed::Full {
            self.flush(|_| {});
            if self.route(now, header, packet, None::<fn(&PeerCell)>) == Pushed::Full {
                self.shared.drops.count(DropReason::TooLarge);
            }
        }
    }

    #[inline]
    fn route(
        &mut self,
        now: Instant,
        header: &[u8; VnetHdr::LEN],
        packet: &[u8],
        wanted: Option<impl FnOnce(&PeerCell)>,
    ) -> Pushed {
        let (Ok(vnet), Ok(ip)) = (VnetHdr::decode(header), IpView::parse(packet)) else {
            return self.drop(DropReason::Malformed);
        };
        let peers = self.shared.peers();
        let Some(cell) = peers.route(ip.dst()) else {
            return self.drop(DropReason::NoRoute);
        };
        let session = cell.tx_session();
        let (Some(session), Some(endpoint)) =
            (session.as_ref().filter(|session| session.is_usable(now)), cell.endpoint())
        else {
            return match wanted {
                Some(wanted) => self.wait(cell, header, packet, wanted),
                None => self.drop(DropReason::NoSession),
            };
        };
        self.seal(now, vnet, ip, cell, session, &endpoint)
    }

    #[cold]
    fn drop(&self, reason: DropReason) -> Pushed {
        self.shared.drops.count(reason);
        Pushed::Done
    }

    /// Keeps a packet until the peer has a session: its virtio-net header, then its bytes.
    #[cold]
    fn wait(
        &self,
        cell: &PeerCell,
        header: &[u8; VnetHdr::LEN],
        packet: &[u8],
        wanted: impl FnOnce(&PeerCell),
    ) -> Pushed {
        let mut waiting = Vec::with_capacity(header.len() + packet.len());
        waiting.extend_from_slice(header);
        waiting.extend_from_slice(packet);
        let gave_way = cell.waiting.push(waiting.into());
        self.shared.drops.add(DropReason::QueueFull, gave_way);
        wanted(cell);
        Pushed::Done
    }

    /// Cuts a superpacket into the arena and seals each segment there.
    #[inline]
    fn seal(
        &mut self,
        now: Instant,
        vnet: VnetHdr,
        ip: IpView<'_>,
        cell: &Arc<PeerCell>,
        session: &Arc<TxSession>,
        endpoint: &Endpoint,
    ) -> Pushed {
        let noise = if NOISE { session.noise() } else { None };
        // the flag of a partial checksum is readable, and noise has none
        let wanted = if session.takes_partial_checksum() && noise.is_none() {
            Checksum::Partial
        } else {
            Checksum::Full
        };
        let Ok(segments) = Segments::new(vnet, ip, wanted) else {
            return self.drop(DropReason::Malformed);
        };
        let count = segments.count();
        if segments.max_segment_len() > session.payload_limit() {
            self.shared.drops.add(DropReason::TooLarge, count as u64);
            return Pushed::TooBig(u32::try_from(session.payload_limit()).unwrap_or(u32::MAX));
        }
        if let Some(noise) = noise {
            self.push_noisy(now, &segments, cell, session, noise, endpoint);
            return Pushed::Done;
        }
        let first = core::mem::take(&mut self.rest);
        let Ok(mut counter) = session.reserve(self.lane, (count - first) as u64) else {
            return self.drop(DropReason::NoSession);
        };
        let flags = match segments.checksum() {
            Checksum::Partial => FLAG_PARTIAL_CHECKSUM,
            Checksum::Full => 0,
        };
        let tos = if self.copy_dscp { ip.tos() } else { ip.tos() & ECN_BITS };
        let path = path(endpoint);
        let mut bytes = 0;
        for index in first..count {
            let length = segments.segment_len(index);
            let Ok(mut datagram) = self.batch.reserve(OVERHEAD + length) else {
                // the counters from here on are not used by anyone else: they are only skipped
                self.rest = index;
                self.tally.add(cell, (index - first) as u64, bytes, now);
                session.note_payload();
                return Pushed::Full;
            };
            segments.write(index, &mut datagram[HEADER..HEADER + length]);
            session.seal(counter, flags, &mut datagram);
            datagram.commit(&path, tos);
            counter += 1;
            bytes += length as u64;
        }
        self.tally.add(cell, (count - first) as u64, bytes, now);
        session.note_payload();
        Pushed::Done
    }

    /// Sends everything that waits; `report` hears of what could not be sent.
    pub(crate) fn flush(&mut self, mut report: impl FnMut(&Failure)) {
        let Self { tally, batch, sockets, shared, noisy, unreported, .. } = self;
        tally.settle();
        if let Some(failure) = unreported.take() {
            report(&failure);
        }
        if batch.is_empty() {
            return;
        }
        let sent = batch.flush_with(sockets.senders(), OnFull::Drop, &mut report);
        if let Ok(sent) = sent {
            let dropped = &sent.dropped;
            if NOISE {
                noisy.settle(dropped.full, sent.datagrams + dropped.total());
            }
            for (reason, count) in [
                (DropReason::QueueFull, dropped.full),
                (DropReason::TooLarge, dropped.too_large),
                (
                    DropReason::NoRoute,
                    dropped.unreachable + dropped.refused + dropped.denied + dropped.other,
                ),
            ] {
                if count > 0 {
                    shared.drops.add(reason, count as u64);
                }
            }
        }
    }

    /// Returns the peer that is reached at an address; looks at all peers, for errors only.
    pub(crate) fn peer_at(&self, remote: SocketAddr) -> Option<PeerId> {
        let peers = self.shared.peers();
        let found = peers.iter().find(|cell| cell.endpoint().is_some_and(|e| e.remote == remote));
        found.map(|cell| cell.id())
    }
}

#[inline]
pub(super) fn path(endpoint: &Endpoint) -> Path {
    Path {
        remote: endpoint.remote,
        local: endpoint.local.map(|local| LocalAddr { ip: local.ip, ifindex: local.interface }),
    }
}

//! What happens to a datagram on its way in, without sockets and TUN: testable with bytes alone.
//!
//! The order is that of `protocol.md` §6: tag, replay, inner type, source address.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use stadium_packet::checksum::{Checksum, fill_partial};
use stadium_packet::coalesce::{Coalescer, Merge, Run};
use stadium_packet::ecn::Ecn;
use stadium_packet::ip::{IpView, set_tos};
use stadium_proto::drop::DropReason;
use stadium_proto::frame::Frame;
use stadium_proto::peer::LocalAddress;
use stadium_proto::session::{DATA, DataHeader, FLAG_PARTIAL_CHECKSUM, RxSession};
use stadium_proto::shared::{Peers, Shared};
use stadium_proto::time::Instant;
use stadium_proto::wire::{DatagramKind, MAX_REQUEST_LEN};
use stadium_tun::Offload;
use stadium_udp::Message;
use tokio::sync::mpsc::Sender;

use super::counts::Counts;
use super::profiles::Profiles;
use super::sink::{Sink, merge_for};
use crate::notice::{CONTROL_BYTES, NOTICES, Notice};
use crate::workers::NOISE;

/// Places in control's queue that handshakes leave to what is authenticated.
const RESERVED: usize = NOTICES / 2;

/// The inbound path of one worker.
#[derive(Debug)]
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    notices: Sender<Notice>,
    coalescer: Coalescer,
    counts: Counts,
    profiles: Profiles,
    /// Whether the TUN takes partial checksums.
    completes_checksums: bool,
}

/// What one run of datagrams of a session and lane amounts to.
#[derive(Debug, Default)]
struct Group {
    packets: u64,
    bytes: u64,
    noise: u64,
    noise_bytes: u64,
    /// Frames other than noise.
    frames: u64,
    /// Whether a frame had the highest sequence of its lane.
    highest: bool,
}

impl Pipeline {
    pub(crate) fn new(shared: Arc<Shared>, notices: Sender<Notice>, offload: Offload) -> Self {
        Self {
            shared,
            notices,
            coalescer: Coalescer::new(merge_for(offload)),
            counts: Counts::default(),
            profiles: Profiles::default(),
            completes_checksums: !offload.csum,
        }
    }

    /// Changes what may be joined.
    pub(crate) fn set_merge(&mut self, merge: Merge) {
        self.coalescer.set_merge(merge);
    }

    /// Handles a batch of messages that lie in `slab`, and writes what comes of it to `sink`.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        messages: &[Message],
        slab: &mut [u8],
        sink: &mut impl Sink,
    ) {
        let shared = Arc::clone(&self.shared);
        let peers = shared.peers();
        for message in messages {
            let mut datagrams = message.datagrams().peekable();
            while let Some(range) = datagrams.next() {
                let datagram = &slab[range.clone()];
                if datagram.first() != Some(&DATA) {
                    self.hand_over(message, datagram);
                    continue;
                }
                let header = match DataHeader::parse(datagram) {
                    Ok(header) => header,
                    Err(error) => {
                        self.counts.add(error.into());
                        continue;
                    }
                };
                let Some(session) = shared.session(header.index) else {
                    self.hand_over_unknown(message, header.index, datagram);
                    continue;
                };
                if !session.is_usable(now) {
                    self.counts.add(DropReason::NoSession);
                    continue;
                }
                let Some(mut window) = session.window(header.lane()) else {
                    self.counts.add(DropReason::Malformed);
                    continue;
                };
                // the run: everything that follows for the same session and lane
                let lane = header.lane();
                let mut group = Group::default();
                let profile = session.is_noisy().then(|| self.profiles.of(session.peer()));
                let mut next = Some((range, header));
                while let Some((range, header)) = next.take() {
                    match session.open(&header, &mut window, &mut slab[range.clone()]) {
                        Ok(opened) => {
                            group.highest |= opened.highest;
                            let plaintext = range.start + opened.plaintext.start
                                ..range.start + opened.plaintext.end;
                            if let Some(profile) = &profile {
                                profile.note(now, &slab[plaintext.clone()]);
                            }
                            let frame = Opened { session: &session, header, plaintext, message };
                            self.take(&peers, frame, slab, &mut group, sink);
                        }
                        Err(reason) => self.counts.add(reason),
                    }
                    let follows = datagrams.peek().and_then(|range| {
                        let header = DataHeader::parse(&slab[range.clone()]).ok()?;
                        let same = header.index == session.index() && header.lane() == lane;
                        same.then(|| (range.clone(), header))
                    });
                    if let Some(follows) = follows {
                        datagrams.next();
                        next = Some(follows);
                    }
                }
                drop(window);
                self.settle(now, &session, message, &group);
            }
        }
        let counts = &mut self.counts;
        self.coalescer.flush(slab, &mut |run: Run<'_>| write(sink, &run, counts));
        self.counts.settle(&shared);
    }

    /// Hands a datagram that is not DATA to control, if it looks like a handshake.
    #[cold]
    fn hand_over(&mut self, message: &Message, datagram: &[u8]) {
        if DatagramKind::of(datagram).is_none() || datagram.len() > MAX_REQUEST_LEN {
            self.counts.add(DropReason::Malformed);
            return;
        }
        if self.notices.capacity() <= RESERVED {
            self.counts.add(DropReason::QueueFull);
            return;
        }
        let notice = Notice::Handshake {
            remote: message.remote,
            local: local_of(message),
            datagram: datagram.into(),
        };
        if self.notices.try_send(notice).is_err() {
            self.counts.add(DropReason::QueueFull);
        }
    }

    /// Hands DATA without a session to control, if its index is that of a ticket: the REQUEST
    /// that it follows may be in control's queue. All else is dropped.
    #[cold]
    fn hand_over_unknown(&mut self, message: &Message, index: u32, datagram: &[u8]) {
        if !self.shared.expects_early(index) {
            self.counts.add(DropReason::UnknownIndex);
            return;
        }
        let notice = Notice::Early {
            remote: message.remote,
            local: local_of(message),
            tos: message.tos,
            datagram: datagram.into(),
        };
        if self.notices.capacity() <= RESERVED || self.notices.try_send(notice).is_err() {
            self.counts.add(DropReason::QueueFull);
        }
    }

    /// Takes one opened frame.
    #[inline]
    fn take(
        &mut self,
        peers: &Peers,
        opened: Opened<'_>,
        slab: &mut [u8],
        group: &mut Group,
        sink: &mut impl Sink,
    ) {
        let Opened { session, header, plaintext, message } = opened;
        let start = plaintext.start;
        match Frame::parse(&slab[plaintext.clone()]) {
            Ok(Frame::Packet { length, source }) => {
                group.frames += 1;
                let belongs = session.takes_packets()
                    && peers.route(source).is_some_and(|cell| Arc::ptr_eq(cell, session.peer()));
                if !belongs {
                    self.counts.add(DropReason::NotAllowed);
                    return;
                }
                group.packets += 1;
                group.bytes += length as u64;
                let range = start..start + length;
                // ECT(0) and Not-ECT outside change nothing inside
                if matches!(Ecn::of(message.tos), Ecn::Ce | Ecn::Ect1)
                    && !carry_ecn(&mut slab[range.clone()], message.tos)
                {
                    self.counts.add(DropReason::NotAllowed);
                    return;
                }
                let mut checksum = Checksum::Full;
                if header.flags & FLAG_PARTIAL_CHECKSUM != 0 {
                    if !self.completes_checksums {
                        checksum = Checksum::Partial;
                    } else if fill_partial(&mut slab[range.clone()]).is_err() {
                        self.counts.add(DropReason::Malformed);
                        return;
                    }
                }
                let slab = &*slab;
                let Ok(ip) = IpView::parse(&slab[range]) else {
                    self.counts.add(DropReason::Malformed);
                    return;
                };
                let Self { coalescer, counts, .. } = self;
                let mut emit = |run: Run<'_>| write(sink, &run, counts);
                if coalescer.push(slab, start, ip, checksum, &mut emit).is_err() {
                    self.counts.add(DropReason::Malformed);
                }
            }
            Ok(Frame::Keepalive) => group.frames += 1,
            Ok(Frame::Noise) if NOISE => {
                group.noise += 1;
                group.noise_bytes += plaintext.len() as u64;
            }
            Ok(Frame::Control) => {
                group.frames += 1;
                let control = &slab[plaintext];
                let control = &control[..control.len().min(CONTROL_BYTES)];
                self.tell(session, message, false, control);
            }
            // streams belong to users of the library; the tunnel has none to give them to
            Ok(Frame::Stream | Frame::Noise) => {
                group.frames += 1;
                self.counts.add(DropReason::NotAllowed);
            }
            Err(reason) => self.counts.add(reason),
        }
    }

    /// Writes what a group amounts to, and tells control what it must know.
    #[inline]
    fn settle(&mut self, now: Instant, session: &RxSession, message: &Message, group: &Group) {
        let peer = session.peer();
        if group.packets > 0 {
            peer.rx.add(group.packets, group.bytes);
            session.note_payload();
        }
        if NOISE && group.noise > 0 {
            peer.rx.add_noise(group.noise, group.noise_bytes);
        }
        if group.frames > 0 {
            peer.stamp_rx(now, group.packets > 0);
        }
        if group.frames + group.noise > 0 && !session.is_confirmed() {
            self.tell(session, message, false, &[]);
        }
        if group.highest
            && session.is_current()
            && peer.notices_move(message.remote, local_ip(message), now)
        {
            self.tell(session, message, true, &[]);
        }
    }

    /// Tells control of a frame; the first of a session is told as such, whatever it is.
    #[cold]
    fn tell(&mut self, session: &RxSession, message: &Message, highest: bool, control: &[u8]) {
        // a permit first: that a session is confirmed is not to be lost with a full queue
        let Ok(permit) = self.notices.try_reserve() else {
            self.counts.add(DropReason::QueueFull);
            return;
        };
        permit.send(Notice::Opened {
            index: session.index(),
            remote: message.remote,
            local: local_of(message),
            highest,
            first: session.confirm(),
            control: control.into(),
        });
    }
}

/// A frame that has opened, where it stands, and what it came with.
struct Opened<'a> {
    session: &'a RxSession,
    header: DataHeader,
    plaintext: Range<usize>,
    message: &'a Message,
}

#[inline]
fn write(sink: &mut impl Sink, run: &Run<'_>, counts: &mut Counts) {
    if let Err((reason, packets)) = sink.write(run) {
        for _ in 0..packets {
            counts.add(reason);
        }
    }
}

/// Carries the congestion mark of the datagram over to the packet (RFC 6040 §4.2); returns false
/// where the packet must be dropped.
#[cold]
fn carry_ecn(packet: &mut [u8], outer: u8) -> bool {
    let Ok(ip) = IpView::parse(packet) else { return true };
    let tos = ip.tos();
    let Some(mark) = Ecn::decapsulate(Ecn::of(tos), Ecn::of(outer)) else { return false };
    let marked = mark.on(tos);
    marked == tos || set_tos(packet, marked).is_ok()
}

fn local_ip(message: &Message) -> Option<IpAddr> {
    message.local.map(|local| local.ip)
}

fn local_of(message: &Message) -> Option<LocalAddress> {
    message.local.map(|local| LocalAddress { ip: local.ip, interface: local.ifindex })
}

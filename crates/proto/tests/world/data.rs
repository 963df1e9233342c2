//! The data plane of a simulated node: what workers do, one packet at a time.

use crate::{inner, node::SimNode};
use stadium_netsim::world::Outbox;
use stadium_proto::{
    drop::DropReason,
    engine::{Input, OpenedNotice},
    frame::Frame,
    peer::{LocalAddress, PeerCell, PeerId},
    session::{DataHeader, HEADER, OVERHEAD, RxSession},
    time::Instant,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// What an opened datagram means to control.
struct Opened<'a> {
    remote: SocketAddr,
    local: Option<LocalAddress>,
    highest: bool,
    control: &'a [u8],
}

impl SimNode {
    /// Routes an inner packet and sends it, or lets it wait for a session.
    pub(crate) fn send_inner(&mut self, now: u64, packet: &[u8], out: &mut Outbox) {
        let shared = Arc::clone(self.engine.shared());
        let Some((_, dest)) = inner::ends(packet) else { return };
        let peers = shared.peers();
        let Some(cell) = peers.route(inner::address(dest).into()) else {
            shared.drops.count(DropReason::NoRoute);
            return;
        };
        if !self.seal_and_send(now, cell, packet, out) {
            shared.drops.add(DropReason::QueueFull, cell.waiting.push(packet.into()));
            if cell.want_session() {
                self.drive(now, Input::Wanted(cell.id()), out);
            }
        }
    }

    /// Sends what waits for a session with a peer.
    pub(crate) fn send_waiting(&mut self, now: u64, peer: PeerId, out: &mut Outbox) {
        let Some(cell) = self.engine.cell(peer).map(Arc::clone) else { return };
        while let Some(packet) = cell.waiting.pop() {
            if !self.seal_and_send(now, &cell, &packet, out) {
                cell.waiting.push(packet);
                return;
            }
        }
    }

    /// Seals a packet on the lane of the data plane; false without a session.
    fn seal_and_send(
        &mut self,
        now: u64,
        cell: &PeerCell,
        packet: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let instant = Instant::from_nanos(now);
        let session = cell.tx_session();
        let Some(session) = session.as_ref().filter(|session| session.is_usable(instant)) else {
            return false;
        };
        let Some(endpoint) = cell.endpoint() else { return false };
        if packet.len() > session.payload_limit() {
            self.engine.shared().drops.count(DropReason::TooLarge);
            return true;
        }
        let lane = session.lanes() - 1;
        let Ok(counter) = session.reserve(lane, 1) else { return false };
        let mut datagram = vec![0; packet.len() + OVERHEAD];
        datagram[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        session.seal(counter, 0, &mut datagram);
        session.note_payload();
        cell.tx.add(1, packet.len() as u64);
        cell.stamp_tx(instant, true);
        if let Some(id) = inner::check(packet) {
            self.ledger.note_sealed(&datagram, id);
        }
        self.transmit(now, &endpoint, datagram, out);
        true
    }

    /// Takes a DATA datagram: header, session, window, tag, source, in this order.
    pub(crate) fn receive_data(
        &mut self,
        now: u64,
        local: Option<LocalAddress>,
        remote: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let shared = Arc::clone(self.engine.shared());
        let (session, highest, plaintext) = match open(&shared, now, datagram) {
            Ok(opened) => opened,
            Err(reason) => return shared.drops.count(reason),
        };
        let instant = Instant::from_nanos(now);
        let opened = Opened { remote, local, highest, control: &[] };
        let cell = Arc::clone(session.peer());
        match Frame::parse(plaintext) {
            Ok(Frame::Packet { length, source }) => {
                let belongs = session.takes_packets()
                    && shared.peers().route(source).is_some_and(|peer| Arc::ptr_eq(peer, &cell));
                cell.stamp_rx(instant, belongs);
                if belongs {
                    session.note_payload();
                    cell.rx.add(1, length as u64);
                    let packet = plaintext[..length].to_vec();
                    self.tell(now, &session, opened, out);
                    self.take_inner(now, &packet, out);
                } else {
                    shared.drops.count(DropReason::NotAllowed);
                    self.tell(now, &session, opened, out);
                }
            }
            Ok(Frame::Control) => {
                cell.stamp_rx(instant, false);
                self.tell(now, &session, Opened { control: plaintext, ..opened }, out);
            }
            Ok(Frame::Keepalive | Frame::Stream) => {
                cell.stamp_rx(instant, false);
                self.tell(now, &session, opened, out);
            }
            Ok(Frame::Noise) => self.tell(now, &session, opened, out),
            Err(reason) => shared.drops.count(reason),
        }
    }

    /// Shows control the first frame of a session, control frames and signs of roaming.
    fn tell(&mut self, now: u64, session: &RxSession, opened: Opened<'_>, out: &mut Outbox) {
        let Opened { remote, local, highest, control } = opened;
        let moved = highest
            && session.is_current()
            && session.peer().notices_move(remote, local.map(|l| l.ip), Instant::from_nanos(now));
        let first = session.confirm();
        if !first && !moved && control.is_empty() {
            return;
        }
        let index = session.index();
        let notice = OpenedNotice { index, remote, local, highest: moved, first, control };
        self.drive(now, Input::Opened(notice), out);
    }

    /// Takes an inner packet for this node, or routes it on.
    fn take_inner(&mut self, now: u64, packet: &[u8], out: &mut Outbox) {
        match inner::ends(packet) {
            Some((_, dest)) if dest != self.number => self.send_inner(now, packet, out),
            _ => self.ledger.take(now, packet),
        }
    }
}

/// Opens a datagram in place; returns its session, whether it is the newest of its lane, and frame
/// and filler.
fn open<'a>(
    shared: &stadium_proto::shared::Shared,
    now: u64,
    datagram: &'a mut [u8],
) -> Result<(Arc<RxSession>, bool, &'a [u8]), DropReason> {
    let header = DataHeader::parse(datagram)?;
    let session = shared.session(header.index).ok_or(DropReason::UnknownIndex)?;
    let session = Arc::clone(&session);
    if !session.is_usable(Instant::from_nanos(now)) {
        return Err(DropReason::NoSession);
    }
    let opened = {
        let mut window = session.window(header.lane()).ok_or(DropReason::Malformed)?;
        session.open(&header, &mut window, datagram)?
    };
    Ok((session, opened.highest, &datagram[opened.plaintext]))
}

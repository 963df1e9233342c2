//! Datagrams in: handshakes go to the engine, data is opened where it lies and delivered.

use std::cell::RefCell;
use std::io;

use stadium_proto::drop::DropReason;
use stadium_proto::engine::{Input, Now, OpenedNotice};
use stadium_proto::frame::{Frame, StreamHeader};
use stadium_proto::session::{DATA, DataHeader, RxSession};
use stadium_udp::{Message, RxBatch};

use super::Driver;
use super::outbox::local_of;
use crate::clock;

/// Messages that one system call takes; each may be several datagrams.
const MESSAGES: usize = 16;

thread_local! {
    // drivers never wait in the middle of a batch, so those of a thread share one slab
    static BATCH: RefCell<RxBatch> = RefCell::new(RxBatch::new(MESSAGES));
}

impl Driver {
    /// Takes in what waits, in at most `rounds` system calls; true if more may wait.
    pub(super) fn receive(&mut self, rounds: usize) -> io::Result<bool> {
        BATCH.with_borrow_mut(|batch| {
            for _ in 0..rounds {
                let messages = batch.recv(&self.socket.get_ref().0)?;
                if messages == 0 {
                    return Ok(batch.is_full());
                }
                self.receive_batch(batch);
            }
            Ok(true)
        })
    }

    fn receive_batch(&mut self, batch: &mut RxBatch) {
        let now = clock::now();
        let (messages, slab) = batch.split();
        let handshakes: usize = messages
            .iter()
            .filter(|message| slab[message.start] != DATA)
            .map(|message| message.datagrams().len())
            .sum();
        if handshakes > 0 {
            self.feed(now, Input::QueueDepth(handshakes));
        }
        for message in messages {
            for range in message.datagrams() {
                let datagram = &mut slab[range];
                if datagram[0] == DATA {
                    if let Err(reason) = self.receive_data(now, message, datagram) {
                        self.shared.drops.count(reason);
                    }
                } else {
                    let (remote, local) = (message.remote, local_of(message));
                    self.handle(now, Input::Handshake { remote, local, datagram });
                }
            }
        }
    }

    fn receive_data(
        &mut self,
        now: Now,
        message: &Message,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let header = DataHeader::parse(datagram)?;
        let found = self.shared.session(header.index).ok_or(DropReason::UnknownIndex)?;
        if !found.is_usable(now.instant) {
            return Err(DropReason::NoSession);
        }
        let opened = {
            let mut window = found.window(header.lane()).ok_or(DropReason::Malformed)?;
            found.open(&header, &mut window, datagram)?
        };
        let plaintext = &datagram[opened.plaintext.clone()];
        let frame = Frame::parse(plaintext)?;
        let peer = found.peer();
        let slot = peer.id().0;
        let control = if frame == Frame::Control { plaintext } else { &[] };
        let first = !found.is_confirmed() && found.confirm();
        let local = message.local.map(|local| local.ip);
        let moved = opened.highest
            && found.is_current()
            && peer.notices_move(message.remote, local, now.instant);
        match frame {
            Frame::Noise => {}
            Frame::Stream => {
                peer.stamp_rx(now.instant, true);
                peer.rx.add(1, plaintext.len() as u64);
                found.note_payload();
            }
            _ => peer.stamp_rx(now.instant, false),
        }
        if first || moved || !control.is_empty() {
            let session = std::sync::Arc::clone(&found);
            drop(found);
            self.tell(now, &session, message, (first, moved), control);
        }
        match frame {
            Frame::Stream => {
                let (header, bytes) = StreamHeader::parse(plaintext)?;
                if self.entry(slot).is_none() {
                    self.begin_early(now, slot, message.remote);
                }
                let entry = self.entry(slot).ok_or(DropReason::NoSession)?;
                entry.session.deliver(header.stream, bytes);
                Ok(())
            }
            // there is no interface that packets could go to
            Frame::Packet { .. } => Err(DropReason::NotAllowed),
            Frame::Keepalive | Frame::Noise | Frame::Control => Ok(()),
        }
    }

    /// Tells the engine of a frame that it must see.
    fn tell(
        &mut self,
        now: Now,
        session: &RxSession,
        message: &Message,
        (first, highest): (bool, bool),
        control: &[u8],
    ) {
        let index = session.index();
        let (remote, local) = (message.remote, local_of(message));
        let notice = OpenedNotice { index, remote, local, highest, first, control };
        self.handle(now, Input::Opened(notice));
    }
}

//! Messages out: sessions take turns, and within a session its streams; sealed in the batch.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use stadium_proto::engine::{Input, Now};
use stadium_proto::frame::StreamHeader;
use stadium_proto::session::{HEADER, OVERHEAD, TxSession};
use stadium_udp::{OnFull, Path, ReserveError, Socket, TxBatch};

use super::Driver;
use super::outbox::path_to;
use crate::channel::{Turn, lock};
use crate::session::SessionInner;

/// Bytes of the arena: two full runs and more.
const ARENA: usize = 256 * 1024;
/// Runs of a batch.
const RUNS: usize = 64;
/// Messages that a turn of the driver sends before it looks at the socket again.
const MESSAGES_PER_TURN: usize = 512;
/// Messages that a session may send in its turn, about.
const MESSAGES_PER_SESSION: usize = 64;
/// How long the driver waits in place for room in the send buffer; then for the socket.
const SEND_WAIT: Duration = Duration::from_micros(500);

thread_local! {
    // drivers never wait in the middle of a batch, so those of a thread share one arena
    static BATCH: RefCell<TxBatch> = RefCell::new(TxBatch::new(ARENA, RUNS));
}

/// What became of a session's turn.
enum Outcome {
    /// It has nothing more to send.
    Idle(usize),
    /// It goes to the end of the line.
    Again(usize),
    /// It has no keys to send with.
    NoKeys,
}

impl Driver {
    /// Sends what is queued, a bounded amount.
    pub(super) fn transmit(&mut self, now: Now) {
        if !self.endpoint.has_ready() {
            return;
        }
        let mut without_keys = Vec::new();
        BATCH.with_borrow_mut(|batch| {
            let mut sent = 0;
            while sent < MESSAGES_PER_TURN
                && let Some(session) = self.endpoint.next_ready()
            {
                match self.take_turn(now, &session, batch) {
                    Outcome::Idle(count) => sent += count,
                    Outcome::Again(count) => {
                        sent += count;
                        self.endpoint.schedule(session);
                    }
                    Outcome::NoKeys => without_keys.push(session),
                }
            }
            self.flush(batch);
        });
        for session in without_keys {
            let slot = session.slot;
            if let Some(entry) = self.entry(slot.0)
                && Arc::ptr_eq(&entry.session, &session)
            {
                entry.parked = true;
                // who has sent early data is about to complete its handshake
                if session.confirmed.load(SeqCst) {
                    self.handle(now, Input::Wanted(slot));
                }
            }
        }
        if self.endpoint.has_ready() {
            self.endpoint.wake.notify_one();
        }
    }

    /// Sends what a session has queued, up to a turn's worth.
    fn take_turn(&mut self, now: Now, session: &SessionInner, batch: &mut TxBatch) -> Outcome {
        let keys = session.cell.tx_session();
        let usable = keys.as_ref().filter(|tx| tx.is_usable(now.instant));
        let (Some(tx), Some(endpoint)) = (usable, session.cell.endpoint()) else {
            return Outcome::NoKeys;
        };
        let path = path_to(&endpoint);
        let mut sent = 0;
        let mut bytes = 0;
        let outcome = loop {
            let (channel, alone) = {
                let mut schedule = lock(&session.schedule);
                let Some(channel) = schedule.pop_front() else {
                    drop(schedule);
                    session.scheduled.store(false, SeqCst);
                    // somebody may have queued between the look and the mark
                    if !lock(&session.schedule).is_empty() && !session.scheduled.swap(true, SeqCst)
                    {
                        continue;
                    }
                    break Outcome::Idle(sent);
                };
                (channel, schedule.is_empty())
            };
            let turn = channel.take_turn(&mut self.scratch, alone, session.limits.send_queue);
            let socket = &self.socket.get_ref().0;
            while let Some(message) = self.scratch.front() {
                if !seal(tx, channel.id, message, &path, batch, socket) {
                    break;
                }
                sent += 1;
                bytes += message.len() as u64;
                self.scratch.pop_front();
            }
            if !self.scratch.is_empty() {
                // the lane is exhausted: the messages wait for other keys
                channel.put_back(&mut self.scratch);
                lock(&session.schedule).push_front(channel);
                break Outcome::NoKeys;
            }
            if turn == Turn::More {
                lock(&session.schedule).push_back(channel);
            }
            if sent >= MESSAGES_PER_SESSION {
                break Outcome::Again(sent);
            }
        };
        if sent > 0 {
            session.cell.stamp_tx(now.instant, true);
            session.cell.tx.add(sent as u64, bytes);
            session.sent.fetch_add(sent as u64, Relaxed);
            tx.note_payload();
        }
        outcome
    }

    fn flush(&mut self, batch: &mut TxBatch) {
        if batch.is_empty() {
            return;
        }
        match batch.flush(&self.socket.get_ref().0, OnFull::Wait(SEND_WAIT)) {
            Ok(sent) => self.congested = sent.dropped.full > 0,
            Err(error) => tracing::debug!(%error, "messages were not sent"),
        }
    }
}

/// Seals a message into the batch; false if the session has no counter left.
fn seal(
    tx: &TxSession,
    stream: u32,
    message: &[u8],
    path: &Path,
    batch: &mut TxBatch,
    socket: &Socket,
) -> bool {
    // queues take no message that is longer than a datagram
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let frame = StreamHeader::LEN + usize::from(length);
    if frame > tx.payload_limit() {
        // the limit was lower after a rekey: the message is lost like one that is too large
        return true;
    }
    let Ok(counter) = tx.reserve(0, 1) else { return false };
    let mut space = match batch.reserve(OVERHEAD + frame) {
        Ok(space) => space,
        Err(ReserveError::Full | ReserveError::TooLong) => {
            let _ = batch.flush(socket, OnFull::Wait(SEND_WAIT));
            match batch.reserve(OVERHEAD + frame) {
                Ok(space) => space,
                // an empty batch has room for any datagram
                Err(_) => return true,
            }
        }
    };
    let (header, body) = space[HEADER..].split_at_mut(StreamHeader::LEN);
    header.copy_from_slice(&StreamHeader { stream, length }.to_bytes());
    body[..usize::from(length)].copy_from_slice(&message[..usize::from(length)]);
    tx.seal(counter, 0, &mut space);
    space.commit(path, 0);
    true
}

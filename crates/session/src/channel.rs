//! The two queues of a stream, and how tasks wait at them.
//!
//! Invariants: both queues are bounded; a channel whose outgoing queue is not empty is in its
//! session's schedule exactly once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that a stream may send in its turn, if others wait: about one datagram.
const QUANTUM: usize = 1_500;
/// The most messages that a stream may send in its turn, if no other waits.
const ALONE: usize = 64;

/// One numbered channel of a session.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: u32,
    outgoing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
    /// Wakes those that wait for room to send.
    pub(crate) writable: Notify,
    /// Wakes one that waits for a message.
    pub(crate) readable: Notify,
}

#[derive(Debug, Default)]
struct Outgoing {
    messages: VecDeque<Bytes>,
    scheduled: bool,
}

#[derive(Debug, Default)]
struct Incoming {
    messages: VecDeque<Bytes>,
    /// Messages that found the queue full.
    dropped: u64,
    /// Nobody will take a message any more.
    abandoned: bool,
}

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// There was no room.
    Full,
    /// The channel is in the schedule already.
    Queued,
    /// The caller must put the channel into the schedule.
    Schedule,
}

/// What a turn took out of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The channel is empty, and no longer in the schedule.
    Done,
    /// There is more: the channel goes to the end of the schedule.
    More,
}

impl Channel {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            writable: Notify::new(),
            readable: Notify::new(),
        }
    }

    /// Queues a message to send, if there is room.
    pub(crate) fn push_outgoing(&self, message: &Bytes, max: usize) -> Pushed {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.messages.len() >= max {
            return Pushed::Full;
        }
        outgoing.messages.push_back(message.clone());
        if core::mem::replace(&mut outgoing.scheduled, true) {
            Pushed::Queued
        } else {
            Pushed::Schedule
        }
    }

    /// Moves what the channel may send in its turn to `batch`; `alone` if no other waits.
    pub(crate) fn take_turn(&self, batch: &mut VecDeque<Bytes>, alone: bool, max: usize) -> Turn {
        let mut outgoing = lock(&self.outgoing);
        let was_full = outgoing.messages.len() >= max;
        let mut bytes = 0;
        let mut count = 0;
        while let Some(message) = outgoing.messages.front() {
            let fits = if alone { count < ALONE } else { bytes == 0 || bytes < QUANTUM };
            if !fits {
                break;
            }
            bytes += message.len().max(1);
            count += 1;
            batch.extend(outgoing.messages.pop_front());
        }
        let turn = if outgoing.messages.is_empty() {
            outgoing.scheduled = false;
            Turn::Done
        } else {
            Turn::More
        };
        drop(outgoing);
        if was_full {
            self.writable.notify_waiters();
        }
        turn
    }

    /// Gives back messages that a turn took and that could not be sent, in their order.
    ///
    /// Only for a channel that stays in the schedule, or is put back there by the caller.
    pub(crate) fn put_back(&self, batch: &mut VecDeque<Bytes>) {
        let mut outgoing = lock(&self.outgoing);
        while let Some(message) = batch.pop_back() {
            outgoing.messages.push_front(message);
        }
        outgoing.scheduled = true;
    }

    /// Queues a received message; false if it found the queue full and was dropped.
    pub(crate) fn push_incoming(&self, message: &[u8], max: usize) -> bool {
        // copied before the lock is taken: who receives does not wait for the allocator
        let message = Bytes::copy_from_slice(message);
        let mut incoming = lock(&self.incoming);
        if incoming.abandoned || incoming.messages.len() >= max {
            incoming.dropped += 1;
            return false;
        }
        incoming.messages.push_back(message);
        let first = incoming.messages.len() == 1;
        drop(incoming);
        if first {
            self.readable.notify_one();
        }
        true
    }

    /// Counts a received message that was dropped for want of room elsewhere.
    pub(crate) fn count_dropped(&self) {
        lock(&self.incoming).dropped += 1;
    }

    /// Takes the message that has waited longest.
    pub(crate) fn pop_incoming(&self) -> Option<Bytes> {
        let mut incoming = lock(&self.incoming);
        let message = incoming.messages.pop_front()?;
        let more = !incoming.messages.is_empty();
        drop(incoming);
        if more {
            // another task may wait too
            self.readable.notify_one();
        }
        Some(message)
    }

    /// Tells whether received messages wait.
    pub(crate) fn has_incoming(&self) -> bool {
        !lock(&self.incoming).messages.is_empty()
    }

    /// Returns how many received messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.incoming).dropped
    }

    /// Forgets what was received, takes nothing more, and returns what it counted.
    pub(crate) fn abandon(&self) -> usize {
        let mut incoming = lock(&self.incoming);
        incoming.abandoned = true;
        core::mem::take(&mut incoming.messages).iter().map(|message| cost(message.len())).sum()
    }

    /// Forgets what is to be sent.
    pub(crate) fn clear_outgoing(&self) {
        let mut outgoing = lock(&self.outgoing);
        outgoing.messages = VecDeque::new();
        outgoing.scheduled = false;
    }

    /// Wakes everybody, as the session has ended.
    pub(crate) fn wake_all(&self) {
        self.writable.notify_waiters();
        self.readable.notify_waiters();
    }
}

/// Returns what a received message of `len` bytes counts towards `Limits::receive_bytes`: its
/// bytes, and what it takes to keep it, so that a flood of empty messages is bounded too.
pub(crate) const fn cost(len: usize) -> usize {
    len + 64
}

/// Locks, also where a task panicked while it held the lock: queues are valid at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u8, len: usize) -> Bytes {
        Bytes::from(vec![n; len])
    }

    #[test]
    fn a_full_queue_refuses_and_a_turn_makes_room() {
        let channel = Channel::new(1);
        assert_eq!(channel.push_outgoing(&message(1, 10), 2), Pushed::Schedule);
        assert_eq!(channel.push_outgoing(&message(2, 10), 2), Pushed::Queued);
        assert_eq!(channel.push_outgoing(&message(3, 10), 2), Pushed::Full);
        let mut batch = VecDeque::new();
        assert_eq!(channel.take_turn(&mut batch, true, 2), Turn::Done);
        assert_eq!(batch, [message(1, 10), message(2, 10)]);
        assert_eq!(channel.push_outgoing(&message(3, 10), 2), Pushed::Schedule);
        channel.put_back(&mut batch);
        assert_eq!(channel.take_turn(&mut batch, true, 2), Turn::Done);
        assert_eq!(batch, [message(1, 10), message(2, 10), message(3, 10)]);
    }

    #[test]
    fn a_turn_beside_others_is_about_a_datagram() {
        let channel = Channel::new(1);
        for n in 0..100 {
            let _ = channel.push_outgoing(&message(n, 1_400), 1_000);
        }
        for _ in 0..100 {
            let _ = channel.push_outgoing(&message(0, 100), 1_000);
        }
        let mut batch = VecDeque::new();
        assert_eq!(channel.take_turn(&mut batch, false, 1_000), Turn::More);
        assert_eq!(batch.len(), 2, "1,400 bytes leave room to begin another");
        batch.clear();
        assert_eq!(channel.take_turn(&mut batch, true, 1_000), Turn::More);
        assert_eq!(batch.len(), ALONE);
        batch.clear();
        while channel.take_turn(&mut batch, false, 1_000) == Turn::More {
            assert!(batch.len() <= 15);
            batch.clear();
        }
    }

    #[test]
    fn received_messages_are_bounded_and_counted() {
        let channel = Channel::new(1);
        for n in 0..5 {
            assert_eq!(channel.push_incoming(&[n], 3), n < 3);
        }
        assert_eq!(channel.dropped(), 2);
        assert_eq!(channel.pop_incoming().as_deref(), Some(&[0][..]));
        assert_eq!(channel.abandon(), 2 * cost(1));
        assert!(!channel.push_incoming(&[9], 3), "nobody will take it");
        assert_eq!(channel.pop_incoming(), None);
    }
}

//! The protocol's times, and the queue of deadlines.
//!
//! Invariant: packets never touch a timer. Workers leave activity stamps; a deadline that fires
//! reads them and is set anew. So a deadline is at most too early, never too late.

use crate::time::Instant;
use core::time::Duration;
use std::collections::BTreeSet;

/// The protocol's times (`protocol.md` §5); all but the defaults are for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Age at which the initiator makes a new session.
    pub rekey: Duration,
    /// Age at which nobody uses a session any more.
    pub reject: Duration,
    /// Time without a new session after which all keys of a peer are wiped.
    pub wipe: Duration,
    /// Payload received and nothing sent for this long: a keepalive goes out.
    pub keepalive: Duration,
    /// Payload sent and nothing but noise received for this long: a new handshake.
    pub silence: Duration,
    /// The first two pauses between REQUESTs, and the pause after those.
    pub retry: [Duration; 3],
    /// The largest random addition to each pause.
    pub retry_jitter: Duration,
    /// Time after which a handshake is given up.
    pub give_up: Duration,
    /// Life of a pending session, of an open REQUEST, of an unconfirmed session at the initiator,
    /// and of a candidate address.
    pub pending: Duration,
    /// Pause between the first pings of the initiator, and between pings to a candidate.
    pub confirm: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            rekey: Duration::from_secs(120),
            reject: Duration::from_secs(180),
            wipe: Duration::from_secs(540),
            keepalive: Duration::from_secs(10),
            silence: Duration::from_secs(15),
            retry: [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)],
            retry_jitter: Duration::from_millis(333),
            give_up: Duration::from_secs(90),
            pending: Duration::from_secs(10),
            confirm: Duration::from_secs(1),
        }
    }
}

impl Timers {
    /// The names that [`Self::set`] knows.
    pub const NAMES: [&'static str; 8] =
        ["rekey", "reject", "wipe", "keepalive", "silence", "give_up", "pending", "confirm"];

    /// Sets one timer by its name; returns false if no timer has that name.
    pub fn set(&mut self, name: &str, value: Duration) -> bool {
        let timer = match name {
            "rekey" => &mut self.rekey,
            "reject" => &mut self.reject,
            "wipe" => &mut self.wipe,
            "keepalive" => &mut self.keepalive,
            "silence" => &mut self.silence,
            "give_up" => &mut self.give_up,
            "pending" => &mut self.pending,
            "confirm" => &mut self.confirm,
            _ => return false,
        };
        *timer = value;
        true
    }
}

/// Why a deadline is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The next REQUEST of a handshake is due, or the handshake is given up.
    HandshakeRetry,
    /// An open REQUEST is no longer answered to.
    RequestExpires,
    /// The initiator repeats its first ping, or drops a session that nobody confirmed.
    Confirm,
    /// A pending session expires.
    PendingExpires,
    /// The initiator makes a new session.
    Rekey,
    /// A session is past its time.
    SessionExpires,
    /// All keys of the peer are wiped.
    Wipe,
    /// A keepalive may be due.
    Keepalive,
    /// The peer may be silent.
    Silence,
    /// A heartbeat is due.
    Heartbeat,
    /// A ticket is past its time, or the key of early data is.
    TicketExpires,
    /// A candidate address expires, or is pinged again.
    Candidate,
    /// A ping was not answered.
    PingExpires,
}

/// Orders the deadlines of many peers: one each, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    queue: BTreeSet<(Instant, u32, Why)>,
}

impl TimerQueue {
    /// Replaces the deadline of `slot`.
    pub(crate) fn replace(
        &mut self,
        slot: u32,
        old: Option<(Instant, Why)>,
        new: Option<(Instant, Why)>,
    ) {
        if old == new {
            return;
        }
        if let Some((at, why)) = old {
            self.queue.remove(&(at, slot, why));
        }
        if let Some((at, why)) = new {
            self.queue.insert((at, slot, why));
        }
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Why)> {
        self.queue.first().map(|&(at, _, why)| (at, why))
    }

    /// Returns a slot whose deadline has come; it stays queued until it is replaced.
    pub(crate) fn due(&self, now: Instant) -> Option<u32> {
        self.queue.first().filter(|(at, ..)| *at <= now).map(|&(_, slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_sets_a_timer_of_its_own() {
        for name in Timers::NAMES {
            let mut timers = Timers::default();
            assert!(timers.set(name, Duration::from_millis(7)), "{name}");
            assert_ne!(timers, Timers::default(), "{name}");
        }
        assert!(!Timers::default().set("rekeying", Duration::ZERO));
    }

    #[test]
    fn the_earliest_deadline_comes_first() {
        let mut queue = TimerQueue::default();
        let at = |n| Instant::from_nanos(n);
        queue.replace(1, None, Some((at(20), Why::Rekey)));
        queue.replace(2, None, Some((at(10), Why::Confirm)));
        assert_eq!(queue.next(), Some((at(10), Why::Confirm)));
        assert_eq!(queue.due(at(9)), None);
        assert_eq!(queue.due(at(10)), Some(2));
        queue.replace(2, Some((at(10), Why::Confirm)), Some((at(30), Why::Confirm)));
        assert_eq!(queue.next(), Some((at(20), Why::Rekey)));
        queue.replace(1, Some((at(20), Why::Rekey)), None);
        queue.replace(2, Some((at(30), Why::Confirm)), None);
        assert_eq!(queue.next(), None);
    }
}

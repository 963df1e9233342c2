//! What happened in a world: the last events in words, and a digest of all.

use std::{collections::VecDeque, fmt, net::SocketAddr};

use super::HostId;
use crate::link::Fate;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A host sent a datagram; the fate is that of its outgoing link.
    Sent(Fate),
    /// A datagram reached the host's incoming link, with this fate there.
    Routed(Fate),
    /// A datagram was handed to a node.
    Delivered,
    /// A datagram found nobody at its destination.
    Unroutable,
    /// An address translator had no mapping, no permission or no port for a datagram.
    NatBlocked,
    /// A host wanted to send but had no address of the destination's family.
    NoSource,
    /// A node's timeout fired.
    Timeout,
    /// The test changed the world, or said something.
    Note(String),
}

/// One event of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, in nanoseconds.
    pub at: u64,
    /// The host that sent, received or woke up, where there is one.
    pub host: Option<HostId>,
    /// What happened.
    pub what: What,
    /// The datagram's source, destination and content, where there is one.
    pub datagram: Option<Summary>,
}

/// A datagram in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The source at that point of the way.
    pub source: SocketAddr,
    /// The destination at that point of the way.
    pub destination: SocketAddr,
    /// The payload's length in bytes.
    pub len: usize,
    /// The payload's first byte, 0 if it is empty.
    pub first: u8,
    /// A hash of the payload.
    pub hash: u64,
}

impl Summary {
    /// Summarises a datagram.
    pub fn new(source: SocketAddr, destination: SocketAddr, bytes: &[u8]) -> Self {
        let first = bytes.first().copied().unwrap_or(0);
        Self { source, destination, len: bytes.len(), first, hash: fnv(FNV_START, bytes) }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14.6} ms", self.at as f64 / 1e6)?;
        if let Some(host) = self.host {
            write!(f, " host {}", host.index())?;
        }
        match &self.what {
            What::Sent(fate) => write!(f, " sent {fate:?}")?,
            What::Routed(fate) => write!(f, " routed {fate:?}")?,
            What::Note(text) => write!(f, " -- {text}")?,
            other => write!(f, " {other:?}")?,
        }
        if let Some(Summary { source, destination, len, first, hash }) = self.datagram {
            let hash = hash as u32;
            write!(f, " {source} > {destination} {len} bytes [{first:02x}..] #{hash:08x}")?;
        }
        Ok(())
    }
}

/// The last events of a world and a digest of all of them.
///
/// Two runs with equal digests took the same decisions; `Display` prints the events kept.
#[derive(Clone, Debug)]
pub struct Trace {
    kept: VecDeque<Event>,
    capacity: usize,
    total: u64,
    digest: u64,
}

impl Trace {
    /// Makes a trace that keeps the last `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), capacity, total: 0, digest: FNV_START }
    }

    /// Gives the events kept, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.kept.iter()
    }

    /// Counts all events so far, also those no longer kept.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Gives a number that depends on every event so far.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Changes how many events are kept.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        let surplus = self.kept.len().saturating_sub(capacity);
        self.kept.drain(..surplus);
    }

    pub(super) fn push(&mut self, event: Event) {
        self.total += 1;
        self.mix(event.at);
        self.mix(event.host.map_or(u64::MAX, |host| host.index() as u64));
        self.mix(match &event.what {
            What::Sent(fate) => 0x100 + *fate as u64,
            What::Routed(fate) => 0x200 + *fate as u64,
            What::Delivered => 1,
            What::Unroutable => 2,
            What::NatBlocked => 3,
            What::NoSource => 4,
            What::Timeout => 5,
            What::Note(text) => fnv(FNV_START, text.as_bytes()),
        });
        if let Some(Summary { source, destination, hash, .. }) = event.datagram {
            self.mix_address(source);
            self.mix_address(destination);
            self.mix(hash);
        }
        if self.capacity == 0 {
            return;
        }
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    fn mix(&mut self, number: u64) {
        self.digest = fnv(self.digest, &number.to_le_bytes());
    }

    fn mix_address(&mut self, address: SocketAddr) {
        match address.ip() {
            std::net::IpAddr::V4(ip) => self.digest = fnv(self.digest, &ip.octets()),
            std::net::IpAddr::V6(ip) => self.digest = fnv(self.digest, &ip.octets()),
        }
        self.mix(u64::from(address.port()));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let earlier = self.total - self.kept.len() as u64;
        if earlier > 0 {
            writeln!(f, "... {earlier} earlier events")?;
        }
        self.kept.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// Continues an FNV-1a hash.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, what: What) -> Event {
        Event { at, host: Some(HostId(0)), what, datagram: None }
    }

    #[test]
    fn the_digest_sees_events_that_are_no_longer_kept() {
        let run = |what: What| {
            let mut trace = Trace::new(2);
            trace.push(event(1, what));
            (2..6).for_each(|at| trace.push(event(at, What::Timeout)));
            trace
        };
        let (a, b) = (run(What::Sent(Fate::Passed)), run(What::Sent(Fate::Lost)));
        assert_ne!(a.digest(), b.digest());
        assert_eq!(a.digest(), run(What::Sent(Fate::Passed)).digest());
        assert_eq!((a.events().count(), a.total()), (2, 5));
    }

    #[test]
    fn a_trace_reads_as_lines() {
        let mut trace = Trace::new(1);
        trace.push(event(1, What::Timeout));
        let datagram =
            Summary::new("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), &[4, 5]);
        trace.push(Event { datagram: Some(datagram), ..event(2_500_000, What::Sent(Fate::Lost)) });
        let text = trace.to_string();
        assert!(text.starts_with("... 1 earlier events\n"), "{text}");
        assert!(text.contains("2.500000 ms host 0 sent Lost 10.0.0.1:1 > 10.0.0.2:2 2 bytes [04"));
    }
}

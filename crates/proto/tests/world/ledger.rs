//! What a node sent and received: inner packets, and the datagrams that carried them.

use crate::inner::{self, PacketId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

/// A datagram that a node sent.
#[derive(Clone, Debug)]
pub(crate) struct Tapped {
    pub(crate) at: u64,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Tapped {
    pub(crate) fn is_request(&self) -> bool {
        self.bytes.starts_with(b"StadiumP")
    }
}

/// Datagrams and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

impl Volume {
    fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        self.bytes += datagram.len() as u64;
    }
}

/// The books of one node.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Inner packets that this node made: when, for whom.
    pub(crate) made: Vec<(u64, u16)>,
    /// Hashes of datagrams with an inner packet in them.
    sealed: Vec<(u64, PacketId)>,
    /// Hashes of the DATA datagrams that arrived, whatever became of them.
    arrived: BTreeSet<u64>,
    /// Inner packets that were taken, and when first.
    pub(crate) taken: BTreeMap<PacketId, u64>,
    /// Inner packets that were taken a second time.
    pub(crate) duplicates: u64,
    /// Inner packets that are not byte for byte what was sent.
    pub(crate) altered: u64,
    /// Inner packets taken after one with a higher number of the same node.
    pub(crate) late: u64,
    highest: BTreeMap<u16, u64>,
    /// Index and counter of every DATA datagram that was sent.
    counters: HashSet<(u32, u64)>,
    /// DATA datagrams whose index and counter had been used before.
    pub(crate) repeated_counters: u64,
    pub(crate) handshake_out: Volume,
    pub(crate) data_out: Volume,
    pub(crate) handshake_in: Volume,
    pub(crate) requests_out: u64,
    /// Every datagram sent, while this is set.
    pub(crate) tap: Option<Vec<Tapped>>,
}

impl Ledger {
    /// Books an inner packet that is to be sent, and returns its number.
    pub(crate) fn make(&mut self, now: u64, dest: u16) -> u64 {
        self.made.push((now, dest));
        self.made.len() as u64 - 1
    }

    pub(crate) fn note_sealed(&mut self, datagram: &[u8], packet: PacketId) {
        self.sealed.push((inner::hash(datagram), packet));
    }

    pub(crate) fn note_sent(&mut self, now: u64, to: SocketAddr, datagram: &[u8]) {
        if datagram[0] == 0x04 {
            self.data_out.add(datagram);
            let index = u32::from_le_bytes(*datagram[4..].first_chunk().unwrap());
            let counter = u64::from_le_bytes(*datagram[8..].first_chunk().unwrap());
            if !self.counters.insert((index, counter)) {
                self.repeated_counters += 1;
            }
        } else {
            self.handshake_out.add(datagram);
            self.requests_out += u64::from(datagram.starts_with(b"StadiumP"));
        }
        if let Some(tap) = &mut self.tap {
            tap.push(Tapped { at: now, to, bytes: datagram.to_vec() });
        }
    }

    pub(crate) fn note_arrived(&mut self, datagram: &[u8]) {
        if datagram.first() == Some(&0x04) {
            self.arrived.insert(inner::hash(datagram));
        } else {
            self.handshake_in.add(datagram);
        }
    }

    pub(crate) fn take(&mut self, now: u64, packet: &[u8]) {
        let Some(id) = inner::check(packet) else {
            self.altered += 1;
            return;
        };
        if self.taken.contains_key(&id) {
            self.duplicates += 1;
            return;
        }
        self.taken.insert(id, now);
        let highest = self.highest.entry(id.0).or_insert(id.1);
        if id.1 < *highest {
            self.late += 1;
        } else {
            *highest = id.1;
        }
    }

    /// Returns the datagrams tapped so far and goes on tapping.
    pub(crate) fn take_tap(&mut self) -> Vec<Tapped> {
        self.tap.replace(Vec::new()).unwrap_or_default()
    }
}

/// What became of the inner packets that one node made for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Made for the other node.
    pub(crate) made: u64,
    /// Taken by it.
    pub(crate) taken: u64,
    /// Never sealed: they waited for a session in vain.
    pub(crate) unsealed: u64,
    /// Sealed, and no intact copy arrived.
    pub(crate) lost_by_link: u64,
    /// An intact copy arrived, and was not taken.
    pub(crate) lost_inside: u64,
}

/// Draws the balance between two nodes, of which `from` has the number `source`.
pub(crate) fn balance((source, from): (u16, &Ledger), (dest, to): (u16, &Ledger)) -> Balance {
    let mut balance = Balance::default();
    let mut sealed: BTreeMap<u64, bool> = BTreeMap::new();
    for (hash, (maker, number)) in &from.sealed {
        if *maker == source {
            *sealed.entry(*number).or_default() |= to.arrived.contains(hash);
        }
    }
    for (number, (_, for_whom)) in (0..).zip(&from.made) {
        if *for_whom != dest {
            continue;
        }
        balance.made += 1;
        if to.taken.contains_key(&(source, number)) {
            balance.taken += 1;
            continue;
        }
        match sealed.get(&number) {
            None => balance.unsealed += 1,
            Some(false) => balance.lost_by_link += 1,
            Some(true) => balance.lost_inside += 1,
        }
    }
    balance
}

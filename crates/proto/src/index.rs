//! Receiver indices: 32 random bits that find a session with one array read.
//!
//! The owner draws an index at random until the bucket `index mod 2^k` is free, so the table has
//! no collisions and the whole index serves as the generation of its bucket. Growing the table
//! keeps that: what differs in k bits differs in k + 1.

use crate::session::RxSession;
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// Buckets of a new table: a power of two.
const FIRST_BUCKETS: usize = 64;

/// The place of an index, and of those that share its low bits.
#[derive(Default)]
struct Bucket {
    session: ArcSwapOption<RxSession>,
    /// The index, while it is that of a ticket whose session may be about to come; else 0.
    ticket: AtomicU32,
}

type Buckets = Box<[Bucket]>;

/// Finds receiving sessions by index; written by control, read by workers.
pub struct IndexTable {
    buckets: ArcSwap<Buckets>,
}

impl core::fmt::Debug for IndexTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("IndexTable").field("buckets", &self.buckets.load().len()).finish()
    }
}

impl Default for IndexTable {
    fn default() -> Self {
        Self { buckets: ArcSwap::from_pointee(empty(FIRST_BUCKETS)) }
    }
}

fn empty(count: usize) -> Buckets {
    (0..count).map(|_| Bucket::default()).collect()
}

#[inline]
fn bucket_of(index: u32, count: usize) -> usize {
    index as usize & (count - 1)
}

impl IndexTable {
    /// Returns the session that `index` belongs to.
    ///
    /// Costs two loads without a shared counter; a worker does it once a run, not once a packet.
    #[inline]
    #[must_use]
    pub fn find(&self, index: u32) -> Option<SessionGuard> {
        let buckets = self.buckets.load();
        let guard = buckets[bucket_of(index, buckets.len())].session.load();
        let found = guard.as_ref().is_some_and(|session| session.index() == index);
        found.then_some(SessionGuard(guard))
    }

    /// Publishes a session under its index.
    pub(crate) fn insert(&self, session: Arc<RxSession>) {
        let buckets = self.buckets.load();
        buckets[bucket_of(session.index(), buckets.len())].session.store(Some(session));
    }

    /// Tells whether `index` is that of a ticket that was issued: what comes in under it may have
    /// overtaken, on its way to [`Self::find`], the REQUEST that it follows.
    #[inline]
    #[must_use]
    pub fn is_ticket(&self, index: u32) -> bool {
        let buckets = self.buckets.load();
        index != 0 && buckets[bucket_of(index, buckets.len())].ticket.load(Relaxed) == index
    }

    /// Notes that `index` is that of a ticket, until it is removed.
    pub(crate) fn note_ticket(&self, index: u32) {
        let buckets = self.buckets.load();
        buckets[bucket_of(index, buckets.len())].ticket.store(index, Relaxed);
    }

    /// Withdraws the session or ticket of `index`, if it is there.
    pub(crate) fn remove(&self, index: u32) {
        let buckets = self.buckets.load();
        let bucket = &buckets[bucket_of(index, buckets.len())];
        if bucket.session.load().as_ref().is_some_and(|session| session.index() == index) {
            bucket.session.store(None);
        }
        if bucket.ticket.load(Relaxed) == index {
            bucket.ticket.store(0, Relaxed);
        }
    }

    /// Moves everything into a table of `count` buckets.
    fn grow(&self, count: usize) {
        let old = self.buckets.load();
        let new = empty(count);
        for bucket in &**old {
            if let Some(session) = bucket.session.load_full() {
                new[bucket_of(session.index(), count)].session.store(Some(session));
            }
            let ticket = bucket.ticket.load(Relaxed);
            if ticket != 0 {
                new[bucket_of(ticket, count)].ticket.store(ticket, Relaxed);
            }
        }
        self.buckets.store(Arc::new(new));
    }
}

/// Keeps a session that was found alive while it is used.
pub struct SessionGuard(Guard<Option<Arc<RxSession>>>);

impl core::fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("SessionGuard").field(&self.index()).finish()
    }
}

impl core::ops::Deref for SessionGuard {
    type Target = Arc<RxSession>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("only made of a session")
    }
}

/// Hands out indices that are unique among everything live: sessions, handshakes, tickets.
///
/// Mirrors the buckets of an [`IndexTable`]: 0 stands for a free one, as 0 is no index.
#[derive(Debug)]
pub(crate) struct IndexAllocator {
    owner: Vec<u32>,
    live: usize,
}

impl Default for IndexAllocator {
    fn default() -> Self {
        Self { owner: vec![0; FIRST_BUCKETS], live: 0 }
    }
}

impl IndexAllocator {
    /// Reserves an index drawn with `random`, growing `table` when it is half full.
    pub(crate) fn reserve(&mut self, table: &IndexTable, mut random: impl FnMut() -> u32) -> u32 {
        if (self.live + 1) * 2 > self.owner.len() {
            let count = self.owner.len() * 2;
            let mut owner = vec![0; count];
            for &index in self.owner.iter().filter(|i| **i != 0) {
                owner[bucket_of(index, count)] = index;
            }
            self.owner = owner;
            table.grow(count);
        }
        loop {
            let index = random();
            let bucket = bucket_of(index, self.owner.len());
            if index != 0 && self.owner[bucket] == 0 {
                self.owner[bucket] = index;
                self.live += 1;
                return index;
            }
        }
    }

    /// Gives an index back.
    pub(crate) fn release(&mut self, index: u32) {
        let bucket = bucket_of(index, self.owner.len());
        if self.owner[bucket] == index {
            self.owner[bucket] = 0;
            self.live -= 1;
        }
    }

    /// Returns how many indices are reserved.
    pub(crate) fn live(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn indices_are_unique_and_never_zero() {
        let table = IndexTable::default();
        let mut allocator = IndexAllocator::default();
        let mut state = 1_u32;
        let mut live = BTreeSet::new();
        for _ in 0..5_000 {
            let index = allocator.reserve(&table, || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.rotate_left(7) & 0x00ff_ffff
            });
            assert_ne!(index, 0);
            assert!(live.insert(index));
        }
        assert_eq!(allocator.live(), 5_000);
        for index in live {
            allocator.release(index);
            allocator.release(index);
        }
        assert_eq!(allocator.live(), 0);
    }

    #[test]
    fn a_ticket_is_known_until_it_is_removed_also_in_a_table_that_grew() {
        let table = IndexTable::default();
        assert!(!table.is_ticket(0), "an empty bucket is nobody's ticket");
        table.note_ticket(0x1_0005);
        assert!(table.is_ticket(0x1_0005));
        assert!(!table.is_ticket(0x2_0005), "the same bucket, another index");
        table.grow(FIRST_BUCKETS * 4);
        assert!(table.is_ticket(0x1_0005));
        table.remove(0x2_0005);
        assert!(table.is_ticket(0x1_0005));
        table.remove(0x1_0005);
        assert!(!table.is_ticket(0x1_0005));
    }
}

//! Remembers values for a time, in bounded memory, as two generations.

use crate::time::Instant;
use core::hash::Hash;
use core::time::Duration;
use std::collections::HashSet;

/// A set whose members are forgotten after at least `life` and at most twice that.
///
/// When a generation is full the older one is forgotten early: memory is bounded, and what is
/// lost is a saving of work, never the protection itself (timestamps and pending sessions are).
#[derive(Debug)]
pub(crate) struct Seen<T> {
    young: HashSet<T>,
    old: HashSet<T>,
    turned_at: Instant,
    life: Duration,
    max: usize,
}

impl<T: Eq + Hash> Seen<T> {
    pub(crate) fn new(life: Duration, max: usize, now: Instant) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), turned_at: now, life, max }
    }

    /// Tells whether `value` was inserted in the last `life`.
    pub(crate) fn contains(&mut self, value: &T, now: Instant) -> bool {
        self.turn(now);
        self.young.contains(value) || self.old.contains(value)
    }

    /// Inserts `value`; returns false if it was there.
    pub(crate) fn insert(&mut self, value: T, now: Instant) -> bool {
        if self.contains(&value, now) {
            return false;
        }
        if self.young.len() >= self.max {
            self.old = core::mem::take(&mut self.young);
            self.turned_at = now;
        }
        self.young.insert(value)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_since(self.turned_at);
        if age < self.life {
            return;
        }
        self.old = core::mem::take(&mut self.young);
        if age >= self.life * 2 {
            self.old = HashSet::new();
        }
        self.turned_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn remembers_for_its_life_at_least() {
        let mut seen = Seen::new(Duration::from_secs(120), 1_000, at(0));
        assert!(seen.insert(1, at(119)));
        assert!(!seen.insert(1, at(121)));
        assert!(seen.contains(&1, at(238)));
        assert!(!seen.contains(&1, at(400)));
        assert!(seen.insert(1, at(401)));
    }

    #[test]
    fn is_bounded() {
        let mut seen = Seen::new(Duration::from_secs(120), 10, at(0));
        for n in 0..100 {
            seen.insert(n, at(1));
        }
        assert!(seen.young.len() + seen.old.len() <= 20);
        assert!(seen.contains(&99, at(1)));
    }
}

//! Token buckets per source, in bounded memory.

use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::HashMap;

/// The most sources that one table remembers; about 48 bytes each.
const MAX_SOURCES: usize = 65_536;

/// A source as limits see it: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source(u64, bool);

impl Source {
    /// Returns the source of an address.
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Self(u64::from(a.to_bits()), false),
            IpAddr::V6(a) => match a.to_ipv4_mapped() {
                Some(a) => Self(u64::from(a.to_bits()), false),
                None => Self((a.to_bits() >> 64) as u64, true),
            },
        }
    }
}

/// How many handshakes a source may start (`interface.handshake_rate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeRate {
    /// Tokens that a source regains in a second.
    pub per_second: u32,
    /// Tokens of a source that was quiet.
    pub burst: u32,
}

impl Default for HandshakeRate {
    fn default() -> Self {
        Self { per_second: 20, burst: 5 }
    }
}

/// Token buckets of many sources.
///
/// A source that is not in the table has a full bucket, so full ones are forgotten first. When
/// more sources than the table takes are active at once, a new one finds an empty bucket: it is
/// asked for a cookie, which a spoofed source cannot return.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// When the bucket of a source will be full again.
    full_at: HashMap<Source, Instant>,
    /// Time for one token.
    interval: Duration,
    /// Time for all tokens.
    capacity: Duration,
}

impl Buckets {
    pub(crate) fn new(rate: HandshakeRate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { full_at: HashMap::new(), interval, capacity: interval * rate.burst.max(1) }
    }

    /// Changes the rate; what sources have used up stays used.
    pub(crate) fn set_rate(&mut self, rate: HandshakeRate) {
        let Self { interval, capacity, .. } = Self::new(rate);
        self.interval = interval;
        self.capacity = capacity;
    }

    /// Takes a token of `source`; false if it has none.
    pub(crate) fn take(&mut self, source: Source, now: Instant) -> bool {
        if !self.full_at.contains_key(&source) && self.full_at.len() >= MAX_SOURCES {
            #[expect(
                clippy::disallowed_methods,
                reason = "what stays does not depend on the order"
            )]
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_SOURCES {
                return false;
            }
        }
        let full_at = self.full_at.entry(source).or_insert(now);
        let after = (*full_at).max(now).saturating_add(self.interval);
        if after.saturating_since(now) > self.capacity {
            return false;
        }
        *full_at = after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn source(s: &str) -> Source {
        Source::of(s.parse().unwrap())
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(HandshakeRate { per_second: 20, burst: 5 });
        let a = source("192.0.2.1");
        assert_eq!((0..10).filter(|_| buckets.take(a, at(1_000))).count(), 5);
        assert!(!buckets.take(a, at(1_049)));
        assert!(buckets.take(a, at(1_050)));
        assert!(!buckets.take(a, at(1_051)));
        assert!(buckets.take(source("192.0.2.2"), at(1_051)), "another source has its own");
        assert_eq!((0..10).filter(|_| buckets.take(a, at(60_000))).count(), 5);
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::c000:201"), source("0.0.0.0"));
    }

    #[test]
    fn a_full_table_forgets_the_full_and_refuses_the_rest() {
        let mut buckets = Buckets::new(HandshakeRate { per_second: 1, burst: 1 });
        for n in 0..MAX_SOURCES {
            assert!(buckets.take(Source(n as u64, false), at(0)));
        }
        assert!(!buckets.take(source("2001:db8::1"), at(500)));
        assert!(buckets.take(source("2001:db8::1"), at(1_000)));
        assert!(buckets.full_at.len() < 10);
    }
}

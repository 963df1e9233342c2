//! What stands between a REQUEST and the costly part of the handshake (`protocol.md` §5).
//!
//! Each step is cheaper than what it guards, and everything is bounded in memory: a stranger can
//! neither make this node compute much, nor remember much, nor send more than it was sent.

mod bucket;
mod secret;
mod seen;

pub use bucket::HandshakeRate;

use crate::{
    drop::DropReason,
    engine::Entropy,
    handshake::{MacKey, Retry},
    identity::PublicKey,
    time::Instant,
    wire::{CHALLENGE_LEN, COOKIE_LEN, MAC_LEN, RequestView},
};
use bucket::{Buckets, Source};
use core::net::SocketAddr;
use core::time::Duration;
use secret::{Rotating, cookie_input};
use seen::Seen;

/// How long a cookie's secret is current.
const COOKIE_PERIOD: Duration = Duration::from_secs(120);
/// How long a challenge's secret is current.
const CHALLENGE_PERIOD: Duration = Duration::from_secs(60);
/// How long macs and ephemerals are remembered.
const REPEAT_LIFE: Duration = Duration::from_secs(120);
/// The most macs that one generation remembers: 16 bytes each.
const MAX_MACS: usize = 131_072;
/// The most answered ephemerals that one generation remembers: 32 bytes each.
const MAX_EPHEMERALS: usize = 65_536;
/// Handshake datagrams waiting from which on the node counts as loaded.
const LOADED_DEPTH: usize = 64;
/// How long the node stays loaded.
const LOADED_FOR: Duration = Duration::from_secs(1);
/// Clear ERRORs to a source.
const ERROR_RATE: HandshakeRate = HandshakeRate { per_second: 10, burst: 10 };

/// What is to be done with a REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may be opened.
    Open,
    /// It is answered with a RETRY that carries a cookie.
    Retry(Retry),
    /// It is dropped.
    Drop(DropReason),
}

/// Guards the handshakes of a node.
#[derive(Debug)]
pub(crate) struct Guard {
    cookies: Rotating,
    challenges: Rotating,
    plain: Buckets,
    with_cookie: Buckets,
    errors: Buckets,
    macs: Seen<[u8; MAC_LEN]>,
    answered: Seen<[u8; 32]>,
    loaded_until: Option<Instant>,
}

impl Guard {
    pub(crate) fn new(rate: HandshakeRate, entropy: &mut dyn Entropy, now: Instant) -> Self {
        Self {
            cookies: Rotating::new(fresh(entropy), COOKIE_PERIOD, now),
            challenges: Rotating::new(fresh(entropy), CHALLENGE_PERIOD, now),
            plain: Buckets::new(rate),
            with_cookie: Buckets::new(rate),
            errors: Buckets::new(ERROR_RATE),
            macs: Seen::new(REPEAT_LIFE, MAX_MACS, now),
            answered: Seen::new(REPEAT_LIFE, MAX_EPHEMERALS, now),
            loaded_until: None,
        }
    }

    pub(crate) fn set_rate(&mut self, rate: HandshakeRate) {
        self.plain.set_rate(rate);
        self.with_cookie.set_rate(rate);
    }

    /// Notes how many handshake datagrams wait.
    pub(crate) fn measure_load(&mut self, depth: usize, now: Instant) {
        if depth >= LOADED_DEPTH {
            self.loaded_until = Some(now.saturating_add(LOADED_FOR));
        }
    }

    fn is_loaded(&self, now: Instant) -> bool {
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Rotates the secrets that are due.
    pub(crate) fn rotate(&mut self, entropy: &mut dyn Entropy, now: Instant) {
        self.cookies.rotate(now, || fresh(entropy));
        self.challenges.rotate(now, || fresh(entropy));
    }

    /// Judges a REQUEST by everything that is cheaper than a Diffie-Hellman.
    ///
    /// `allowed` tells whether this node takes its kind of handshake.
    pub(crate) fn admit(
        &mut self,
        request: &RequestView<'_>,
        key: &MacKey,
        allowed: bool,
        source: SocketAddr,
        now: Instant,
    ) -> Admission {
        let input = cookie_input(source);
        let has_cookie = self
            .cookies
            .accepted::<COOKIE_LEN>(&[&input])
            .fold(false, |ok, cookie| ok | key.verify(request, Some(&cookie)));
        if !has_cookie && !key.verify(request, None) {
            return Admission::Drop(DropReason::BadMac);
        }
        if !allowed {
            return Admission::Drop(DropReason::NotAllowed);
        }
        if !self.macs.insert(*request.mac(), now) {
            return Admission::Drop(DropReason::RepeatedRequest);
        }
        let limited = Source::of(source.ip());
        if has_cookie {
            if self.with_cookie.take(limited, now) {
                return Admission::Open;
            }
            return Admission::Drop(DropReason::RateLimited);
        }
        if self.is_loaded(now) || !self.plain.take(limited, now) {
            return Admission::Retry(self.retry(source, None));
        }
        Admission::Open
    }

    /// Makes what a RETRY to `source` carries; with `challenge` for a stale timestamp.
    fn retry(&self, source: SocketAddr, challenge: Option<[u8; CHALLENGE_LEN]>) -> Retry {
        Retry { cookie: self.cookies.make(&[&cookie_input(source)]), challenge }
    }

    /// Makes the RETRY that asks the peer with this key to echo a challenge.
    pub(crate) fn challenge(&self, source: SocketAddr, peer: &PublicKey) -> Retry {
        self.retry(source, Some(self.challenges.make(&[peer.as_bytes()])))
    }

    /// Tells whether `echo` is a challenge that the peer with this key was given lately.
    pub(crate) fn echoes(&self, peer: &PublicKey, echo: &[u8; CHALLENGE_LEN]) -> bool {
        self.challenges.accepts(&[peer.as_bytes()], echo)
    }

    /// Tells whether a REQUEST with this `E_i` was answered with a CONSENT or a status lately.
    pub(crate) fn was_answered(&mut self, ephemeral: &[u8; 32], now: Instant) -> bool {
        self.answered.contains(ephemeral, now)
    }

    /// Notes that a REQUEST with this `E_i` is answered with a CONSENT or a status.
    pub(crate) fn note_answer(&mut self, ephemeral: [u8; 32], now: Instant) {
        self.answered.insert(ephemeral, now);
    }

    /// Takes a token for a clear ERROR to `source`.
    pub(crate) fn may_send_error(&mut self, source: SocketAddr, now: Instant) -> bool {
        self.errors.take(Source::of(source.ip()), now)
    }
}

fn fresh(entropy: &mut dyn Entropy) -> [u8; 32] {
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    secret
}

//! What control knows about a peer.

use super::{
    hosts::HostConfig,
    input::{HandshakeKind, Now, PeerConfig, PeerError},
    tickets::Early,
};
use crate::{
    crypto::{Cipher, HashAlg},
    handshake::{EarlySecret, Initiator, Target},
    identity::{PresharedKey, PublicKey},
    noise::{NoiseByte, NoisePolicy},
    peer::{Endpoint, PeerCell, PeerId},
    session::{RxSession, TxSession},
    time::{Instant, WallTime},
    timers::Why,
};
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

/// The most pending sessions of a peer (`protocol.md` §5).
pub(super) const MAX_PENDING: usize = 4;
/// The most REQUESTs that an answer may still come to (`protocol.md` §5).
pub(super) const MAX_OPEN_REQUESTS: usize = 4;
/// The most pings that a pong may still come to; the oldest gives way.
pub(super) const MAX_PINGS: usize = 16;

/// How this node came to know a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is configured, and stays when its sessions end.
    Configured,
    /// It came by itself: a stranger with a key, or anonymous without; forgotten with its last
    /// session.
    Guest,
    /// This node reaches for it by address and learns its key.
    Host {
        /// Whether this node names itself in its REQUESTs.
        named: bool,
    },
}

// a hundred thousand idle peers are to cost 2 KiB each, in all of the daemon
const _: () = assert!(size_of::<Peer>() <= 832 && size_of::<PeerCell>() <= 384);

/// A peer as control sees it.
pub(super) struct Peer {
    pub(super) cell: Arc<PeerCell>,
    pub(super) origin: Origin,
    /// Of a host, its key once it is known.
    pub(super) learned: Option<Box<PublicKey>>,
    /// Of a guest, whether no session with it was confirmed yet.
    pub(super) unconfirmed: bool,
    pub(super) config: PeerConfig,
    /// The deadline that is queued for this peer.
    pub(super) deadline: Option<(Instant, Why)>,

    /// The handshake under way, if one is.
    pub(super) attempt: Option<Attempt>,
    pub(super) open_requests: Vec<OpenRequest>,
    /// A session was wanted while no endpoint was known.
    pub(super) wants_endpoint: bool,
    pub(super) cookie: Option<Cookie>,
    pub(super) challenge: Option<([u8; 12], Instant)>,
    /// When the last two RETRYs were followed.
    pub(super) retries_followed: [Option<Instant>; 2],
    /// The cell `0x08` of this node's last REQUEST to the peer.
    pub(super) last_timestamp_sent: u64,
    /// The largest cell `0x08` accepted from the peer.
    pub(super) largest_timestamp: Option<u64>,
    /// The noise to ask for, after a counter-proposal.
    pub(super) noise_wanted: NoiseByte,

    /// Boxed like the other slots, as sessions move between them.
    #[expect(clippy::vec_box, reason = "sessions move between slots as boxes")]
    pub(super) pending: Vec<Box<Session>>,
    /// This node's own session, until a frame confirms it.
    pub(super) next: Option<Box<Session>>,
    pub(super) current: Option<Box<Session>>,
    pub(super) previous: Option<Box<Session>>,
    pub(super) last_session_at: Option<Instant>,

    pub(super) pings: Vec<SentPing>,
    pub(super) candidate: Option<Box<Candidate>>,
    pub(super) heartbeat_at: Option<Instant>,
    pub(super) early: Early,

    pub(super) closed: bool,
    pub(super) gave_up: bool,
    pub(super) last_error: Option<PeerError>,
    pub(super) handshakes: u64,
    pub(super) last_handshake: Option<WallTime>,
    pub(super) rtt: Option<Duration>,
}

impl Peer {
    /// Makes a peer of the configuration.
    pub(super) fn configured(id: PeerId, config: PeerConfig, now: Now) -> Self {
        let endpoint = config.endpoint.map(Endpoint::to);
        let cell = Arc::new(PeerCell::new(id, Some(config.public_key), endpoint));
        let heartbeat_at = config.heartbeat.map(|every| now.instant.saturating_add(every));
        Self::new(cell, Origin::Configured, config, heartbeat_at)
    }

    /// Makes a guest; where it has no key `placeholder` fills the configured one, which nobody
    /// reads. It is reached where its first frame will come from.
    pub(super) fn guest(
        id: PeerId,
        key: Option<PublicKey>,
        placeholder: PublicKey,
        noise_policy: NoisePolicy,
        heartbeat: Option<Duration>,
        now: Now,
    ) -> Self {
        let cell = Arc::new(PeerCell::new(id, key, None));
        let config = PeerConfig {
            public_key: key.unwrap_or(placeholder),
            preshared_key: PresharedKey::NONE,
            endpoint: None,
            allowed_ips: Vec::new(),
            heartbeat,
            handshake: HandshakeKind::Encrypted,
            noise: NoiseByte::OFF,
            noise_policy,
        };
        let heartbeat_at = heartbeat.map(|every| now.instant.saturating_add(every));
        let mut peer = Self::new(cell, Origin::Guest, config, heartbeat_at);
        peer.unconfirmed = true;
        peer
    }

    /// Makes a host; `placeholder` fills the configured key, which nobody reads.
    pub(super) fn host(id: PeerId, host: HostConfig, placeholder: PublicKey, now: Now) -> Self {
        let endpoint = Endpoint::to(host.endpoint);
        let cell = Arc::new(PeerCell::new(id, host.public_key, Some(endpoint)));
        let heartbeat_at = host.heartbeat.map(|every| now.instant.saturating_add(every));
        let config = PeerConfig {
            public_key: host.public_key.unwrap_or(placeholder),
            preshared_key: host.preshared_key,
            endpoint: Some(host.endpoint),
            allowed_ips: Vec::new(),
            heartbeat: host.heartbeat,
            handshake: HandshakeKind::Open,
            noise: host.noise,
            noise_policy: host.noise_policy,
        };
        let origin = Origin::Host { named: host.named };
        let mut peer = Self::new(cell, origin, config, heartbeat_at);
        peer.learned = host.public_key.map(Box::new);
        peer
    }

    fn new(
        cell: Arc<PeerCell>,
        origin: Origin,
        config: PeerConfig,
        heartbeat_at: Option<Instant>,
    ) -> Self {
        Self {
            cell,
            origin,
            learned: None,
            unconfirmed: false,
            noise_wanted: config.noise,
            config,
            deadline: None,
            attempt: None,
            open_requests: Vec::new(),
            wants_endpoint: false,
            cookie: None,
            challenge: None,
            retries_followed: [None; 2],
            last_timestamp_sent: 0,
            largest_timestamp: None,
            pending: Vec::new(),
            next: None,
            current: None,
            previous: None,
            last_session_at: None,
            pings: Vec::new(),
            candidate: None,
            heartbeat_at,
            early: Early::default(),
            closed: false,
            gave_up: false,
            last_error: None,
            handshakes: 0,
            last_handshake: None,
            rtt: None,
        }
    }

    /// Returns the peer's key, configured, shown or learned.
    pub(super) fn key(&self) -> Option<&PublicKey> {
        self.cell.key().or(self.learned.as_deref())
    }

    /// Tells whether the peer came by itself and goes with its last session.
    pub(super) fn is_guest(&self) -> bool {
        self.origin == Origin::Guest
    }

    /// Tells whether nothing ties one session with the peer to the next: one side is anonymous.
    pub(super) fn is_anonymous(&self) -> bool {
        match self.origin {
            Origin::Configured => false,
            Origin::Guest => self.cell.key().is_none(),
            Origin::Host { named } => !named,
        }
    }

    /// Tells whether this node may send REQUESTs to the peer.
    pub(super) fn may_initiate(&self) -> bool {
        !(self.is_guest() && self.is_anonymous())
    }

    /// Returns whom REQUESTs go to, and in which kind of handshake.
    pub(super) fn target(&self) -> Target {
        match (self.origin, self.config.handshake) {
            (Origin::Host { named }, _) => Target::open(named, self.learned.as_deref().copied()),
            (_, HandshakeKind::Encrypted) => Target::Encrypted(self.config.public_key),
            (_, HandshakeKind::Open) => Target::open(true, Some(self.config.public_key)),
        }
    }

    /// Returns all sessions.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        let slots = [&self.current, &self.next, &self.previous];
        slots.into_iter().flatten().chain(&self.pending).map(Box::as_ref)
    }

    /// Returns the session with this node's `index`.
    pub(super) fn session(&self, index: u32) -> Option<&Session> {
        self.sessions().find(|session| session.index == index)
    }

    /// Returns the confirmed session that sends, if it may still be used.
    pub(super) fn usable(&self, now: Instant) -> Option<&Session> {
        self.current.as_deref().filter(|session| session.tx.is_usable(now))
    }

    /// Remembers a ping that was sent.
    pub(super) fn remember_ping(&mut self, ping: SentPing) {
        if self.pings.len() >= MAX_PINGS {
            // a user's ping is told of by its expiry, so the oldest other one gives way
            let oldest = self.pings.iter().position(|p| !matches!(p.purpose, Purpose::User(_)));
            self.pings.remove(oldest.unwrap_or(0));
        }
        self.pings.push(ping);
    }
}

/// A handshake under way: REQUESTs on a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) started: Instant,
    /// REQUESTs sent by the schedule so far.
    pub(super) sent: u32,
    /// When the next REQUEST is due.
    pub(super) next_at: Instant,
    /// Times in a row that a refusal was answered at once with other parameters.
    pub(super) retries: u8,
    /// Whether the last REQUEST was hybrid.
    pub(super) hybrid: bool,
    /// What the peer said that it requires.
    pub(super) force_hybrid: bool,
    /// Whether a new address brought the next REQUEST forward.
    pub(super) hurried: bool,
    /// By how much, which the pause after it makes up for: other addresses make no more REQUESTs.
    pub(super) saved: Duration,
}

impl Attempt {
    /// Brings the next REQUEST forward to `soonest`.
    pub(super) fn hurry(&mut self, soonest: Instant) {
        self.hurried = true;
        if soonest < self.next_at {
            self.saved += self.next_at.saturating_since(soonest);
            self.next_at = soonest;
        }
    }
}

/// A REQUEST that an answer may still come to.
pub(super) struct OpenRequest {
    pub(super) index: u32,
    pub(super) initiator: Initiator,
    /// Where it went.
    pub(super) to: Endpoint,
    pub(super) sent_at: Instant,
    pub(super) with_cookie: bool,
    /// Whether a RETRY to it was followed.
    pub(super) retried: bool,
    pub(super) timestamp: u64,
}

/// The cookie of the last RETRY.
#[derive(Clone, Copy)]
pub(super) struct Cookie {
    pub(super) bytes: [u8; 16],
    pub(super) at: Instant,
    pub(super) from: SocketAddr,
}

/// A session as control sees it.
pub(super) struct Session {
    pub(super) index: u32,
    pub(super) tx: Arc<TxSession>,
    pub(super) rx: Arc<RxSession>,
    /// Session id, for people.
    pub(super) id: u64,
    /// Whether this node sent the REQUEST.
    pub(super) initiator: bool,
    pub(super) born: Instant,
    /// When this node's REQUEST went out; `born` at the responder.
    pub(super) asked_at: Instant,
    /// The REQUEST's cell `0x08`.
    pub(super) timestamp: u64,
    /// The key of the node that sent the REQUEST.
    pub(super) requester: Option<PublicKey>,
    pub(super) reject_at: Instant,
    /// When the initiator's first ping is repeated; only while unconfirmed.
    pub(super) ping_at: Instant,
    pub(super) cipher: Cipher,
    pub(super) hash: HashAlg,
    pub(super) post_quantum: bool,
    pub(super) kind: HandshakeKind,
    pub(super) noise: NoiseByte,
    /// What its ticket is to be kept with; only where early data was agreed.
    pub(super) early: Option<EarlySecret>,
}

/// Why a ping was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The initiator's first frame.
    Confirm,
    /// Liveness and round-trip time.
    Heartbeat,
    /// Path check of a candidate address.
    Candidate,
    /// A user asked.
    User(u64),
}

/// A ping that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentPing {
    pub(super) id: u64,
    pub(super) at: Instant,
    pub(super) purpose: Purpose,
}

/// An address that the peer may have moved to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) endpoint: Endpoint,
    pub(super) expires: Instant,
    /// When it may be pinged again.
    pub(super) ping_at: Instant,
    /// Datagrams sent to it so far.
    pub(super) sent: u8,
}

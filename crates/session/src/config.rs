//! What servers and clients are configured with.

use std::time::Duration;

use stadium_proto::engine::{PostQuantum, Settings};
use stadium_proto::guard::HandshakeRate;
use stadium_proto::identity::{NetworkKey, PresharedKey, PublicKey, SecretKey};

use crate::known_hosts::KnownHosts;
use crate::tickets::TicketStore;

/// Makes a secret key from the system's random generator.
///
/// Its public key ([`SecretKey::public`]) is what the other side knows a node by.
///
/// # Panics
/// If the system has no random generator, without which nothing here is safe.
#[must_use]
pub fn generate_key() -> SecretKey {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    fill_random(&mut *seed);
    SecretKey::from_seed(*seed)
}

pub(crate) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has a random generator");
}

/// How much may wait in a session, in either direction.
///
/// Beyond it, senders wait and received messages are dropped: memory is bounded, whatever the
/// other side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most streams of a session, beside the plain messages.
    pub streams: usize,
    /// The most messages that wait to be sent, for each stream.
    pub send_queue: usize,
    /// The most received messages that wait to be taken, for each stream.
    pub receive_queue: usize,
    /// The most bytes of received messages that wait to be taken, for the session; each counts
    /// 64 more than its length.
    pub receive_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: 4_096, send_queue: 256, receive_queue: 1_024, receive_bytes: 4 << 20 }
    }
}

/// What servers and clients have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) secret_key: SecretKey,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) post_quantum: PostQuantum,
    pub(crate) max_payload: u16,
    pub(crate) limits: Limits,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) early_data: bool,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) recv_buffer: Option<usize>,
}

impl Common {
    fn new(secret_key: SecretKey, heartbeat: Option<Duration>) -> Self {
        Self {
            secret_key,
            network_key: None,
            post_quantum: PostQuantum::Prefer,
            max_payload: 1_420,
            limits: Limits::default(),
            heartbeat,
            idle_timeout: Some(Duration::from_secs(60)),
            early_data: false,
            send_buffer: None,
            recv_buffer: None,
        }
    }

    /// Returns the engine's settings for it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            post_quantum: self.post_quantum,
            payload_limit: self.max_payload,
            streams: true,
            early_data: self.early_data,
            ..Settings::default()
        }
    }
}

/// Implements the setters that both configurations have.
macro_rules! common_setters {
    () => {
        /// Sets a key of the whole network, without which nobody gets an answer.
        #[must_use]
        pub fn network_key(mut self, key: NetworkKey) -> Self {
            self.common.network_key = Some(key);
            self
        }

        /// Sets whether handshakes carry ML-KEM-768; preferred if not set.
        #[must_use]
        pub fn post_quantum(mut self, policy: PostQuantum) -> Self {
            self.common.post_quantum = policy;
            self
        }

        /// Sets how many bytes of frame a datagram of the network takes; 1,420 if not set, which
        /// suits IPv6 on a path of 1,500 bytes. At least 1,280; a message may have 8 bytes less.
        #[must_use]
        pub fn max_payload(mut self, bytes: u16) -> Self {
            self.common.max_payload = bytes.max(stadium_proto::wire::MIN_PAYLOAD_LIMIT);
            self
        }

        /// Sets how much may wait in a session.
        #[must_use]
        pub fn limits(mut self, limits: Limits) -> Self {
            self.common.limits = limits;
            self
        }

        /// Sets how often the other side is pinged, or that it is not.
        ///
        /// A heartbeat keeps an idle session and the path to it alive, and notices that the
        /// other side is gone.
        #[must_use]
        pub fn heartbeat(mut self, every: impl Into<Option<Duration>>) -> Self {
            self.common.heartbeat = every.into();
            self
        }

        /// Sets for how long nothing may come before a session ends; 60 s if not set.
        ///
        /// Heartbeats of either side count. Without a timeout, idle sessions end after 180 s,
        /// when their keys are past their time.
        #[must_use]
        pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.common.idle_timeout = timeout.into();
            self
        }

        /// Sets the sizes of the socket's buffers in bytes; the system's if not set.
        #[must_use]
        pub fn socket_buffers(mut self, send: usize, receive: usize) -> Self {
            self.common.send_buffer = Some(send);
            self.common.recv_buffer = Some(receive);
            self
        }
    };
}

/// A client that a server knows.
#[derive(Clone, Debug)]
pub(crate) struct KnownClient {
    pub(crate) key: PublicKey,
    pub(crate) preshared_key: PresharedKey,
}

/// The configuration of a [`Server`](crate::Server).
///
/// If nothing else is said, it takes encrypted sessions from every client that knows its public
/// key, as a web server does; each client proves a key of its own, which
/// [`Session::peer_key`](crate::Session::peer_key) tells.
///
/// ```
/// use stadium_session::{ServerConfig, generate_key};
/// use std::time::Duration;
///
/// let config = ServerConfig::new(generate_key())
///     .only_known_clients()
///     .client(generate_key().public())
///     .idle_timeout(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub(crate) common: Common,
    pub(crate) clients: Vec<KnownClient>,
    pub(crate) strangers: bool,
    pub(crate) open: bool,
    pub(crate) anonymous: bool,
    pub(crate) stealth: bool,
    pub(crate) max_sessions: usize,
    pub(crate) max_pending: usize,
    pub(crate) rate: HandshakeRate,
}

impl ServerConfig {
    /// Makes the configuration of a server with this key.
    #[must_use]
    pub fn new(secret_key: SecretKey) -> Self {
        Self {
            common: Common::new(secret_key, None),
            clients: Vec::new(),
            strangers: true,
            open: false,
            anonymous: false,
            stealth: false,
            max_sessions: 65_536,
            max_pending: 1_024,
            rate: HandshakeRate::default(),
        }
    }

    common_setters!();

    /// Adds a client by its key.
    #[must_use]
    pub fn client(self, key: PublicKey) -> Self {
        self.client_with_preshared_key(key, PresharedKey::NONE)
    }

    /// Adds a client by its key, with a preshared key that both sides have.
    #[must_use]
    pub fn client_with_preshared_key(mut self, key: PublicKey, preshared: PresharedKey) -> Self {
        self.clients.push(KnownClient { key, preshared_key: preshared });
        self
    }

    /// Refuses clients that were not added.
    #[must_use]
    pub fn only_known_clients(mut self) -> Self {
        self.strangers = false;
        self
    }

    /// Sets whether open handshakes are taken, in which a client need not know the server's key
    /// and everybody on the path can read who asks for what (not what is sent afterwards).
    #[must_use]
    pub fn open(mut self, allow: bool) -> Self {
        self.open = allow;
        self
    }

    /// Sets whether clients may send early data when they come again
    /// ([`Client::connect_early`](crate::Client::connect_early)). A session may then have
    /// messages before it is confirmed ([`Session::is_confirmed`](crate::Session::is_confirmed)).
    #[must_use]
    pub fn early_data(mut self, allow: bool) -> Self {
        self.common.early_data = allow;
        self
    }

    /// Sets whether clients without a key are taken; their sessions end after 180 s.
    #[must_use]
    pub fn anonymous(mut self, allow: bool) -> Self {
        self.anonymous = allow;
        self
    }

    /// Sets whether strangers get no answer at all; excludes open handshakes.
    #[must_use]
    pub fn stealth(mut self, stealth: bool) -> Self {
        self.stealth = stealth;
        self
    }

    /// Sets the most sessions at a time with clients that were not added; 65,536 if not set.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets the most handshakes at a time whose client has not yet proved that it receives the
    /// answers; 1,024 if not set.
    #[must_use]
    pub fn max_pending(mut self, handshakes: usize) -> Self {
        self.max_pending = handshakes;
        self
    }

    /// Sets how many handshakes an address (of IPv6: a /64) may start; 20 a second with a burst
    /// of 5 if not set.
    #[must_use]
    pub fn handshake_rate(mut self, per_second: u32, burst: u32) -> Self {
        self.rate = HandshakeRate { per_second, burst };
        self
    }
}

/// How a client knows that a server is the right one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// By its key: an encrypted handshake, which nobody else can read or answer.
    Key(PublicKey),
    /// By the key that it had when it was first met: an open handshake. Who intercepts the very
    /// first one is trusted for ever; later ones are safe.
    FirstUse(KnownHosts),
    /// Not at all: an open handshake with whoever answers. It keeps out those who only listen.
    Anyone,
}

/// The configuration of a [`Client`](crate::Client).
///
/// ```
/// use stadium_session::{ClientConfig, generate_key};
///
/// # let server = generate_key().public();
/// let config = ClientConfig::new(server);
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub(crate) common: Common,
    pub(crate) trust: Trust,
    pub(crate) anonymous: bool,
    pub(crate) preshared_key: PresharedKey,
    pub(crate) host_name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) tickets: Option<TicketStore>,
}

impl ClientConfig {
    /// Makes the configuration for the server with this key.
    ///
    /// The client gets a fresh key of its own, so it is nobody that the server could know;
    /// [`Self::secret_key`] sets a lasting one. Its heartbeat is 15 s.
    #[must_use]
    pub fn new(server: PublicKey) -> Self {
        Self::trusting(Trust::Key(server))
    }

    /// Makes the configuration for a server that is known in another way.
    #[must_use]
    pub fn trusting(trust: Trust) -> Self {
        Self {
            common: Common::new(generate_key(), Some(Duration::from_secs(15))),
            trust,
            anonymous: false,
            preshared_key: PresharedKey::NONE,
            host_name: None,
            connect_timeout: Duration::from_secs(10),
            tickets: None,
        }
    }

    common_setters!();

    /// Sets the client's own key, by which the server knows it.
    #[must_use]
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.common.secret_key = key;
        self
    }

    /// Sets the key that both sides have beside their own.
    #[must_use]
    pub fn preshared_key(mut self, key: PresharedKey) -> Self {
        self.preshared_key = key;
        self
    }

    /// Sets that the client shows no key at all; only without [`Trust::Key`]. The session ends
    /// after 180 s, as nothing could tie another one to it.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Sets the name of the server in the file of known hosts; if not set, its address and port.
    #[must_use]
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_name = Some(name.into());
        self
    }

    /// Sets where tickets for early data are kept; only with [`Trust::Key`].
    ///
    /// For [`Client::connect_early`](crate::Client::connect_early), use the same store and the
    /// same configuration (or another one with the same keys) again.
    #[must_use]
    pub fn tickets(mut self, store: TicketStore) -> Self {
        self.common.early_data = true;
        self.tickets = Some(store);
        self
    }

    /// Sets how long [`Client::connect`](crate::Client::connect) tries; 10 s if not set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }
}

//! The server: one socket, many sessions.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stadium_proto::drop::{DropCounters, DropReason};
use stadium_proto::engine::{
    Change, DatagramClass, Engine, Event, Guests, HandshakeKind, Output, PeerConfig, PeerRefused,
    Settings,
};
use stadium_proto::identity::{Identity, PublicKey};
use stadium_proto::noise::{NoiseByte, NoisePolicy};
use stadium_proto::peer;
use stadium_proto::shared::Shared;
use stadium_udp::{BindFault, Options, Socket};
use tokio::net::ToSocketAddrs;
use tokio::sync::oneshot;

use crate::clock;
use crate::config::{ServerConfig, fill_random};
use crate::driver::Driver;
use crate::endpoint::{Command, Directory, Endpoint};
use crate::error::{ListenError, SendError};
use crate::session::Session;

/// A server: accepts sessions on one address.
///
/// Handshakes, rekeys, heartbeats and timeouts happen by themselves in a task of their own, which
/// runs until [`Self::shutdown`] or until the last clone of the server is dropped. A session can
/// be served on its own ([`Self::accept`], then [`Session::recv`]), or all of them together
/// ([`Self::recv_from`] and [`Self::send_to`]).
///
/// ```
/// use stadium_session::{Client, ClientConfig, Server, ServerConfig, generate_key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = generate_key();
/// let public = key.public();
/// let server = Server::bind("127.0.0.1:0", ServerConfig::new(key)).await?;
/// let addr = server.local_addr();
///
/// let echo = tokio::spawn(async move {
///     while let Ok((message, from)) = server.recv_from().await {
///         server.send_to(message, from).await?;
///     }
///     Ok::<(), stadium_session::SendError>(())
/// });
///
/// let client = Client::connect(addr, ClientConfig::new(public)).await?;
/// client.send("hello").await?;
/// assert_eq!(client.recv().await?, "hello");
/// client.close().await;
/// # echo.abort();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    inner: Arc<ServerInner>,
}

struct ServerInner {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    local: SocketAddr,
    key: PublicKey,
}

/// The server has been shut down: no session and no message will come any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server was shut down")
    }
}

impl std::error::Error for Stopped {}

impl Server {
    /// Listens on an address and starts to answer handshakes.
    ///
    /// Where a name has several addresses, the first that can be had is taken. An IPv6 address
    /// takes no IPv4.
    ///
    /// # Errors
    /// [`ListenError`]: the address cannot be had, or the configuration contradicts itself.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn bind(addr: impl ToSocketAddrs, config: ServerConfig) -> Result<Self, ListenError> {
        let addrs: Vec<SocketAddr> =
            tokio::net::lookup_host(addr).await.map_err(ListenError::Resolve)?.collect();
        let socket = bind_first(&addrs, &config)?;
        let local = socket.local_addr();
        let engine = engine(&config)?;
        let endpoint = Arc::new(Endpoint::new(Some(Directory::default())));
        let (shared, key) = (Arc::clone(engine.shared()), *engine.public_key());
        let driver = Driver::new(engine, socket, Arc::clone(&endpoint), &config.common)
            .map_err(ListenError::Io)?;
        tokio::spawn(Box::new(driver).run());
        tracing::info!(%key, port = local.port(), "listening");
        Ok(Self { inner: Arc::new(ServerInner { endpoint, shared, local, key }) })
    }

    /// Waits for the next session, whose handshake is complete by then.
    ///
    /// `None` after a shutdown. Dropping the future before it is ready loses nothing.
    pub async fn accept(&self) -> Option<Session> {
        let directory = self.directory();
        loop {
            let came = directory.fresh_came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(inner) = directory.accept() {
                return Some(Session { inner });
            }
            if directory.is_closed() {
                return None;
            }
            came.await;
        }
    }

    /// Returns the session with the client at this address.
    #[must_use]
    pub fn session(&self, addr: SocketAddr) -> Option<Session> {
        self.directory().by_addr(addr).map(|inner| Session { inner })
    }

    /// Returns the session with this number.
    #[must_use]
    pub fn session_by_id(&self, id: u64) -> Option<Session> {
        self.directory().by_id(id).map(|inner| Session { inner })
    }

    /// Returns all sessions, the oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        self.directory().all().into_iter().map(|inner| Session { inner }).collect()
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.directory().len()
    }

    /// Sends a plain message to the client at this address, waiting while its queue is full.
    ///
    /// # Errors
    /// [`SendError::NoSession`], and as [`Session::send`].
    pub async fn send_to(
        &self,
        message: impl Into<Bytes>,
        addr: SocketAddr,
    ) -> Result<(), SendError> {
        let session = self.session(addr).ok_or(SendError::NoSession(addr))?;
        session.send(message).await
    }

    /// Receives the next plain message of any session, with its client's address.
    ///
    /// Sessions take turns. A message goes to whom asks first: this function, or
    /// [`Session::recv`].
    ///
    /// # Errors
    /// [`Stopped`] after a shutdown, when all messages were taken.
    pub async fn recv_from(&self) -> Result<(Bytes, SocketAddr), Stopped> {
        let (message, session) = self.recv_with_session().await?;
        Ok((message, session.remote_addr()))
    }

    /// Receives the next plain message of any session, with the session; else as
    /// [`Self::recv_from`].
    ///
    /// # Errors
    /// [`Stopped`] after a shutdown, when all messages were taken.
    pub async fn recv_with_session(&self) -> Result<(Bytes, Session), Stopped> {
        let directory = self.directory();
        directory.want_mail();
        loop {
            let came = directory.mail_came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some((message, inner)) = directory.take_mail() {
                return Ok((message, Session { inner }));
            }
            if directory.is_closed() {
                return Err(Stopped);
            }
            came.await;
        }
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// Returns the server's public key, which its clients need.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.inner.key
    }

    /// Returns how many datagrams were dropped for this reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        let drops: &DropCounters = &self.inner.shared.drops;
        drops.of(reason)
    }

    /// Shuts down: from now on new clients are told that the server is busy; sessions have
    /// `grace` to end by themselves, and what is queued is sent; then the rest is closed.
    ///
    /// Returns when the socket is free again.
    pub async fn shutdown(&self, grace: Duration) {
        let (done, over) = oneshot::channel();
        self.inner.endpoint.command(Command::Shutdown { grace, done: Some(done) });
        // the driver drops the sender if it has ended before
        let _ = over.await;
    }

    fn directory(&self) -> &Directory {
        self.inner.endpoint.directory.as_ref().expect("a server has a directory")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.inner.local)
            .field("sessions", &self.session_count())
            .finish_non_exhaustive()
    }
}

impl Drop for ServerInner {
    fn drop(&mut self) {
        self.endpoint.command(Command::Shutdown { grace: Duration::ZERO, done: None });
    }
}

fn bind_first(addrs: &[SocketAddr], config: &ServerConfig) -> Result<Socket, ListenError> {
    let options = Options {
        send_buffer: config.common.send_buffer,
        recv_buffer: config.common.recv_buffer,
        tos: false,
        ..Options::default()
    };
    let mut failure = None;
    for addr in addrs {
        match Socket::bind(*addr, &options) {
            Ok(socket) => return Ok(socket),
            // the others will not do better
            Err(error) if error.fault() == BindFault::InUse => {
                return Err(ListenError::Bind(error));
            }
            Err(error) => failure = Some(ListenError::Bind(error)),
        }
    }
    let nothing = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    Err(failure.unwrap_or_else(|| ListenError::Resolve(nothing())))
}

/// Makes an engine that knows the clients of the configuration.
fn engine(config: &ServerConfig) -> Result<Engine, ListenError> {
    if config.stealth && (config.open || config.anonymous) {
        return Err(ListenError::StealthAndOpen);
    }
    let settings = Settings {
        allow_open: config.open,
        allow_anonymous: config.anonymous,
        stealth: config.stealth,
        handshake_rate: config.rate,
        guests: Guests {
            strangers: config.strangers,
            max: config.max_sessions,
            max_pending: config.max_pending,
            heartbeat: config.common.heartbeat,
            draining: false,
        },
        ..config.common.settings()
    };
    let identity = Identity::new(config.common.secret_key.clone());
    let network_key = config.common.network_key.clone();
    let now = clock::now();
    let mut engine = Engine::new(identity, network_key, settings, Box::new(fill_random), now);
    let clients = config.clients.iter().map(|client| {
        Change::Add(Box::new(PeerConfig {
            public_key: client.key,
            preshared_key: client.preshared_key.clone(),
            endpoint: None,
            allowed_ips: Vec::new(),
            // an absent client is not waited for: guests' heartbeats begin with their sessions
            heartbeat: None,
            handshake: HandshakeKind::Encrypted,
            noise: NoiseByte::OFF,
            noise_policy: NoisePolicy::OFF,
        }))
    });
    for result in engine.apply(now, clients, &mut Silence) {
        result.map_err(|refused| match refused {
            PeerRefused::OwnKey => ListenError::OwnKey,
            _ => ListenError::DuplicateClient,
        })?;
    }
    Ok(engine)
}

/// Takes what an engine puts out before there is a socket: nothing, as nobody is called.
struct Silence;

impl Output for Silence {
    fn send(&mut self, _: &peer::Endpoint, _: &[u8], _: DatagramClass) {
        debug_assert!(false, "clients are waited for, not called");
    }

    fn event(&mut self, _: Event) {}
}

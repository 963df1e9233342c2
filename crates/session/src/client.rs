//! The client: one session with one server.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stadium_proto::engine::{
    Change, DatagramClass, Engine, Event, HandshakeKind, HostConfig, Input, Output, PeerConfig,
    PeerError, PeerRefused,
};
use stadium_proto::identity::{Identity, PublicKey};
use stadium_proto::noise::{NoiseByte, NoisePolicy};
use stadium_proto::peer;
use stadium_udp::{Options, Socket};
use tokio::net::ToSocketAddrs;
use tokio::sync::oneshot;

use crate::clock;
use crate::config::{ClientConfig, Trust, fill_random};
use crate::driver::{Connecting, Driver};
use crate::endpoint::{Command, Endpoint};
use crate::error::ConnectError;
use crate::known_hosts::KnownHosts;
use crate::session::Session;
use crate::tickets::EarlyData;

/// A client: one session with one server, which it dereferences to.
///
/// Rekeys, heartbeat and timeouts happen by themselves in a task of their own. When the client
/// is dropped the session ends; [`Session::close`] waits until what is queued has gone.
///
/// Trust on first use, with a file that remembers keys:
///
/// ```no_run
/// use stadium_session::{Client, ClientConfig, KnownHosts, Trust};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let hosts = KnownHosts::new("known_hosts");
/// let config = ClientConfig::trusting(Trust::FirstUse(hosts));
/// let client = Client::connect("server.example:8080", config).await?;
/// println!("session {} with {:?}", client.id(), client.peer_key());
/// # Ok(())
/// # }
/// ```
pub struct Client {
    session: Session,
    early: EarlyData,
    // after the session, so that the driver hears of it last
    _handle: Handle,
}

/// Ends the driver when it is dropped.
struct Handle(Arc<Endpoint>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.command(Command::Shutdown { grace: Duration::ZERO, done: None });
    }
}

impl Client {
    /// Connects to a server and completes the handshake.
    ///
    /// Where a name has several addresses, the first is taken. Dropping the future before it is
    /// ready ends the attempt.
    ///
    /// # Errors
    /// [`ConnectError`] tells what is wrong and what to do.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn connect(
        addr: impl ToSocketAddrs,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        Self::connect_early(addr, config, Vec::new()).await
    }

    /// Connects to a server and sends the first messages along with the handshake, if there is a
    /// ticket for it ([`ClientConfig::tickets`]).
    ///
    /// The first 16 messages arrive half a round trip after the call, before the handshake is
    /// complete. What cannot go early, or is refused, is sent after the handshake, in the same
    /// order; [`Self::early_data`] tells what happened. Where an answer is lost on the way, the
    /// server may receive early messages twice: they should ask for something that may be asked
    /// twice.
    ///
    /// ```
    /// use stadium_session::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let key = generate_key();
    /// let config = ClientConfig::new(key.public()).tickets(TicketStore::new());
    /// let server = Server::bind("127.0.0.1:0", ServerConfig::new(key).early_data(true)).await?;
    ///
    /// let client = Client::connect(server.local_addr(), config.clone()).await?;
    /// client.ping().await?; // the ticket comes before the answer
    /// client.close().await;
    ///
    /// let hello = vec!["hello".into()];
    /// let client = Client::connect_early(server.local_addr(), config, hello).await?;
    /// assert_eq!(client.early_data(), EarlyData::Accepted(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::connect`], and [`ConnectError::Send`] for a message that is too long.
    ///
    /// # Panics
    /// As [`Self::connect`].
    pub async fn connect_early(
        addr: impl ToSocketAddrs,
        config: ClientConfig,
        messages: Vec<Bytes>,
    ) -> Result<Self, ConnectError> {
        let addr = resolve(addr).await?;
        let socket = bind_towards(addr, &config)?;
        let host = config.host_name.clone().unwrap_or_else(|| addr.to_string());
        let known = match &config.trust {
            Trust::Key(key) => Some(*key),
            Trust::FirstUse(hosts) => {
                hosts.key_of(&host).map_err(|source| unreadable(hosts, source))?
            }
            Trust::Anyone => None,
        };

        let endpoint = Arc::new(Endpoint::new(None));
        let handle = Handle(Arc::clone(&endpoint));
        let (engine, events) = engine(addr, &config, known, &socket)?;
        let mut driver =
            Driver::new(engine, socket, endpoint, &config.common).map_err(ConnectError::Io)?;
        let (reply, answer) = oneshot::channel();
        let mut connecting = Connecting::new(reply, addr, config.connect_timeout, clock::now());
        connecting.early.extend(messages);
        driver.connect(connecting, events, config.tickets.clone());
        tokio::spawn(Box::new(driver).run());
        let ended = ConnectError::Closed(crate::Closed::Shutdown);
        let connected = match answer.await.unwrap_or(Err(ended)) {
            Ok(connected) => connected,
            Err(ConnectError::Refused(PeerError::KeyMismatch)) if known.is_some() => {
                return Err(match &config.trust {
                    Trust::FirstUse(hosts) => {
                        ConnectError::HostKeyChanged { host, file: hosts.path().to_owned() }
                    }
                    _ => ConnectError::Refused(PeerError::KeyMismatch),
                });
            }
            Err(error) => return Err(error),
        };
        if let (Trust::FirstUse(hosts), Some(key)) = (&config.trust, connected.host_key) {
            pin(hosts, host, &key)?;
        }
        let session = Session { inner: connected.session };
        for message in connected.unsent {
            session.send(message).await.map_err(ConnectError::Send)?;
        }
        Ok(Self { session, early: connected.early, _handle: handle })
    }

    /// Returns what became of the messages of [`Self::connect_early`].
    #[must_use]
    pub fn early_data(&self) -> EarlyData {
        self.early
    }

    /// Returns the session, which ends with the client all the same.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Deref for Client {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

async fn resolve(addr: impl ToSocketAddrs) -> Result<SocketAddr, ConnectError> {
    let mut addrs = tokio::net::lookup_host(addr).await.map_err(ConnectError::Resolve)?;
    addrs.next().ok_or_else(|| {
        ConnectError::Resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    })
}

fn bind_towards(addr: SocketAddr, config: &ClientConfig) -> Result<Socket, ConnectError> {
    let any: SocketAddr = if addr.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let options = Options {
        send_buffer: config.common.send_buffer,
        recv_buffer: config.common.recv_buffer,
        tos: false,
        // the routing table chooses the address, so that the client may move between networks
        local_addr: false,
        ..Options::default()
    };
    Socket::bind(any, &options).map_err(ConnectError::Bind)
}

fn unreadable(hosts: &KnownHosts, source: io::Error) -> ConnectError {
    ConnectError::KnownHosts { file: hosts.path().to_owned(), source }
}

fn pin(hosts: &KnownHosts, host: String, key: &PublicKey) -> Result<(), ConnectError> {
    match hosts.pin(&host, key) {
        Ok(new) => {
            if new {
                tracing::info!(host, %key, "a new host: its key is trusted from now on");
            }
            Ok(())
        }
        // another connection of this program has pinned another key meanwhile
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ConnectError::HostKeyChanged { host, file: hosts.path().to_owned() })
        }
        Err(source) => Err(unreadable(hosts, source)),
    }
}

/// Makes an engine that knows the server, and sends the first REQUEST.
fn engine(
    addr: SocketAddr,
    config: &ClientConfig,
    known: Option<PublicKey>,
    socket: &Socket,
) -> Result<(Engine, VecDeque<Event>), ConnectError> {
    let common = &config.common;
    let identity = Identity::new(common.secret_key.clone());
    let network_key = common.network_key.clone();
    let settings = common.settings();
    let now = clock::now();
    let mut engine = Engine::new(identity, network_key, settings, Box::new(fill_random), now);
    let mut out = First { socket, events: VecDeque::new() };
    let refused = |refused| match refused {
        PeerRefused::OwnKey => ConnectError::OwnKey,
        // the only peer is neither double nor unknown
        refused => ConnectError::Io(io::Error::other(refused)),
    };
    let Trust::Key(key) = &config.trust else {
        let host = HostConfig {
            endpoint: addr,
            public_key: known,
            named: !config.anonymous,
            preshared_key: config.preshared_key.clone(),
            heartbeat: common.heartbeat,
            noise: NoiseByte::OFF,
            noise_policy: NoisePolicy::OFF,
        };
        for result in engine.apply(now, [Change::AddHost(Box::new(host))], &mut out) {
            result.map_err(refused)?;
        }
        return Ok((engine, out.events));
    };
    let mut server = PeerConfig {
        public_key: *key,
        preshared_key: config.preshared_key.clone(),
        endpoint: Some(addr),
        allowed_ips: Vec::new(),
        // a peer with a heartbeat gets a REQUEST as soon as it is there, and the ticket goes first
        heartbeat: None,
        handshake: HandshakeKind::Encrypted,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    };
    let change = Change::Add(Box::new(server.clone()));
    for result in engine.apply(now, [change], &mut out) {
        let Some(peer) = result.map_err(refused)? else { continue };
        if let Some(store) = &config.tickets
            && let Some(ticket) = store.take(*key, *engine.public_key())
        {
            engine.put_ticket(now, peer, ticket);
        }
        engine.handle(now, Input::Connect(peer), &mut out);
        server.heartbeat = common.heartbeat;
        let change = Change::Update(peer, Box::new(server.clone()));
        for result in engine.apply(now, [change], &mut out) {
            result.map_err(refused)?;
        }
    }
    Ok((engine, out.events))
}

/// Sends the first REQUEST, before the driver runs.
struct First<'a> {
    socket: &'a Socket,
    events: VecDeque<Event>,
}

impl Output for First<'_> {
    fn send(&mut self, to: &peer::Endpoint, datagram: &[u8], class: DatagramClass) {
        crate::driver::send_first(self.socket, to, datagram, class);
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

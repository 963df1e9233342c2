//! Secure datagram sessions over UDP, with the StadiumP handshake.
//!
//! A [`Server`] accepts sessions, a [`Client`] connects to one. A [`Session`] carries messages:
//! encrypted with keys of its own, authenticated, none twice, each as it was sent or not at all.
//! Like UDP itself it neither repeats nor orders them. Inside a session, [`Stream`]s are numbered
//! channels that do not wait for each other.
//!
//! ```
//! use stadium_session::{Client, ClientConfig, Server, ServerConfig, generate_key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = generate_key();
//! let config = ClientConfig::new(key.public());
//! let server = Server::bind("127.0.0.1:0", ServerConfig::new(key)).await?;
//!
//! let client = Client::connect(server.local_addr(), config).await?;
//! client.send("Hello from client!").await?;
//!
//! let session = server.accept().await.ok_or("shut down")?;
//! assert_eq!(session.id(), 1);
//! assert_eq!(session.recv().await?, "Hello from client!");
//! session.send("Hello from server!").await?;
//! assert_eq!(client.recv().await?, "Hello from server!");
//! # Ok(())
//! # }
//! ```
//!
//! # Who is who
//!
//! A server has a lasting key ([`generate_key`]); a client knows it by one of three ways
//! ([`Trust`]). A client has a key too, a fresh one unless it sets another, and a server may take
//! all of them or only those that it knows ([`ServerConfig::only_known_clients`]). One key is
//! one node: a second client with the same key takes the first one's place.
//!
//! # What keeps a session alive
//!
//! Keys are renewed every two minutes by themselves; the session goes on. A heartbeat notices
//! that the other side is gone ([`ClientConfig::heartbeat`]); a session from which nothing came
//! for the idle timeout ends ([`ServerConfig::idle_timeout`]).
//!
//! # What is bounded
//!
//! Queues ([`Limits`]), sessions ([`ServerConfig::max_sessions`]), and handshakes by source
//! ([`ServerConfig::handshake_rate`]). Sending waits for room; what is received and not taken is
//! dropped and counted ([`Session::stats`]).
//!
//! # Early data
//!
//! A client that was connected before may send its first messages along with the handshake
//! ([`Client::connect_early`]): they arrive a round trip earlier. A replay of them opens nothing,
//! as a ticket serves once; but where an answer is lost they may arrive twice, so they should ask
//! for something that may be asked twice.
//!
//! # Step by step
//!
//! The protocol itself is in the crate `stadium-proto`, without sockets and clocks. Each step of
//! the handshake is public there:
//!
//! | step | where |
//! |---|---|
//! | process a request | [`ResponderStatics::open`](stadium_proto::handshake::ResponderStatics::open) |
//! | choose a suite | [`AlgorithmList::choose_cipher`](stadium_proto::lbm::AlgorithmList::choose_cipher), [`choose_hash`](stadium_proto::lbm::AlgorithmList::choose_hash) |
//! | generate the consent | [`OpenedRequest::consent`](stadium_proto::handshake::OpenedRequest::consent) |
//! | derive the keys | [`Established`](stadium_proto::handshake::Established), its [`DataKeys`](stadium_proto::handshake::DataKeys) |
//! | make a request, open its consent | [`Initiator`](stadium_proto::handshake::Initiator) |
//!
//! # Logs
//!
//! Events go to [`tracing`]: sessions that begin and end at INFO, with their id and reason;
//! addresses at DEBUG; handshake attempts at TRACE.

mod channel;
mod client;
mod clock;
mod config;
mod driver;
mod endpoint;
mod error;
mod known_hosts;
mod server;
mod session;
mod stream;
mod tickets;

pub use bytes::Bytes;
pub use client::Client;
pub use config::{ClientConfig, Limits, ServerConfig, Trust, generate_key};
pub use error::{Closed, ConnectError, ListenError, SendError, StreamError};
pub use known_hosts::KnownHosts;
pub use server::{Server, Stopped};
pub use session::{Session, SessionStats};
pub use stadium_proto::drop::DropReason;
pub use stadium_proto::engine::{PeerError, PostQuantum};
pub use stadium_proto::frame::CloseReason;
pub use stadium_proto::identity::{KeyError, NetworkKey, PresharedKey, PublicKey, SecretKey};
pub use stadium_udp::{BindError, BindFault};
pub use stream::Stream;
pub use tickets::{EarlyData, TicketStore};

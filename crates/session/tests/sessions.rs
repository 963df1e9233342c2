//! Sessions over loopback, as users see them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stadium_session::{
    Client, ClientConfig, CloseReason, Closed, ConnectError, KnownHosts, ListenError, PeerError,
    PostQuantum, PresharedKey, SecretKey, SendError, Server, ServerConfig, Trust, generate_key,
};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

async fn listen(config: ServerConfig) -> (Server, SocketAddr) {
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let addr = server.local_addr();
    (server, addr)
}

/// A server without a rate limit to speak of.
fn config(key: SecretKey) -> ServerConfig {
    ServerConfig::new(key).handshake_rate(1_000, 1_000)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("in time")
}

/// Sends a message each way.
async fn talk(client: &Client, server: &Server) {
    let session = within(server.accept()).await.unwrap();
    client.send("ping").await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap(), "ping");
    session.send("pong").await.unwrap();
    assert_eq!(within(client.recv()).await.unwrap(), "pong");
}

#[tokio::test]
async fn a_known_key_makes_encrypted_sessions_that_count_up() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    assert_eq!(server.public_key(), key.public());
    for id in 1..=3 {
        let own = generate_key();
        let config = ClientConfig::new(key.public()).secret_key(own.clone());
        let client = Client::connect(addr, config).await.unwrap();
        assert_eq!(client.id(), id);
        assert_eq!(client.peer_key(), Some(key.public()));
        assert!(client.is_initiator());
        let session = server.session_by_id(id).unwrap();
        assert_eq!(session.peer_key(), Some(own.public()));
        assert_eq!(server.session(session.remote_addr()).unwrap().id(), id);
        talk(&client, &server).await;
        client.close().await;
        let by_peer = Closed::ByPeer(CloseReason::FINISHED);
        assert_eq!(within(session.closed()).await, by_peer);
        assert_eq!(session.recv().await, Err(by_peer));
        assert_eq!(session.send("late").await, Err(SendError::Closed(by_peer)));
        assert!(server.session_by_id(id).is_none());
        assert!(server.session(session.remote_addr()).is_none());
    }
    assert_eq!(server.session_count(), 0);
}

#[tokio::test]
async fn messages_by_address_and_from_anyone() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(addr, ClientConfig::new(key.public())).await.unwrap());
    }
    for (n, client) in clients.iter().enumerate() {
        client.send(vec![n as u8; 100]).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (message, from) = within(server.recv_from()).await.unwrap();
        assert_eq!(message.len(), 100);
        seen.push(message[0]);
        server.send_to(message, from).await.unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(within(client.recv()).await.unwrap(), vec![n as u8; 100]);
    }
    let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
    assert_eq!(server.send_to("x", nobody).await, Err(SendError::NoSession(nobody)));
    let ids: Vec<u64> = server.sessions().iter().map(|s| s.id()).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test]
async fn open_handshakes_and_anonymous_clients_only_where_allowed() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone()).open(true)).await;
    let quick = |c: ClientConfig| c.connect_timeout(Duration::from_millis(400));
    let client = Client::connect(addr, ClientConfig::trusting(Trust::Anyone)).await.unwrap();
    assert_eq!(client.peer_key(), Some(key.public()));
    talk(&client, &server).await;

    let anonymous = || ClientConfig::trusting(Trust::Anyone).anonymous();
    let error = Client::connect(addr, quick(anonymous())).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");

    let (server, addr) = listen(config(key.clone()).anonymous(true)).await;
    let client = Client::connect(addr, anonymous()).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    assert_eq!(session.peer_key(), None);
    client.send("who?").await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap(), "who?");
    let named = quick(ClientConfig::trusting(Trust::Anyone));
    assert!(Client::connect(addr, named).await.is_err(), "only anonymous ones are allowed");
    assert!(matches!(
        Server::bind("127.0.0.1:0", ServerConfig::new(key).open(true).stealth(true)).await,
        Err(ListenError::StealthAndOpen)
    ));
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stadium-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_first_key_of_a_host_is_trusted_and_no_other() {
    let folder = Folder::new("first-use");
    let hosts = KnownHosts::new(folder.0.join("known_hosts"));
    let trusting = || {
        let trust = Trust::FirstUse(hosts.clone());
        ClientConfig::trusting(trust).host_name("the-server")
    };
    let key = generate_key();
    let (server, addr) = listen(config(key.clone()).open(true)).await;
    let client = Client::connect(addr, trusting()).await.unwrap();
    assert_eq!(hosts.key_of("the-server").unwrap(), Some(key.public()));
    talk(&client, &server).await;
    Client::connect(addr, trusting()).await.unwrap();

    let (_impostor, other) = listen(config(generate_key()).open(true)).await;
    let error = Client::connect(other, trusting()).await.unwrap_err();
    assert!(matches!(&error, ConnectError::HostKeyChanged { .. }), "{error}");
    assert!(error.to_string().contains("the-server"), "{error}");
    assert_eq!(hosts.key_of("the-server").unwrap(), Some(key.public()), "it stays");
}

#[tokio::test]
async fn refusals_say_why() {
    let key = generate_key();
    let friend = generate_key();
    let psk = PresharedKey::from_bytes([7; 32]);
    let strict = config(key.clone())
        .only_known_clients()
        .client_with_preshared_key(friend.public(), psk.clone());
    let (server, addr) = listen(strict).await;
    let to_server = || ClientConfig::new(key.public());

    let stranger = Client::connect(addr, to_server()).await.unwrap_err();
    assert!(matches!(stranger, ConnectError::Refused(PeerError::UnknownPeer)), "{stranger}");
    let without_psk = to_server().secret_key(friend.clone());
    let error = Client::connect(addr, without_psk).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(PeerError::KeyMismatch)), "{error}");
    let client = to_server().secret_key(friend).preshared_key(psk);
    talk(&Client::connect(addr, client).await.unwrap(), &server).await;

    let own = to_server().secret_key(key.clone());
    assert!(matches!(Client::connect(addr, own).await, Err(ConnectError::OwnKey)));
    let other = ClientConfig::new(generate_key().public());
    let error = Client::connect(addr, other.connect_timeout(Duration::from_millis(300))).await;
    assert!(matches!(error, Err(ConnectError::TimedOut { .. })));
    let taken = Server::bind(addr, ServerConfig::new(generate_key())).await.unwrap_err();
    assert!(taken.to_string().contains("in use"), "{taken}");
}

#[tokio::test]
async fn a_full_server_is_busy() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone()).max_sessions(1)).await;
    let first = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let error = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(PeerError::Busy)), "{error}");
    first.close().await;
    while server.session_count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
}

#[tokio::test]
async fn messages_have_a_longest_length() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let client = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    let max = client.max_message_len();
    assert_eq!(max, 1_412);
    client.send(vec![1; max]).await.unwrap();
    client.send(vec![]).await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap().len(), max);
    assert_eq!(within(session.recv()).await.unwrap().len(), 0);
    let error = client.send(vec![1; max + 1]).await.unwrap_err();
    assert_eq!(error, SendError::TooLong { len: max + 1, max });

    // the least of both sides counts
    let large = ClientConfig::new(key.public()).max_payload(9_000);
    let client = Client::connect(addr, large).await.unwrap();
    assert_eq!(client.max_message_len(), 1_412);
}

#[tokio::test]
async fn idle_sessions_end_and_a_heartbeat_keeps_them() {
    let key = generate_key();
    let server_config = config(key.clone()).idle_timeout(Duration::from_millis(300));
    let (server, addr) = listen(server_config).await;
    let silent = ClientConfig::new(key.public()).heartbeat(None);
    let beating = ClientConfig::new(key.public()).heartbeat(Duration::from_millis(100));
    let silent = Client::connect(addr, silent).await.unwrap();
    let beating = Client::connect(addr, beating).await.unwrap();
    let idle = Closed::ByPeer(CloseReason::IDLE);
    assert_eq!(within(silent.closed()).await, idle);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(beating.close_reason(), None);
    assert_eq!(server.session_count(), 1);
    assert!(beating.ping().await.unwrap() < SOON);
}

#[tokio::test]
async fn a_server_that_vanishes_is_noticed() {
    let key = generate_key();
    // a runtime of its own, whose tasks stop in the middle: no close frame goes out
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.spawn(listen(config(key.clone())));
    let (server, addr) = within(server).await.unwrap();
    let config = ClientConfig::new(key.public())
        .heartbeat(Duration::from_millis(100))
        .idle_timeout(Duration::from_millis(500));
    let client = Client::connect(addr, config).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    runtime.shutdown_background();
    assert_eq!(within(client.closed()).await, Closed::Idle);
    assert_eq!(within(session.closed()).await, Closed::Shutdown);
    assert!(server.accept().await.is_none());
}

#[tokio::test]
async fn a_dropped_server_ends_its_sessions() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let client = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    drop(server);
    assert_eq!(within(client.closed()).await, Closed::ByPeer(CloseReason::SHUTDOWN));
    assert_eq!(within(session.closed()).await, Closed::Shutdown);
}

#[tokio::test]
async fn a_shutdown_drains() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let client = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    for n in 0..200_u32 {
        session.send(n.to_le_bytes().to_vec()).await.unwrap();
    }
    let stopping = server.clone();
    let shutdown = tokio::spawn(async move { stopping.shutdown(Duration::from_secs(30)).await });
    assert!(within(server.accept()).await.is_none());
    // new ones are told, the old one goes on
    let error = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(PeerError::Busy)), "{error}");
    client.send("still here").await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap(), "still here");
    for n in 0..200_u32 {
        assert_eq!(within(client.recv()).await.unwrap(), n.to_le_bytes()[..]);
    }
    assert!(!shutdown.is_finished());
    client.close().await;
    within(shutdown).await.unwrap();
    assert!(within(server.recv_from()).await.is_err());
    // the socket is free
    Server::bind(addr, config(key)).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_without_grace_sends_what_is_queued() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let client = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    for n in 0..100_u32 {
        session.try_send(n.to_le_bytes().to_vec()).unwrap();
    }
    within(server.shutdown(Duration::ZERO)).await;
    for n in 0..100_u32 {
        assert_eq!(within(client.recv()).await.unwrap(), n.to_le_bytes()[..]);
    }
    assert_eq!(client.recv().await, Err(Closed::ByPeer(CloseReason::SHUTDOWN)));
    assert_eq!(session.close_reason(), Some(Closed::Shutdown));
}

#[tokio::test]
async fn a_dropped_client_ends_its_session() {
    let key = generate_key();
    let (server, addr) = listen(config(key.clone()).post_quantum(PostQuantum::Off)).await;
    let client = Client::connect(addr, ClientConfig::new(key.public())).await.unwrap();
    let kept = client.session().clone();
    let session = within(server.accept()).await.unwrap();
    client.send("last words").await.unwrap();
    drop(client);
    assert_eq!(within(session.closed()).await, Closed::ByPeer(CloseReason::SHUTDOWN));
    assert_eq!(session.recv().await.unwrap(), "last words");
    assert_eq!(within(kept.closed()).await, Closed::Shutdown);
    assert_eq!(kept.send("x").await, Err(SendError::Closed(Closed::Shutdown)));
}

#[tokio::test]
async fn the_same_key_takes_its_own_place() {
    let key = generate_key();
    let own = generate_key();
    let (server, addr) = listen(config(key.clone())).await;
    let config = || ClientConfig::new(key.public()).secret_key(own.clone());
    let first = Client::connect(addr, config()).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    let second = Client::connect(addr, config()).await.unwrap();
    second.send("here now").await.unwrap();
    // to the server it is one node that has new keys and a new address
    assert_eq!(within(session.recv()).await.unwrap(), "here now");
    assert_eq!(server.session_count(), 1);
    drop(first);
}

#[tokio::test]
async fn handshakes_are_limited_by_source() {
    let key = generate_key();
    let (server, addr) = listen(ServerConfig::new(key.clone()).handshake_rate(1, 2)).await;
    let quick = || ClientConfig::new(key.public()).connect_timeout(Duration::from_millis(300));
    let mut connected = 0;
    for _ in 0..8 {
        connected += usize::from(Client::connect(addr, quick()).await.is_ok());
    }
    // two without a cookie, two with, and what a second or two give back
    assert!((2..=7).contains(&connected), "{connected}");
    assert!(server.drops(stadium_session::DropReason::RateLimited) > 0);
}

#[tokio::test]
async fn ipv6_too() {
    let key = generate_key();
    let Ok(server) = Server::bind("[::1]:0", config(key.clone())).await else {
        println!("no IPv6 here");
        return;
    };
    let client = Client::connect(server.local_addr(), ClientConfig::new(key.public()));
    talk(&client.await.unwrap(), &server).await;
}

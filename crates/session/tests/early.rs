//! Early data over loopback: resumption, refusal, and what a recorded handshake is worth.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stadium_session::{
    Bytes, Client, ClientConfig, EarlyData, SecretKey, SendError, Server, ServerConfig,
    TicketStore, generate_key,
};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("in time")
}

async fn listen(key: &SecretKey, addr: SocketAddr) -> Server {
    let config = ServerConfig::new(key.clone()).early_data(true).handshake_rate(1_000, 1_000);
    Server::bind(addr, config).await.unwrap()
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Connects once, so that there is a ticket, and closes.
async fn meet(addr: SocketAddr, config: &ClientConfig, store: &TicketStore) {
    let before = store.len();
    let client = Client::connect(addr, config.clone()).await.unwrap();
    assert_eq!(client.early_data(), EarlyData::None);
    client.ping().await.unwrap();
    assert_eq!(store.len(), before + 1);
    client.close().await;
}

fn messages(range: std::ops::Range<u8>) -> Vec<Bytes> {
    range.map(|n| Bytes::from(vec![n; 10])).collect()
}

#[tokio::test]
async fn first_messages_go_along_with_the_handshake() {
    let key = generate_key();
    let server = listen(&key, anywhere()).await;
    let store = TicketStore::new();
    let config = ClientConfig::new(key.public()).tickets(store.clone());
    meet(server.local_addr(), &config, &store).await;
    let first = within(server.accept()).await.unwrap();
    within(first.closed()).await;

    // more than go early: the others follow, in order
    let connecting = Client::connect_early(server.local_addr(), config.clone(), messages(0..20));
    let client = connecting.await.unwrap();
    assert_eq!(client.early_data(), EarlyData::Accepted(16));
    let session = within(server.accept()).await.unwrap();
    assert_eq!((session.id(), client.id()), (2, 2));
    for n in 0..20 {
        assert_eq!(within(session.recv()).await.unwrap(), vec![n; 10]);
    }
    session.send("answer").await.unwrap();
    assert_eq!(within(client.recv()).await.unwrap(), "answer");
    assert!(session.is_confirmed());
    assert_eq!(server.session(session.remote_addr()).unwrap().id(), 2);
    client.ping().await.unwrap();
    assert_eq!(store.len(), 1, "one was used, one is new");

    let too_long = vec![Bytes::from(vec![0; 5_000])];
    let error = Client::connect_early(server.local_addr(), config, too_long).await.unwrap_err();
    let stadium_session::ConnectError::Send(SendError::TooLong { .. }) = error else {
        panic!("{error}");
    };
}

#[tokio::test]
async fn a_restarted_server_gets_them_after_the_handshake() {
    let key = generate_key();
    let server = listen(&key, anywhere()).await;
    let addr = server.local_addr();
    let store = TicketStore::new();
    let config = ClientConfig::new(key.public()).tickets(store.clone());
    meet(addr, &config, &store).await;
    server.shutdown(Duration::ZERO).await;
    let server = listen(&key, addr).await;
    let client = Client::connect_early(addr, config.clone(), messages(0..3)).await.unwrap();
    assert_eq!(client.early_data(), EarlyData::Refused);
    let session = within(server.accept()).await.unwrap();
    for n in 0..3 {
        assert_eq!(within(session.recv()).await.unwrap(), vec![n; 10]);
    }
    assert_eq!(session.stats().received, 3, "once each");

    // a server that takes none at all issues no ticket
    let plain = Server::bind(anywhere(), ServerConfig::new(key)).await.unwrap();
    let client = Client::connect_early(plain.local_addr(), config, messages(0..1)).await.unwrap();
    let session = within(plain.accept()).await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap(), vec![0; 10]);
    assert_ne!(client.early_data(), EarlyData::Accepted(1));
}

/// Passes datagrams between a client and a server, and remembers the client's.
struct Recorder {
    addr: SocketAddr,
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Recorder {
    /// Begins; with `hold`, nothing of the server reaches the client.
    async fn towards(server: SocketAddr, hold: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&recorded);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 2_048];
            let mut client = None;
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let datagram = &buffer[..length];
                if from == server {
                    if let (Some(client), false) = (client, hold) {
                        socket.send_to(datagram, client).await.unwrap();
                    }
                } else {
                    client = Some(from);
                    record.lock().unwrap().push(datagram.to_vec());
                    socket.send_to(datagram, server).await.unwrap();
                }
            }
        });
        Self { addr, recorded, task }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn early_data_arrives_before_the_handshake_is_complete() {
    let key = generate_key();
    let server = listen(&key, anywhere()).await;
    let store = TicketStore::new();
    let config = ClientConfig::new(key.public()).tickets(store.clone());
    meet(server.local_addr(), &config, &store).await;
    within(within(server.accept()).await.unwrap().closed()).await;

    let recorder = Recorder::towards(server.local_addr(), true).await;
    let quick = config.connect_timeout(Duration::from_millis(700));
    let connecting = Client::connect_early(recorder.addr, quick, messages(0..2));
    let connecting = tokio::spawn(connecting);
    let session = within(server.accept()).await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap(), vec![0; 10]);
    assert_eq!(within(session.recv()).await.unwrap(), vec![1; 10]);
    assert!(!session.is_confirmed());
    assert_eq!(session.remote_addr(), recorder.addr);
    // answers wait for the handshake
    session.send("answer").await.unwrap();
    connecting.await.unwrap().unwrap_err();
    assert_eq!(session.stats().sent, 0);
}

#[tokio::test]
async fn a_recorded_handshake_replays_nothing() {
    let key = generate_key();
    let server = listen(&key, anywhere()).await;
    let addr = server.local_addr();
    let store = TicketStore::new();
    let config = ClientConfig::new(key.public()).tickets(store.clone());
    meet(addr, &config, &store).await;
    within(within(server.accept()).await.unwrap().closed()).await;

    let recorder = Recorder::towards(addr, false).await;
    let client = Client::connect_early(recorder.addr, config, messages(0..3)).await.unwrap();
    assert_eq!(client.early_data(), EarlyData::Accepted(3));
    let session = within(server.accept()).await.unwrap();
    for n in 0..3 {
        assert_eq!(within(session.recv()).await.unwrap(), vec![n; 10]);
    }
    let recorded = recorder.recorded.lock().unwrap().clone();
    assert!(recorded[0].starts_with(b"StadiumP") && recorded.len() >= 5);

    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let replay = async |to: SocketAddr| {
        for datagram in &recorded {
            attacker.send_to(datagram, to).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // to the server that knows it, with the session there and after it
    replay(addr).await;
    assert_eq!(session.stats().received, 3);
    client.close().await;
    within(session.closed()).await;
    replay(addr).await;
    assert_eq!(server.session_count(), 0);
    assert_eq!(session.stats().received, 3);
    // and to one that has forgotten everything
    server.shutdown(Duration::ZERO).await;
    let server = listen(&key, addr).await;
    replay(addr).await;
    assert_eq!(server.session_count(), 0);
    assert!(timeout(Duration::from_millis(50), server.accept()).await.is_err());
}

//! The reliable layer of the example `file`, over a path that loses and reorders.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../examples/file/reliable.rs"]
mod reliable;

use std::net::SocketAddr;
use std::time::Duration;

use stadium_session::{Client, ClientConfig, Server, ServerConfig, generate_key};
use tokio::net::UdpSocket;

/// Passes datagrams on, but loses every `lose`-th and swaps some neighbours.
async fn bad_path(server: SocketAddr, lose: usize) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 2_048];
        let (mut client, mut count) = (None, 0_usize);
        let mut held: Option<(Vec<u8>, SocketAddr)> = None;
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            if from != server {
                client = Some(from);
            }
            let to = if from == server { client.unwrap() } else { server };
            count += 1;
            if count.is_multiple_of(lose) {
                continue;
            }
            if count.is_multiple_of(5) && held.is_none() {
                held = Some((buffer[..length].to_vec(), to));
                continue;
            }
            socket.send_to(&buffer[..length], to).await.unwrap();
            if let Some((datagram, to)) = held.take() {
                socket.send_to(&datagram, to).await.unwrap();
            }
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_whole_over_a_bad_path() {
    for (length, lose) in [(0, 1_000), (1, 7), (700_000, 11)] {
        let key = generate_key();
        let server = Server::bind("127.0.0.1:0", ServerConfig::new(key.clone())).await.unwrap();
        let path = bad_path(server.local_addr(), lose).await;
        let client = Client::connect(path, ClientConfig::new(key.public())).await.unwrap();
        let content: Vec<u8> = (0..length).map(|n: u32| ((n * 31) >> 3) as u8).collect();
        let receiver = tokio::spawn(async move {
            let session = server.accept().await.unwrap();
            let stream = session.open_stream(1).unwrap();
            let mut received = Vec::new();
            let told = reliable::receive(&stream, &mut received, |_, _| {}).await.unwrap();
            assert_eq!(told, received.len() as u64);
            received
        });
        let stream = client.open_stream(1).unwrap();
        let mut shown = 0;
        let piece = client.max_message_len();
        let mut from = &content[..];
        let sent = reliable::send(&stream, &mut from, u64::from(length), piece, |done| {
            assert!(done >= shown, "progress goes forward");
            shown = done;
        });
        tokio::time::timeout(Duration::from_secs(60), sent).await.unwrap().unwrap();
        assert!(receiver.await.unwrap() == content, "{length} bytes");
    }
}

//! Streams over loopback: many, fair, bounded, and none holds up another.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use stadium_session::{
    Client, ClientConfig, CloseReason, Closed, Limits, SendError, Server, ServerConfig, Session,
    StreamError, generate_key,
};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("in time")
}

/// A server and a client with one session; the server stays as long as it is kept.
async fn pair(limits: Limits) -> (Server, Session, Client) {
    let key = generate_key();
    // room for what a test sends at once
    let config = ServerConfig::new(key.clone()).limits(limits).socket_buffers(1 << 20, 8 << 20);
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let config = ClientConfig::new(key.public()).limits(limits).socket_buffers(1 << 20, 8 << 20);
    let client = Client::connect(server.local_addr(), config).await.unwrap();
    let session = within(server.accept()).await.unwrap();
    (server, session, client)
}

#[tokio::test]
async fn a_number_is_the_same_stream_on_both_sides() {
    let (_server, session, client) = pair(Limits::default()).await;
    let ours = client.open_stream(7).unwrap();
    ours.send("to seven").await.unwrap();
    client.send("plain").await.unwrap();
    let theirs = within(session.accept_stream()).await.unwrap();
    assert_eq!(theirs.id(), 7);
    assert_eq!(within(theirs.recv()).await.unwrap(), "to seven");
    assert_eq!(within(session.recv()).await.unwrap(), "plain");
    theirs.send("back").await.unwrap();
    assert_eq!(within(ours.recv()).await.unwrap(), "back");

    // what came before the stream was opened waits for it, and is not offered twice
    client.open_stream(u32::MAX).unwrap().send("early").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let early = session.open_stream(u32::MAX).unwrap();
    assert_eq!(within(early.recv()).await.unwrap(), "early");
    let none = timeout(Duration::from_millis(50), session.accept_stream()).await;
    assert!(none.is_err());
    assert_eq!(session.open_stream(7).unwrap_err(), StreamError::InUse(7));
    assert_eq!(session.open_stream(0).unwrap_err(), StreamError::Reserved);

    // a dropped number is free, and offered anew when something comes
    drop(theirs);
    ours.send("again").await.unwrap();
    let theirs = within(session.accept_stream()).await.unwrap();
    assert_eq!((theirs.id(), &within(theirs.recv()).await.unwrap()[..]), (7, &b"again"[..]));
    client.close().await;
    let closed = Closed::ByPeer(CloseReason::FINISHED);
    assert_eq!(within(theirs.recv()).await, Err(closed));
    assert_eq!(theirs.send("x").await, Err(SendError::Closed(closed)));
    assert_eq!(within(session.accept_stream()).await.unwrap_err(), closed);
    assert_eq!(session.open_stream(8).unwrap_err(), StreamError::Closed(closed));
}

#[tokio::test]
async fn thousands_of_streams_in_a_session() {
    const STREAMS: u32 = 4_000;
    let (_server, session, client) = pair(Limits::default()).await;
    let echo = tokio::spawn({
        let session = session.clone();
        async move {
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                let stream = session.accept_stream().await.unwrap();
                let message = stream.recv().await.unwrap();
                stream.send(message).await.unwrap();
                streams.push(stream);
            }
            streams
        }
    });
    let mut streams = Vec::new();
    for id in 1..=STREAMS {
        let stream = client.open_stream(id).unwrap();
        stream.send(id.to_le_bytes().to_vec()).await.unwrap();
        streams.push(stream);
    }
    for stream in &streams {
        let message = within(stream.recv()).await.unwrap();
        assert_eq!(message, stream.id().to_le_bytes()[..]);
    }
    let theirs = within(echo).await.unwrap();
    let ids: BTreeSet<u32> = theirs.iter().map(|stream| stream.id()).collect();
    assert_eq!(ids.len(), STREAMS as usize);
    assert_eq!(session.stats().streams, STREAMS as usize);
    drop(theirs);
    assert_eq!(session.stats().streams, 0);
    assert_eq!(session.stats().dropped, 0);
}

#[tokio::test]
async fn an_unread_stream_holds_up_no_other() {
    let limits = Limits { receive_queue: 16, ..Limits::default() };
    let (_server, session, client) = pair(limits).await;
    let (unread, read) = (client.open_stream(1).unwrap(), client.open_stream(2).unwrap());
    for _ in 0..100 {
        unread.send(vec![1; 100]).await.unwrap();
    }
    for n in 0..100_u8 {
        read.send(vec![n]).await.unwrap();
        if n == 0 {
            assert_eq!(within(session.accept_stream()).await.unwrap().id(), 1);
        }
    }
    // 1 was accepted and dropped at once; 2 is there
    let theirs = within(session.accept_stream()).await.unwrap();
    let (theirs, _other) = if theirs.id() == 2 {
        (theirs, None)
    } else {
        (within(session.accept_stream()).await.unwrap(), Some(theirs))
    };
    for n in 0..16_u8 {
        assert_eq!(within(theirs.recv()).await.unwrap(), vec![n]);
    }
    let stats = session.stats();
    assert!(stats.dropped >= 100 - 32, "{stats:?}");
    assert!(stats.received <= 16 * 4, "{stats:?}");
}

#[tokio::test]
async fn a_full_queue_makes_the_sender_wait() {
    let limits = Limits { send_queue: 8, ..Limits::default() };
    let (_server, session, client) = pair(limits).await;
    // the driver does not run between these, as the runtime has one thread
    for n in 0..8_u8 {
        client.try_send(vec![n]).unwrap();
    }
    assert_eq!(client.try_send(vec![8]), Err(SendError::Full));
    let stream = client.open_stream(1).unwrap();
    stream.try_send("another queue").unwrap();
    for n in 8..200_u8 {
        within(client.send(vec![n])).await.unwrap();
    }
    for n in 0..200_u8 {
        assert_eq!(within(session.recv()).await.unwrap(), vec![n]);
    }
    assert_eq!(client.stats().sent, 201);
}

#[tokio::test]
async fn streams_take_turns() {
    // the receiver keeps the first 20 messages and drops the rest: those tell the order
    let limits = Limits { receive_bytes: 20 * (1_200 + 64), ..Limits::default() };
    let (_server, session, client) = pair(limits).await;
    let streams: Vec<_> = (1..=5).map(|id| client.open_stream(id).unwrap()).collect();
    // four streams have much to say, one begins last and has little
    for _ in 0..100 {
        for stream in &streams[..4] {
            stream.try_send(vec![0; 1_200]).unwrap();
        }
    }
    for _ in 0..10 {
        streams[4].try_send(vec![0; 1_200]).unwrap();
    }
    within(async {
        while session.stats().dropped < 390 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut first = HashMap::new();
    for _ in 0..5 {
        let stream = within(session.accept_stream()).await.unwrap();
        let count = std::iter::from_fn(|| stream.try_recv()).count();
        first.insert(stream.id(), count);
    }
    assert_eq!(first.values().sum::<usize>(), 20, "{first:?}");
    assert!(first.values().all(|count| *count == 4), "{first:?}");
}

#[tokio::test]
async fn limits_hold() {
    let limits = Limits { streams: 10, receive_bytes: 5 * (1_000 + 64), ..Limits::default() };
    let (_server, session, client) = pair(limits).await;
    let streams: Vec<_> = (1..=10).map(|id| client.open_stream(id).unwrap()).collect();
    assert_eq!(client.open_stream(11).unwrap_err(), StreamError::TooMany(10));
    let theirs: Vec<_> = (101..=110).map(|id| session.open_stream(id).unwrap()).collect();
    for stream in &streams {
        stream.send("no room for me").await.unwrap();
    }
    within(async {
        while session.stats().dropped < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(theirs);
    // bytes count over all streams
    for _ in 0..10 {
        client.send(vec![0; 1_000]).await.unwrap();
    }
    within(async {
        while session.stats().dropped < 15 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for _ in 0..5 {
        assert_eq!(within(session.recv()).await.unwrap().len(), 1_000);
    }
    // empty ones are no way around it
    for _ in 0..100 {
        client.send(vec![]).await.unwrap();
    }
    within(async {
        while session.stats().dropped < 15 + 100 - 83 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for _ in 0..83 {
        assert_eq!(within(session.recv()).await.unwrap().len(), 0);
    }
    // and taking them makes room
    client.send(vec![0; 1_000]).await.unwrap();
    assert_eq!(within(session.recv()).await.unwrap().len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_arrives_whole_and_once() {
    const MESSAGES: u32 = 20_000;
    let (_server, session, client) = pair(Limits::default()).await;
    let sender = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let mut message = vec![n as u8; 1_200];
            message[..4].copy_from_slice(&n.to_le_bytes());
            client.send(message).await.unwrap();
        }
        client
    });
    let mut seen = vec![false; MESSAGES as usize];
    let mut count = 0;
    while let Ok(message) = timeout(Duration::from_millis(500), session.recv()).await {
        let message = message.unwrap();
        let n = u32::from_le_bytes(message[..4].try_into().unwrap());
        assert!(message.len() == 1_200 && message[4..].iter().all(|b| *b == n as u8));
        assert!(!std::mem::replace(&mut seen[n as usize], true), "{n} came twice");
        count += 1;
    }
    let client = sender.await.unwrap();
    assert_eq!(client.stats().sent, u64::from(MESSAGES));
    let stats = session.stats();
    assert_eq!(stats.received, count);
    // nothing paces the sender, so that some may be lost
    assert!(count > u64::from(MESSAGES / 10), "{count} of {MESSAGES}, {stats:?}");
}

//! One session's messages of 1,200 bytes, against quinn's datagrams: same machine, same sizes of
//! buffers, same loop around them, in turns.
//!
//! What counts is what arrives. Both are unreliable; quinn paces itself by its congestion
//! control, a session does not.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stadium_session::{Client, ClientConfig, Limits, Server, ServerConfig, generate_key};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const LENGTH: usize = 1_200;
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
const BUFFERS: usize = 8 << 20;

#[tokio::main]
async fn main() -> Result<()> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for round in 1..=ROUNDS {
        let (a, b) = (session().await?, quinn_datagrams().await?);
        println!("round {round}: session {a:9.0} messages/s, quinn {b:9.0} datagrams/s");
        ours.push(a);
        theirs.push(b);
    }
    let (a, b) = (median(ours), median(theirs));
    println!("median:  session {a:9.0}, quinn {b:9.0}: {:.2} times", a / b);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Counts what `next` yields until nothing comes for a while; returns messages a second.
async fn count<F: Future<Output = Option<Bytes>>>(next: impl Fn() -> F) -> Result<f64> {
    let started = Instant::now();
    let (mut arrived, mut last) = (0_u64, started);
    while let Ok(Some(message)) = timeout(Duration::from_millis(300), next()).await {
        if message.len() != LENGTH {
            return Err("a message arrived in part".into());
        }
        arrived += 1;
        if arrived.is_multiple_of(256) {
            last = Instant::now();
        }
    }
    let took = (last - started).as_secs_f64().max(TIME.as_secs_f64());
    Ok(arrived as f64 / took)
}

async fn session() -> Result<f64> {
    let limits = Limits { receive_queue: 16_384, receive_bytes: 32 << 20, ..Limits::default() };
    let key = generate_key();
    let config = ServerConfig::new(key.clone()).limits(limits).socket_buffers(BUFFERS, BUFFERS);
    let server = Server::bind("127.0.0.1:0", config).await?;
    let config = ClientConfig::new(key.public()).socket_buffers(BUFFERS, BUFFERS);
    let client = Client::connect(server.local_addr(), config).await?;
    let session = server.accept().await.ok_or("no session")?;
    let sender = tokio::spawn(async move {
        let (message, started) = (Bytes::from(vec![7; LENGTH]), Instant::now());
        while started.elapsed() < TIME {
            for _ in 0..64 {
                client.send(message.clone()).await?;
            }
        }
        // the client lives until everything was counted
        Ok::<_, stadium_session::SendError>(client)
    });
    let rate = count(|| async { session.recv().await.ok() }).await?;
    drop(sender.await??);
    Ok(rate)
}

async fn quinn_datagrams() -> Result<f64> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut transport = quinn::TransportConfig::default();
    transport.datagram_receive_buffer_size(Some(32 << 20));
    transport.datagram_send_buffer_size(1 << 20);
    // a path of 1,500 bytes, as the session has it, so that a datagram of 1,200 fits at once
    transport.initial_mtu(1_452);
    let transport = Arc::new(transport);
    let mut config = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    config.transport_config(Arc::clone(&transport));
    let server = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = quinn::ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(transport);
    let here: SocketAddr = "127.0.0.1:0".parse()?;
    let mut client = quinn::Endpoint::client(here)?;
    client.set_default_client_config(config);
    let connecting = client.connect(server.local_addr()?, "localhost")?;
    let incoming = server.accept().await.ok_or("no connection")?;
    let (sending, receiving) = tokio::try_join!(connecting, incoming)?;
    let sender = tokio::spawn(async move {
        let (message, started) = (Bytes::from(vec![7; LENGTH]), Instant::now());
        while started.elapsed() < TIME {
            for _ in 0..64 {
                sending.send_datagram_wait(message.clone()).await?;
            }
        }
        Ok::<_, quinn::SendDatagramError>((sending, client))
    });
    let rate = count(|| async { receiving.read_datagram().await.ok() }).await?;
    drop(sender.await??);
    Ok(rate)
}

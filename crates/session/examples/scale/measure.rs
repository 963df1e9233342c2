//! What is measured; the tests run it in a short form.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use stadium_session::{
    Bytes, Client, ClientConfig, Limits, PublicKey, Server, ServerConfig, generate_key,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Clients that connect at the same time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Sessions {
    pub(crate) count: usize,
    pub(crate) took: Duration,
    /// The most resident memory, in bytes.
    pub(crate) peak: u64,
    /// Growth of resident memory for each client and its session, in bytes.
    pub(crate) each: u64,
}

pub(crate) struct Handshakes {
    pub(crate) count: usize,
    pub(crate) took: Duration,
    /// Resident memory after a tenth, a half and all of them, in bytes.
    pub(crate) early: u64,
    pub(crate) half: u64,
    pub(crate) end: u64,
}

pub(crate) struct Throughput {
    /// Messages a second that arrived.
    pub(crate) arrived: f64,
    /// Messages a second that were sent.
    pub(crate) sent: f64,
}

/// Opens so many sessions and keeps them, each with a message there and back.
pub(crate) async fn sessions(count: usize) -> Result<Sessions> {
    allow_files(count + 64)?;
    let (server, key) = listen().await?;
    let addr = server.local_addr();
    let echo = tokio::spawn(echo(server.clone()));
    let before = resident("VmRSS")?;
    let started = Instant::now();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for n in 0..count as u64 {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        tasks.spawn(async move {
            let client = connect(addr, key).await?;
            exchange(&client, n).await?;
            drop(permit);
            Ok::<_, Box<dyn Error + Send + Sync>>(client)
        });
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(client) = tasks.join_next().await {
        clients.push(client??);
    }
    if server.session_count() != count {
        return Err(format!("the server has {} sessions", server.session_count()).into());
    }
    let took = started.elapsed();
    // all of them at once are alive, not only one after the other
    for (n, client) in clients.iter().enumerate() {
        exchange(client, n as u64 + 1_000_000).await?;
    }
    let (after, peak) = (resident("VmRSS")?, resident("VmHWM")?);
    echo.abort();
    server.shutdown(Duration::ZERO).await;
    Ok(Sessions { count, took, peak, each: after.saturating_sub(before) / count as u64 })
}

/// Makes so many handshakes, of which each client makes one and goes.
pub(crate) async fn handshakes(count: usize) -> Result<Handshakes> {
    let (server, key) = listen().await?;
    let addr = server.local_addr();
    let echo = tokio::spawn(echo(server.clone()));
    let started = Instant::now();
    let (mut early, mut half) = (0, 0);
    let mut tasks = JoinSet::new();
    for n in 0..count {
        if tasks.len() >= AT_ONCE {
            tasks.join_next().await.ok_or("no task")???;
        }
        if n == count / 10 {
            early = resident("VmRSS")?;
        }
        if n == count / 2 {
            half = resident("VmRSS")?;
        }
        tasks.spawn(async move {
            let client = connect(addr, key).await?;
            exchange(&client, n as u64).await?;
            client.close().await;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = started.elapsed();
    let deadline = Instant::now() + PATIENCE;
    while server.session_count() > 0 {
        if Instant::now() > deadline {
            return Err(format!("{} sessions are left", server.session_count()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let end = resident("VmRSS")?;
    echo.abort();
    server.shutdown(Duration::ZERO).await;
    Ok(Handshakes { count, took, early, half, end })
}

/// Sends messages of 1,200 bytes one way for a while, as fast as they go.
pub(crate) async fn throughput(time: Duration) -> Result<Throughput> {
    let limits = Limits { receive_queue: 16_384, receive_bytes: 32 << 20, ..Limits::default() };
    let key = generate_key();
    let buffers = 8 << 20;
    let config = ServerConfig::new(key.clone()).limits(limits).socket_buffers(buffers, buffers);
    let server = Server::bind("127.0.0.1:0", config).await?;
    let config = ClientConfig::new(key.public()).socket_buffers(buffers, buffers);
    let client = Client::connect(server.local_addr(), config).await?;
    let session = server.accept().await.ok_or("no session")?;
    let started = Instant::now();
    let sender = tokio::spawn(async move {
        let message = Bytes::from(vec![7; 1_200]);
        while started.elapsed() < time {
            for _ in 0..64 {
                client.send(message.clone()).await?;
            }
        }
        Ok::<_, stadium_session::SendError>(client)
    });
    let mut arrived = 0_u64;
    let mut last = started;
    while let Ok(message) = timeout(Duration::from_millis(300), session.recv()).await {
        if message?.len() != 1_200 {
            return Err("a message arrived in part".into());
        }
        arrived += 1;
        if arrived.is_multiple_of(256) {
            last = Instant::now();
        }
    }
    let client = sender.await??;
    let sent = client.stats().sent as f64 / time.as_secs_f64();
    let took = (last - started).as_secs_f64().max(time.as_secs_f64());
    Ok(Throughput { arrived: arrived as f64 / took, sent })
}

async fn listen() -> Result<(Server, PublicKey)> {
    let key = generate_key();
    let config = ServerConfig::new(key.clone())
        .handshake_rate(1_000_000, 1_000_000)
        .max_sessions(1_000_000)
        .idle_timeout(None)
        .socket_buffers(4 << 20, 4 << 20);
    Ok((Server::bind("127.0.0.1:0", config).await?, key.public()))
}

async fn echo(server: Server) {
    while let Ok((message, session)) = server.recv_with_session().await {
        // a client may be gone by now
        let _ = session.send(message).await;
    }
}

async fn connect(addr: SocketAddr, key: PublicKey) -> Result<Client> {
    let config = ClientConfig::new(key)
        .connect_timeout(PATIENCE)
        .heartbeat(Duration::from_secs(60))
        .idle_timeout(None);
    Ok(Client::connect(addr, config).await?)
}

/// Sends a message that no other client sends, and checks that it comes back.
async fn exchange(client: &Client, n: u64) -> Result<()> {
    let message = [n.to_le_bytes(), client.id().to_le_bytes()].concat();
    // loopback too drops what finds a full buffer
    for _ in 0..10 {
        client.send(message.clone()).await?;
        while let Ok(answer) = timeout(Duration::from_secs(2), client.recv()).await {
            let answer = answer?;
            if answer == message {
                return Ok(());
            }
            // the answer to a message that was sent twice
            if answer.len() != message.len() || answer[8..] != message[8..] {
                return Err("a message of another session came back".into());
            }
        }
    }
    Err("no message came back".into())
}

/// Raises the limit of open files of this process as far as it may.
fn allow_files(count: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    match limit.current {
        Some(current) if current < count as u64 => {
            let text = format!("{count} open files are needed, and {current} are allowed");
            Err(text.into())
        }
        _ => Ok(()),
    }
}

/// Reads a line of `/proc/self/status` that tells kilobytes; returns bytes.
fn resident(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the system tells no memory");
    Ok(number.ok_or_else(missing)?.parse::<u64>()? << 10)
}

//! Sends a file over a stream, with a progress bar.
//!
//! Streams carry messages that may be lost; `reliable.rs` makes a reliable transfer of them.
//!
//! ```text
//! cargo run --release -p stadium-session --example file -- receive FOLDER [ADDRESS]
//! cargo run --release -p stadium-session --example file -- send FILE [ADDRESS]
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

mod reliable;

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stadium_session::{Client, ClientConfig, SecretKey, Server, ServerConfig, Session};

/// The key of the example's receiver. Everybody knows it: use it for nothing else.
const SEED: [u8; 32] = *b"stadium example files, not safe!";
const USAGE: &str = "usage: file receive FOLDER [ADDRESS] | file send FILE [ADDRESS]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let addr = arguments.get(2).map_or("127.0.0.1:8081", String::as_str);
    match (arguments.first().map(String::as_str), arguments.get(1)) {
        (Some("receive"), Some(folder)) => receive(Path::new(folder), addr).await,
        (Some("send"), Some(file)) => send(Path::new(file), addr).await,
        _ => Err(USAGE.into()),
    }
}

async fn send(file: &Path, addr: &str) -> Result<(), Box<dyn Error>> {
    let name = file.file_name().and_then(|name| name.to_str()).ok_or("the file has no name")?;
    let length = file.metadata()?.len();
    let mut from = BufReader::new(File::open(file)?);
    let config = ClientConfig::new(SecretKey::from_seed(SEED).public());
    let client = Client::connect(addr, config).await?;
    // the first stream tells the name, the second carries the content
    let names = client.open_stream(1)?;
    let piece = client.max_message_len();
    let bytes = name.len() as u64;
    reliable::send(&names, &mut name.as_bytes(), bytes, piece, |_| {}).await?;
    let content = client.open_stream(2)?;
    let mut bar = Bar::new(name);
    reliable::send(&content, &mut from, length, piece, |done| bar.show(done, length)).await?;
    bar.finish(length);
    client.close().await;
    Ok(())
}

async fn receive(folder: &Path, addr: &str) -> Result<(), Box<dyn Error>> {
    if !folder.is_dir() {
        return Err(format!("{} is not a folder", folder.display()).into());
    }
    let server = Server::bind(addr, ServerConfig::new(SecretKey::from_seed(SEED))).await?;
    println!("Waiting for files on {}", server.local_addr());
    while let Some(session) = server.accept().await {
        let folder = folder.to_owned();
        tokio::spawn(async move {
            if let Err(error) = receive_one(&session, folder).await {
                println!("Session {}: {error}", session.id());
            }
        });
    }
    Ok(())
}

async fn receive_one(session: &Session, folder: PathBuf) -> std::io::Result<()> {
    let open = |id| session.open_stream(id).map_err(std::io::Error::other);
    let (names, content) = (open(1)?, open(2)?);
    let mut name = Vec::new();
    // both at once: the end of the first is waited for a moment longer than its last byte
    let named = async {
        reliable::receive(&names, &mut name, |_, _| {}).await?;
        Ok::<_, std::io::Error>(())
    };
    let part = folder.join(format!(".session-{}.part", session.id()));
    let mut to = BufWriter::new(File::create_new(&part)?);
    let filled = reliable::receive(&content, &mut to, |_, _| {});
    let ((), length) = tokio::try_join!(named, filled)?;
    // a name is a name, whatever the sender says: no folders
    let name = String::from_utf8_lossy(&name).into_owned();
    let plain = Path::new(&name).file_name().filter(|plain| plain.to_str() == Some(&name));
    let target = folder.join(plain.ok_or_else(|| std::io::Error::other("not a file name"))?);
    if target.exists() {
        return Err(std::io::Error::other(format!("{} is there already", target.display())));
    }
    std::fs::rename(&part, &target)?;
    println!("Received {} ({length} bytes)", target.display());
    Ok(())
}

/// A progress bar on one line.
struct Bar<'a> {
    name: &'a str,
    started: Instant,
    shown: Option<Instant>,
}

impl<'a> Bar<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, started: Instant::now(), shown: None }
    }

    fn show(&mut self, done: u64, length: u64) {
        if self.shown.is_none_or(|at| at.elapsed() > Duration::from_millis(100)) {
            self.shown = Some(Instant::now());
            self.draw(done, length);
        }
    }

    fn draw(&self, done: u64, length: u64) {
        let share = done as f64 / length.max(1) as f64;
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(1e-9) / 1e6;
        let filled = (share * 40.0) as usize;
        let (name, percent) = (self.name, share * 100.0);
        print!("\r{name} [{:<40}] {percent:5.1} % {rate:8.1} MB/s", "#".repeat(filled));
        // a bar that cannot be shown is no reason to stop
        let _ = std::io::stdout().flush();
    }

    fn finish(&self, length: u64) {
        self.draw(length.max(1), length.max(1));
        println!();
    }
}

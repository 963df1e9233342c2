//! Datagrams that can be judged one by one: number ‖ content, length and content from the number.
//!
//! Blocks of 32 have one length, so that both offloads meet runs of equal datagrams.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stadium_udp::{OnFull, Options, Path, RxBatch, Socket, TxBatch};

use crate::pace::{Mix, Pace};

/// Consecutive datagrams of one length.
const BLOCK: u64 = 32;
/// The shortest and the longest datagram.
const LEAST: usize = 8;
const MOST: usize = 1_372;
/// The most datagrams of one run: numbers are remembered in a bit map of this many.
const NUMBERS: u64 = 1 << 32;

/// What is sent.
#[derive(clap::Args, Debug)]
pub(crate) struct SendArgs {
    /// Where the datagrams go
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams a second
    #[arg(long)]
    rate: u64,
    /// How long
    #[arg(long)]
    seconds: f64,
    /// What the content follows from
    #[arg(long)]
    seed: u64,
}

/// What is expected.
#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// What the content follows from
    #[arg(long)]
    seed: u64,
    /// How long at most
    #[arg(long, default_value_t = 36_000.0)]
    seconds: f64,
}

fn length(seed: u64, number: u64) -> usize {
    let mut mix = Mix::new(seed ^ (number / BLOCK).wrapping_mul(0x2545_f491_4f6c_dd1d));
    LEAST + (mix.next() % (MOST - LEAST + 1) as u64) as usize
}

fn content(seed: u64, number: u64, out: &mut [u8]) {
    Mix::new(seed.rotate_left(17) ^ number).fill(out);
}

/// Sends, and says how many left.
///
/// # Errors
///
/// When the socket cannot be had.
pub(crate) fn send(args: &SendArgs, stop: &AtomicBool) -> io::Result<String> {
    let any = if args.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = Socket::bind(any.parse().expect("an address"), &Options::default())?;
    let mut batch = TxBatch::new(256 << 10, 256);
    let mut pace = Pace::new(args.rate, args.seconds, stop);
    let path = Path::to(args.to);
    let (mut number, mut sent) = (0_u64, 0_u64);
    while let Some(due) = pace.due() {
        for _ in 0..due.min(NUMBERS - number) {
            let len = length(args.seed, number);
            if batch.reserve(len).is_err() {
                sent += flush(&mut batch, &socket)?;
            }
            let mut space = batch.reserve(len).map_err(io::Error::other)?;
            space[..8].copy_from_slice(&number.to_le_bytes());
            content(args.seed, number, &mut space[8..]);
            space.commit(&path, 0);
            number += 1;
        }
        sent += flush(&mut batch, &socket)?;
    }
    Ok(format!(r#"{{"made": {number}, "sent": {sent}}}"#))
}

fn flush(batch: &mut TxBatch, socket: &Socket) -> io::Result<u64> {
    Ok(batch.flush(socket, OnFull::Wait(Duration::from_millis(50)))?.datagrams as u64)
}

#[derive(Default)]
struct Judge {
    seed: u64,
    seen: Vec<u64>,
    received: u64,
    altered: u64,
    twice: u64,
    overtaken: u64,
    highest: Option<u64>,
}

impl Judge {
    fn take(&mut self, datagram: &[u8], scratch: &mut Vec<u8>) {
        self.received += 1;
        let Some((number, rest)) = datagram.split_first_chunk::<8>() else {
            self.altered += 1;
            return;
        };
        let number = u64::from_le_bytes(*number);
        scratch.resize(rest.len(), 0);
        content(self.seed, number, scratch);
        if number >= NUMBERS || datagram.len() != length(self.seed, number) || scratch != rest {
            self.altered += 1;
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1024, 0);
        }
        if self.seen[word] & bit != 0 {
            self.twice += 1;
        }
        self.seen[word] |= bit;
        self.overtaken += u64::from(self.highest.is_some_and(|highest| highest > number));
        self.highest = self.highest.max(Some(number));
    }
}

/// Receives until the end, and says what was wrong.
///
/// # Errors
///
/// When the socket cannot be had.
pub(crate) fn verify(args: &VerifyArgs, stop: &AtomicBool) -> io::Result<String> {
    let options = Options { recv_buffer: Some(8 << 20), ..Options::default() };
    let socket = Socket::bind(args.listen, &options)?;
    let mut batch = RxBatch::new(8);
    let mut judge = Judge { seed: args.seed, ..Judge::default() };
    let mut scratch = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(args.seconds);
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        socket.wait_readable(Duration::from_millis(100))?;
        if batch.recv(&socket)? > 0 {
            let (messages, slab) = batch.split();
            for message in messages {
                for at in message.datagrams() {
                    judge.take(&slab[at], &mut scratch);
                }
            }
        }
    }
    let Judge { received, altered, twice, overtaken, highest, .. } = judge;
    let highest = highest.map_or("null".to_owned(), |number| number.to_string());
    Ok(format!(
        r#"{{"received": {received}, "altered": {altered}, "twice": {twice}, "overtaken": {overtaken}, "highest": {highest}}}"#
    ))
}

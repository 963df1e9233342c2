//! A reliable layer on top of a stream: numbered pieces, acknowledged, repeated when lost.
//!
//! Piece 0 tells the length of what follows; each further one carries a part of it. The receiver
//! acknowledges with the number of the first piece that it lacks and a map of those behind it.
//! The sender has a window of pieces under way, which grows with each acknowledgement and halves
//! when something was lost, so that it adapts to the path.
//!
//! ```text
//! piece        01 | number u32 | bytes
//! acknowledge  02 | first missing u32 | map of the 512 pieces after that one, 64 bytes
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use stadium_session::{Bytes, Stream};
use tokio::time::timeout;

const PIECE: u8 = 1;
const ACKNOWLEDGE: u8 = 2;
const HEADER: usize = 5;
/// Pieces that an acknowledgement tells of behind the first missing one.
const MAP: u32 = 512;
/// The most pieces under way.
const MAX_WINDOW: f64 = 256.0;
/// A piece counts as lost when so many later ones have arrived.
const OVERTAKEN: u32 = 32;
/// How long the other side may stay silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the receiver goes on acknowledging after the last piece, should that get lost.
const LINGER: Duration = Duration::from_millis(500);

/// Sends `length` bytes of `from`; `progress` hears how many have arrived.
pub(crate) async fn send(
    stream: &Stream,
    from: &mut impl Read,
    length: u64,
    piece: usize,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let part = piece - HEADER;
    let parts = u32::try_from(length.div_ceil(part as u64)).map_err(io::Error::other)?;
    let last = parts;
    // pieces under way: their bytes, and when they were sent last
    let mut sent: BTreeMap<u32, (Bytes, Instant)> = BTreeMap::new();
    let (mut next, mut window, mut rtt) = (0, 16.0_f64, Duration::from_millis(50));
    let mut heard = Instant::now();
    let mut halved = heard;
    loop {
        while next <= last && (sent.len() as f64) < window {
            let mut message = vec![PIECE; HEADER];
            message[1..].copy_from_slice(&next.to_le_bytes());
            if next == 0 {
                message.extend_from_slice(&length.to_le_bytes());
            } else {
                let left = length - u64::from(next - 1) * part as u64;
                from.by_ref().take(left.min(part as u64)).read_to_end(&mut message)?;
            }
            let message = Bytes::from(message);
            stream.send(message.clone()).await.map_err(io::Error::other)?;
            sent.insert(next, (message, Instant::now()));
            next += 1;
        }
        if sent.is_empty() {
            return Ok(());
        }
        let answer = timeout(rtt.max(Duration::from_millis(5)) * 2, stream.recv()).await;
        let now = Instant::now();
        let mut newest = None;
        if let Ok(message) = answer {
            let message = message.map_err(io::Error::other)?;
            let Some(arrived) = read_acknowledgement(&message, next) else { continue };
            heard = now;
            for number in sent.keys().copied().filter(|n| arrived(*n)).collect::<Vec<_>>() {
                if let Some((_, at)) = sent.remove(&number) {
                    rtt = (rtt * 7 + (now - at)) / 8;
                    window = (window + 1.0 / window.max(1.0) * 4.0).min(MAX_WINDOW);
                    newest = newest.max(Some(number));
                }
            }
            let whole = sent.keys().next().copied().unwrap_or(next).saturating_sub(1);
            progress((u64::from(whole) * part as u64).min(length));
        } else if now - heard > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver does not answer"));
        }
        let late = rtt * 3 + Duration::from_millis(10);
        let mut lost = false;
        for (number, (message, at)) in &mut sent {
            let overtaken = newest.is_some_and(|n| n > number + OVERTAKEN) && now - *at > rtt;
            if overtaken || now - *at > late {
                lost = true;
                *at = now;
                stream.send(message.clone()).await.map_err(io::Error::other)?;
            }
        }
        if lost && now - halved > rtt {
            window = (window / 2.0).max(4.0);
            halved = now;
        }
    }
}

/// Receives what [`send`] sends into `to`; `progress` hears how much has come of how much.
pub(crate) async fn receive(
    stream: &Stream,
    to: &mut impl Write,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<u64> {
    let mut early: BTreeMap<u32, Bytes> = BTreeMap::new();
    let (mut next, mut length, mut written) = (0_u32, None, 0_u64);
    loop {
        let patience = if length == Some(written) { LINGER } else { PATIENCE };
        let message = match timeout(patience, stream.recv()).await {
            Ok(Ok(message)) => message,
            // the last acknowledgement has arrived, or will not be missed
            _ if length == Some(written) => break,
            Ok(Err(closed)) => return Err(io::Error::other(closed)),
            Err(_) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the sender is silent"));
            }
        };
        if message.len() < HEADER || message[0] != PIECE {
            continue;
        }
        let number = u32::from_le_bytes([message[1], message[2], message[3], message[4]]);
        if number >= next && number - next <= MAP {
            early.insert(number, message.slice(HEADER..));
        }
        let mut ready = VecDeque::new();
        while let Some(bytes) = early.remove(&next) {
            ready.push_back((next, bytes));
            next += 1;
        }
        for (number, bytes) in ready {
            if number == 0 {
                let told: [u8; 8] = bytes[..].try_into().map_err(io::Error::other)?;
                length = Some(u64::from_le_bytes(told));
            } else {
                to.write_all(&bytes)?;
                written += bytes.len() as u64;
            }
        }
        progress(written, length.unwrap_or(0));
        let numbers: BTreeSet<u32> = early.keys().copied().collect();
        stream.send(acknowledgement(next, &numbers)).await.map_err(io::Error::other)?;
    }
    to.flush()?;
    Ok(written)
}

fn acknowledgement(next: u32, early: &BTreeSet<u32>) -> Vec<u8> {
    let mut message = vec![0; HEADER + MAP as usize / 8];
    message[0] = ACKNOWLEDGE;
    message[1..HEADER].copy_from_slice(&next.to_le_bytes());
    for number in early {
        let bit = (number - next - 1) as usize;
        message[HEADER + bit / 8] |= 1 << (bit % 8);
    }
    message
}

/// Returns what tells of a piece whether it has arrived; `None` if the message says nothing.
fn read_acknowledgement(message: &Bytes, sent: u32) -> Option<impl Fn(u32) -> bool + use<>> {
    let (head, map) = message.split_first_chunk::<HEADER>()?;
    let next = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != ACKNOWLEDGE || next > sent || map.len() != MAP as usize / 8 {
        return None;
    }
    let map = message.slice(HEADER..);
    Some(move |number: u32| {
        let Some(bit) = number.checked_sub(next.saturating_add(1)) else { return number < next };
        bit < MAP && map[bit as usize / 8] & (1 << (bit % 8)) != 0
    })
}

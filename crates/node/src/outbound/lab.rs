//! What the noise laboratory needs of a node, in builds with the feature `lab` only.
//!
//! An experiment on noise must know which datagrams were noise, and must show that it would see a
//! schedule that gives itself away. Both are asked for by environment variables:
//!
//! - `STADIUM_LAB_TRACE=FILE` writes the header of each noise datagram, 16 bytes that everyone on
//!   the wire can read too, to `FILE.LANE`;
//! - `STADIUM_LAB_LEAK=late` sends the slots of the constant engine that carry real packets 200 µs
//!   late; `STADIUM_LAB_LEAK=after` sends the noise of real packets along with them, at once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use stadium_proto::noise::{Arrival, TxNoise};
use stadium_proto::session::HEADER;

/// How late a leaky slot with real packets is.
const LATE: Duration = Duration::from_micros(200);
/// Bytes of the trace that are written at a time: rarely, so that writing hardly disturbs timing.
const BUFFER: usize = 1 << 20;

/// A leak that the laboratory must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leak {
    Late,
    After,
}

/// The laboratory's part of one lane.
#[derive(Debug)]
pub(super) struct Lab {
    trace: Option<BufWriter<File>>,
    leak: Option<Leak>,
    last: [u8; HEADER],
}

impl Lab {
    /// Makes what the environment asks for. The trace is empty where its file cannot be made: the
    /// laboratory notices, as no datagram is noise then.
    pub(super) fn from_environment(lane: u8) -> Self {
        let trace = std::env::var("STADIUM_LAB_TRACE").ok();
        let trace = trace.and_then(|path| File::create(format!("{path}.{lane}")).ok());
        let leak = match std::env::var("STADIUM_LAB_LEAK").as_deref() {
            Ok("late") => Some(Leak::Late),
            Ok("after") => Some(Leak::After),
            _ => None,
        };
        let trace = trace.map(|file| BufWriter::with_capacity(BUFFER, file));
        Self { trace, leak, last: [0; HEADER] }
    }

    /// Takes notice of a datagram that joined the batch.
    pub(super) fn sent(&mut self, header: [u8; HEADER]) {
        self.last = header;
    }

    /// Takes notice that the latest datagram was noise.
    pub(super) fn was_noise(&mut self) {
        if let Some(trace) = &mut self.trace {
            // a trace cut short shows as real packets that the counters deny
            let _ = trace.write_all(&self.last);
        }
    }

    /// Leak `late`: keeps a slot with real packets back.
    pub(super) fn leak_late(&self, real: usize) {
        if self.leak == Some(Leak::Late) && real > 0 {
            std::thread::sleep(LATE);
        }
    }

    /// Leak `after`: real packets take their noise along at once, whatever the engine says.
    pub(super) fn leak_after(&self, arrival: Arrival, n: u32, noise: &mut TxNoise) -> Arrival {
        if self.leak != Some(Leak::After) {
            return arrival;
        }
        noise.on_dropped();
        let (num, den) = noise.byte().ratio().fraction();
        Arrival::Send { noise: n * num / den.max(1) }
    }
}

/// Copies the header of a sealed datagram.
pub(super) fn header(datagram: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header.copy_from_slice(&datagram[..HEADER]);
    header
}

//! The plainest receiver there is: what a flood costs a host without any protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stadium_udp::{Options, RxBatch, Socket};

/// Where the sink listens.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// How long at most
    #[arg(long, default_value_t = 3600.0)]
    seconds: f64,
}

/// Receives until the end, and says how many datagrams came.
///
/// # Errors
///
/// When the socket cannot be had.
pub(crate) fn run(args: &Args, stop: &AtomicBool) -> io::Result<String> {
    let socket = Socket::bind(args.listen, &Options::default())?;
    let mut batch = RxBatch::new(8);
    let end = Instant::now() + Duration::from_secs_f64(args.seconds);
    let (mut datagrams, mut bytes) = (0_u64, 0_u64);
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        socket.wait_readable(Duration::from_millis(100))?;
        if batch.recv(&socket)? > 0 {
            for message in batch.messages() {
                datagrams += message.datagrams().len() as u64;
                bytes += message.len as u64;
            }
        }
    }
    Ok(format!(r#"{{"received": {datagrams}, "bytes": {bytes}}}"#))
}

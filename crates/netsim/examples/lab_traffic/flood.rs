//! Sends datagrams of one kind at a steady rate, from one source or from many.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use stadium_udp::{LocalAddr, OnFull, Options, Path, Socket, TxBatch};

use crate::forge::{Forge, ForgeArgs};
use crate::pace::Pace;

/// What a flood is.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the datagrams go
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams a second
    #[arg(long)]
    rate: u64,
    /// How long
    #[arg(long)]
    seconds: f64,
    /// The first of many source addresses, all of which must be local
    #[arg(long)]
    sources: Option<Ipv4Addr>,
    /// How many there are
    #[arg(long, default_value_t = 60_000)]
    source_count: u32,
    #[command(flatten)]
    forge: ForgeArgs,
}

/// Floods, and says how many datagrams and bytes left.
///
/// # Errors
///
/// When the socket or the kind cannot be set up.
pub(crate) fn run(args: &Args, stop: &AtomicBool) -> io::Result<String> {
    let any = if args.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let options = Options { send_buffer: Some(8 << 20), ..Options::default() };
    let socket = Socket::bind(any.parse().expect("an address"), &options)?;
    let mut forge = Forge::new(&args.forge)?;
    let mut batch = TxBatch::new(256 << 10, 1024);
    let mut pace = Pace::new(args.rate, args.seconds, stop);
    let (mut made, mut sent, mut bytes) = (0_u32, 0_u64, 0_u64);
    while let Some(due) = pace.due() {
        for _ in 0..due {
            let path = Path { remote: args.to, local: source(args, made) };
            made = made.wrapping_add(1);
            let len = forge.next_len();
            if batch.reserve(len).is_err() {
                flush(&mut batch, &socket, &mut sent, &mut bytes)?;
            }
            let mut space = batch.reserve(len).map_err(io::Error::other)?;
            forge.write(&mut space);
            space.commit(&path, 0);
        }
        flush(&mut batch, &socket, &mut sent, &mut bytes)?;
    }
    let seconds = pace.seconds();
    Ok(format!(r#"{{"sent": {sent}, "bytes": {bytes}, "seconds": {seconds:.3}}}"#))
}

fn source(args: &Args, number: u32) -> Option<LocalAddr> {
    let first = u32::from(args.sources?);
    let address = Ipv4Addr::from(first + number % args.source_count.max(1));
    Some(LocalAddr::new(IpAddr::V4(address)))
}

fn flush(batch: &mut TxBatch, socket: &Socket, sent: &mut u64, bytes: &mut u64) -> io::Result<()> {
    let gone = batch.flush(socket, OnFull::Wait(Duration::from_millis(20)))?;
    *sent += gone.datagrams as u64;
    *bytes += gone.bytes as u64;
    Ok(())
}

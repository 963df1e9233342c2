//! Traffic of the integration lab that Python is too slow for.
//!
//! ```text
//! lab_traffic flood   datagrams of one hostile kind at a given rate
//! lab_traffic sink    a socket that reads everything and keeps nothing
//! lab_traffic send    numbered datagrams whose content follows from a seed and their number
//! lab_traffic verify  receives those and says what is missing, altered or there twice
//! ```
//!
//! Each prints one JSON object when it ends: after `--seconds`, or at SIGTERM. To be run inside
//! network namespaces made for a test, never on a real network.
#![allow(clippy::print_stdout, reason = "what it counted is its result")]

mod flood;
mod forge;
mod pace;
mod sink;
mod stamped;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Makes and judges traffic for tests in network namespaces.
#[derive(Parser)]
#[command(name = "lab_traffic")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends hostile datagrams.
    Flood(flood::Args),
    /// Receives and discards.
    Sink(sink::Args),
    /// Sends numbered datagrams.
    Send(stamped::SendArgs),
    /// Receives numbered datagrams and checks them.
    Verify(stamped::VerifyArgs),
}

fn main() -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let line = match Args::parse().verb {
        Verb::Flood(args) => flood::run(&args, &stop)?,
        Verb::Sink(args) => sink::run(&args, &stop)?,
        Verb::Send(args) => stamped::send(&args, &stop)?,
        Verb::Verify(args) => stamped::verify(&args, &stop)?,
    };
    println!("{line}");
    Ok(())
}

//! Measures how many sessions, handshakes and messages a server takes, on loopback in one process.
//!
//! ```text
//! scale sessions COUNT [MB] concurrent clients, each with a message there and back; fails if
//!                           more megabytes were resident
//! scale handshakes COUNT    clients that come and go; memory must not grow
//! scale throughput SECONDS  one session, messages of 1,200 bytes one way
//! ```
//!
//! `scripts/session-scale` runs all three with the project's goals.
#![allow(clippy::print_stdout, reason = "a measurement speaks to whoever runs it")]

#[path = "scale/measure.rs"]
mod measure;

use std::time::Duration;

#[tokio::main]
async fn main() -> measure::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        || -> measure::Result<u64> { Ok(arguments.get(1).ok_or("a number is missing")?.parse()?) };
    match arguments.first().map(String::as_str) {
        Some("sessions") => {
            let done = measure::sessions(usize::try_from(number()?)?).await?;
            println!(
                "{} sessions in {:.1} s, each message back as sent; {} MiB resident at most, {} \
                 bytes for each client and its session",
                done.count,
                done.took.as_secs_f64(),
                done.peak >> 20,
                done.each,
            );
            if let Some(most) = arguments.get(2) {
                let most: u64 = most.parse()?;
                if done.peak > most * 1_000_000 {
                    return Err(format!("more than {most} MB were resident").into());
                }
            }
        }
        Some("handshakes") => {
            let done = measure::handshakes(usize::try_from(number()?)?).await?;
            println!(
                "{} handshakes in {:.1} s, {:.0} a second (both sides); resident {} MiB after a \
                 tenth, {} MiB after half, {} MiB at the end",
                done.count,
                done.took.as_secs_f64(),
                done.count as f64 / done.took.as_secs_f64(),
                done.early >> 20,
                done.half >> 20,
                done.end >> 20,
            );
        }
        Some("throughput") => {
            let done = measure::throughput(Duration::from_secs(number()?)).await?;
            println!(
                "{:.0} messages of 1,200 bytes a second arrived ({:.2} Gbit/s), {:.0} were sent",
                done.arrived,
                done.arrived * 1_200.0 * 8.0 / 1e9,
                done.sent,
            );
        }
        _ => return Err("usage: scale sessions COUNT | handshakes COUNT | throughput S".into()),
    }
    Ok(())
}

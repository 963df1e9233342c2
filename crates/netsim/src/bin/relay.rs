//! `stadium-relay`: a UDP relay that loses, delays, reorders, duplicates and corrupts on purpose.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};
use stadium_netsim::{
    link::{Impairments, LinkCounters},
    relay::{Relay, RelayConfig, RelayCounters},
    settings::{self, Setting},
};

/// Relays UDP datagrams and impairs them on the way, repeatably.
///
/// Ends at SIGTERM or SIGINT, and then prints what it did.
#[derive(Parser)]
#[command(name = "stadium-relay", version)]
struct Args {
    /// Where clients send to
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where datagrams are forwarded to, for each client from a port of its own
    #[arg(long, value_name = "ADDRESS:PORT")]
    upstream: SocketAddr,
    /// What decides the fate of datagrams; without it a new one each time, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Probability of loss, as 0.3 or 30%
    #[arg(long, value_parser = |v: &str| Setting::parse("loss", v))]
    loss: Option<Setting>,
    /// Probability of a second copy
    #[arg(long, value_parser = |v: &str| Setting::parse("duplicate", v))]
    duplicate: Option<Setting>,
    /// Probability of one to three flipped bits
    #[arg(long, value_parser = |v: &str| Setting::parse("corrupt", v))]
    corrupt: Option<Setting>,
    /// Travel time: 5ms, 5ms..20ms, or 5ms..20ms/unordered where datagrams overtake each other
    #[arg(long, value_parser = |v: &str| Setting::parse("delay", v))]
    delay: Option<Setting>,
    /// Probability of being held back, and perhaps behind how many and how long: 0.1/8/50ms
    #[arg(long, value_parser = |v: &str| Setting::parse("reorder", v))]
    reorder: Option<Setting>,
    /// Bits a second, and perhaps bytes that may wait: 10mbit/64k
    #[arg(long, value_parser = |v: &str| Setting::parse("rate", v))]
    rate: Option<Setting>,
    /// Largest payload in bytes
    #[arg(long, value_parser = |v: &str| Setting::parse("mtu", v))]
    mtu: Option<Setting>,
    /// Settings of the direction to the upstream only, as "loss=1% delay=5ms"
    #[arg(long, value_name = "SETTINGS", default_value = "")]
    forward: String,
    /// Settings of the direction to the clients only
    #[arg(long, value_name = "SETTINGS", default_value = "")]
    backward: String,
    /// Changes over time, a line each: "10s both loss=30%", "20s forward down", "30s roam",
    /// "60s repeat"
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// Writes a line of CSV for each datagram: time_ns,direction,event,client,length
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// After how long without datagrams a client's port is given up
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = settings::duration)]
    client_idle: Duration,
    /// How many clients are served at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    max_clients: usize,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "stadium-relay: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), String> {
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let (listen, upstream) = (args.listen, args.upstream);
    let config = configure(args, seed)?;
    let relay = Relay::bind(config).map_err(|e| format!("cannot listen at {listen}: {e}"))?;
    for signal in [SIGTERM, SIGINT] {
        let stop = relay.stop_descriptor().map_err(|e| e.to_string())?;
        pipe::register(signal, stop).map_err(|e| format!("cannot handle signals: {e}"))?;
    }
    let listen = relay.local_addr().map_err(|e| e.to_string())?;
    say(format_args!("listening on {listen}, forwarding to {upstream}, seed {seed}"));
    let counters = relay.run().map_err(|e| format!("stopped: {e}"))?;
    report(counters);
    Ok(())
}

fn configure(args: Args, seed: u64) -> Result<RelayConfig, String> {
    let mut config = RelayConfig::new(args.listen, args.upstream);
    let mut both = Impairments::NONE;
    let settings =
        [args.loss, args.duplicate, args.corrupt, args.delay, args.reorder, args.rate, args.mtu];
    settings.into_iter().flatten().for_each(|setting| setting.apply(&mut both));
    config.seed = seed;
    config.forward = extend(both, "--forward", &args.forward)?;
    config.backward = extend(both, "--backward", &args.backward)?;
    config.client_idle = args.client_idle;
    config.max_clients = args.max_clients;
    if let Some(path) = args.schedule {
        let text = std::fs::read_to_string(&path).map_err(|error| about(&path, error))?;
        config.schedule = text.parse().map_err(|error| about(&path, error))?;
    }
    if let Some(path) = args.record {
        let file = File::create(&path).map_err(|error| about(&path, error))?;
        config.record = Some(Box::new(BufWriter::new(file)));
    }
    Ok(config)
}

fn extend(mut base: Impairments, option: &str, text: &str) -> Result<Impairments, String> {
    for word in text.split_whitespace() {
        let setting: Setting = word.parse().map_err(|error| format!("{option}: {error}"))?;
        setting.apply(&mut base);
    }
    Ok(base)
}

fn about(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn report(counters: RelayCounters) {
    for (name, link) in [("forward", counters.forward), ("backward", counters.backward)] {
        let LinkCounters {
            sent,
            sent_bytes,
            delivered,
            delivered_bytes,
            lost,
            down,
            oversize,
            queue_full,
            duplicated,
            corrupted,
            held,
        } = link;
        say(format_args!(
            "{name} received={sent} received_bytes={sent_bytes} delivered={delivered} \
             delivered_bytes={delivered_bytes} lost={lost} down={down} oversize={oversize} \
             queue_full={queue_full} duplicated={duplicated} corrupted={corrupted} held={held}"
        ));
    }
    let RelayCounters { clients, refused_clients, unsent, receive_errors, .. } = counters;
    say(format_args!(
        "relay clients={clients} refused_clients={refused_clients} unsent={unsent} \
         receive_errors={receive_errors}"
    ));
}

/// Prints a line at once, so that a script that waits for it goes on; a closed pipe is no error.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

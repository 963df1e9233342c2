//! `stadium ping`: round trips of authenticated heartbeats.

use std::time::{Duration, Instant};

use clap::Args;
use stadium_config::Target;
use stadium_node::api::{Client, Pong};

use crate::arguments::positive_duration;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output;
use crate::target::{place, target};

/// Measure round trips of authenticated heartbeats to a peer
///
/// Independent of inner addresses, routes and firewalls: what answers is the peer's daemon.
/// Without a session, the first one starts a handshake.
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium ping stadium0 bob -c 3")]
pub(crate) struct Ping {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// The peer's name or public key
    peer: String,
    /// How many heartbeats to send; 0: until Ctrl-C
    #[arg(short = 'c', long, value_name = "N", default_value_t = 4)]
    count: u64,
    /// The time from one heartbeat to the next
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = positive_duration)]
    interval: Duration,
    /// How long to wait for each answer
    #[arg(short = 'W', long, value_name = "TIME", default_value = "5s", value_parser = positive_duration)]
    timeout: Duration,
}

/// What was measured, for the last line.
#[derive(Debug, Default)]
struct Summary {
    sent: u64,
    rtts: Vec<f64>,
}

impl Ping {
    /// Sends the heartbeats; fails with 1 when no answer came at all.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place(&self.iface)?;
        let mut client = Client::connect(&place.socket)?;
        let interrupt = Interrupt::listen()?;
        let peer = output::printable(&self.peer);
        let mut summary = Summary::default();
        loop {
            let started = Instant::now();
            let pong = client.ping(&self.peer, summary.sent + 1, self.timeout)?;
            summary.sent += 1;
            output::data(summary.line(&peer, &pong))?;
            if summary.sent == self.count
                || interrupt.within(self.interval.saturating_sub(started.elapsed()))
            {
                break;
            }
        }
        output::data(summary.end(&peer))?;
        if summary.rtts.is_empty() { Err(Failure::Reported(Code::Failed)) } else { Ok(()) }
    }
}

impl Summary {
    /// Counts one answer, or its absence, and describes it.
    fn line(&mut self, peer: &str, pong: &Pong) -> String {
        match (pong.rtt_ms, &pong.reason) {
            (Some(rtt), _) => {
                self.rtts.push(rtt);
                format!("answer from {peer}: seq={} time={rtt:.3} ms\n", pong.id)
            }
            (None, Some(reason)) => {
                format!("no answer from {peer}: seq={} {}\n", pong.id, output::printable(reason))
            }
            (None, None) => format!("no answer from {peer}: seq={}\n", pong.id),
        }
    }

    /// Describes all answers together.
    fn end(&self, peer: &str) -> String {
        let received = self.rtts.len() as u64;
        let lost = 100.0 * (self.sent - received) as f64 / self.sent.max(1) as f64;
        let mut text = format!("{peer}: {} sent, {received} answered, {lost:.0}% lost", self.sent);
        if received > 0 {
            let least = self.rtts.iter().copied().fold(f64::INFINITY, f64::min);
            let most = self.rtts.iter().copied().fold(0.0, f64::max);
            let mean = self.rtts.iter().sum::<f64>() / received as f64;
            text += &format!("; rtt min/avg/max {least:.3}/{mean:.3}/{most:.3} ms");
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_their_absence_are_counted() {
        let mut summary = Summary { sent: 1, ..Summary::default() };
        let pong = Pong { id: 1, rtt_ms: Some(0.5), reason: None };
        assert_eq!(summary.line("bob", &pong), "answer from bob: seq=1 time=0.500 ms\n");
        summary.sent = 2;
        let pong = Pong { id: 2, rtt_ms: None, reason: Some("no session".into()) };
        assert_eq!(summary.line("bob", &pong), "no answer from bob: seq=2 no session\n");
        assert_eq!(
            summary.end("bob"),
            "bob: 2 sent, 1 answered, 50% lost; rtt min/avg/max 0.500/0.500/0.500 ms\n"
        );
    }
}

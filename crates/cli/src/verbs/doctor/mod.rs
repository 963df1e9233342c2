//! `stadium doctor`: why it does not work, in plain words.
//!
//! First everything is looked at (`gather`), then pure functions judge it (`checks`), then it is
//! told (`report`). What is looked at changes nothing but this: peers that have an endpoint and
//! no session are sent a handshake, those with one a heartbeat and two pings, and silent ones two
//! datagrams of one byte that any node drops.

mod checks;
mod facts;
mod finding;
mod gather;
mod report;

use std::time::Duration;

use clap::Args;
use stadium_config::Target;

use crate::arguments::positive_duration;
use crate::failure::{Code, Failure};
use crate::output::{self, Style};
use crate::target::target;
use facts::{Daemon, Facts};
use finding::{Finding, Severity};

/// Find out why it does not work, and say what to do
///
/// With a running daemon: tries a handshake with peers that have none, pings those that do, and
/// looks at counters, routes, rules, firewall and clock. Without one: looks at what `up` would
/// meet. Ends with 0 where nothing was found, 1 for problems, 2 for an invalid file, 3 where
/// nothing runs and nothing is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Example: sudo stadium doctor stadium0")]
pub(crate) struct Doctor {
    /// The interface's name, or its peer file
    #[arg(value_parser = target, value_name = "IFACE|FILE")]
    iface: Target,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long peers may take to answer
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = positive_duration)]
    wait: Duration,
}

impl Doctor {
    /// Looks, judges and tells; the exit code says what was found.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let facts = gather::gather(&self.iface, self.wait)?;
        let findings = checks::all(&facts);
        output::data(if self.json {
            report::json(&facts, &findings)
        } else {
            report::text(&facts, &findings, Style::of(&std::io::stdout()))
        })?;
        match verdict(&facts, &findings) {
            None => Ok(()),
            Some(code) => Err(Failure::Reported(code)),
        }
    }
}

/// Chooses the exit code, `None` for 0.
fn verdict(facts: &Facts, findings: &[Finding]) -> Option<Code> {
    if findings.iter().any(|finding| finding.code == finding::BAD_FILE) {
        return Some(Code::Usage);
    }
    if findings.iter().any(|finding| finding.severity == Severity::Problem) {
        return Some(Code::Failed);
    }
    (!matches!(facts.daemon, Daemon::Running(_))).then_some(Code::NotRunning)
}

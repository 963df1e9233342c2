//! `stadium noise`: what the noise settings of a peer file hide and cost, before they run.
//!
//! Nothing here is measured: rules and sums over the settings (`stadium_proto::noise::judge`).
//! What runs is shown by `stadium status --noise`.

mod report;
mod text;

use std::io::{self, IsTerminal};

use clap::Args;
use stadium_config::{Loaded, PeerFile, Target};

use crate::failure::Failure;
use crate::output::{self, Style};
use crate::peer_file;
use crate::target::target;
use report::Report;

/// Judge the noise settings of a peer file: what they hide, what they cost
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stadium noise stadium0
  stadium noise ./alice.yaml --other ./bob.yaml

Costs are sums over three assumed loads, not measurements; `stadium status --noise` shows what runs.
With --other the exit code is 1 where the two do not agree.")]
pub(crate) struct NoiseVerb {
    /// The peer file, or an interface's name
    #[arg(value_parser = target, value_name = "FILE|IFACE")]
    file: Target,
    /// The peer file of the other end: whether the two agree, and on what
    #[arg(long, value_parser = target, value_name = "FILE|IFACE")]
    other: Option<Target>,
    /// Judge one peer only: its name or public key
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl NoiseVerb {
    /// Prints the judgement; fails where the two ends do not agree.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let file = load(&self.file)?;
        let other = self.other.as_ref().map(load).transpose()?;
        let report = self.report(&file, other.as_ref())?;
        output::data(match self.json {
            true => {
                let json = match io::stdout().is_terminal() {
                    true => serde_json::to_string_pretty(&report),
                    false => serde_json::to_string(&report),
                };
                json.expect("plain data with string keys always serializes") + "\n"
            }
            false => text::render(&report, Style::of(&io::stdout())),
        })?;
        let refused: Vec<_> = report
            .peers
            .iter()
            .filter(|peer| peer.other.as_ref().is_some_and(|other| other.refused()))
            .map(|peer| output::printable(&peer.label))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "no session will stand with {}: the noise of the two ends does not agree; raise \
             `accept` or lower `minimum` at one of them",
            refused.join(", ")
        )))
    }

    fn report(&self, file: &PeerFile, other: Option<&PeerFile>) -> Result<Report, Failure> {
        let mut peers: Vec<_> = file.peers.iter().collect();
        if let Some(wanted) = &self.peer {
            peers.retain(|peer| {
                peer.name.as_deref() == Some(wanted) || peer.public_key.to_string() == *wanted
            });
            if peers.is_empty() {
                return Err(Failure::usage(format!(
                    "{} has no peer `{}`; `stadium peer list {0}` names them",
                    self.file.peer_file().display(),
                    output::printable(wanted)
                )));
            }
        }
        if let Some(other) = other {
            let key = other.interface.private_key.public();
            peers.retain(|peer| peer.public_key == key);
            let own = file.interface.private_key.public();
            if peers.is_empty() || other.peer(&own).is_none() {
                return Err(Failure::usage(format!(
                    "{} and {} are not each other's peers; give the files of two ends of one \
                     connection",
                    file.path.display(),
                    other.path.display()
                )));
            }
        }
        Ok(Report::new(file, &peers, other))
    }
}

fn load(target: &Target) -> Result<PeerFile, Failure> {
    let Loaded { file, .. } = peer_file::load(&target.peer_file())?;
    Ok(file)
}

//! `stadium status`: interfaces and peers, for people and for programs.

mod noise;
mod table;
mod units;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use stadium_config::{RUN_FOLDER, Target};
use stadium_node::api::{Client, ClientError, NoiseProfiles, PeerState, Status};

use crate::arguments::positive_duration;
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::target::{place, target};

/// Show interfaces and peers: endpoints, handshakes, transfer, round trips, noise
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stadium status\n  stadium status stadium0 --json | jq .")]
pub(crate) struct StatusVerb {
    /// The interface's name, or its peer file; absent: all that run
    #[arg(value_parser = target)]
    iface: Option<Target>,
    /// Print one JSON object, as its schema says
    #[arg(long)]
    json: bool,
    /// Show the live profile of noise: shares, ratio, sizes and gaps, inside and outside
    #[arg(long)]
    noise: bool,
    /// Go on until Ctrl-C; with --json one object a line
    #[arg(long)]
    watch: bool,
    /// Print events as they happen, one JSON object a line, until the daemon ends
    #[arg(long, requires = "iface", conflicts_with_all = ["json", "watch", "noise"])]
    events: bool,
    /// Print nothing and end with a code: `live`: the daemon answers; `ready`: and no peer waits for a session
    #[arg(long, value_name = "live|ready", value_enum, requires = "iface", hide_possible_values = true, conflicts_with_all = ["json", "watch", "events", "noise"])]
    check: Option<Probe>,
    /// The time from one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = positive_duration)]
    interval: Duration,
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Probe {
    /// The daemon answers.
    Live,
    /// It answers, and no peer is without a session that is wanted.
    Ready,
}

impl StatusVerb {
    /// Prints the status once, or again and again; or events; or probes.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if let (true, Some(target)) = (self.events, &self.iface) {
            return events(target);
        }
        if let (Some(probe), Some(target)) = (self.check, &self.iface) {
            return probe.run(target);
        }
        let terminal = io::stdout().is_terminal();
        let style = Style::of(&io::stdout());
        loop {
            let pretty = terminal && !self.watch;
            let (mut text, none, problems) = if self.noise {
                let (interfaces, problems) =
                    self.collect(|client| Ok(client.noise()?.interfaces))?;
                let mut profiles = NoiseProfiles::new(interfaces);
                profiles.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
                let text = match self.json {
                    true => json(&profiles, pretty),
                    false => noise::render(&profiles, style),
                };
                (text, profiles.interfaces.is_empty(), problems)
            } else {
                let (interfaces, problems) =
                    self.collect(|client| Ok(client.status()?.interfaces))?;
                let mut status = Status::new(interfaces);
                status.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
                let text = match self.json {
                    true => json(&status, pretty),
                    false => table::render(&status, Timestamp::now(), style),
                };
                (text, status.interfaces.is_empty(), problems)
            };
            if self.watch && !self.json {
                // home, and clear to the end: what was there is overwritten without a flicker
                text = if terminal { format!("\x1b[H\x1b[J{text}") } else { text + "\n" };
            }
            output::data(text)?;
            if self.watch {
                for problem in problems {
                    output::error(&problem.to_string());
                }
                std::thread::sleep(self.interval);
                continue;
            }
            if !self.json && none && problems.is_empty() {
                output::message("no interface is running; start one with `stadium up`");
            }
            let mut problems = problems.into_iter();
            let Some(first) = problems.next() else { return Ok(()) };
            for problem in problems {
                output::error(&problem.to_string());
            }
            return Err(first.into());
        }
    }

    /// Asks one daemon, or every one that has a socket in the usual folder.
    ///
    /// Returns also what kept a daemon from being asked; that none runs is no problem.
    fn collect<T>(
        &self,
        ask: impl Fn(&mut Client) -> Result<Vec<T>, ClientError>,
    ) -> Result<(Vec<T>, Vec<ClientError>), Failure> {
        let sockets = match &self.iface {
            Some(target) => vec![place(target)?.socket],
            None => sockets(Path::new(RUN_FOLDER))?,
        };
        let mut interfaces = Vec::new();
        let mut problems = Vec::new();
        for socket in sockets {
            match Client::connect(&socket).and_then(|mut client| ask(&mut client)) {
                Ok(found) => interfaces.extend(found),
                Err(ClientError::NotRunning { .. } | ClientError::Closed { .. }) => {}
                Err(error) => problems.push(error),
            }
        }
        Ok((interfaces, problems))
    }
}

impl Probe {
    /// Ends well where all is well: 3 without a daemon, 1 where something is wrong.
    fn run(self, target: &Target) -> Result<(), Failure> {
        let place = place(target)?;
        let status = Client::connect(&place.socket)?.status()?;
        if self == Self::Live {
            return Ok(());
        }
        let waits = |state| matches!(state, PeerState::Handshaking | PeerState::Down);
        let peers = status.interfaces.iter().flat_map(|interface| &interface.peers);
        let waiting: Vec<_> = peers
            .filter(|peer| waits(peer.state))
            .map(|peer| output::printable(peer.label()))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{} is not ready: no session with {}",
            place.name,
            waiting.join(", ")
        )))
    }
}

/// Prints events until the daemon ends.
fn events(target: &Target) -> Result<(), Failure> {
    let place = place(target)?;
    for event in Client::connect(&place.socket)?.events()? {
        output::data(json(&event?, false))?;
    }
    Ok(())
}

fn json(value: &impl Serialize, pretty: bool) -> String {
    let text = match pretty {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    text.expect("plain data with string keys always serializes") + "\n"
}

/// Lists the control sockets in `folder`; a folder that does not exist has none.
fn sockets(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error: io::Error| {
        Failure::failed(match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "no permission to look into {}; run as root, or name an interface whose \
                 `control.group` you belong to",
                folder.display()
            ),
            _ => format!("cannot look into {}: {error}", folder.display()),
        })
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(error)),
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            sockets.push(path);
        }
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_are_listed_and_a_missing_folder_has_none() {
        let folder = std::env::temp_dir().join(format!("stadium-sockets-{}", std::process::id()));
        assert!(sockets(&folder).unwrap_or_else(|error| panic!("{error:?}")).is_empty());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.sock"), "").unwrap();
        std::fs::write(folder.join("a.lock"), "").unwrap();
        let found = sockets(&folder).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(found, [folder.join("a.sock")]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

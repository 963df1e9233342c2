//! `stadium status`: interfaces and peers, for people and for programs.

mod table;
mod units;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use stadium_config::{RUN_FOLDER, Target};
use stadium_node::api::{Client, ClientError, Status};

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
    /// Go on until Ctrl-C; with --json one object a line
    #[arg(long)]
    watch: bool,
    /// The time from one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = positive_duration)]
    interval: Duration,
}

impl StatusVerb {
    /// Prints the status once, or again and again.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let terminal = io::stdout().is_terminal();
        let style = Style::of(&io::stdout());
        loop {
            let (status, problems) = self.collect()?;
            let mut text = match self.json {
                true if terminal && !self.watch => json(serde_json::to_string_pretty(&status)),
                true => json(serde_json::to_string(&status)),
                false => table::render(&status, Timestamp::now(), style),
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
            if !self.json && status.interfaces.is_empty() && problems.is_empty() {
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
    fn collect(&self) -> Result<(Status, Vec<ClientError>), Failure> {
        let sockets = match &self.iface {
            Some(target) => vec![place(target)?.socket],
            None => sockets(Path::new(RUN_FOLDER))?,
        };
        let mut interfaces = Vec::new();
        let mut problems = Vec::new();
        for socket in sockets {
            match Client::connect(&socket).and_then(|mut client| client.status()) {
                Ok(status) => interfaces.extend(status.interfaces),
                Err(ClientError::NotRunning { .. } | ClientError::Closed { .. }) => {}
                Err(error) => problems.push(error),
            }
        }
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((Status::new(interfaces), problems))
    }
}

fn json(text: serde_json::Result<String>) -> String {
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

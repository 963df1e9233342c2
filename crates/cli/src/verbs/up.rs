//! `stadium up`: an interface comes up, and the daemon behind it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use stadium_config::{Loaded, Target};
use stadium_node::{Confinement, RunOptions};

use crate::arguments::{LogFormat, positive_duration};
use crate::failure::Failure;
use crate::output;
use crate::target::target;
use crate::{detach, logging, peer_file};

/// Bring an interface up and run until SIGINT or SIGTERM
///
/// Takes down exactly what it added when it ends. SIGHUP reloads the peer file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stadium up stadium0\n  stadium up ./stadium0.yaml --detach\n  stadium up stadium0 --dry-run"
)]
pub(crate) struct Up {
    /// The peer file, or the name of an interface with one in /etc/stadium
    #[arg(value_parser = target, value_name = "FILE|IFACE")]
    file: Target,
    /// Return when the interface is up, and leave the daemon running
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// Print what would be done, secrets hidden, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Append the detached daemon's log to this file instead of the journal
    #[arg(long, value_name = "FILE", requires = "detach")]
    log_file: Option<PathBuf>,
    /// Take everything down again unless `stadium confirm` is run this soon
    #[arg(long, value_name = "TIME", value_parser = positive_duration, conflicts_with = "dry_run")]
    confirm: Option<Duration>,
    /// Keep all privileges instead of giving them up once everything stands
    #[arg(long)]
    no_confine: bool,
    /// Run as the daemon that `--detach` starts
    #[arg(long, hide = true, conflicts_with_all = ["detach", "dry_run"])]
    detached: bool,
}

impl Up {
    /// Runs, starts or describes the daemon.
    pub(crate) fn run(&self, format: LogFormat) -> Result<(), Failure> {
        let path = self.file.peer_file();
        if self.detached {
            return self.run_detached(&path, format);
        }
        let loaded = peer_file::load(&path)?;
        if self.dry_run {
            return output::data(stadium_node::plan(&loaded.file)?);
        }
        if self.detach {
            let absolute = std::path::absolute(&path)
                .map_err(|error| Failure::failed(format!("where is this folder? {error}")))?;
            let name = loaded.file.interface.name.to_string();
            // its secrets are wiped before a long wait
            drop(loaded);
            let start = detach::Start {
                file: &absolute,
                name: &name,
                log_file: self.log_file.as_deref(),
                confirm: self.confirm,
                no_confine: self.no_confine,
                format,
            };
            return start.run().inspect(|()| self.remind(&name));
        }
        logging::start(format)?;
        let name = loaded.file.interface.name.to_string();
        let options = self.options(&loaded, format);
        Ok(stadium_node::run(loaded.file, options, || self.remind(&name))?)
    }

    fn options(&self, loaded: &Loaded, format: LogFormat) -> RunOptions {
        let confinement = (!self.no_confine).then(|| Confinement {
            helper: super::helper::arguments(format),
            read: loaded.secret_folders.clone(),
        });
        RunOptions { confirm_within: self.confirm, confinement }
    }

    /// Says what keeps the interface up.
    fn remind(&self, name: &str) {
        if let Some(time) = self.confirm {
            output::message(&format!(
                "{name} goes down again in {} s; keep it with `stadium confirm {name}`",
                time.as_secs_f64()
            ));
        }
    }

    /// Runs as the daemon: the starter hears of success or failure, and the log too.
    fn run_detached(&self, path: &Path, format: LogFormat) -> Result<(), Failure> {
        let run = || {
            detach::leave_session()?;
            logging::start(format)?;
            let loaded = peer_file::load(path)?;
            let options = self.options(&loaded, format);
            Ok(stadium_node::run(loaded.file, options, detach::tell_ready)?)
        };
        run().map_err(|failure| match failure {
            Failure::Message { code, message } => {
                tracing::error!("{message}");
                detach::tell_failure(code.as_u8(), &message);
                Failure::Reported(code)
            }
            other => other,
        })
    }
}

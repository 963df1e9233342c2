//! `stadium up`: an interface comes up, and the daemon behind it runs.

use std::path::{Path, PathBuf};

use clap::Args;
use stadium_config::Target;

use crate::arguments::LogFormat;
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
    /// Run as the daemon that `--detach` starts
    #[arg(long, hide = true, conflicts_with_all = ["detach", "dry_run"])]
    detached: bool,
}

impl Up {
    /// Runs, starts or describes the daemon.
    pub(crate) fn run(&self, format: LogFormat) -> Result<(), Failure> {
        let path = self.file.peer_file();
        if self.detached {
            return run_detached(&path, format);
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
            return detach::start(&absolute, &name, self.log_file.as_deref(), format);
        }
        logging::start(format)?;
        Ok(stadium_node::run(loaded.file, || {})?)
    }
}

/// Runs as the daemon: the starter hears of success or failure, and the log too.
fn run_detached(path: &Path, format: LogFormat) -> Result<(), Failure> {
    let run = || {
        detach::leave_session()?;
        logging::start(format)?;
        Ok(stadium_node::run(peer_file::load(path)?.file, detach::tell_ready)?)
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

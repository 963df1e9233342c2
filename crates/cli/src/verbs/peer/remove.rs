//! `stadium peer remove`: a peer goes.

use clap::Args;
use stadium_config::{Target, remove_peer};

use super::change::Change;
use crate::failure::Failure;
use crate::target::target;

/// Remove a peer from the peer file, and reload
#[derive(Debug, Args)]
#[command(visible_alias = "rm")]
pub(super) struct Remove {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// The peer's name or public key
    #[arg(value_name = "NAME|KEY")]
    peer: String,
}

impl Remove {
    /// Edits the file and has the daemon reload.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let change = Change::begin(&self.iface)?;
        let edited = remove_peer(&change.text, &change.path, &change.environment, &self.peer)
            .map_err(|error| change.refused(error))?;
        change.finish(&edited)
    }
}

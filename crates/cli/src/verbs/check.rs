//! `stadium check`: whether a peer file is valid.

use clap::Args;
use stadium_config::{Loaded, Target};

use crate::failure::Failure;
use crate::output;
use crate::peer_file;
use crate::target::target;

/// Validate a peer file: all errors at once, each with its place and a remedy
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The peer file, or an interface's name
    #[arg(value_parser = target, value_name = "FILE|IFACE")]
    file: Target,
    /// Take secrets that others can read for errors
    #[arg(long)]
    strict: bool,
}

impl Check {
    /// Prints what was found on stderr, and on stdout one line if the file is valid.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let path = self.file.peer_file();
        let mut checked = stadium_config::load(&path);
        if self.strict {
            checked = checked.and_then(Loaded::strict);
        }
        let Loaded { file, warnings, .. } =
            checked.map_err(|wrong| Failure::usage(wrong.to_string()))?;
        peer_file::warn(&warnings);
        output::data(format!(
            "{}: valid: interface {}, {} {}\n",
            path.display(),
            file.interface.name,
            file.peers.len(),
            if file.peers.len() == 1 { "peer" } else { "peers" },
        ))
    }
}

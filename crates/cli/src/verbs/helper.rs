//! `stadium helper`: the privileged side of a running daemon; started by it, not by people.

use std::ffi::OsString;
use std::os::fd::AsFd;

use clap::Args;

use crate::arguments::LogFormat;
use crate::failure::Failure;
use crate::logging;

/// Serve a daemon that has given up its privileges, over a socket on stdin
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Helper {}

/// The arguments that lead this program to the verb.
pub(super) fn arguments(format: LogFormat) -> Vec<OsString> {
    ["--log-format", format.as_str(), "helper"].map(OsString::from).to_vec()
}

impl Helper {
    /// Serves until the daemon is gone.
    pub(crate) fn run(&self, format: LogFormat) -> Result<(), Failure> {
        logging::start(format)?;
        let channel = std::io::stdin().as_fd().try_clone_to_owned();
        let channel = channel
            .map_err(|error| Failure::failed(format!("cannot take the channel: {error}")))?;
        Ok(stadium_node::serve_as_helper(channel)?)
    }
}

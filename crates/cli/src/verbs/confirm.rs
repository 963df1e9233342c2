//! `stadium confirm`: what `up --confirm` brought up stays.

use clap::Args;
use stadium_config::Target;
use stadium_node::api::Client;

use crate::failure::Failure;
use crate::output;
use crate::target::{place, target};

/// Keep an interface that `up --confirm` would take down again
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
}

impl Confirm {
    /// Tells the daemon.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place(&self.iface)?;
        if Client::connect(&place.socket)?.confirm()? {
            output::message(&format!("{} stays up", place.name));
        } else {
            output::message(&format!("{} waits for no confirmation: it stays up", place.name));
        }
        Ok(())
    }
}

//! `stadium peer`: peers come and go, in the peer file and in the daemon that runs.

mod add;
mod change;
mod invite;
mod list;
mod remove;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Add, remove, list and invite peers
///
/// Edits the peer file, comments kept, and has the daemon reload it where one runs.
#[derive(Debug, Args)]
pub(crate) struct PeerVerb {
    #[command(subcommand)]
    verb: Verb,
}

/// Lists what can be done with peers.
#[derive(Debug, Subcommand)]
enum Verb {
    Add(add::Add),
    Remove(remove::Remove),
    List(list::List),
    Invite(invite::Invite),
}

impl PeerVerb {
    /// Carries out what was asked for.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Add(add) => add.run(),
            Verb::Remove(remove) => remove.run(),
            Verb::List(list) => list.run(),
            Verb::Invite(invite) => invite.run(),
        }
    }
}

//! `stadium pubkey`: the public key of a private one.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use stadium_proto::identity::SecretKey;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;

/// A key is 44 characters; whoever pipes in more than this has taken the wrong file.
const LONGEST_INPUT: u64 = 1024;

/// Read a private key from stdin and print its public key
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium pubkey < stadium0.key")]
pub(crate) struct Pubkey {}

impl Pubkey {
    /// Reads stdin to its end and prints the public key, base64, one line.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            output::message("type or paste a private key, then Ctrl-D");
        }
        let mut text = Zeroizing::new(String::new());
        io::stdin().lock().take(LONGEST_INPUT).read_to_string(&mut text).map_err(|error| {
            Failure::usage(format!(
                "stdin is not a private key ({error}); pipe one in, such as from `stadium genkey`"
            ))
        })?;
        let key = SecretKey::from_file_text(&text).map_err(|error| {
            Failure::usage(format!(
                "stdin is not a private key: {error}; pipe one in, such as from `stadium genkey`"
            ))
        })?;
        output::data(format!("{}\n", key.public().to_base64()))
    }
}

//! `stadium genpsk`: a fresh preshared key.

use clap::Args;
use stadium_proto::identity::PresharedKey;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;
use crate::verbs::genkey::random;

/// Print a fresh preshared key (also good as a network key)
#[derive(Debug, Args)]
#[command(after_help = "Example: (umask 077; stadium genpsk > bob.psk)")]
pub(crate) struct Genpsk {}

impl Genpsk {
    /// Prints the key, base64, one line.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let key = PresharedKey::from_bytes(*random()?);
        output::data(Zeroizing::new(format!("{}\n", *key.to_base64())))
    }
}

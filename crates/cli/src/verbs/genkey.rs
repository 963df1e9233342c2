//! `stadium genkey`: a fresh private key.

use clap::Args;
use stadium_proto::identity::SecretKey;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;

/// Print a fresh private key
#[derive(Debug, Args)]
#[command(after_help = "Example: (umask 077; stadium genkey > stadium0.key)")]
pub(crate) struct Genkey {}

impl Genkey {
    /// Prints the key, base64, one line.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        output::data(Zeroizing::new(format!("{}\n", *fresh_key()?.to_base64())))
    }
}

/// Draws a private key from the system's random numbers.
pub(crate) fn fresh_key() -> Result<SecretKey, Failure> {
    Ok(SecretKey::from_seed(*random()?))
}

/// Draws 32 bytes from the system's random numbers.
pub(crate) fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

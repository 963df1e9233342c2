//! `stadium peer add`: a peer whose key is known.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use stadium_config::{NewPeer, NewPresharedKey, Target, add_peer, parse_duration};
use stadium_proto::identity::PublicKey;

use super::change::Change;
use crate::failure::Failure;
use crate::target::target;

/// Add a peer to the peer file, and reload
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium peer add stadium0 bob --public-key KEY --endpoint \
                  bob.example.net:51871 --allowed-ips 10.7.0.2/32,192.168.5.0/24")]
pub(super) struct Add {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// What the peer is called
    name: String,
    /// Its public key, from `stadium pubkey` there
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: PublicKey,
    /// Where it is reached: an address or a name, and a port
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// The inner addresses that are its own, separated by commas
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    allowed_ips: Vec<IpNet>,
    /// The file with the key shared with it
    #[arg(long, value_name = "FILE")]
    preshared_key_file: Option<PathBuf>,
    /// How often it is pinged, such as 25s
    #[arg(long, value_name = "TIME", value_parser = heartbeat)]
    heartbeat: Option<Duration>,
}

impl Add {
    /// Edits the file and has the daemon reload.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let change = Change::begin(&self.iface)?;
        let peer = NewPeer {
            name: self.name.clone(),
            public_key: self.public_key,
            preshared_key: self
                .preshared_key_file
                .as_deref()
                .map(|file| NewPresharedKey::File(from_folder(file, &change.path))),
            endpoint: self.endpoint.clone(),
            allowed_ips: self.allowed_ips.clone(),
            heartbeat: self.heartbeat,
        };
        let edited = add_peer(&change.text, &change.path, &change.environment, &peer)
            .map_err(|error| change.refused(error))?;
        change.finish(&edited)
    }
}

/// Writes a path of the caller's folder as the peer file would: relative where it lies beside it.
fn from_folder(file: &Path, peer_file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = peer_file.parent().unwrap_or(Path::new("/"));
    absolute.strip_prefix(folder).map_or_else(|_| absolute.clone(), Path::to_owned)
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_base64(text).map_err(|error| error.to_string())
}

/// Reads a time as the peer file does.
pub(super) fn heartbeat(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

//! `stadium init`: a first peer file with a key and a port of its own.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use clap::Args;
use stadium_config::{Target, name_of_file, template};

use crate::failure::Failure;
use crate::output;
use crate::target::target;
use crate::verbs::genkey::fresh_key;

/// The ports that nobody registers (RFC 6335 section 6).
const FIRST_PORT: u16 = 49152;

/// Write a peer file with a fresh key and a random port; never overwrites
///
/// Prints the new public key, which the other peers need. The file is readable by its owner
/// only (0600, in a folder 0700).
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium init stadium0")]
pub(crate) struct Init {
    /// The interface's name (writes /etc/stadium/IFACE.yaml), or the path of the file to write
    #[arg(value_parser = target)]
    iface: Target,
}

impl Init {
    /// Writes the file and prints the public key.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let path = self.iface.peer_file();
        let shown = path.display();
        let name = name_of_file(&path).map_err(|error| {
            Failure::usage(format!(
                "{shown}: {error}, and the file's name is the interface's; choose another"
            ))
        })?;
        let key = fresh_key()?;
        let port = random_port()?;
        let text = template(&name, port, &key);
        create(&path, text.as_bytes())?;
        if let Target::Interface(_) = &self.iface {
            warn_of_open_folder(&path);
        }
        output::message(&format!(
            "wrote {shown}: interface {name}, UDP port {port}\n\
             next: set its address and add peers there, `stadium check {name_or_path}`, \
             `stadium up {name_or_path}`; the public key for the other side:",
            name_or_path = match &self.iface {
                Target::Interface(name) => name.to_string(),
                Target::File(path) => path.display().to_string(),
            }
        ));
        output::data(format!("{}\n", key.public().to_base64()))
    }
}

/// Draws a port from 49152 to 65535, each as likely as any other.
fn random_port() -> Result<u16, Failure> {
    let drawn = getrandom::u32()
        .map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    // 16,384 ports divide 2^32, so the remainder is uniform
    let ports = u32::from(u16::MAX - FIRST_PORT) + 1;
    let offset = u16::try_from(drawn % ports).expect("a remainder below 16,384 fits");
    Ok(FIRST_PORT + offset)
}

/// Writes a file that must not exist yet, and its folder where that is missing.
fn create(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let shown = path.display();
    let cannot = |what: &str, error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!(
            "{shown} exists already and is not overwritten; edit it, or move it away first"
        )),
        io::ErrorKind::PermissionDenied => Failure::failed(format!(
            "no permission to {what}; run as root, or name a path of your own such as ./stadium0.yaml"
        )),
        _ => Failure::failed(format!("cannot {what}: {error}")),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| cannot(&format!("make the folder {}", folder.display()), error))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| cannot(&format!("write {shown}"), error))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // half a peer file would stand in the way of the next try
        let _ = std::fs::remove_file(path);
        cannot(&format!("write {shown}"), error)
    })
}

/// Warns where others can look into the folder of all peer files.
fn warn_of_open_folder(path: &Path) {
    let Some(folder) = path.parent() else { return };
    if folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o077 != 0) {
        output::message(&format!(
            "warning: others can look into {folder}, though not into the file; \
             close it with `chmod 700 {folder}`",
            folder = folder.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_in_the_dynamic_range() {
        for _ in 0..1000 {
            assert!(random_port().unwrap_or_else(|error| panic!("{error:?}")) >= FIRST_PORT);
        }
    }
}

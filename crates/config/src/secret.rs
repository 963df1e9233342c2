//! Keys, inline or in files of their own.
//!
//! What is read is wiped after use, and no message shows it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use stadium_proto::identity::KeyError;
use zeroize::Zeroizing;

use crate::diagnostic::Diagnostics;
use crate::load::{Context, FileFacts};
use crate::section::Section;
use crate::value;

/// The most bytes that a key file has; a key and its line break are 45.
const MAX_KEY_FILE: u64 = 4096;

/// The keys that one kind of secret stands under, and what makes a new one.
pub(crate) struct SecretKeys {
    /// The key for the secret itself.
    pub(crate) inline: &'static str,
    /// The key for the path of a file that holds it.
    pub(crate) file: &'static str,
    /// What is a single such secret called in a sentence.
    pub(crate) what: &'static str,
    /// The command that makes one.
    pub(crate) command: &'static str,
}

/// `private_key`.
pub(crate) const PRIVATE_KEY: SecretKeys = SecretKeys {
    inline: "private_key",
    file: "private_key_file",
    what: "private key",
    command: "stadium genkey",
};
/// `network_key`.
pub(crate) const NETWORK_KEY: SecretKeys = SecretKeys {
    inline: "network_key",
    file: "network_key_file",
    what: "network key",
    command: "stadium genpsk",
};
/// `preshared_key`.
pub(crate) const PRESHARED_KEY: SecretKeys = SecretKeys {
    inline: "preshared_key",
    file: "preshared_key_file",
    what: "preshared key",
    command: "stadium genpsk",
};

/// Reads a secret, inline or from its file. `None` where there is none, or a wrong one, which has
/// been reported then; [`Section::node`] tells which.
pub(crate) fn read<T>(
    section: &Section<'_, '_>,
    keys: &SecretKeys,
    context: &mut Context<'_>,
    parse: impl Fn(&str) -> Result<T, KeyError>,
    bytes_of: impl Fn(&T) -> &[u8; 32],
) -> Option<T> {
    if section.node(keys.inline).is_some() && section.node(keys.file).is_some() {
        context.diagnostics.error(
            section.key_position(keys.file),
            format!("`{}` stands beside `{}`; remove one of them", keys.file, keys.inline),
        );
    }
    let checked = |text: &str| -> Result<T, String> {
        let key = parse(text).map_err(|error| error.to_string())?;
        if *bytes_of(&key) == [0; 32] {
            return Err(format!(
                "this {} is all zeros, which everyone can guess; make one with `{}`",
                keys.what, keys.command
            ));
        }
        Ok(key)
    };
    if section.node(keys.inline).is_some() {
        context.inline_secret(section.node(keys.inline).map(|node| node.position));
        return section.read(keys.inline, &mut context.diagnostics, |node| {
            // other messages would show the value
            let text = value::as_word(node)
                .ok_or_else(|| format!("a {} is text; write its base64 here", keys.what))?;
            checked(text)
        });
    }
    let position = section.node(keys.file)?.position;
    let named = section.read(keys.file, &mut context.diagnostics, |node| {
        let text = value::text(node)?;
        if text.is_empty() || text.contains('\0') {
            return Err("this is no path of a file; write one".to_owned());
        }
        Ok(PathBuf::from(text))
    })?;
    let (path, credential) = context.find_secret(&named);
    match read_file(&path) {
        Ok((text, facts)) => {
            if !credential && facts.regular && facts.exposure().is_some() {
                warn_loose(&path, &facts, position, &mut context.diagnostics);
            }
            match checked(text.trim()) {
                Ok(key) => Some(key),
                Err(message) => {
                    context
                        .diagnostics
                        .error(position, format!("the file {}: {message}", path.display()));
                    None
                }
            }
        }
        Err(error) => {
            let remedy = if error.kind() == io::ErrorKind::NotFound {
                format!(
                    "make it with `umask 077; {} > {}`, or correct the path",
                    keys.command,
                    path.display()
                )
            } else {
                "correct the path, or the permissions of the file".to_owned()
            };
            context.diagnostics.error(
                position,
                format!(
                    "cannot read the {} from {}: {}; {remedy}",
                    keys.what,
                    path.display(),
                    reason(&error)
                ),
            );
            None
        }
    }
}

fn warn_loose(
    path: &Path,
    facts: &FileFacts,
    position: crate::diagnostic::Position,
    diagnostics: &mut Diagnostics,
) {
    let Some(exposure) = facts.exposure() else { return };
    diagnostics.warn_strict(
        position,
        format!(
            "others can {exposure} the secret file {} (mode {:04o}); run `chmod 600 {}`",
            path.display(),
            facts.mode,
            path.display()
        ),
    );
}

/// Says why a file cannot be read, without the number of the error.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn read_file(path: &Path) -> io::Result<(Zeroizing<String>, FileFacts)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let facts = FileFacts {
        regular: metadata.is_file(),
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
    };
    // all the room at once, so that growing leaves no copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize + 1));
    let mut reader = file.take(MAX_KEY_FILE + 1);
    let mut chunk = Zeroizing::new([0u8; 512]);
    loop {
        let count = reader.read(chunk.as_mut())?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(io::Error::other("it is too long for a key file"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::other("it is no text file"))?;
    Ok((Zeroizing::new(text.to_owned()), facts))
}

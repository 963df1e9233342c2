//! Keys of servers that were met before: trust on first use.
//!
//! One line a host: its name, white space, its public key in base64. Empty lines and lines that
//! begin with `#` are left alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stadium_proto::identity::PublicKey;

/// A file of known hosts; clones share it.
///
/// ```
/// use stadium_session::{KnownHosts, generate_key};
///
/// let folder = std::env::temp_dir().join(format!("known-hosts-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// let hosts = KnownHosts::new(folder.join("known_hosts"));
/// let key = generate_key().public();
/// assert_eq!(hosts.key_of("example.org:8080")?, None);
/// assert!(hosts.pin("example.org:8080", &key)?, "new, so it was written");
/// assert_eq!(hosts.key_of("example.org:8080")?, Some(key));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KnownHosts {
    file: Arc<PathBuf>,
    /// One writer at a time, as far as this process goes.
    writing: Arc<Mutex<()>>,
}

impl KnownHosts {
    /// Names a file, which is made when the first key is pinned.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: Arc::new(file.into()), writing: Arc::default() }
    }

    /// Returns where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Returns the key of a host; `None` if it was never met.
    ///
    /// # Errors
    /// The file cannot be read, or has a line that does not parse: the error names its number.
    pub fn key_of(&self, host: &str) -> io::Result<Option<PublicKey>> {
        let text = match fs::read_to_string(&*self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |why: &str| {
                let text = format!("line {}: {why}", number + 1);
                io::Error::new(io::ErrorKind::InvalidData, text)
            };
            let (name, key) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| bad("a host and its key are expected, with a space between"))?;
            if name == host {
                let key = PublicKey::from_base64(key.trim());
                return key.map(Some).map_err(|error| bad(&error.to_string()));
            }
        }
        Ok(None)
    }

    /// Writes down the key of a host that was never met; returns false if this very key is there.
    ///
    /// # Errors
    /// `AlreadyExists` if another key is there; else as [`Self::key_of`], and if the file cannot
    /// be written.
    ///
    /// # Panics
    /// Never: names with white space are refused as `InvalidInput`.
    pub fn pin(&self, host: &str, key: &PublicKey) -> io::Result<bool> {
        if host.is_empty() || host.starts_with('#') || host.contains(char::is_whitespace) {
            let text = "the name of a host has no white space and does not begin with #";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.key_of(host)? {
            Some(known) if known == *key => return Ok(false),
            Some(_) => {
                let text = format!("another key is known for {host}");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            None => {}
        }
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&*self.file)?;
        // one write, so that lines of several programs do not mix
        file.write_all(format!("{host} {key}\n").as_bytes())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate_key;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("stadium-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_key_is_pinned_once_and_never_replaced() {
        let folder = Folder::new("pin");
        let hosts = KnownHosts::new(folder.0.join("hosts"));
        let (key, other) = (generate_key().public(), generate_key().public());
        assert!(hosts.pin("a:1", &key).unwrap());
        assert!(!hosts.pin("a:1", &key).unwrap());
        let error = hosts.pin("a:1", &other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(hosts.pin("a:2", &other).unwrap());
        assert_eq!(hosts.key_of("a:1").unwrap(), Some(key));
        assert_eq!(hosts.key_of("a:2").unwrap(), Some(other));
        assert_eq!(hosts.key_of("a").unwrap(), None);
        assert_eq!(fs::read_to_string(hosts.path()).unwrap().lines().count(), 2);
        for name in ["", "a b", "#a", "a\nb"] {
            assert_eq!(hosts.pin(name, &key).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_broken_line_is_told_by_its_number() {
        let folder = Folder::new("broken");
        let hosts = KnownHosts::new(folder.0.join("hosts"));
        fs::write(hosts.path(), "# mine\n\na:1 AAAA\n").unwrap();
        assert!(hosts.key_of("a:1").unwrap_err().to_string().starts_with("line 3: a key is 44"));
        fs::write(hosts.path(), "word\n").unwrap();
        assert!(hosts.key_of("a:1").unwrap_err().to_string().starts_with("line 1: a host and"));
    }
}

//! Interface names, and where the files of an interface are.

use std::fmt;
use std::path::{Path, PathBuf};

/// The folder of peer files.
pub const CONFIG_FOLDER: &str = "/etc/stadium";
/// The folder of control sockets.
pub const RUN_FOLDER: &str = "/run/stadium";

/// Holds an interface name: 1 to 15 of `a-z A-Z 0-9 _ = + . -`, and none that the kernel keeps
/// for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// Reports a name that no interface can have; its text says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// The name is empty.
    Empty,
    /// The name is longer than 15 characters.
    TooLong,
    /// The name has a character that it must not have.
    Character,
    /// The kernel uses the name for something else: `.`, `..`, `all`, `default`, `lo`.
    Reserved,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an interface name must not be empty",
            Self::TooLong => "an interface name has at most 15 characters",
            Self::Character => "an interface name has only the characters a-z A-Z 0-9 _ = + . -",
            Self::Reserved => "the kernel keeps this interface name for itself",
        })
    }
}

impl std::error::Error for InvalidName {}

impl InterfaceName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Says what no interface name may be.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_=+.-".contains(c);
        if name.is_empty() {
            Err(InvalidName::Empty)
        } else if !name.chars().all(allowed) {
            Err(InvalidName::Character)
        } else if name.len() > 15 {
            Err(InvalidName::TooLong)
        } else if matches!(name, "." | ".." | "all" | "default" | "lo") {
            Err(InvalidName::Reserved)
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns where the peer file of this interface is: `/etc/stadium/NAME.yaml`.
    #[must_use]
    pub fn peer_file(&self) -> PathBuf {
        Path::new(CONFIG_FOLDER).join(format!("{self}.yaml"))
    }

    /// Returns where the control socket is if the peer file names no other:
    /// `/run/stadium/NAME.sock`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        Path::new(RUN_FOLDER).join(format!("{self}.sock"))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for InterfaceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for InterfaceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

/// Names an interface as a user does where a verb takes FILE or IFACE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The path of a peer file: the text contains a `/` or ends in `.yaml`.
    File(PathBuf),
    /// An interface.
    Interface(InterfaceName),
}

impl Target {
    /// Tells a path from an interface name.
    ///
    /// # Errors
    ///
    /// Fails for text that is neither a path nor a possible interface name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.contains('/') || text.ends_with(".yaml") {
            Ok(Self::File(PathBuf::from(text)))
        } else {
            InterfaceName::new(text).map(Self::Interface)
        }
    }

    /// Returns the path of the peer file.
    #[must_use]
    pub fn peer_file(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Interface(name) => name.peer_file(),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

/// Returns the interface name that a peer file without `interface.name` has: its stem.
///
/// # Errors
///
/// Fails if the stem is no interface name.
pub fn name_of_file(path: &Path) -> Result<InterfaceName, InvalidName> {
    let stem = path.file_stem().ok_or(InvalidName::Empty)?;
    InterfaceName::new(stem.to_str().ok_or(InvalidName::Character)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["stadium0", "a", "wg_=+.-0", "123456789012345"] {
            assert_eq!(InterfaceName::new(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", InvalidName::Empty),
            ("1234567890123456", InvalidName::TooLong),
            ("a b", InvalidName::Character),
            ("a%d", InvalidName::Character),
            ("ä", InvalidName::Character),
            ("..", InvalidName::Reserved),
            ("lo", InvalidName::Reserved),
        ] {
            assert_eq!(InterfaceName::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn targets() {
        let file = |text: &str| Target::new(text).unwrap().peer_file();
        assert_eq!(file("stadium0"), Path::new("/etc/stadium/stadium0.yaml"));
        assert_eq!(file("./stadium0"), Path::new("./stadium0"));
        assert_eq!(file("a.yaml"), Path::new("a.yaml"));
        assert_eq!(Target::new("a b"), Err(InvalidName::Character));
        let name = name_of_file(Path::new("/x/office.yaml")).unwrap();
        assert_eq!(name.socket(), Path::new("/run/stadium/office.sock"));
        assert!(name_of_file(Path::new("/x/my office.yaml")).is_err());
    }
}

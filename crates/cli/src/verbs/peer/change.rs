//! One change of a peer file: read, edited, replaced as a whole, taken over by the daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use stadium_config::{EditError, Environment, Target};
use stadium_node::api::{Client, ClientError, Effect};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;
use crate::target::place;

/// A peer file that nobody else edits meanwhile.
pub(super) struct Change<'t> {
    target: &'t Target,
    /// The file itself: no link to it.
    pub(super) path: PathBuf,
    /// Its text before the change.
    pub(super) text: Zeroizing<String>,
    /// Where its secrets may be beside its folder.
    pub(super) environment: Environment,
    /// Held as long as the change takes.
    _lock: File,
}

impl<'t> Change<'t> {
    /// Reads the peer file of `target` and keeps other changes away.
    pub(super) fn begin(target: &'t Target) -> Result<Self, Failure> {
        let named = target.peer_file();
        let path = fs::canonicalize(&named).map_err(|error| cannot("read", &named, &error))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let lock = File::open(folder)
            .and_then(|handle| {
                rustix::fs::flock(&handle, FlockOperation::LockExclusive)?;
                Ok(handle)
            })
            .map_err(|error| cannot("use the folder of", &path, &error))?;
        let mut text = Zeroizing::new(String::new());
        File::open(&path)
            .and_then(|mut file| {
                // all the room at once: growing would leave copies of secrets behind
                text.reserve(usize::try_from(file.metadata()?.len()).unwrap_or(0) + 1);
                file.read_to_string(&mut text)
            })
            .map_err(|error| cannot("read", &path, &error))?;
        Ok(Self { target, path, text, environment: Environment::of_process(), _lock: lock })
    }

    /// Tells whether others than the owner can read or write the file.
    pub(super) fn is_exposed(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|data| data.mode() & 0o066 != 0)
    }

    /// Says what an edit that was refused means for the caller.
    pub(super) fn refused(&self, error: EditError) -> Failure {
        match error {
            EditError::Invalid(wrong) => Failure::usage(wrong.to_string()),
            error => Failure::usage(format!("{}: error: {error}", self.path.display())),
        }
    }

    /// Puts `text` in the file's place, then has the daemon take it over if one runs.
    ///
    /// # Errors
    /// The file could not be replaced: it is as before. Or the daemon refused it: it is changed.
    pub(super) fn finish(self, text: &str) -> Result<(), Failure> {
        replace(&self.path, text).map_err(|error| cannot("write", &self.path, &error))?;
        let place = place(self.target)?;
        let mut client = match Client::connect(&place.socket) {
            Ok(client) => client,
            Err(ClientError::NotRunning { .. }) => {
                output::message(&format!(
                    "{} is written; {} does not run: it takes effect with `stadium up`",
                    self.path.display(),
                    place.name
                ));
                return Ok(());
            }
            Err(error) => return Err(self.not_taken(&error)),
        };
        let report = client.reload(false).map_err(|error| self.not_taken(&error))?;
        for change in &report.changes {
            output::message(&format!("{}  {}", change.effect, output::printable(&change.what)));
        }
        if report.changes.iter().any(|change| change.effect == Effect::Restart) {
            output::message("what needs a restart waits for `stadium down` and `stadium up`");
        }
        Ok(())
    }

    fn not_taken(&self, error: &ClientError) -> Failure {
        Failure::failed(format!(
            "{} is written, but the daemon has not taken it over: {error}; run `stadium reload` \
             when that is mended",
            self.path.display()
        ))
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "check the path; `stadium init` writes a new file",
        io::ErrorKind::PermissionDenied => "run as the owner of the file, or as root",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "nothing has changed; make room and try again"
        }
        _ => "nothing has changed",
    };
    let message = format!("{}:1:1: error: cannot {what} it: {error}; {remedy}", path.display());
    match error.kind() {
        // what was asked for is wrong, not the machine
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Failure::usage(message),
        _ => Failure::failed(message),
    }
}

/// Replaces a file as a whole, its owner and permissions kept: readers see one text or the other.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let data = fs::metadata(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        if file.metadata()?.uid() != data.uid() || file.metadata()?.gid() != data.gid() {
            std::os::unix::fs::fchown(&file, Some(data.uid()), Some(data.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(data.mode() & 0o7777))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Writes a file that holds a secret: for its owner alone, and never over another.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::failed(format!("{shown} exists already, and stays as it is"))
            }
            _ => {
                // half a secret helps nobody, and would be in the way of the next try
                let _ = fs::remove_file(path);
                Failure::failed(format!("cannot write {shown}: {error}"))
            }
        }
    })
}

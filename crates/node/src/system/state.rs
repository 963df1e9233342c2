//! The state file: what a daemon that is killed would leave behind, written down beforehand.
//!
//! It lies beside the control socket (`/run/stadium/stadium0.state`). Invariants: whatever
//! outlives the process is in the file before it is done and until it is undone; the file is
//! replaced as a whole, so that a reader sees one state or the next; it names the process by pid
//! and start time, so that a reused pid is not taken for a living daemon.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ErrorKind, SystemError};
use super::operation::Operation;

/// The version of the file's format.
const VERSION: u32 = 1;

/// What the state file says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The interface's name.
    pub interface: String,
    /// Its index, 0 before it exists.
    pub index: u32,
    /// The daemon's process.
    pub process: ProcessId,
    /// The network namespace the operations were done in, as device and inode.
    pub namespace: Option<(u64, u64)>,
    /// What undoes everything that outlives the process, oldest first.
    pub undo: Vec<Operation>,
    /// Files to remove, such as the control socket.
    pub files: Vec<PathBuf>,
}

/// One process, told apart from a later one with the same pid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { pid, start_time: start_time(pid).unwrap_or(0) }
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// Reads when a process started; `None` where there is none, or only its remains.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold any character.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The network namespace of the calling thread, as device and inode.
fn namespace() -> Option<(u64, u64)> {
    let metadata = fs::metadata("/proc/thread-self/ns/net").ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The state file of a running daemon.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: State,
}

impl StateFile {
    /// Where the state of the daemon behind a control socket lies: beside it, as `NAME.state`.
    pub fn path_for(socket: &Path) -> PathBuf {
        socket.with_extension("state")
    }

    /// Reads a state file, `None` where there is none or it makes no sense.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Option<State>, SystemError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(SystemError::from_io(format_args!("read {}", path.display()), &e));
            }
        };
        match serde_json::from_slice::<State>(&text) {
            Ok(state) if state.version == VERSION => Ok(Some(state)),
            _ => {
                tracing::warn!("{} makes no sense and is ignored", path.display());
                Ok(None)
            }
        }
    }

    /// Writes the first state of this process, which must be the only one of its interface.
    ///
    /// `undo` is what it takes over of a killed one.
    pub(super) fn create(
        path: &Path,
        interface: &str,
        undo: Vec<Operation>,
    ) -> Result<Self, SystemError> {
        let file = Self {
            path: path.to_owned(),
            state: State {
                version: VERSION,
                interface: interface.to_owned(),
                index: 0,
                process: ProcessId::own(),
                namespace: namespace(),
                undo,
                files: Vec::new(),
            },
        };
        file.write()?;
        Ok(file)
    }

    /// What is written down now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Notes the interface's index.
    ///
    /// # Errors
    /// When the file cannot be written, as in all of these.
    pub fn set_index(&mut self, index: u32) -> Result<(), SystemError> {
        self.state.index = index;
        self.write()
    }

    /// Notes a file to be removed, before it is made.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn add_file(&mut self, path: &Path) -> Result<(), SystemError> {
        if !self.state.files.iter().any(|f| f == path) {
            self.state.files.push(path.to_owned());
            self.write()?;
        }
        Ok(())
    }

    /// Notes what an operation leaves, before it is done.
    pub(super) fn before(&mut self, operation: &Operation) -> Result<(), SystemError> {
        if !operation.outlives_process() {
            return Ok(());
        }
        if let Some(undo) = operation.inverse()
            && !self.state.undo.contains(&undo)
        {
            self.state.undo.push(undo);
            self.write()?;
        }
        Ok(())
    }

    /// Strikes out what `undo` has undone.
    pub(super) fn after_undo(&mut self, undo: &Operation) -> Result<(), SystemError> {
        let before = self.state.undo.len();
        self.state.undo.retain(|u| u != undo);
        if self.state.undo.len() == before { Ok(()) } else { self.write() }
    }

    /// Whether something outlives this process that is still to be undone.
    pub fn holds_something(&self) -> bool {
        !self.state.undo.is_empty()
    }

    /// Removes the file: nothing is left.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(self) -> Result<(), SystemError> {
        remove_file(&self.path)
    }

    fn write(&self) -> Result<(), SystemError> {
        let text = serde_json::to_vec_pretty(&self.state).expect("a state has string keys only");
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&text)?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|e| SystemError::from_io(format_args!("write {}", self.path.display()), &e))
    }
}

/// What [`super::System::claim`] and [`super::System::clear_leftovers`] find.
#[derive(Debug)]
pub(super) enum Found {
    /// No state.
    Nothing,
    /// The state of a daemon that runs.
    Alive(State),
    /// The state of a daemon that was killed.
    Dead(State),
}

pub(super) fn find(path: &Path) -> Result<Found, SystemError> {
    Ok(match StateFile::read(path)? {
        None => Found::Nothing,
        Some(state) if state.process.is_alive() => Found::Alive(state),
        Some(state) => Found::Dead(state),
    })
}

/// Whether a state belongs to the network namespace we are in.
pub(super) fn is_here(state: &State) -> bool {
    state.namespace.is_none() || state.namespace == namespace()
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> Result<(), SystemError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(SystemError::from_io(format_args!("remove {}", path.display()), &e))
        }
        _ => Ok(()),
    }
}

/// Keeps two daemons from claiming states in the same folder at once; unlocks when dropped.
pub(super) fn lock_folder(path: &Path) -> Result<fs::File, SystemError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = || {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let handle = fs::File::open(folder)?;
        rustix::fs::flock(&handle, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(handle)
    };
    lock()
        .map_err(|e| SystemError::from_io(format_args!("use the folder {}", folder.display()), &e))
}

/// The error for a daemon that runs.
pub(super) fn running(state: &State) -> SystemError {
    let name = &state.interface;
    SystemError::new(
        ErrorKind::Running,
        format!("{name} is up already (process {})", state.process.pid),
    )
    .with_remedy(format!("use `stadium reload {name}`, or `stadium down {name}` first"))
}

#[cfg(test)]
mod tests {
    use super::super::operation::{Family, Rule, RuleKind};
    use super::*;

    fn path(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stadium-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder.join(format!("{name}.state"))
    }

    #[test]
    fn notes_what_outlives_before_it_is_done_and_strikes_it_out() {
        let path = path("notes");
        let mut file = StateFile::create(&path, "stadium0", Vec::new()).unwrap();
        let rule = Rule { family: Family::V4, priority: 9, kind: RuleKind::SuppressDefault };
        file.before(&Operation::AddRule(rule)).unwrap();
        file.add_file(Path::new("/run/stadium/stadium0.sock")).unwrap();
        let read = StateFile::read(&path).unwrap().unwrap();
        assert_eq!(read.undo, [Operation::RemoveRule(rule)]);
        assert_eq!(&read, file.state());
        file.after_undo(&Operation::RemoveRule(rule)).unwrap();
        assert_eq!(StateFile::read(&path).unwrap().unwrap().undo, []);
        file.remove().unwrap();
        assert!(StateFile::read(&path).unwrap().is_none());
    }

    #[test]
    fn tells_the_living_from_the_dead() {
        assert!(ProcessId::own().is_alive());
        let reused = ProcessId { start_time: ProcessId::own().start_time + 1, ..ProcessId::own() };
        assert!(!reused.is_alive(), "another start time is another process");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = ProcessId { pid: child.id(), start_time: start_time(child.id()).unwrap_or(0) };
        child.wait().unwrap();
        assert!(!id.is_alive());
    }

    #[test]
    fn nonsense_is_ignored_and_replaced() {
        let path = path("nonsense");
        fs::write(&path, "{\"version\": 1, \"undo\": \"rm -rf\"}").unwrap();
        assert!(matches!(find(&path).unwrap(), Found::Nothing));
        StateFile::create(&path, "stadium0", Vec::new()).unwrap();
        assert!(matches!(find(&path).unwrap(), Found::Alive(_)));
    }
}

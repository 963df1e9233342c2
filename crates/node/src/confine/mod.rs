//! Gives up what the daemon does not need once it stands: privileges, files, system calls.
//!
//! What follows parses datagrams of strangers, peer files and requests; should any of it be
//! turned against us, this is what is left to an attacker: the open sockets and queues, the files
//! below, the helper within its bounds, and no way to run another program. The three locks, in
//! the order in which they close: Landlock (files), capabilities (none, for ever), seccomp (system
//! calls). Threads inherit all three, so that this must come before the first thread.

mod capabilities;
mod files;
mod syscalls;

use std::path::PathBuf;

pub(crate) use capabilities::keep_only_network_administration;

use crate::error::RunError;

/// What the daemon goes on to need.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Needs {
    /// Folders with what is read again: the peer file, secrets.
    pub(crate) read: Vec<PathBuf>,
    /// Folders with what is written: control socket, state file.
    pub(crate) write: Vec<PathBuf>,
}

/// Closes the three locks for the calling thread and all that it will start.
///
/// Where the kernel lacks Landlock, that one stays open with a line in the log.
///
/// # Errors
/// [`RunError`] when a lock that the kernel has does not close: better down than open.
pub(crate) fn enter(needs: &Needs) -> Result<(), RunError> {
    let failed = |what: &str, why: String| {
        RunError::failed(format!(
            "cannot {what}: {why}; `--no-confine` goes without, at your own risk"
        ))
    };
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| failed("renounce new privileges", error.to_string()))?;
    let files = files::restrict(needs).map_err(|why| failed("restrict files", why))?;
    capabilities::drop_all().map_err(|error| failed("give up privileges", error.to_string()))?;
    syscalls::restrict().map_err(|why| failed("restrict system calls", why))?;
    tracing::info!(files, "confined: no privileges, few files, few system calls");
    Ok(())
}

#[cfg(test)]
mod tests;

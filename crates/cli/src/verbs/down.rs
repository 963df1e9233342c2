//! `stadium down`: an orderly end, also of what a killed daemon left.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stadium_config::Target;
use stadium_node::api::{Client, ClientError};

use crate::failure::Failure;
use crate::output;
use crate::target::{Place, place, target};

/// How long the daemon may take to end; its hooks run in this time too.
const END: Duration = Duration::from_secs(60);

/// How often a daemon whose process cannot be watched is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Take an interface down: close sessions, remove routes and rules, end the daemon
///
/// Returns when the interface is gone. After a kill -9 it clears what was left.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
}

impl Down {
    /// Ends the daemon and waits for its end, or clears what one left.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place(&self.iface)?;
        match Client::connect(&place.socket) {
            Ok(client) => end(client, &place),
            Err(ClientError::NotRunning { stale, .. }) => clear(&place, stale),
            Err(error) => Err(error.into()),
        }
    }
}

/// Has the daemon end and waits until it has.
fn end(mut client: Client, place: &Place) -> Result<(), Failure> {
    // taken before asking: afterwards it may be gone, and its number somebody else's
    let process = client.daemon_process();
    match client.down() {
        Ok(_) => {}
        // another `down`, or a signal, was faster; what is waited for is the same
        Err(ClientError::Closed { .. }) => {}
        Err(ClientError::Refused(refusal)) if refusal.kind.exit_code() == 3 => {}
        Err(error) => return Err(error.into()),
    }
    let ended = match process {
        Some(process) => ends_within(&process, END),
        None => closes_within(&mut client, &place.socket, END),
    };
    if ended {
        // nothing, unless the daemon could not remove what it had added
        for line in stadium_node::clear_leftovers(&place.socket)? {
            output::message(&format!("{}: the daemon had left it: {line}", place.name));
        }
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} did not end within {} s; a hook may hang: see its log, or end it with kill -9 and \
         run `stadium down` again",
        place.name,
        END.as_secs()
    )))
}

/// Waits for a process to end.
fn ends_within(process: &OwnedFd, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits for a daemon to close its connections and to take its socket away.
fn closes_within(client: &mut Client, socket: &Path, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    if !client.closed_within(time) {
        return false;
    }
    while Client::connect(socket).is_ok() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Clears what a killed daemon left; fails with 3 where there is nothing.
fn clear(place: &Place, stale: bool) -> Result<(), Failure> {
    let cleared = stadium_node::clear_leftovers(&place.socket)?;
    let socket = stale && remove_socket(&place.socket)?;
    if !cleared.is_empty() || socket {
        output::message(&format!(
            "{}: its daemon was gone already; cleared what it had left",
            place.name
        ));
        for line in cleared {
            output::message(&format!("  {line}"));
        }
        return Ok(());
    }
    Err(Failure::not_running(format!(
        "{} is not running: there is no control socket {}, and nothing of it is left to clear; \
         see `stadium status` for what runs",
        place.name,
        place.socket.display()
    )))
}

/// Removes a socket that nobody answers on; `false`: there was none.
fn remove_socket(path: &Path) -> Result<bool, Failure> {
    let cannot = |error: io::Error| {
        Failure::failed(format!("cannot remove {}: {error}; run as root", path.display()))
    };
    match path.symlink_metadata() {
        Ok(data) if data.file_type().is_socket() => {}
        Ok(_) => {
            return Err(Failure::failed(format!(
                "{} is no socket and is left alone; check `control.socket`",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot(error)),
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot(error)),
    }
}

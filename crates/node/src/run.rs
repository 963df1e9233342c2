//! The daemon's whole life, for whoever starts it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stadium_config::PeerFile;
use stadium_proto::timers::Timers;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::control::{self, Way};
use crate::error::RunError;
use crate::settings;
use crate::signals::Signals;
use crate::system::{Leftovers, StateFile, System};

/// Says how a node runs beside what its peer file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Takes everything down again unless somebody confirms it this soon after it is up.
    pub confirm_within: Option<Duration>,
    /// Gives up all privileges once everything stands; `None` keeps them.
    pub confinement: Option<Confinement>,
}

/// Says how a node lives without privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// What leads this program, started again with its end of a socket pair as stdin, to
    /// [`crate::serve_as_helper`].
    pub helper: Vec<OsString>,
    /// Folders, beside that of the peer file, with what a reload reads: those of secrets.
    pub read: Vec<PathBuf>,
}

/// Brings up what `file` describes and runs until SIGINT, SIGTERM or a caller ends it; then takes
/// down exactly what was brought up.
///
/// `ready` is called once, when interface and sockets stand and the `post_up` hooks have run.
/// The calling thread becomes the control task, and the network namespace that it is in is that
/// of the node.
///
/// # Errors
/// [`RunError`]: why it did not come up, or ended without being asked to. Nothing is left behind.
pub fn run(file: PeerFile, options: RunOptions, ready: impl FnOnce()) -> Result<(), RunError> {
    let timers = timers_of_environment()?;
    let clock = clock_of_environment()?;
    for warning in settings::warnings(&file) {
        tracing::warn!("{warning}");
    }
    keep_memory_private();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let way = Way { timers, clock, confinement: options.confinement.as_ref() };
        let mut control = control::start(file, way).await?;
        control.confirm_within(options.confirm_within);
        control.run(signals, ready).await
    });
    // a name that is still looked up holds up nobody's end
    runtime.shutdown_background();
    result
}

/// Describes, one step a line, what [`run`] would do; secrets do not appear, nothing is changed.
///
/// # Errors
/// [`RunError`]: what [`run`] would refuse.
pub fn plan(file: &PeerFile) -> Result<String, RunError> {
    timers_of_environment()?;
    let runtime = runtime()?;
    let text = runtime.block_on(async {
        let system = System::connect()?;
        let prospect = control::prospect(&system, file).await?;
        let mut text = String::new();
        let warnings = settings::warnings(file);
        for warning in warnings.iter().chain(&prospect.plan.warnings) {
            text += &format!("# warning: {warning}\n");
        }
        let listen: Vec<String> =
            file.interface.listen.addresses().iter().map(ToString::to_string).collect();
        text += &format!("listen on UDP {}\n", listen.join(", "));
        text += &prospect.plan.to_string();
        text += &format!("listen on {}\n", file.control.socket.display());
        text +=
            &format!("run {} workers and {} peers\n", settings::workers(file), file.peers.len());
        Ok(text)
    });
    runtime.shutdown_background();
    text
}

/// Clears what a killed daemon with this control socket left in the system; returns a line for
/// everything that was cleared, none where nothing was there.
///
/// # Errors
/// [`RunError`]: the daemon runs, or something could not be removed.
pub fn clear_leftovers(socket: &Path) -> Result<Vec<String>, RunError> {
    let runtime = runtime()?;
    let path = StateFile::path_for(&settings::absolute(socket));
    runtime.block_on(async {
        match System::connect()?.clear_leftovers(&path).await? {
            Leftovers::Nothing => Ok(Vec::new()),
            Leftovers::Cleared(lines) => Ok(lines),
            Leftovers::Running { pid } => Err(RunError::failed(format!(
                "process {pid} runs the interface but does not answer; end it with `kill {pid}`"
            ))),
        }
    })
}

pub(crate) fn runtime() -> Result<Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::io("start the runtime", &error))
}

fn timers_of_environment() -> Result<Timers, RunError> {
    let Some(text) = std::env::var_os(settings::TEST_TIMERS) else { return Ok(Timers::default()) };
    let timers = settings::test_timers(&text.to_string_lossy()).map_err(RunError::invalid)?;
    tracing::warn!("{} shortens the protocol's timers: for tests only", settings::TEST_TIMERS);
    Ok(timers)
}

fn clock_of_environment() -> Result<Clock, RunError> {
    let Some(text) = std::env::var_os(settings::TEST_CLOCK) else { return Ok(Clock::default()) };
    let nanos = settings::test_clock(&text.to_string_lossy()).map_err(RunError::invalid)?;
    tracing::warn!("{} sets the wall clock wrong: for tests only", settings::TEST_CLOCK);
    Ok(Clock::wrong_by(nanos))
}

/// Keeps the keys in memory from core dumps and from other processes of the same user.
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "core dumps may hold keys");
    }
}

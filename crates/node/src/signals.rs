//! The signals that a daemon lives by.

use tokio::signal::unix::{self, SignalKind};

use crate::error::RunError;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To end; the signal's name.
    Stop(&'static str),
    /// To load the peer file again.
    Reload,
}

/// Listens for SIGINT, SIGTERM and SIGHUP, from when it is made: none is lost.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// Starts to listen; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub(crate) fn listen() -> Result<Self, RunError> {
        let open =
            |kind| unix::signal(kind).map_err(|error| RunError::io("listen for signals", &error));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hang_up: open(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

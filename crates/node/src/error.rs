//! Why the daemon does not come up, or ended other than asked.

use std::fmt;

use stadium_tun::CreateError;
use stadium_udp::BindError;

use crate::system::SystemError;

/// Says why [`crate::run`] failed, in words that name a remedy, and the exit code that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    message: String,
    exit_code: u8,
}

impl RunError {
    /// Makes the error of something that was tried and failed: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// Makes the error of a peer file or environment that asks for what cannot be: exit code 2.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }

    /// Makes the error of a step that failed with an error of the system.
    pub(crate) fn io(step: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {step}: {error}"))
    }

    /// Returns the program's exit code: 1 failed, 2 invalid file or environment.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RunError {}

impl From<SystemError> for RunError {
    fn from(error: SystemError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<BindError> for RunError {
    fn from(error: BindError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<CreateError> for RunError {
    fn from(error: CreateError) -> Self {
        Self::failed(error.to_string())
    }
}

//! Failures of verbs and the exit code that each one ends with.

use std::io;
use std::process::ExitCode;

use stadium_node::RunError;
use stadium_node::api::ClientError;

use crate::arguments::LogFormat;
use crate::output;

/// Names the exit codes that are not success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It was tried and failed: 1.
    Failed,
    /// The command line or a file is wrong: 2.
    Usage,
    /// Nothing runs that could answer: 3.
    NotRunning,
}

impl Code {
    /// Returns the exit code.
    pub(crate) fn as_u8(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
        }
    }

    /// Returns the code for a number from elsewhere; unknown ones are plain failures.
    pub(crate) fn from_u8(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::NotRunning,
            _ => Self::Failed,
        }
    }
}

/// Says why a verb ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Prints `message` (what was wrong, where, what to do) and ends with `code`.
    Message {
        /// The exit code.
        code: Code,
        /// For people; lines that start with a file's name are printed as they are.
        message: String,
    },
    /// Everything is said already; ends with the code.
    Reported(Code),
    /// The reader of stdout went away: ends quietly, like other programs in a pipe.
    BrokenPipe,
}

impl Failure {
    /// Makes a failure with exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Message { code: Code::Failed, message: message.into() }
    }

    /// Makes a failure with exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Message { code: Code::Usage, message: message.into() }
    }

    /// Makes a failure with exit code 3.
    pub(crate) fn not_running(message: impl Into<String>) -> Self {
        Self::Message { code: Code::NotRunning, message: message.into() }
    }

    /// Prints the failure on stderr and returns its exit code.
    pub(crate) fn report(&self, format: LogFormat) -> ExitCode {
        match self {
            Self::Message { code, message } => {
                match format {
                    LogFormat::Text => output::error(message),
                    LogFormat::Json => output::message(
                        &serde_json::json!({
                            "level": "ERROR",
                            "message": message,
                            "exit_code": code.as_u8(),
                        })
                        .to_string(),
                    ),
                }
                ExitCode::from(code.as_u8())
            }
            Self::Reported(code) => ExitCode::from(code.as_u8()),
            Self::BrokenPipe => ExitCode::SUCCESS,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = match &error {
            ClientError::NotRunning { .. } => {
                format!("{error}; start it with `stadium up`, or see `stadium status`")
            }
            _ => error.to_string(),
        };
        Self::Message { code: Code::from_u8(error.exit_code()), message }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Message { code: Code::from_u8(error.exit_code()), message: error.to_string() }
    }
}

/// Turns a failed write to stdout into a failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::failed(format!("cannot write to stdout: {error}"))
        }
    }
}

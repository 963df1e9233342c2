//! What the daemon asks of its helper, and what comes back: one JSON document a message.

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use crate::system::{Operation, SystemError};

/// One request with its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Chosen by the daemon; the answer carries the same.
    pub(super) id: u64,
    pub(super) what: What,
}

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// The first message: what may be asked for from now on.
    Begin(Bounds),
    /// One change to the system.
    Execute(Operation),
    /// The firewall mark of the sockets whose descriptors come along; 0 is none.
    Mark(u32),
}

/// The answer to one request: what undoes it, if anything does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) outcome: Outcome,
}

/// What an operation comes to.
pub(super) type Outcome = Result<Option<Operation>, SystemError>;

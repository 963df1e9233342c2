//! The Stadium daemon as a library: workers, control, routes, reload.
//!
//! [`run`] is the daemon's whole life; [`api`] is how a running one is asked for things.

mod alarm;
pub mod api;
mod clock;
mod confine;
mod control;
mod error;
mod helper;
mod inbound;
mod metrics;
mod notice;
mod outbound;
#[cfg(test)]
mod path_tests;
mod reload;
pub mod resolve;
mod run;
mod service;
mod settings;
mod signals;
mod sockets;
mod stats;
mod survey;
pub mod system;
mod workers;

pub use error::RunError;
pub use helper::serve as serve_as_helper;
pub use run::{Confinement, RunOptions, clear_leftovers, plan, run};
pub use survey::{Question, Survey, resolve_now, survey};

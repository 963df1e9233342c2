//! The Stadium daemon as a library: workers, control, routes, reload.

pub mod api;
mod clock;
mod inbound;
mod notice;
mod outbound;
#[cfg(test)]
mod path_tests;
pub mod resolve;
pub mod system;
mod workers;

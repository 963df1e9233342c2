//! The Stadium daemon as a library: workers, control, routes, reload.

pub mod api;
mod clock;
mod notice;
pub mod resolve;
pub mod system;
mod workers;

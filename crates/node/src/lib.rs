//! The Stadium daemon as a library: workers, control, routes, reload.

pub mod api;
pub mod resolve;
pub mod system;

//! Devices in network namespaces of their own; needs root and says so without.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers are not marked as tests

mod device;
mod support;
mod tcp;

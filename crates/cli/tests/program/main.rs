//! The built program from outside: exit codes, what is on stdout and what on stderr.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod daemon;
mod events;
mod files;
mod keys;
mod noise;
mod pages;
mod peers;
mod schema;
mod support;

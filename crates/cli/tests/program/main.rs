//! The built program from outside: exit codes, what is on stdout and what on stderr.

mod daemon;
mod files;
mod keys;
mod pages;
mod schema;
mod support;

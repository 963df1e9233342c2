//! The program `stadium` as a library: one module a verb, and what they share.
//!
//! Invariants: data goes to stdout and messages to stderr; every failure leaves through
//! [`run`] with exit code 1 (failed), 2 (wrong usage or invalid file) or 3 (not running); no
//! secret is printed by any verb but those that make one.

mod arguments;
mod detach;
mod failure;
mod interrupt;
mod logging;
mod mark;
mod output;
mod peer_file;
mod target;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Parses `args` (the program's name first), carries out the verb and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match arguments::Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let format = arguments.log_format;
    match verbs::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

/// Returns the whole command line interface, for generated pages and completions.
pub fn command() -> clap::Command {
    arguments::Arguments::command()
}

/// Prints help, version or a usage error where each belongs: 0 for what was asked for, else 2.
fn usage(error: &clap::Error) -> ExitCode {
    // a reader that went away is no failure of ours
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

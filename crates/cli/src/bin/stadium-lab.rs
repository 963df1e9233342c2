//! The program `stadium` as the noise laboratory runs it: it can be made to tell which datagrams
//! are noise, and to leak. Built with the feature `lab` only, and never to be installed.

use std::process::ExitCode;

fn main() -> ExitCode {
    stadium_cli::run(std::env::args_os())
}

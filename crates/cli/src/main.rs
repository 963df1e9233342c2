//! The program `stadium`; everything it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    stadium_cli::run(std::env::args_os())
}

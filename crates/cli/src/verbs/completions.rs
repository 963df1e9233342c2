//! `stadium completions`: completion scripts, generated from the command line's definition.

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium completions bash > /etc/bash_completion.d/stadium")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // generated in memory: the generator panics when a pipe breaks
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command(), "stadium", &mut script);
        output::data(script)
    }
}

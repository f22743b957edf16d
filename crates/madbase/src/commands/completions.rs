//! `madbase completions`: a script that makes a shell complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;

/// Print the script for `shell`.
pub(crate) fn run(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "madbase", &mut std::io::stdout());
}

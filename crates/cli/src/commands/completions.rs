//! `bowline completions`: a shell's completion script.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `bowline completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run<C: CommandFactory>(args: &Args) -> ExitCode {
    clap_complete::generate(args.shell, &mut C::command(), "bowline", &mut std::io::stdout());
    ExitCode::SUCCESS
}

//! `bowline shim` (hidden): holds a task together.

use std::{os::fd::RawFd, process::ExitCode};

/// Arguments of `bowline shim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The inherited socket towards the agent.
    #[arg(long)]
    control_fd: RawFd,
}

/// Runs until the task is over.
pub(crate) fn run(args: &Args) -> ExitCode {
    bowline_agent::shim::main(args.control_fd)
}

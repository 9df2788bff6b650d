//! `bowline chaos-probe` (hidden): an experiment's load, within a caller's task, started there by the task's shim on
//! behalf of `bowline chaos`.

use std::process::ExitCode;

/// Options of `bowline chaos-probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only asks for this name's addresses, as an application would, and prints one a line.
    #[arg(long, value_name = "NAME")]
    resolve: Option<String>,
}

/// Takes its order from standard input.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match &args.resolve {
        Some(name) => bowline_chaos::probe::print_addresses(name),
        None => bowline_chaos::probe::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the probe cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

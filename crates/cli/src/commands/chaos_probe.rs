//! `bowline chaos-probe` (hidden): an experiment's load, within a caller's task, started there by the task's shim on
//! behalf of `bowline chaos`.

use std::process::ExitCode;

/// Takes its order from standard input.
pub(crate) fn run() -> ExitCode {
    match bowline_chaos::probe::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the probe cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

//! `bowline relay` (hidden): stands between sidecars and harms what passes. Told what to do over its standard input.

use std::process::ExitCode;

/// Runs until its fault is over and no connection is left.
pub(crate) fn run() -> ExitCode {
    bowline_chaos::relay::main()
}

//! The process between two sidecars that harms what passes between them.
//!
//! It is told what to do by the engine over its standard input, and outlives it: at the deadline it stops doing harm by
//! itself, passes on what still comes, and ends. Sidecars speak TLS through it to each other; it has no key of theirs.

pub mod order;

mod connection;
mod counts;
mod delay;
mod link;
mod process;
mod records;
mod rogue;

use std::process::ExitCode;

/// Runs as a relay. For a process that has no other thread yet: it may have to make namespaces.
#[must_use]
pub fn main() -> ExitCode {
    match process::run() {
        Ok(()) => ExitCode::SUCCESS,
        // The engine has been told why.
        Err(_) => ExitCode::FAILURE,
    }
}

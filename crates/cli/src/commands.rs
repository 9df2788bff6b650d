//! One file a subcommand.

pub(crate) mod probe;
pub(crate) mod verify;

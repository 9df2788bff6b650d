//! The parts of `bowline chaos`.

pub(crate) mod aws;
pub(crate) mod history;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod system;
pub(crate) mod template;

//! The parts of `bowline chaos`.

pub(crate) mod arguments;
pub(crate) mod aws;
pub(crate) mod configuration;
pub(crate) mod fis;
pub(crate) mod history;
pub(crate) mod kernel;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod snapshot;
pub(crate) mod soak;
pub(crate) mod system;
pub(crate) mod template;

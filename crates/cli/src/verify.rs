//! The parts of `bowline verify`.

pub(crate) mod capture;
pub(crate) mod evidence;
pub(crate) mod inspect;
pub(crate) mod observer;
pub(crate) mod relay;
pub(crate) mod report;
pub(crate) mod segment;
pub(crate) mod tls_record;

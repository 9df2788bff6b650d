//! The audit trail.

mod chain;
pub mod event;
mod record;
mod redact;
mod time;

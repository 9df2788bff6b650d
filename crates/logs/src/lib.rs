//! Log routing: what is between a line that a container writes and the place that its `logConfiguration` names.
//!
//! - [`spool`]: a source's queue on disk. The shim appends to it; the agent's router reads.
//! - [`fluent_bit`]: `fluent-bit.conf`, as far as it is here.
//! - [`forward`]: Fluentd's forward protocol, both sides.
//! - [`input`]: what listens for applications that log by themselves.
//! - [`json_file`]: Docker's files.
//! - [`route`]: from a task's spec to its sources and their outputs.
//! - [`router`]: delivers, at least once.

pub mod fluent_bit;
pub mod forward;
pub mod input;
pub mod json_file;
mod multiline;
pub mod route;
pub mod router;
mod shape;
mod sink;
pub mod spool;
mod tls;

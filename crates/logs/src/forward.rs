//! Fluentd's forward protocol: what servers are sent, and what they answer.
//!
//! Source: Fluentd's wiki, "Forward Protocol Specification v1". Authentication (`HELO`, `PING`, `PONG`) is not here.

mod client;
mod event;
mod message;
pub mod msgpack;
mod server;

pub(crate) use client::ForwardClient;
pub use event::{Event, MessageError};
pub use message::{Incoming, MESSAGE_BYTES_MAX, read_message};
pub use server::serve;

#[cfg(test)]
mod tests;

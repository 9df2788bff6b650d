//! HTTP/2 (RFC 9113) of the hop between sidecars, and of the control plane's stream.
//!
//! [`Connection`](connection::Connection) is one end of a connection without I/O. [`client`] and [`server`] run
//! it over a byte stream on one thread: nothing here is locked or shared between threads. Many streams'
//! frames go out by one write.

mod allowance;
mod body;
pub mod client;
mod config;
pub mod connection;
mod error;
mod flow;
pub mod frame;
pub mod hpack;
mod keep_alive;
mod message;
mod pump;
mod reason;
pub mod server;
mod settings;
mod shared;
mod stream;
mod transport;

pub use self::{
    body::Body,
    config::{Config, KeepAlive, ReasonOf},
    connection::Role,
    error::{ConnectionError, Error, TrySendError},
    reason::Reason,
};

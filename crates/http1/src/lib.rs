//! HTTP/1.1 (RFC 9112) towards applications, and towards servers outside the mesh.
//!
//! A [`Connection`] has no task of its own: who waits for an answer writes the request and reads the answer's head, and
//! who reads the answer's [`Body`] reads from the connection. Only where an answer begins before its request is complete
//! does a task send the rest. Buffers are a thread's and not a connection's, which needs them only while it has its turn:
//! one that is idle has none. Nothing here is locked or shared between threads.
//!
//! What is read and written ([`wire`]) stands apart from the connection, and knows nothing of I/O.

mod body;
mod buffers;
mod connection;
mod error;
mod exchange;
mod framing;
mod outgoing;
mod request;
mod response;
pub mod wire;

pub use self::{
    body::Body,
    connection::Connection,
    error::{Error, Fault, TrySendError},
    exchange::ResponseFuture,
};

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of a head, and most of trailers.
const HEADERS_MAX: usize = 100;

//! AWS's wire protocols: awsJson 1.0 and 1.1, query and EC2's XML, RPC v2 CBOR, and
//! restJson1.
//!
//! Each protocol is a pair of functions between bytes and a [`Document`]; typed requests and
//! responses go to and from documents through serde, once for all protocols. What of a request
//! cannot be read is a [`Violation`], in AWS's own words.

mod cbor;
mod decode;
pub mod document;
mod encode;
mod encoding;
mod fault;
mod json;
mod operation;
mod query;
pub mod rest;
mod timestamp;
mod xml;

pub use decode::{Violation, ViolationKind, from_document, from_json};
pub use document::Document;
pub use encode::to_document;
pub use encoding::decoded;
pub use fault::{Fault, FaultBlame};
pub use operation::{
    OperationName, Protocol, RECEIVED_BODY_BYTES_MAX, RequestHead, Response, SERVICES, ServiceProtocol,
    UnreadableRequest, identify, identify_among, read, write, write_fault, write_fault_of, write_unreadable,
};
pub use timestamp::{BLOB, Blob, Entries, TIMESTAMP, Timestamp};

//! The stream's servers: delta discovery and identity, on one TLS port.

pub mod directory;

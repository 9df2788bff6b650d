//! RFC 9113 section by section: bytes go in, and what has to come back is compared. The cases are those of
//! h2spec (its `generic` and `http2` groups; `hpack` where a connection shows it) and some more.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod wire;

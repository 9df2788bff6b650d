//! HTTP/2 (RFC 9113) of the hop between sidecars.

pub mod hpack;

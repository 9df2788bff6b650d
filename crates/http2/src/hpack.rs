//! Header compression for HTTP/2 (HPACK, RFC 7541).
//!
//! Fields are typed: an entry of a decoder's dynamic table is parsed once, and given out by clones
//! that share its bytes. What cannot be a field of HTTP/2 is [`Field::Malformed`], for it is an
//! error of one stream, while a [`DecodeError`] is one of the connection: its two ends no longer
//! have the same table.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    decoder::{DecodeError, Decoded, Decoder},
    encoder::Encoder,
    field::{Field, Malformed},
};

/// `SETTINGS_HEADER_TABLE_SIZE` where none was said, in bytes (RFC 9113, section 6.5.2).
pub const TABLE_SIZE_DEFAULT: usize = 4_096;

/// What an entry costs beside its name and value, in bytes (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

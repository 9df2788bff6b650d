//! Header blocks into fields (RFC 7541, sections 3 and 6).

use bytes::{Bytes, BytesMut};

use super::{
    TABLE_SIZE_DEFAULT,
    field::{Field, Name},
    huffman, integer, static_table,
    table::Table,
};

/// Literals of several blocks share an allocation of so many bytes; larger ones have their own. It is also the
/// most that a value which lives long keeps beside itself.
const ARENA: usize = 1_000;
/// What is kept from block to block to decode strings in, at most, in bytes.
const SCRATCH_KEPT: usize = 1_024;

/// Decodes the header blocks of one direction of a connection, in their order.
///
/// Bounded: what it keeps is its table, and some 2 KiB; while it decodes, 8/5 of the block.
#[derive(Debug)]
pub struct Decoder {
    table: Table<Field>,
    /// Of our `SETTINGS_HEADER_TABLE_SIZE`.
    table_max: usize,
    arena: BytesMut,
    scratch: Vec<u8>,
}

/// A header block was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Names and values, and 32 bytes for each field (RFC 9113, section 6.5.2), of all fields.
    pub size: usize,
    /// It is more than `list_max`: from the field that was too much on, none was given out.
    pub too_large: bool,
}

/// The block cannot be read, and no further one: a connection error, `COMPRESSION_ERROR` (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// No entry has this index.
    #[error("a header block refers to an entry that is not there")]
    Index,
    /// An integer is longer than any that is meant.
    #[error("a header block has an integer that is too long")]
    Integer,
    /// Padding other than less than a byte of ones, or the end-of-string symbol.
    #[error("a header block has a string that is not in the Huffman code")]
    Huffman,
    /// The table's size is changed to more than was offered, or not at a block's beginning.
    #[error("a header block changes the table's size as it must not")]
    TableSize,
}

impl Decoder {
    /// `table_size_max` is our `SETTINGS_HEADER_TABLE_SIZE`, in bytes. Before the peer knows it, it may have a table
    /// of [`TABLE_SIZE_DEFAULT`].
    pub fn new(table_size_max: usize) -> Self {
        Self {
            table: Table::new(TABLE_SIZE_DEFAULT),
            table_max: table_size_max,
            arena: BytesMut::new(),
            scratch: Vec::new(),
        }
    }

    /// Decodes a whole header block: HEADERS and its CONTINUATION frames together. `sink` is given its fields in
    /// their order. Beyond `list_max`, counted as [`Decoded::size`], none is given out, but the rest is decoded, for
    /// later blocks refer to it.
    ///
    /// # Errors
    /// The connection cannot go on: see [`DecodeError`]. Fields before it were given out.
    pub fn decode(
        &mut self,
        block: &[u8],
        list_max: usize,
        sink: &mut impl FnMut(Field),
    ) -> Result<Decoded, DecodeError> {
        let mut rest = block;
        let mut list = Decoded { size: 0, too_large: false };
        while let Some(0x20..=0x3f) = rest.first() {
            self.resize(integer::decode(&mut rest, 5)?)?;
        }
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let (field, size) = self.entry(integer::decode(&mut rest, 7)?)?;
                if list.take(*size, list_max) {
                    sink(field.clone());
                }
                continue;
            }
            let indexed = first & 0x40 != 0;
            if !indexed && first & 0x20 != 0 {
                return Err(DecodeError::TableSize);
            }
            let (field, size) = self.literal(&mut rest, indexed, first & 0x10 != 0)?;
            if indexed {
                // Its own allocation, for an entry outlives its block.
                self.table.insert(field.clone(), size);
            }
            if list.take(size, list_max) {
                sink(field);
            }
        }
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        Ok(list)
    }

    /// Gives back what is kept for speed alone: for a connection that rests.
    pub fn rest(&mut self) {
        self.arena = BytesMut::new();
        self.scratch = Vec::new();
    }

    fn resize(&mut self, size: usize) -> Result<(), DecodeError> {
        if size > self.table_max {
            return Err(DecodeError::TableSize);
        }
        self.table.set_max(size);
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&(Field, usize), DecodeError> {
        let found = match index.checked_sub(static_table::LENGTH + 1) {
            None => static_table::get(index),
            Some(age) => self.table.get(age),
        };
        found.ok_or(DecodeError::Index)
    }

    /// A field and its size. Where it is not `indexed`, `sensitive` forbids whoever forwards it to index it.
    fn literal(
        &mut self,
        rest: &mut &[u8],
        indexed: bool,
        sensitive: bool,
    ) -> Result<(Field, usize), DecodeError> {
        let index = integer::decode(rest, if indexed { 6 } else { 4 })?;
        let name = if index == 0 {
            Name::parse(string(rest, &mut self.scratch)?)
        } else {
            self.entry(index)?.0.name()
        };
        let value = string(rest, &mut self.scratch)?;
        let size = name.len() + value.len() + super::ENTRY_OVERHEAD;
        let arena = &mut self.arena;
        let own = |value: &[u8]| if indexed { Bytes::copy_from_slice(value) } else { share(arena, value) };
        let mut field = Field::new(name, value, own);
        if let Field::Header(_, value) = &mut field {
            value.set_sensitive(sensitive && !indexed);
        }
        Ok((field, size))
    }
}

impl Decoded {
    /// Counts a field; whether it is given out.
    fn take(&mut self, size: usize, max: usize) -> bool {
        self.size = self.size.saturating_add(size);
        self.too_large |= self.size > max;
        !self.too_large
    }
}

/// Takes a string from the front of `rest`; it is in there, or decoded in `scratch`.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], DecodeError> {
    let huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::decode(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
    *rest = after;
    if !huffman {
        return Ok(text);
    }
    huffman::decode(text, scratch)?;
    Ok(scratch)
}

/// A copy, that small ones share an allocation for.
fn share(arena: &mut BytesMut, value: &[u8]) -> Bytes {
    if value.len() > ARENA / 4 {
        return Bytes::copy_from_slice(value);
    }
    if arena.capacity() - arena.len() < value.len() {
        *arena = BytesMut::with_capacity(ARENA);
    }
    arena.extend_from_slice(value);
    arena.split().freeze()
}

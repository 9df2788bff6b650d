//! Fields into header blocks (RFC 7541, section 6), and what of them is worth an entry of the table.

use http::{HeaderName, HeaderValue, Method, StatusCode, uri::Scheme};

use super::{
    ENTRY_OVERHEAD, TABLE_SIZE_DEFAULT,
    field::{Name, Pseudo},
    huffman, integer, static_table,
    table::{Table, hash},
};

/// Chains of entries: one by name and value, one by name.
const CHAINS: usize = 64;
/// Names whose past is known. Two that share a place are treated as one.
const PASTS: usize = 64;
/// So many values of a name may come in a row that were not in the table, before its values are taken for ever
/// changing ones.
const CHANCES: u8 = 4;
/// Of ever changing values, each so manieth is an entry all the same: they may have ceased to change.
const TRIED_AGAIN: u8 = 32;

/// Encodes the header blocks of one direction of a connection, in their order. A block that was begun must be
/// sent, for the peer's table follows.
///
/// A field is one or two bytes where it came before. Values which change with each message, as ids and dates may,
/// are found by how often they come again, name by name, and not made entries of.
/// Credentials (`authorization`, `proxy-authorization`, `cookie`, `set-cookie`, and values that are
/// [marked](HeaderValue::is_sensitive)) are never: who can send fields of its own beside them could guess them by
/// the block's length (RFC 7541, section 7.1).
#[derive(Debug)]
pub struct Encoder {
    table: Table<Entry>,
    /// How many entries were ever made, modulo 2^16: the next one's number.
    made: u16,
    /// Numbers of the newest entries of each chain.
    by_field: [u16; CHAINS],
    by_name: [u16; CHAINS],
    /// Values of names that were not found, since one was.
    misses: [u8; PASTS],
    /// The number of the entry that the block's last field was, if it was one, and of the entry that the last block
    /// began with: what followed it the last time is likely to follow again, and is looked at first.
    previous: Option<u16>,
    first: u16,
    /// What the table is to be at most, whatever the peer offers.
    table_max: usize,
    /// The table's size was changed: it was this at least, meanwhile.
    resized: Option<usize>,
    huffman: bool,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    value: Box<[u8]>,
    name_hash: u32,
    hash: u32,
    /// Numbers of the next older ones of its chains; they may be gone.
    older_of_field: u16,
    older_of_name: u16,
    /// The number of the entry that came after it in a block, the last time.
    follower: u16,
}

/// A field's name, borrowed.
#[derive(Clone, Copy)]
enum NameRef<'a> {
    Pseudo(Pseudo),
    Header(&'a HeaderName),
}

impl NameRef<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Pseudo(name) => name.as_str(),
            Self::Header(name) => name.as_str(),
        }
    }

    fn is(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Pseudo(this), Name::Pseudo(other)) => this == other,
            (Self::Header(this), Name::Header(other)) => *this == other,
            _ => false,
        }
    }

    fn own(self) -> Name {
        match self {
            Self::Pseudo(name) => Name::Pseudo(name),
            Self::Header(name) => Name::Header(name.clone()),
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// With a table of [`TABLE_SIZE_DEFAULT`], which is what a peer has before it says anything.
    pub fn new() -> Self {
        Self::with_table_max(TABLE_SIZE_DEFAULT)
    }

    /// With a table of at most `table_max` bytes, also where the peer offers more.
    pub fn with_table_max(table_max: usize) -> Self {
        let mut encoder = Self {
            table: Table::new(TABLE_SIZE_DEFAULT),
            made: 0,
            by_field: [0; CHAINS],
            by_name: [0; CHAINS],
            misses: [0; PASTS],
            previous: None,
            first: 0,
            table_max,
            resized: None,
            huffman: false,
        };
        encoder.set_table_size(TABLE_SIZE_DEFAULT);
        encoder
    }

    /// Whether strings are sent in the Huffman code where that is shorter. Not, if nothing was said: between sidecars
    /// it costs both of them more than the bytes it saves.
    pub fn set_huffman(&mut self, on: bool) {
        self.huffman = on;
    }

    /// The peer's `SETTINGS_HEADER_TABLE_SIZE`, in bytes. The next block tells it the table's size, if that changes.
    pub fn set_table_size(&mut self, offered: usize) {
        let size = offered.min(self.table_max);
        if size == self.table.max() {
            return;
        }
        self.resized = Some(self.resized.unwrap_or(usize::MAX).min(size));
        self.table.set_max(size);
    }

    /// Begins a header block; then come its fields, pseudo-header fields first.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.previous = None;
        if let Some(least) = self.resized.take() {
            // Both, so that the peer forgets what this side forgot (RFC 7541, section 4.2).
            if least < self.table.max() {
                integer::encode(least, 5, 0x20, out);
            }
            integer::encode(self.table.max(), 5, 0x20, out);
        }
    }

    /// `:method`.
    pub fn method(&mut self, method: &Method, out: &mut Vec<u8>) {
        match *method {
            Method::GET => out.push(0x82),
            Method::POST => out.push(0x83),
            _ => self.field(NameRef::Pseudo(Pseudo::Method), method.as_str().as_bytes(), false, out),
        }
    }

    /// `:scheme`.
    pub fn scheme(&mut self, scheme: &Scheme, out: &mut Vec<u8>) {
        match scheme.as_str() {
            "http" => out.push(0x86),
            "https" => out.push(0x87),
            other => self.field(NameRef::Pseudo(Pseudo::Scheme), other.as_bytes(), false, out),
        }
    }

    /// `:authority`.
    pub fn authority(&mut self, authority: &str, out: &mut Vec<u8>) {
        self.field(NameRef::Pseudo(Pseudo::Authority), authority.as_bytes(), false, out);
    }

    /// `:path`, with its query.
    pub fn path(&mut self, path: &str, out: &mut Vec<u8>) {
        match path {
            "/" => out.push(0x84),
            "/index.html" => out.push(0x85),
            _ => self.field(NameRef::Pseudo(Pseudo::Path), path.as_bytes(), false, out),
        }
    }

    /// `:status`.
    pub fn status(&mut self, status: StatusCode, out: &mut Vec<u8>) {
        match status.as_u16() {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => self.field(NameRef::Pseudo(Pseudo::Status), status.as_str().as_bytes(), false, out),
        }
    }

    /// A field line, or one of trailers.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        self.field(NameRef::Header(name), value.as_bytes(), value.is_sensitive(), out);
    }

    fn field(&mut self, name: NameRef<'_>, value: &[u8], sensitive: bool, out: &mut Vec<u8>) {
        if !sensitive && let Some(age) = self.find_follower(name, value) {
            integer::encode(static_table::LENGTH + 1 + age, 7, 0x80, out);
            return;
        }
        let name_hash = hash(name.as_str().as_bytes());
        let field_hash = name_hash.rotate_left(7) ^ hash(value);
        if !sensitive && let Some(age) = self.find_field(name, value, field_hash) {
            self.misses[name_hash as usize % PASTS] = 0;
            self.follows(self.number(age));
            integer::encode(static_table::LENGTH + 1 + age, 7, 0x80, out);
            return;
        }
        let index = match name {
            NameRef::Pseudo(name) => static_table::pseudo_index(name),
            NameRef::Header(name) => match static_table::header_index(name, name_hash) {
                Some((index, found)) if found.as_bytes() == value && !sensitive => {
                    integer::encode(index, 7, 0x80, out);
                    return;
                }
                found => found.map(|(index, _)| index),
            },
        };
        let index = index.or_else(|| Some(static_table::LENGTH + 1 + self.find_name(name, name_hash)?));
        let size = name.as_str().len() + value.len() + ENTRY_OVERHEAD;
        let (flags, prefix) = if sensitive || index.is_some_and(static_table::is_secret) {
            (0x10, 4)
        } else if self.is_worth_an_entry(name_hash, size, index.is_some()) {
            self.insert(name, value, name_hash, field_hash, size);
            (0x40, 6)
        } else {
            (0, 4)
        };
        integer::encode(index.unwrap_or(0), prefix, flags, out);
        if index.is_none() {
            self.string(name.as_str().as_bytes(), out);
        }
        self.string(value, out);
    }

    /// How old an entry is, from 0 on: more than there are, where it is gone.
    fn age(&self, number: u16) -> usize {
        usize::from(self.made.wrapping_sub(1).wrapping_sub(number))
    }

    fn number(&self, age: usize) -> u16 {
        self.made.wrapping_sub(1).wrapping_sub(age as u16)
    }

    /// The entry of a name and value, if it is what came here the last time: how old it is, from 0 on.
    #[inline]
    fn find_follower(&mut self, name: NameRef<'_>, value: &[u8]) -> Option<usize> {
        let number = match self.previous {
            Some(previous) => self.table.get(self.age(previous))?.0.follower,
            None => self.first,
        };
        let age = self.age(number);
        let (entry, _) = self.table.get(age)?;
        if *entry.value != *value || !name.is(&entry.name) {
            return None;
        }
        self.misses[entry.name_hash as usize % PASTS] = 0;
        self.previous = Some(number);
        Some(age)
    }

    /// The block goes on with this entry.
    fn follows(&mut self, number: u16) {
        match self.previous.replace(number) {
            None => self.first = number,
            Some(previous) => {
                let age = self.age(previous);
                if let Some((entry, _)) = self.table.get_mut(age) {
                    entry.follower = number;
                }
            }
        }
    }

    /// How old the entry of a name and value is, from 0 on.
    fn find_field(&self, name: NameRef<'_>, value: &[u8], hash: u32) -> Option<usize> {
        self.chain(
            self.by_field[hash as usize % CHAINS],
            |entry| entry.older_of_field,
            |entry| entry.hash == hash && *entry.value == *value && name.is(&entry.name),
        )
    }

    /// How old the newest entry of a name is, from 0 on.
    fn find_name(&self, name: NameRef<'_>, hash: u32) -> Option<usize> {
        self.chain(
            self.by_name[hash as usize % CHAINS],
            |entry| entry.older_of_name,
            |entry| entry.name_hash == hash && name.is(&entry.name),
        )
    }

    /// Goes from newer to older. A chain's last link leads to an entry that is gone, or, once numbers come again, to
    /// a wrong one: then it goes on from there, but never towards newer ones.
    fn chain(
        &self,
        newest: u16,
        older: impl Fn(&Entry) -> u16,
        found: impl Fn(&Entry) -> bool,
    ) -> Option<usize> {
        let mut number = newest;
        let mut least = 0;
        loop {
            let age = self.age(number);
            if age < least {
                return None;
            }
            let (entry, _) = self.table.get(age)?;
            if found(entry) {
                return Some(age);
            }
            number = older(entry);
            least = age + 1;
        }
    }

    /// A value that was not found: whether it is likely to come again.
    fn is_worth_an_entry(&mut self, name_hash: u32, size: usize, name_known: bool) -> bool {
        let misses = &mut self.misses[name_hash as usize % PASTS];
        *misses = misses.checked_add(1).unwrap_or(CHANCES + 1);
        // A name that is spelt out costs more than any value that changes: an entry has the name.
        let likely = !name_known || *misses <= CHANCES || misses.is_multiple_of(TRIED_AGAIN);
        // One entry must not push out all others.
        likely && size <= self.table.max() / 4
    }

    fn insert(&mut self, name: NameRef<'_>, value: &[u8], name_hash: u32, hash: u32, size: usize) {
        let by_field = &mut self.by_field[hash as usize % CHAINS];
        let by_name = &mut self.by_name[name_hash as usize % CHAINS];
        let entry = Entry {
            name: name.own(),
            value: value.into(),
            name_hash,
            hash,
            older_of_field: std::mem::replace(by_field, self.made),
            older_of_name: std::mem::replace(by_name, self.made),
            follower: self.made.wrapping_add(1),
        };
        let number = self.made;
        self.made = self.made.wrapping_add(1);
        self.table.insert(entry, size);
        self.follows(number);
    }

    fn string(&self, text: &[u8], out: &mut Vec<u8>) {
        if self.huffman {
            let length = huffman::encoded_len(text);
            if length < text.len() {
                integer::encode(length, 7, 0x80, out);
                huffman::encode(text, out);
                return;
            }
        }
        integer::encode(text.len(), 7, 0, out);
        out.extend_from_slice(text);
    }
}

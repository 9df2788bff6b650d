//! The dynamic table (RFC 7541, section 2.3.2): first in, first out, and bounded by the size of its entries.

use std::collections::VecDeque;

/// Of a name or value, not keyed: what it finds is compared, and a chain is no longer than the table.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let mut hash = bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        hash = step(hash, u64::from_le_bytes(*word));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk() {
        hash = step(hash, u64::from(u32::from_le_bytes(*word)));
        rest = after;
    }
    let last = rest.iter().fold(1, |last, byte| last << 8 | u64::from(*byte));
    (step(hash, last) >> 16) as u32
}

/// Entries with their sizes, newest last.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: VecDeque<(T, usize)>,
    size: usize,
    max: usize,
}

impl<T> Table<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, max }
    }

    /// Bytes, as the RFC counts them.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// By its age: 0 is the newest.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<&(T, usize)> {
        let at = self.entries.len().checked_sub(age + 1)?;
        self.entries.get(at)
    }

    /// As [`Table::get`].
    #[inline]
    pub(super) fn get_mut(&mut self, age: usize) -> Option<&mut (T, usize)> {
        let at = self.entries.len().checked_sub(age + 1)?;
        self.entries.get_mut(at)
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    /// An entry larger than the table empties it, and is not in it; false then.
    pub(super) fn insert(&mut self, entry: T, size: usize) -> bool {
        self.evict(size);
        let fits = size <= self.max;
        if fits {
            self.entries.push_back((entry, size));
            self.size += size;
        }
        fits
    }

    fn evict(&mut self, needed: usize) {
        while self.size + needed > self.max {
            let Some((_, size)) = self.entries.pop_front() else { return };
            self.size -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(table: &Table<char>) -> String {
        (0..table.len()).filter_map(|age| table.get(age)).map(|(entry, _)| *entry).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let mut table = Table::new(100);
        assert!(table.insert('a', 40) && table.insert('b', 40));
        assert_eq!(ages(&table), "ba");
        assert!(table.insert('c', 20));
        assert_eq!(ages(&table), "cba");
        assert!(table.insert('d', 50));
        assert_eq!(ages(&table), "dc");
        assert_eq!(table.get(2), None);
        assert_eq!(table.get(usize::MAX - 1), None);
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::new(100);
        assert!(table.insert('a', 40));
        assert!(!table.insert('b', 101));
        assert_eq!(table.len(), 0);
        assert!(table.insert('c', 100));
        assert_eq!(ages(&table), "c");
    }

    #[test]
    fn a_smaller_table_forgets_at_once() {
        let mut table = Table::new(100);
        assert!(table.insert('a', 40) && table.insert('b', 40));
        table.set_max(79);
        assert_eq!(ages(&table), "b");
        table.set_max(0);
        assert_eq!(ages(&table), "");
        assert!(!table.insert('c', 32));
    }
}

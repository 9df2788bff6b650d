//! A table of the registry: rows by key, shared between copies.

use std::{cmp::Ordering, sync::Arc};

/// Most rows of a chunk: what a change copies.
const CHUNK_MAX: usize = 128;

/// Rows by key. A clone is the same table until one of the two is changed: then the chunk that the row is in is
/// copied (its keys, never its rows) and the list of chunks. What of two tables is the same chunk need not be compared.
#[derive(Debug)]
pub struct Table<T> {
    /// None is empty, and every key of one is before every key of the next.
    chunks: Arc<Vec<Arc<Chunk<T>>>>,
    len: usize,
}

/// Rows in the order of their keys.
type Chunk<T> = Vec<(Arc<str>, Arc<T>)>;

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<T> Table<T> {
    /// The row with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        let (chunk, at) = self.find(key).ok()?;
        Some(&self.chunks[chunk][at].1)
    }

    /// All rows, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.rows().map(|(key, row)| (&**key, row))
    }

    /// All rows.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.rows().map(|(_, row)| row)
    }

    /// The rows whose keys begin with `prefix`, by key.
    pub fn under<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a Arc<T>)> {
        let (chunk, at) = self.find(prefix).unwrap_or_else(|between| between);
        let (first, others) = match self.chunks.get(chunk..) {
            Some([first, others @ ..]) => (&first[at..], others),
            _ => (&[][..], &[][..]),
        };
        let rows = first.iter().chain(others.iter().flat_map(|chunk| chunk.iter()));
        rows.map(|(key, row)| (&**key, row)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn rows(&self) -> impl Iterator<Item = &(Arc<str>, Arc<T>)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Where a key's row is: its chunk, and its place there; or where it would have to be.
    fn find(&self, key: &str) -> Result<(usize, usize), (usize, usize)> {
        let after =
            self.chunks.partition_point(|chunk| chunk.first().is_some_and(|(first, _)| **first <= *key));
        let chunk = after.saturating_sub(1);
        match self
            .chunks
            .get(chunk)
            .map_or(Err(0), |rows| rows.binary_search_by(|(other, _)| (**other).cmp(key)))
        {
            Ok(at) => Ok((chunk, at)),
            Err(at) => Err((chunk, at)),
        }
    }

    /// Sets a row. One that is equal to the present one changes nothing.
    pub fn put(&mut self, key: impl Into<Arc<str>>, row: T)
    where
        T: PartialEq,
    {
        let key = key.into();
        match self.find(&key) {
            Ok((chunk, at)) if *self.chunks[chunk][at].1 == row => {}
            Ok((chunk, at)) => {
                Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[chunk])[at].1 = Arc::new(row);
            }
            Err((chunk, at)) => self.insert(chunk, at, (key, Arc::new(row))),
        }
    }

    fn insert(&mut self, chunk: usize, at: usize, row: (Arc<str>, Arc<T>)) {
        self.len += 1;
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(rows) = chunks.get_mut(chunk) else {
            chunks.push(Arc::new(vec![row]));
            return;
        };
        let rows = Arc::make_mut(rows);
        rows.insert(at, row);
        if rows.len() > CHUNK_MAX {
            let upper = rows.split_off(rows.len() / 2);
            chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    /// Changes a row in place, if it is there.
    pub fn update(&mut self, key: &str, change: impl FnOnce(&mut T))
    where
        T: Clone + PartialEq,
    {
        if let Some(present) = self.get(key) {
            let mut row = T::clone(present);
            change(&mut row);
            self.put(key, row);
        }
    }

    /// Removes a row.
    pub fn remove(&mut self, key: &str) {
        let Ok((chunk, at)) = self.find(key) else { return };
        self.len -= 1;
        let chunks = Arc::make_mut(&mut self.chunks);
        let rows = Arc::make_mut(&mut chunks[chunk]);
        rows.remove(at);
        if rows.is_empty() {
            chunks.remove(chunk);
        }
        join(chunks, chunk);
        join(chunks, chunk.saturating_sub(1));
    }

    /// Keeps the rows for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &T) -> bool) {
        let over = self.rows().filter(|(key, row)| !keep(key, row));
        let over: Vec<Arc<str>> = over.map(|(key, _)| Arc::clone(key)).collect();
        for key in over {
            self.remove(&key);
        }
    }

    /// Whether the two are clones of each other, unchanged: then what follows from one follows from
    /// the other. False is no proof that they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// Keys that were put (with their row) and keys that were removed since
    /// `before`.
    pub(crate) fn changes_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> (Vec<(&'a str, &'a Arc<T>)>, Vec<&'a str>) {
        if self.is_same(before) {
            return (Vec::new(), Vec::new());
        }
        // Both are in the order of their keys, so one walk over the two finds all; chunks that both have are passed.
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        let (mut now, mut then) = (Cursor::new(self), Cursor::new(before));
        loop {
            if now.pass_chunk_of(&mut then) {
                continue;
            }
            let order = match (now.row(), then.row()) {
                (Some((key, _)), Some((other, _))) => key.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return (put, removed),
            };
            let present = if order == Ordering::Greater { None } else { now.next() };
            let past = if order == Ordering::Less { None } else { then.next() };
            match (present, past) {
                (Some((_, row)), Some((_, other))) if Arc::ptr_eq(row, other) => {}
                (Some((key, row)), _) => put.push((&**key, row)),
                (None, Some((key, _))) => removed.push(&**key),
                (None, None) => {}
            }
        }
    }
}

/// Makes one of a chunk and the next where both are small, so that a table that shrinks has few chunks.
fn join<T>(chunks: &mut Vec<Arc<Chunk<T>>>, chunk: usize) {
    if let [first, next, ..] = &chunks[chunk.min(chunks.len())..]
        && first.len() + next.len() <= CHUNK_MAX / 2
    {
        let next = chunks.remove(chunk + 1);
        Arc::make_mut(&mut chunks[chunk]).extend(next.iter().cloned());
    }
}

/// A place in a table.
struct Cursor<'a, T> {
    chunks: &'a [Arc<Chunk<T>>],
    /// In the first chunk.
    at: usize,
}

impl<'a, T> Cursor<'a, T> {
    fn new(table: &'a Table<T>) -> Self {
        Self { chunks: &table.chunks, at: 0 }
    }

    fn row(&self) -> Option<&'a (Arc<str>, Arc<T>)> {
        self.chunks.first()?.get(self.at)
    }

    fn next(&mut self) -> Option<&'a (Arc<str>, Arc<T>)> {
        let row = self.row()?;
        self.at += 1;
        if self.row().is_none() {
            (self.chunks, self.at) = (&self.chunks[1..], 0);
        }
        Some(row)
    }

    /// Where both are at the beginning of the same chunk: behind it.
    fn pass_chunk_of(&mut self, other: &mut Self) -> bool {
        let is_same = match (self.chunks, other.chunks) {
            ([first, ..], [others, ..]) => self.at == 0 && other.at == 0 && Arc::ptr_eq(first, others),
            _ => false,
        };
        if is_same {
            self.chunks = &self.chunks[1..];
            other.chunks = &other.chunks[1..];
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn table(rows: &BTreeMap<u16, u8>) -> Table<u8> {
        let mut table = Table::default();
        for (key, row) in rows {
            table.put(key.to_string(), *row);
        }
        table
    }

    #[test]
    fn what_changes_nothing_copies_nothing() {
        let before = table(&BTreeMap::from([(1, 1), (2, 2)]));
        let mut after = before.clone();
        after.put("1", 1);
        after.remove("3");
        after.retain(|_, _| true);
        after.update("2", |_| {});
        assert!(after.is_same(&before));
        after.put("1", 2);
        assert!(!after.is_same(&before));
        assert_eq!((before.get("1").map(|row| **row), after.get("1").map(|row| **row)), (Some(1), Some(2)));
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_to_the_other(
            before in prop::collection::btree_map(0..2_000_u16, 0..3_u8, 0..700),
            others in prop::collection::btree_map(0..2_000_u16, 0..3_u8, 0..700),
            kept in 0..3_u16,
        ) {
            // What is kept leaves chunks that both have.
            let mut after = before.clone();
            after.retain(|key, _| key / 700 == kept || others.contains_key(key));
            after.extend(others.iter().filter(|(key, _)| *key / 700 != kept));
            let old = table(&before);
            let mut new = old.clone();
            new.retain(|key, _| after.contains_key(&key.parse().expect("a number")));
            for (key, row) in &after {
                new.put(key.to_string(), *row);
            }
            let (put, removed) = new.changes_since(&old);
            let changed: BTreeMap<_, _> = put.iter().map(|(key, row)| ((*key).to_owned(), ***row)).collect();
            let expected: BTreeMap<_, _> = after
                .iter()
                .filter(|(key, row)| before.get(key) != Some(row))
                .map(|(key, row)| (key.to_string(), *row))
                .collect();
            prop_assert_eq!(changed, expected);
            let gone = before.keys().filter(|key| !after.contains_key(key)).count();
            prop_assert_eq!(removed.len(), gone);

            // Both are what they should be, however they came to be.
            let mut texts: Vec<(String, u8)> = after.iter().map(|(key, row)| (key.to_string(), *row)).collect();
            texts.sort();
            let found: Vec<(String, u8)> = new.iter().map(|(key, row)| (key.to_owned(), **row)).collect();
            prop_assert_eq!(new.len(), texts.len());
            prop_assert_eq!(&found, &texts);
            prop_assert_eq!(old.len(), before.len());
            for (key, row) in &texts {
                prop_assert_eq!(new.get(key).map(|row| **row), Some(*row));
            }
            let under: Vec<&str> = new.under("1").map(|(key, _)| key).collect();
            let expected: Vec<&str> = texts.iter().map(|(key, _)| &**key).filter(|key| key.starts_with('1')).collect();
            prop_assert_eq!(under, expected);
            prop_assert!(new.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        }

        #[test]
        fn a_table_that_shrinks_has_few_chunks(kept in prop::collection::btree_set(0..2_000_u16, 0..100)) {
            let mut table = table(&(0..2_000).map(|key| (key, 0)).collect());
            table.retain(|key, _| kept.contains(&key.parse().expect("a number")));
            prop_assert_eq!(table.len(), kept.len());
            prop_assert!(table.chunks.len() <= 1 + 4 * kept.len() / CHUNK_MAX, "{} chunks", table.chunks.len());
        }
    }
}

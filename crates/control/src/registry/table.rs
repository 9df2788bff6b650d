//! A table of the registry: rows by key, shared between copies.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

/// Rows by key. A clone is the same table until one of the two is changed: only then are the keys
/// copied, and never the rows.
#[derive(Debug)]
pub struct Table<T> {
    rows: Arc<BTreeMap<Arc<str>, Arc<T>>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows) }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Arc::default() }
    }
}

impl<T> Table<T> {
    /// The row with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.rows.get(key)
    }

    /// All rows, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.rows.iter().map(|(key, row)| (&**key, row))
    }

    /// All rows.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.rows.values()
    }

    /// The rows whose keys begin with `prefix`, by key.
    pub fn under<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a Arc<T>)> {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let rows = self.rows.range::<str, _>(from).map(|(key, row)| (&**key, row));
        rows.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sets a row. One that is equal to the present one changes nothing.
    pub fn put(&mut self, key: impl Into<Arc<str>>, row: T)
    where
        T: PartialEq,
    {
        let key = key.into();
        if self.rows.get(&key).is_none_or(|present| **present != row) {
            Arc::make_mut(&mut self.rows).insert(key, Arc::new(row));
        }
    }

    /// Changes a row in place, if it is there.
    pub fn update(&mut self, key: &str, change: impl FnOnce(&mut T))
    where
        T: Clone + PartialEq,
    {
        if let Some(present) = self.rows.get(key) {
            let mut row = T::clone(present);
            change(&mut row);
            self.put(key, row);
        }
    }

    /// Removes a row.
    pub fn remove(&mut self, key: &str) {
        if self.rows.contains_key(key) {
            Arc::make_mut(&mut self.rows).remove(key);
        }
    }

    /// Keeps the rows for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &T) -> bool) {
        let over = self.rows.iter().filter(|(key, row)| !keep(key, row));
        let over: Vec<Arc<str>> = over.map(|(key, _)| Arc::clone(key)).collect();
        if !over.is_empty() {
            let rows = Arc::make_mut(&mut self.rows);
            for key in over {
                rows.remove(&key);
            }
        }
    }

    /// Whether the two are clones of each other, unchanged: then what follows from one follows from
    /// the other. False is no proof that they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// Keys that were put (with their row) and keys that were removed since
    /// `before`.
    pub(crate) fn changes_since<'a>(&'a self, before: &'a Self) -> (Vec<(&'a str, &'a T)>, Vec<&'a str>) {
        if self.is_same(before) {
            return (Vec::new(), Vec::new());
        }
        // Both are in the order of their keys, so one walk over the two finds all.
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        let (mut now, mut then) = (self.rows.iter().peekable(), before.rows.iter().peekable());
        loop {
            let order = match (now.peek(), then.peek()) {
                (Some((key, _)), Some((other, _))) => key.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return (put, removed),
            };
            let present = if order == Ordering::Greater { None } else { now.next() };
            let past = if order == Ordering::Less { None } else { then.next() };
            match (present, past) {
                (Some((_, row)), Some((_, other))) if Arc::ptr_eq(row, other) => {}
                (Some((key, row)), _) => put.push((&**key, &**row)),
                (None, Some((key, _))) => removed.push(&**key),
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &BTreeMap<u8, u8>) -> Table<u8> {
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
            before in prop::collection::btree_map(0..20_u8, 0..3_u8, 0..20),
            after in prop::collection::btree_map(0..20_u8, 0..3_u8, 0..20),
        ) {
            let old = table(&before);
            let mut new = old.clone();
            new.retain(|key, _| after.contains_key(&key.parse().expect("a number")));
            for (key, row) in &after {
                new.put(key.to_string(), *row);
            }
            let (put, removed) = new.changes_since(&old);
            let changed: BTreeMap<_, _> = put.iter().map(|(key, row)| ((*key).to_owned(), **row)).collect();
            let expected: BTreeMap<_, _> = after
                .iter()
                .filter(|(key, row)| before.get(key) != Some(row))
                .map(|(key, row)| (key.to_string(), *row))
                .collect();
            prop_assert_eq!(changed, expected);
            let gone = before.keys().filter(|key| !after.contains_key(key)).count();
            prop_assert_eq!(removed.len(), gone);
        }
    }
}

//! A table of the registry: rows by key, shared between copies.

use std::{collections::BTreeMap, sync::Arc};

/// Rows by key. Cloning it shares the rows.
#[derive(Clone, Debug)]
pub struct Table<T> {
    rows: BTreeMap<String, Arc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    /// The row with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.rows.get(key)
    }

    /// All rows, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.rows.iter().map(|(key, row)| (key.as_str(), row))
    }

    /// All rows.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.rows.values()
    }

    /// The rows whose keys begin with `prefix`, by key.
    pub fn under<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a Arc<T>)> {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let rows = self.rows.range::<str, _>(from).map(|(key, row)| (key.as_str(), row));
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
    pub fn put(&mut self, key: impl Into<String>, row: T)
    where
        T: PartialEq,
    {
        let key = key.into();
        if self.rows.get(&key).is_none_or(|present| **present != row) {
            self.rows.insert(key, Arc::new(row));
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
        self.rows.remove(key);
    }

    /// Keeps the rows for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &T) -> bool) {
        self.rows.retain(|key, row| keep(key, row));
    }

    /// Keys that were put (with their row) and keys that were removed since
    /// `before`.
    pub(super) fn changes_since<'a>(&'a self, before: &'a Self) -> (Vec<(&'a str, &'a T)>, Vec<&'a str>) {
        let put = self
            .rows
            .iter()
            .filter(|(key, row)| before.rows.get(*key).is_none_or(|present| !Arc::ptr_eq(present, row)));
        let removed = before.rows.keys().filter(|key| !self.rows.contains_key(*key));
        (put.map(|(key, row)| (key.as_str(), &**row)).collect(), removed.map(String::as_str).collect())
    }
}

//! What a proxy was told.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use crate::resources::{Kind, VersionedResource};

/// Name to version. Where it is all that there is of a type, it is kept as that: it takes a proxy no memory of its own,
/// and to look through it none that others have not looked at just before.
#[derive(Debug)]
pub(super) enum Told {
    /// All of these.
    All(Arc<Kind>),
    /// These.
    Some(BTreeMap<Arc<str>, Arc<str>>),
}

/// A name and its version.
pub(super) type Entry<'a> = (&'a Arc<str>, &'a Arc<str>);

impl Told {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(all) => all.len(),
            Self::Some(some) => some.len(),
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Self::All(all) => all.contains_key(name),
            Self::Some(some) => some.contains_key(name),
        }
    }

    /// In order of names.
    pub(super) fn iter(&self) -> Iter<'_> {
        match self {
            Self::All(all) => Iter::All(all.iter()),
            Self::Some(some) => Iter::Some(some.iter()),
        }
    }

    /// As it can be changed.
    pub(super) fn some(&mut self) -> &mut BTreeMap<Arc<str>, Arc<str>> {
        if let Self::All(_) = self {
            *self = self.iter().map(|(name, version)| (Arc::clone(name), Arc::clone(version))).collect();
        }
        match self {
            Self::Some(some) => some,
            Self::All(_) => unreachable!("it was made anew"),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.contains(name) {
            self.some().remove(name);
        }
    }
}

impl Default for Told {
    fn default() -> Self {
        Self::Some(BTreeMap::new())
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Told {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(entries: I) -> Self {
        Self::Some(entries.into_iter().collect())
    }
}

/// What a proxy was told, in order of names.
pub(super) enum Iter<'a> {
    All(btree_map::Iter<'a, Arc<str>, VersionedResource>),
    Some(btree_map::Iter<'a, Arc<str>, Arc<str>>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        match self {
            Self::All(all) => all.next().map(|(name, resource)| (name, &resource.version)),
            Self::Some(some) => some.next(),
        }
    }
}

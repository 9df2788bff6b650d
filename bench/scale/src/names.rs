//! Names and versions, each in memory once: thousands of proxies hold the same.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Most that are kept; those that nobody holds go then.
const NAMES_MAX: usize = 200_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Names {
    known: Mutex<HashSet<Arc<str>>>,
}

impl Names {
    pub(crate) fn get(&self, name: &str) -> Arc<str> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return Arc::clone(known);
        }
        if known.len() >= NAMES_MAX {
            known.retain(|name| Arc::strong_count(name) > 1);
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        name
    }
}

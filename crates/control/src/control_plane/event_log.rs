//! What happened, for people.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use crate::reconcile::Event;

/// Most events kept.
const EVENTS_MAX: usize = 1_000;

/// A ring of events, each with its number.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    ring: Mutex<(u64, VecDeque<(u64, Event)>)>,
}

impl EventLog {
    pub(crate) fn push(&self, event: Event) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.0 += 1;
        let number = ring.0;
        if ring.1.len() == EVENTS_MAX {
            ring.1.pop_front();
        }
        ring.1.push_back((number, event));
    }

    pub(crate) fn clear(&self) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    pub(crate) fn since(&self, number: u64) -> Vec<(u64, Event)> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.1.iter().filter(|(of, _)| *of > number).cloned().collect()
    }
}

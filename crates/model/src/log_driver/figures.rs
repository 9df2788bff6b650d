//! What became of lines, counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Counts of an agent since it started, by driver.
#[derive(Debug, Default)]
pub struct LogFigures(Mutex<BTreeMap<&'static str, DriverFigures>>);

/// What became of the lines of one driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverFigures {
    /// Lines and records taken from spools, dropped ones included. One that goes to several places counts for each.
    pub taken: u64,
    /// Of them, how many were delivered.
    pub delivered: u64,
    /// Of them, how many were given up, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Deliveries that failed, and were tried again.
    pub retries: u64,
    /// Bytes that wait to be delivered, by pipeline.
    queued: BTreeMap<String, u64>,
}

impl DriverFigures {
    /// Bytes that wait to be delivered.
    pub fn queued_bytes(&self) -> u64 {
        self.queued.values().sum()
    }
}

impl LogFigures {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, DriverFigures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many were delivered.
    pub fn delivered(&self, driver: &'static str, lines: u64) {
        let mut all = self.lock();
        let figures = all.entry(driver).or_default();
        figures.taken += lines;
        figures.delivered += lines;
    }

    /// So many were given up.
    pub fn dropped(&self, driver: &'static str, reason: &'static str, lines: u64) {
        if lines > 0 {
            let mut all = self.lock();
            let figures = all.entry(driver).or_default();
            figures.taken += lines;
            *figures.dropped.entry(reason).or_default() += lines;
        }
    }

    /// A delivery failed, and is tried again.
    pub fn retried(&self, driver: &'static str) {
        self.lock().entry(driver).or_default().retries += 1;
    }

    /// So many bytes wait in a pipeline; 0 when it has ended.
    pub fn queued(&self, driver: &'static str, pipeline: &str, bytes: u64) {
        let mut all = self.lock();
        let queued = &mut all.entry(driver).or_default().queued;
        match bytes {
            0 => drop(queued.remove(pipeline)),
            bytes => drop(queued.insert(pipeline.to_owned(), bytes)),
        }
    }

    /// All figures, by driver.
    pub fn all(&self) -> Vec<(&'static str, DriverFigures)> {
        self.lock().iter().map(|(driver, figures)| (*driver, figures.clone())).collect()
    }
}

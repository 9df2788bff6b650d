//! What was put and not yet taken in.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::metric::Datum;

/// A bounded queue. It is locked for moments only: nobody works or waits meanwhile.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    woken: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct Inner {
    batches: Vec<Vec<Datum>>,
    count: usize,
    /// How many values there was no room for, since that was told last.
    overflowing: u64,
    is_closed: bool,
    /// The keeper is to look at once.
    is_woken: bool,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Self { inner: Mutex::default(), woken: Condvar::new(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes values, all or, where there is no room for all, none.
    pub(super) fn put(&self, data: Vec<Datum>) {
        let mut inner = self.lock();
        if inner.is_closed || inner.count + data.len() > self.most {
            inner.overflowing += data.len() as u64;
            return;
        }
        inner.count += data.len();
        if !data.is_empty() {
            inner.batches.push(data);
        }
        if inner.count >= self.most / 2 {
            inner.is_woken = true;
            self.woken.notify_one();
        }
    }

    /// Everything, and how many values there was no room for since it was asked last.
    pub(super) fn take(&self) -> (Vec<Vec<Datum>>, u64) {
        let mut inner = self.lock();
        inner.count = 0;
        (std::mem::take(&mut inner.batches), std::mem::take(&mut inner.overflowing))
    }

    /// Waits for a while, less when it is half full, woken or closed. Whether it is closed.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let inner = self.lock();
        let (mut inner, _) = self
            .woken
            .wait_timeout_while(inner, at_most, |inner| !inner.is_closed && !inner.is_woken)
            .unwrap_or_else(PoisonError::into_inner);
        inner.is_woken = false;
        inner.is_closed
    }

    /// Wakes the keeper.
    pub(super) fn wake(&self) {
        self.lock().is_woken = true;
        self.woken.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.woken.notify_one();
    }
}

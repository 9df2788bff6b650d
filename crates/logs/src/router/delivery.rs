//! One pipeline: reads, delivers until it is taken, and only then moves on.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::log_driver::{LogFigures, RetryLimit};
use bowline_plumbing::{backoff::Backoff, wall_clock};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Wakes, left};
use crate::{
    route::Pipeline,
    sink::{DeliveryError, Payload, Shaped, Sink},
    spool::{Batch, SpoolReader},
};

/// Records delivered at once.
const RECORDS_MAX: usize = 4_096;
/// Bytes of records delivered at once.
const BYTES_MAX: u64 = 1024 * 1024;
/// How often it is looked whether there are new records: at first, and when there were none for long.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long lines may follow that belong to an event.
const EVENT_COMPLETE: Duration = Duration::from_secs(5);
/// Delays between attempts.
const DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How often records are offered that a receiver refuses for what they are.
const REFUSED_MAX: u32 = 10;
/// How often it is said that a place takes nothing.
const SAID_EACH: Duration = Duration::from_secs(60);

pub(super) struct Delivery {
    /// Names it among all.
    pub(super) key: String,
    pub(super) pipeline: Pipeline,
    pub(super) sink: Sink,
    pub(super) reader: Arc<Mutex<SpoolReader>>,
    pub(super) figures: Arc<LogFigures>,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) wakes: Wakes,
    pub(super) directory: PathBuf,
}

impl Delivery {
    /// Until all that an ended task has left is delivered, or given up.
    pub(super) async fn run(mut self) {
        let mut look = LOOK.0;
        loop {
            let (wakes, source) = (Arc::clone(&self.wakes), self.pipeline.source.clone());
            let woken = async {
                match wakes.get(&source) {
                    Some(wake) => wake.notified().await,
                    None => std::future::pending().await,
                }
            };
            // Before it is read: what was appended before the end is read, too.
            let over = *self.ended.borrow();
            let (batch, marked) = match self.read().await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(pipeline = %self.key, %error, "a spool cannot be read");
                    sleep(LOOK.1).await;
                    continue;
                }
            };
            let over = over || marked;
            let full = batch.records.len() >= RECORDS_MAX || cost(&batch) >= BYTES_MAX;
            let recent = batch
                .records
                .last()
                .is_some_and(|(_, last)| wall_clock::now().since(last.at) < EVENT_COMPLETE);
            // The lines that go on an event may be in the next batch.
            let hold = !over && (full || recent);
            let shape =
                |hold| self.sink.shape(&batch, &self.pipeline.shape, self.pipeline.matches.as_deref(), hold);
            let mut shaped = shape(hold);
            if full && shaped.next <= self.cursor() {
                // One event alone fills a batch: it is delivered as it is.
                shaped = shape(false);
            }
            let moved = shaped.next > self.cursor();
            if moved {
                look = LOOK.0;
                self.deliver(shaped, batch.lost).await;
                if full || over {
                    continue;
                }
                // What comes until then goes together.
                self.pause(self.pipeline.flush).await;
                continue;
            }
            if over && batch.records.is_empty() {
                break;
            }
            tokio::select! {
                () = woken => look = LOOK.0,
                () = sleep(look) => look = (look * 2).min(LOOK.1),
                _ = self.ended.changed(), if !over => {}
            }
        }
        self.figures.queued(self.pipeline.driver, &self.key, 0);
    }

    fn cursor(&self) -> u64 {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).cursor(&self.pipeline.name)
    }

    async fn read(&self) -> io::Result<(Batch, bool)> {
        let (reader, name) = (Arc::clone(&self.reader), self.pipeline.name.clone());
        let (figures, driver, key) = (Arc::clone(&self.figures), self.pipeline.driver, self.key.clone());
        let read = move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let marked = reader.is_ended();
            figures.queued(driver, &key, reader.queued_bytes(&name));
            let cursor = reader.cursor(&name);
            Ok((reader.read(cursor, RECORDS_MAX, BYTES_MAX)?, marked))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// Returns when it is delivered, or given up.
    async fn deliver(&mut self, shaped: Shaped, lost: u64) {
        let Shaped { payload, next, lines, filtered } = shaped;
        let driver = self.pipeline.driver;
        let dropped =
            if self.sink.is_nowhere() { Some(("no_store", lines)) } else { self.deliver_all(payload).await };
        let (reason, given_up) = dropped.unwrap_or(("", 0));
        self.figures.delivered(driver, lines.saturating_sub(given_up));
        self.figures.dropped(driver, reason, given_up);
        self.figures.dropped(driver, "filtered", filtered);
        self.figures.dropped(driver, "no_room", lost);
        let (reader, name) = (Arc::clone(&self.reader), self.pipeline.name.clone());
        let commit = move || reader.lock().unwrap_or_else(PoisonError::into_inner).commit(&name, next);
        match tokio::task::spawn_blocking(commit).await {
            Ok(Ok(())) => {}
            // It goes on in memory: they are delivered twice only if it also ends.
            _ => tracing::debug!(pipeline = %self.key, "a cursor was not kept"),
        }
    }

    /// Delivers in as many parts as it takes; what was given up, and why.
    async fn deliver_all(&mut self, payload: Payload) -> Option<(&'static str, u64)> {
        let mut parts = vec![payload];
        let mut dropped: Option<(&'static str, u64)> = None;
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.deliver_part(&part).await {
                Ok(()) => {}
                Err(GivenUp::Split) if part.len() > 1 => {
                    let (first, second) = part.split();
                    // The last one in is the first one out.
                    parts.push(second);
                    parts.push(first);
                }
                Err(given_up) => {
                    let lines = part.len() as u64 + dropped.map_or(0, |(_, lines)| lines);
                    dropped = Some((given_up.reason(), lines));
                }
            }
        }
        dropped
    }

    async fn deliver_part(&mut self, part: &Payload) -> Result<(), GivenUp> {
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        let (mut attempts, mut refused) = (0_u32, 0_u32);
        let mut said: Option<Instant> = None;
        loop {
            let error = match self.sink.deliver(part).await {
                Ok(()) => {
                    if said.is_some() {
                        tracing::info!(pipeline = %self.key, attempts, "lines are taken again");
                    }
                    return Ok(());
                }
                Err(DeliveryError::TooLong) => return Err(GivenUp::Split),
                // One record that it does not like must not cost the others.
                Err(DeliveryError::Refused(_) | DeliveryError::Never(_)) if part.len() > 1 => {
                    return Err(GivenUp::Split);
                }
                Err(DeliveryError::Never(reason)) => {
                    tracing::warn!(pipeline = %self.key, reason, "lines are given up");
                    return Err(GivenUp::Refused);
                }
                Err(error) => error,
            };
            refused += u32::from(matches!(error, DeliveryError::Refused(_)));
            if said.is_none_or(|said| said.elapsed() >= SAID_EACH) {
                tracing::warn!(pipeline = %self.key, %error, "lines wait: they are not taken");
                said = Some(Instant::now());
            }
            if refused >= REFUSED_MAX {
                return Err(GivenUp::Refused);
            }
            if matches!(self.pipeline.retry, RetryLimit::Times(limit) if attempts >= limit) {
                return Err(GivenUp::Retries);
            }
            attempts += 1;
            self.figures.retried(self.pipeline.driver);
            if *self.ended.borrow() && left(&self.directory).is_zero() {
                return Err(GivenUp::Expired);
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Waits, but not for what an ended task has left.
    async fn pause(&mut self, time: Duration) {
        let over = *self.ended.borrow();
        if !over {
            let _ = tokio::time::timeout(time, self.ended.wait_for(|ended| *ended)).await;
        }
    }
}

fn cost(batch: &Batch) -> u64 {
    batch.records.iter().map(|(_, record)| record.cost()).sum()
}

/// Why records are not delivered.
enum GivenUp {
    /// There are too many at once, or one of them is not liked.
    Split,
    Refused,
    Retries,
    Expired,
}

impl GivenUp {
    fn reason(&self) -> &'static str {
        match self {
            Self::Split => "too_long",
            Self::Refused => "refused",
            Self::Retries => "retry_limit",
            Self::Expired => "expired",
        }
    }
}

impl Payload {
    fn len(&self) -> usize {
        match self {
            Self::Events(events) => events.len(),
            Self::Entries(entries) => entries.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn split(self) -> (Self, Self) {
        match self {
            Self::Events(mut events) => {
                let rest = events.split_off(events.len() / 2);
                (Self::Events(events), Self::Events(rest))
            }
            Self::Entries(mut entries) => {
                let rest = entries.split_off(entries.len() / 2);
                (Self::Entries(entries), Self::Entries(rest))
            }
        }
    }
}

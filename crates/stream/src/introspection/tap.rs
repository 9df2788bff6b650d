//! A tap: live requests of some proxies, gathered until who asked for them takes them.
//!
//! It lives as long as somebody reads: each reading lets it go on for a while, here and in the proxies. Who reads too
//! slowly loses requests, which are counted.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_discovery::introspection::{self as wire, EndTap, TappedBatch, to_proxy::Order};
use bowline_model::{
    tap::{TapFilter, Tapped},
    task::TaskId,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{sync::Notify, time::Instant};

use super::{Introspection, bounded, read};

/// Most taps at once.
pub const TAPS_MAX: usize = 16;
/// Most requests that wait to be read.
const QUEUE_MAX: usize = 2_048;
/// Most requests of a reading: the greatest ones fit into an answer.
const READ_MAX: usize = 200;
/// How long proxies go on without being told to.
const LIFETIME: Duration = Duration::from_secs(15);
/// Most reasons of proxies that are kept.
const ERRORS_MAX: usize = 16;

/// What is to be seen of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TapOrder {
    /// Which.
    pub filter: TapFilter,
    /// At most so many a second, of all proxies together.
    pub max_per_second: u32,
    /// Paths with their queries.
    pub query: bool,
    /// With headers.
    pub headers: bool,
    /// Names of headers that are told as they are, although they may hold secrets.
    pub shown_headers: Vec<String>,
}

/// A request, and whose proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedAt {
    /// Whose proxy.
    pub task: TaskId,
    /// The request.
    pub request: Tapped,
}

/// What has come since the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapReading {
    /// In the order in which they came.
    pub requests: Vec<TappedAt>,
    /// Requests beyond the limit, or that nobody read in time.
    pub dropped: u64,
    /// Proxies that are asked now.
    pub proxies: usize,
    /// What proxies said against it.
    pub errors: Vec<String>,
}

/// Why there is no tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TapError {
    /// There are as many as there may be.
    #[error("{TAPS_MAX} taps are open already")]
    TooMany,
    /// Nobody has read it for too long, or there never was one.
    #[error("there is no such tap: one that nobody reads for a while is over")]
    NoSuchTap,
    /// The filter is longer than filters may be.
    #[error("the filter is too long")]
    Filter,
}

/// What has come in and was not read.
#[derive(Debug)]
struct Gathered {
    reading: TapReading,
    queue: VecDeque<TappedAt>,
    /// When it is over, unless somebody reads.
    until: Instant,
    /// When proxies are to be told again.
    renew_at: Instant,
    /// Who was told.
    asked: BTreeSet<TaskId>,
    second: Instant,
    in_second: u32,
}

/// A tap that is open.
#[derive(Debug)]
pub(super) struct OpenTap {
    id: u64,
    order: TapOrder,
    gathered: Mutex<Gathered>,
    came: Notify,
}

impl OpenTap {
    /// Takes what a proxy tells.
    pub(super) fn take(&self, task: &TaskId, batch: TappedBatch) {
        let now = Instant::now();
        {
            let mut gathered = self.lock();
            gathered.reading.dropped = gathered.reading.dropped.saturating_add(batch.dropped);
            if !batch.error.is_empty() && gathered.reading.errors.len() < ERRORS_MAX {
                let error = format!("task {task}: {}", bounded(&batch.error));
                gathered.reading.errors.push(error);
            }
            for request in batch.requests {
                if now.duration_since(gathered.second) >= Duration::from_secs(1) {
                    (gathered.second, gathered.in_second) = (now, 0);
                }
                let has_room =
                    gathered.queue.len() < QUEUE_MAX && gathered.in_second < self.order.max_per_second;
                match read::tapped(request).filter(|_| has_room) {
                    Some(request) => {
                        gathered.in_second += 1;
                        gathered.queue.push_back(TappedAt { task: task.clone(), request });
                    }
                    None => gathered.reading.dropped += 1,
                }
            }
        }
        self.came.notify_one();
    }

    fn wire(&self) -> wire::Tap {
        let TapOrder { filter, max_per_second, query, headers, shown_headers } = self.order.clone();
        let status = |(first, last): (u16, u16)| wire::StatusRange { first: first.into(), last: last.into() };
        wire::Tap {
            id: self.id,
            filter: Some(wire::TapFilter {
                methods: filter.methods,
                paths: filter.paths.iter().map(ToString::to_string).collect(),
                statuses: filter.statuses.into_iter().map(status).collect(),
                callers: filter.callers,
                called: filter.called,
            }),
            max_per_second,
            lifetime_ms: u32::try_from(LIFETIME.as_millis()).unwrap_or(u32::MAX),
            query,
            headers,
            shown_headers,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Introspection {
    /// Opens a tap; proxies are asked with the first reading.
    ///
    /// # Errors
    /// There are too many, or the filter is too long.
    pub fn open_tap(&self, order: TapOrder) -> Result<u64, TapError> {
        if !order.filter.is_bounded() {
            return Err(TapError::Filter);
        }
        self.end_unread_taps();
        let mut taps = self.lock_taps();
        if taps.len() >= TAPS_MAX {
            return Err(TapError::TooMany);
        }
        let (id, now) = (self.number(), Instant::now());
        let gathered = Gathered {
            reading: TapReading::default(),
            queue: VecDeque::new(),
            until: now + self.times.unread,
            renew_at: now,
            asked: BTreeSet::new(),
            second: now,
            in_second: 0,
        };
        let tap = OpenTap { id, order, gathered: Mutex::new(gathered), came: Notify::new() };
        taps.insert(id, Arc::new(tap));
        Ok(id)
    }

    /// What has come of the proxies of `tasks`, waited for as long as `wait` where there is nothing yet. Tasks may be
    /// others each time.
    ///
    /// # Errors
    /// There is no such tap any more.
    pub async fn read_tap(
        &self,
        id: u64,
        tasks: &BTreeSet<TaskId>,
        wait: Duration,
    ) -> Result<TapReading, TapError> {
        self.end_unread_taps();
        let tap = self.lock_taps().get(&id).cloned().ok_or(TapError::NoSuchTap)?;
        tap.lock().until = Instant::now() + wait + self.times.unread;
        self.ask_proxies(&tap, tasks);
        let end = Instant::now() + wait;
        loop {
            let came = tap.came.notified();
            {
                let mut gathered = tap.lock();
                let has_news = !gathered.queue.is_empty() || !gathered.reading.errors.is_empty();
                if has_news || Instant::now() >= end {
                    let mut reading = std::mem::take(&mut gathered.reading);
                    let count = gathered.queue.len().min(READ_MAX);
                    reading.requests = gathered.queue.drain(..count).collect();
                    reading.proxies = gathered.asked.len();
                    gathered.until = Instant::now() + self.times.unread;
                    return Ok(reading);
                }
            }
            tokio::select! {
                () = came => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Ends a tap, here and in the proxies.
    pub fn end_tap(&self, id: u64) {
        if let Some(tap) = self.lock_taps().remove(&id) {
            self.tell_end(&tap);
        }
    }

    fn end_unread_taps(&self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.lock_taps().retain(|_, tap| {
            let lives = tap.lock().until > now;
            if !lives {
                ended.push(Arc::clone(tap));
            }
            lives
        });
        for tap in ended {
            self.tell_end(&tap);
        }
    }

    fn tell_end(&self, tap: &OpenTap) {
        for task in std::mem::take(&mut tap.lock().asked) {
            // One that is not told ends it by itself.
            let _ = self.order(&task, Order::EndTap(EndTap { id: tap.id }));
        }
    }

    /// Tells proxies to begin or to go on, and those whose tasks are none of `tasks` to end.
    fn ask_proxies(&self, tap: &OpenTap, tasks: &BTreeSet<TaskId>) {
        let now = Instant::now();
        let (renews, before) = {
            let mut gathered = tap.lock();
            let renews = now >= gathered.renew_at;
            if renews {
                gathered.renew_at = now + self.times.renewed;
            }
            (renews, gathered.asked.clone())
        };
        let mut asked = BTreeSet::new();
        for task in tasks {
            let is_due = renews || !before.contains(task);
            if !is_due || self.order(task, Order::Tap(tap.wire())).is_ok() {
                asked.insert(task.clone());
            }
        }
        for task in before.difference(tasks) {
            let _ = self.order(task, Order::EndTap(EndTap { id: tap.id }));
        }
        tap.lock().asked = asked;
    }
}

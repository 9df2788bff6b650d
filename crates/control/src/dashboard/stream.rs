//! The stream of changes: server-sent events (HTML Living Standard, §9.2), a message a second at most.
//!
//! What there is is looked at once for all who look, and only while somebody does. Each message holds what differs
//! from the one before it: `{"at": …, "set": {key: thing}, "drop": [key]}`; the first one of a stream holds all, and
//! says so: `"reset": true`. Who reads too slowly loses the stream, and begins another one.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bowline_plumbing::{drain::DrainWatch, wall_clock};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    detail,
    overview::{self, Items, Seen},
};
use crate::core::Core;

/// Most streams at once.
pub(super) const STREAMS_MAX: usize = 32;
/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How far back rates are.
const WINDOW: Duration = Duration::from_secs(10);
/// Most messages that wait for one reader.
const WAITING_MAX: usize = 8;
/// How often something is sent although nothing changes, so that both sides see that the other one is there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Everybody who looks.
pub(super) struct Hub {
    core: Arc<Core>,
    drain: DrainWatch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streams: Vec<Reader>,
    /// A task looks each second.
    runs: bool,
}

/// One who looks.
struct Reader {
    pieces: mpsc::Sender<Bytes>,
    /// Of which details are wanted.
    subject: Option<String>,
    sent: Sent,
    sent_at: Instant,
}

/// What one was told last.
#[derive(Clone, Default)]
struct Sent {
    overview: Arc<Items>,
    detail: Arc<Items>,
}

/// A stream's messages.
pub(super) struct Pieces(mpsc::Receiver<Bytes>);

impl futures::Stream for Pieces {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(context)
    }
}

/// A message.
#[derive(Serialize)]
struct Message<'a> {
    at: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reset: bool,
    set: HashMap<&'a str, &'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drop: Vec<&'a str>,
}

impl Hub {
    pub(super) fn new(core: Arc<Core>, drain: DrainWatch) -> Arc<Self> {
        Arc::new(Self { core, drain, state: Mutex::default() })
    }

    /// One more who looks, at `subject` in detail if that is given; `None`: there are too many.
    pub(super) async fn open(self: Arc<Self>, subject: Option<String>) -> Option<Pieces> {
        let (pieces, receiver) = mpsc::channel(WAITING_MAX);
        let hub = Arc::clone(&self);
        let of = subject.clone();
        let looked =
            tokio::task::spawn_blocking(move || hub.look(&[of].into_iter().flatten().collect::<Vec<_>>()));
        let (overview, mut details) = looked.await.ok()?;
        let detail = subject.as_ref().and_then(|subject| details.remove(subject)).unwrap_or_default();
        let sent = Sent { overview, detail };
        let first = message(&Sent::default(), &sent, true);
        pieces.try_send(first).ok()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.streams.retain(|reader| !reader.pieces.is_closed());
        if state.streams.len() >= STREAMS_MAX || self.drain.is_draining() {
            return None;
        }
        state.streams.push(Reader { pieces, subject, sent, sent_at: Instant::now() });
        if !state.runs {
            state.runs = true;
            tokio::spawn(Arc::clone(&self).run());
        }
        Some(Pieces(receiver))
    }

    /// Looks each second, until nobody does or the process drains.
    async fn run(self: Arc<Self>) {
        let mut drain = self.drain.clone();
        let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = drain.signaled() => {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.streams.clear();
                    state.runs = false;
                    return;
                }
            }
            let Some(subjects) = self.wanted() else { return };
            let hub = Arc::clone(&self);
            let told = tokio::task::spawn_blocking(move || {
                let (overview, details) = hub.look(&subjects);
                hub.tell(&overview, &details);
            });
            if let Err(error) = told.await {
                tracing::error!(%error, "the dashboard's state could not be told");
            }
        }
    }

    /// Of which details are wanted; `None` if nobody looks any more.
    fn wanted(&self) -> Option<Vec<String>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.streams.retain(|reader| !reader.pieces.is_closed());
        if state.streams.is_empty() {
            state.runs = false;
            return None;
        }
        let mut subjects: Vec<_> = state.streams.iter().filter_map(|reader| reader.subject.clone()).collect();
        subjects.sort();
        subjects.dedup();
        Some(subjects)
    }

    /// What there is now.
    fn look(&self, subjects: &[String]) -> (Arc<Items>, HashMap<String, Arc<Items>>) {
        let (registry, now) = (self.core.registry(), wall_clock::now());
        let telemetry = self.core.telemetry().view(WINDOW, now);
        let plaintext = self.core.plaintext_services();
        let events = self.core.events_since(0);
        let seen = Seen { registry: &registry, telemetry: &telemetry, events: &events, plaintext };
        let overview = Arc::new(overview::items(&seen));
        let usage =
            if subjects.is_empty() { Default::default() } else { self.core.telemetry().utilization() };
        let detail = |subject: &String| {
            (subject.clone(), Arc::new(detail::items(&registry, &usage, plaintext, subject)))
        };
        (overview, subjects.iter().map(detail).collect())
    }

    /// Tells each who looks what is new to him.
    fn tell(&self, overview: &Arc<Items>, details: &HashMap<String, Arc<Items>>) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Most were told the same before: what is new is written once for them.
        let mut written: Vec<(Sent, Sent, Bytes)> = Vec::new();
        state.streams.retain_mut(|reader| {
            let detail = reader.subject.as_ref().and_then(|subject| details.get(subject));
            let next = Sent {
                overview: Arc::clone(overview),
                detail: detail.map(Arc::clone).unwrap_or_else(|| Arc::clone(&reader.sent.detail)),
            };
            let is_same = *next.overview == *reader.sent.overview && *next.detail == *reader.sent.detail;
            if is_same && now.saturating_duration_since(reader.sent_at) < SILENCE_MAX {
                return !reader.pieces.is_closed();
            }
            let known = written.iter().find(|(from, to, _)| from.is(&reader.sent) && to.is(&next));
            let piece = match known {
                Some((.., piece)) => piece.clone(),
                None => {
                    let piece = message(&reader.sent, &next, false);
                    written.push((reader.sent.clone(), next.clone(), piece.clone()));
                    piece
                }
            };
            (reader.sent, reader.sent_at) = (next, now);
            // One who does not keep up begins anew: nothing may be missing between.
            reader.pieces.try_send(piece).is_ok()
        });
    }
}

impl Sent {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.overview, &other.overview) && Arc::ptr_eq(&self.detail, &other.detail)
    }
}

/// What differs, as an event.
fn message(before: &Sent, after: &Sent, reset: bool) -> Bytes {
    let mut message =
        Message { at: wall_clock::now().as_millis(), reset, set: HashMap::new(), drop: Vec::new() };
    for (before, after) in [(&*before.overview, &*after.overview), (&*before.detail, &*after.detail)] {
        message.set.extend(
            after
                .iter()
                .filter(|(key, value)| before.get(*key) != Some(value))
                .map(|(key, value)| (key.as_str(), value)),
        );
        message.drop.extend(before.keys().filter(|key| !after.contains_key(*key)).map(String::as_str));
    }
    let mut piece = b"data: ".to_vec();
    // JSON has no line ends of its own: it is one line of the event.
    if let Err(error) = serde_json::to_writer(&mut piece, &message) {
        tracing::error!(%error, "the dashboard's state could not be written");
    }
    piece.extend_from_slice(b"\n\n");
    Bytes::from(piece)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_plumbing::drain;
    use futures::StreamExt;
    use serde_json::json;

    use super::*;
    use crate::api::{authorization::AuthorizationMode, testing::core_in_memory};

    fn items(pairs: &[(&str, i32)]) -> Sent {
        let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        Sent { overview: Arc::new(all.collect()), detail: Arc::default() }
    }

    fn read(piece: &Bytes) -> Value {
        let text = std::str::from_utf8(piece).expect("text");
        let text = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).expect("an event");
        assert!(!text.contains('\n'));
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn what_differs_is_told() {
        let (before, after) =
            (items(&[("a", 1), ("b", 2), ("c", 3)]), items(&[("a", 1), ("b", 5), ("d", 4)]));
        let told = read(&message(&before, &after, false));
        assert_eq!((&told["set"], &told["drop"]), (&json!({"b": 5, "d": 4}), &json!(["c"])));
        assert_eq!(told.get("reset"), None);
        assert_eq!(read(&message(&Sent::default(), &before, true))["reset"], true);
    }

    #[tokio::test]
    async fn there_are_so_many_streams_and_slow_readers_lose_theirs() {
        let (core, _dir) = core_in_memory(AuthorizationMode::Off);
        let (trigger, watch) = drain::channel();
        let hub = Hub::new(core, watch);
        let mut streams = Vec::new();
        for _ in 0..STREAMS_MAX {
            streams.push(Arc::clone(&hub).open(None).await.expect("there is room"));
        }
        assert!(Arc::clone(&hub).open(None).await.is_none(), "there are too many");
        streams.pop();
        let mut late = Arc::clone(&hub).open(None).await.expect("one has gone");
        for number in 0..=i32::try_from(WAITING_MAX).expect("fits") {
            let now = items(&[("a", number)]);
            hub.tell(&now.overview, &HashMap::new());
        }
        let mut told = 0;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(5), late.next()).await {
            told += 1;
        }
        assert_eq!(told, WAITING_MAX, "then it ended");
        // Who comes after that is told all, and the end of the process ends it.
        let mut last = Arc::clone(&hub).open(None).await.expect("the slow ones are gone");
        assert_eq!(read(&last.next().await.expect("a first message"))["reset"], true);
        drop(hub);
        tokio::time::timeout(Duration::from_secs(5), trigger.drain()).await.expect("nobody watches any more");
        while last.next().await.is_some() {}
    }
}

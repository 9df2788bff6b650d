//! Spans on their way from the workers to whoever tells the control plane of them.
//!
//! A worker hands a span over and never waits. What was handed over is made short text at once, on another thread:
//! a span as it ended holds on to the buffer that its request was read into.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bowline_discovery::telemetry::{Span, SpanBatch};
use bowline_model::trace::BATCH_MAX;
use bowline_plumbing::wall_clock;
use tokio::sync::{Notify, mpsc};

use super::EndedSpan;
use crate::metrics::Metrics;

/// Spans that workers may have handed over at once.
const HANDED_MAX: usize = 4_096;
/// Spans that wait to be told: of a second at 100 % of a busy proxy, or of a while without a control plane.
const WAITING_MAX: usize = 8_192;

/// The end that a request's path holds. Until somebody takes spans there are none.
#[derive(Debug, Default)]
pub(crate) struct SpanQueue(OnceLock<mpsc::Sender<Box<EndedSpan>>>);

impl SpanQueue {
    /// From now on spans are taken. `None` if they are already.
    pub(crate) fn open(&self) -> Option<mpsc::Receiver<Box<EndedSpan>>> {
        let (sender, receiver) = mpsc::channel(HANDED_MAX);
        self.0.set(sender).ok().map(|()| receiver)
    }

    /// Whether anybody takes spans.
    pub(crate) fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    /// Hands a span over, or counts it as one that there was no room for.
    pub(crate) fn put(&self, metrics: &Metrics, span: EndedSpan) {
        let Some(sender) = self.0.get() else { return };
        metrics.spans.increment();
        if sender.try_send(Box::new(span)).is_err() {
            metrics.spans_dropped.increment();
        }
    }
}

/// Spans that wait to be told.
pub(super) struct Backlog {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// There is a whole batch.
    pub(super) full: Notify,
}

struct State {
    process: [u8; 16],
    /// The last batch's.
    sequence: u64,
    waiting: VecDeque<Span>,
    /// Told, and not acknowledged.
    pending: Option<SpanBatch>,
    /// How many dropped ones have been told of.
    dropped: u64,
}

impl Backlog {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let mut process = [0; 16];
        // Without randomness the moment has to do.
        if aws_lc_rs::rand::fill(&mut process).is_err() {
            process[..8].copy_from_slice(&wall_clock::now().as_millis().to_le_bytes());
        }
        let state = State { process, sequence: 0, waiting: VecDeque::new(), pending: None, dropped: 0 };
        Self { metrics, state: Mutex::new(state), full: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes spans in; those that came last stay outside when there is no room.
    pub(super) fn push(&self, spans: impl Iterator<Item = Span>) {
        let mut state = self.state();
        for span in spans {
            if state.waiting.len() < WAITING_MAX {
                state.waiting.push_back(span);
            } else {
                self.metrics.spans_dropped.increment();
            }
        }
        if state.waiting.len() >= BATCH_MAX {
            self.full.notify_one();
        }
    }

    /// Whether a whole batch waits.
    pub(super) fn is_full(&self) -> bool {
        self.state().waiting.len() >= BATCH_MAX
    }

    /// The batch that was not acknowledged, or else a new one; `None` where there is nothing to tell.
    pub(super) fn next(&self) -> Option<SpanBatch> {
        let mut state = self.state();
        if let Some(pending) = &state.pending {
            return Some(pending.clone());
        }
        let dropped = self.metrics.spans_dropped.get();
        if state.waiting.is_empty() && dropped == state.dropped {
            return None;
        }
        let count = state.waiting.len().min(BATCH_MAX);
        state.sequence += 1;
        let batch = SpanBatch {
            process: state.process.to_vec(),
            sequence: state.sequence,
            spans: state.waiting.drain(..count).collect(),
            dropped: dropped - std::mem::replace(&mut state.dropped, dropped),
        };
        state.pending = Some(batch.clone());
        Some(batch)
    }

    /// A batch has been taken.
    pub(super) fn acknowledged(&self, sequence: u64) {
        self.state().pending.take_if(|pending| pending.sequence <= sequence);
    }

    /// The batch under way is not to be told again: it is refused.
    pub(super) fn give_up(&self) {
        if let Some(refused) = self.state().pending.take() {
            self.metrics.spans_dropped.add(refused.spans.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: usize) -> impl Iterator<Item = Span> {
        (0..count).map(|number| Span { start_us: number as u64, ..Span::default() })
    }

    #[test]
    fn what_was_not_acknowledged_is_told_again_as_it_was() {
        let backlog = Backlog::new(Arc::default());
        assert_eq!(backlog.next(), None);
        backlog.push(spans(BATCH_MAX + 1));
        let first = backlog.next().expect("there are some");
        backlog.push(spans(1));
        assert_eq!(backlog.next().as_ref(), Some(&first));
        backlog.acknowledged(first.sequence);
        let second = backlog.next().expect("there are more");
        assert_eq!((first.spans.len(), second.spans.len()), (BATCH_MAX, 2));
        assert_eq!((first.sequence, second.sequence), (1, 2));
        backlog.acknowledged(first.sequence);
        assert_eq!(backlog.next().as_ref(), Some(&second), "that was the one before");
        backlog.acknowledged(second.sequence);
        assert_eq!(backlog.next(), None);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_of_once() {
        let metrics = Arc::new(Metrics::default());
        let backlog = Backlog::new(Arc::clone(&metrics));
        backlog.push(spans(WAITING_MAX + 5));
        assert_eq!(metrics.spans_dropped.get(), 5);
        let mut dropped = Vec::new();
        while let Some(batch) = backlog.next() {
            dropped.push(batch.dropped);
            backlog.acknowledged(batch.sequence);
        }
        assert_eq!(dropped.len(), WAITING_MAX / BATCH_MAX);
        assert_eq!((dropped[0], dropped.iter().sum::<u64>()), (5, 5));
        backlog.push(spans(2));
        let refused = backlog.next().expect("there are some");
        backlog.give_up();
        let told = backlog.next().expect("how many were lost");
        assert_eq!((told.sequence, told.spans.len(), told.dropped), (refused.sequence + 1, 0, 2));
    }
}

//! The last spans that came, in memory.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bowline_model::trace::{Span, SpanOrigin, SpanWriter};

/// Most spans that are kept.
const SPANS_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RecentSpans(Mutex<VecDeque<(SpanOrigin, Span)>>);

impl RecentSpans {
    /// What there is, the oldest first.
    pub(crate) fn all(&self) -> Vec<(SpanOrigin, Span)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl SpanWriter for RecentSpans {
    fn put(&self, origin: &SpanOrigin, spans: Vec<Span>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(spans.into_iter().map(|span| (origin.clone(), span)));
        let above = kept.len().saturating_sub(SPANS_MAX);
        kept.drain(..above);
    }
}

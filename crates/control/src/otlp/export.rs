//! The loops that send.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_discovery::{
    opentelemetry::proto::collector::{
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    prost::Message as _,
};
use bowline_model::trace::{Span, SpanOrigin, SpanWriter};
use bowline_plumbing::{backoff::Backoff, wall_clock};
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};

use super::{
    config::{OtlpConfig, OtlpProtocol},
    json, metrics, spans,
    transport::{Message, SendError, Transport},
};
use crate::core::Core;

/// Most spans that wait to be sent.
const QUEUE_MAX: usize = 65_536;
/// Most spans of a message.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to be sent with.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How often metrics are sent. Source: the default of OpenTelemetry's periodic readers.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);
/// How long the same message is tried, until it is given up for others.
const TRY_FOR: Duration = Duration::from_secs(300);
/// The delay before the second try, and the longest. Source: OTLP's exporters.
const DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long what waits at the end may take to be sent.
const LAST: Duration = Duration::from_secs(3);

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What was sent, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtlpCounts {
    /// Spans that were taken.
    pub spans_sent: u64,
    /// Spans for which the queue had no room, or which the receiver did not take.
    pub spans_dropped: u64,
    /// Messages of metrics that were taken.
    pub metrics_sent: u64,
    /// Messages of metrics that the receiver did not take.
    pub metrics_dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    spans_sent: AtomicU64,
    spans_dropped: AtomicU64,
    metrics_sent: AtomicU64,
    metrics_dropped: AtomicU64,
}

/// Spans that wait to be sent.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    waiting: Mutex<VecDeque<(SpanOrigin, Span)>>,
    is_full: Notify,
    counters: Arc<Counters>,
}

impl SpanQueue {
    fn new(counters: Arc<Counters>) -> Self {
        Self { waiting: Mutex::default(), is_full: Notify::new(), counters }
    }

    fn take(&self) -> Vec<(SpanOrigin, Span)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(BATCH_MAX);
        waiting.drain(..count).collect()
    }

    fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl SpanWriter for SpanQueue {
    fn put(&self, origin: &SpanOrigin, spans: Vec<Span>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = QUEUE_MAX.saturating_sub(waiting.len());
        self.counters.spans_dropped.fetch_add(spans.len().saturating_sub(room) as u64, Relaxed);
        waiting.extend(spans.into_iter().take(room).map(|span| (origin.clone(), span)));
        if waiting.len() >= BATCH_MAX {
            self.is_full.notify_one();
        }
    }
}

/// What sends spans and metrics on, where something does.
pub(crate) struct Otlp {
    config: OtlpConfig,
    counters: Arc<Counters>,
    queue: Option<Arc<SpanQueue>>,
}

impl Otlp {
    pub(crate) fn new(config: OtlpConfig) -> Self {
        let counters = Arc::new(Counters::default());
        let queue = config.traces.is_some().then(|| Arc::new(SpanQueue::new(Arc::clone(&counters))));
        Self { config, counters, queue }
    }

    /// Where spans are put to be sent; `None` where they are not.
    pub(crate) fn spans(&self) -> Option<Arc<SpanQueue>> {
        self.queue.clone()
    }

    /// What was sent until now.
    pub(crate) fn counts(&self) -> OtlpCounts {
        let Counters { spans_sent, spans_dropped, metrics_sent, metrics_dropped } = &*self.counters;
        OtlpCounts {
            spans_sent: spans_sent.load(Relaxed),
            spans_dropped: spans_dropped.load(Relaxed),
            metrics_sent: metrics_sent.load(Relaxed),
            metrics_dropped: metrics_dropped.load(Relaxed),
        }
    }

    /// Sends until `stopping`, and then what is left, for a moment.
    pub(crate) async fn run(self: Arc<Self>, core: Arc<Core>, stopping: watch::Receiver<bool>) {
        tokio::join!(
            self.run_spans(&core, stopping.clone()),
            self.run_metrics(&core, METRICS_INTERVAL, stopping)
        );
    }

    async fn run_spans(&self, core: &Core, mut stopping: watch::Receiver<bool>) {
        let (Some(target), Some(queue)) = (self.config.traces.clone(), self.queue.as_ref()) else { return };
        let mut exporter = Exporter::new(Transport::new(target));
        let mut is_over = false;
        while !is_over || queue.len() > 0 {
            if !is_over && queue.len() < BATCH_MAX {
                tokio::select! {
                    () = queue.is_full.notified() => {}
                    () = tokio::time::sleep(BATCH_DELAY) => {}
                    () = ended(&mut stopping) => is_over = true,
                }
            }
            let batch = queue.take();
            if batch.is_empty() {
                continue;
            }
            let scope = core.registry().settings().scope.clone();
            let message = exporter.traces(&spans::request(&batch, &scope));
            let count = batch.len() as u64;
            let rejected = match exporter.send(&message, &mut stopping).await {
                Some(answer) => exporter.rejected_spans(&answer).min(count),
                None => count,
            };
            self.counters.spans_sent.fetch_add(count - rejected, Relaxed);
            self.counters.spans_dropped.fetch_add(rejected, Relaxed);
            is_over |= *stopping.borrow();
        }
    }

    async fn run_metrics(&self, core: &Core, every: Duration, mut stopping: watch::Receiver<bool>) {
        let Some(target) = self.config.metrics.clone() else { return };
        let mut exporter = Exporter::new(Transport::new(target));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ended(&mut stopping) => is_over = true,
            }
            let scope = core.registry().settings().scope.clone();
            let totals = core.telemetry().totals();
            for request in metrics::requests(&totals, &scope, wall_clock::now()) {
                let message = exporter.metrics(&request);
                let is_taken = match exporter.send(&message, &mut stopping).await {
                    Some(answer) => exporter.rejected_points(&answer) == 0,
                    None => false,
                };
                let counter =
                    if is_taken { &self.counters.metrics_sent } else { &self.counters.metrics_dropped };
                counter.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Returns at the end; whoever told of it may be gone.
async fn ended(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Sends messages of one kind, again where that may help.
struct Exporter {
    transport: Transport,
    is_failing: bool,
}

impl Exporter {
    fn new(transport: Transport) -> Self {
        Self { transport, is_failing: false }
    }

    fn is_json(&self) -> bool {
        self.transport.protocol() == OtlpProtocol::HttpJson
    }

    fn traces(&self, request: &ExportTraceServiceRequest) -> Message {
        let body = match self.is_json() {
            true => json::traces(request).to_string().into_bytes(),
            false => request.encode_to_vec(),
        };
        Message { method: TRACES, body }
    }

    fn metrics(&self, request: &ExportMetricsServiceRequest) -> Message {
        let body = match self.is_json() {
            true => json::metrics(request).to_string().into_bytes(),
            false => request.encode_to_vec(),
        };
        Message { method: METRICS, body }
    }

    /// The answer; `None` where the message was given up.
    async fn send(
        &mut self,
        message: &Message,
        stopping: &mut watch::Receiver<bool>,
    ) -> Option<bytes::Bytes> {
        let mut delays = Backoff::new(DELAYS.0, DELAYS.1);
        let began = tokio::time::Instant::now();
        loop {
            let sent = {
                let sending = self.transport.send(message);
                tokio::pin!(sending);
                tokio::select! {
                    biased;
                    sent = &mut sending => sent,
                    // What is under way is waited for, for a moment: it may have been taken.
                    () = ended(stopping) => tokio::time::timeout(LAST, sending).await.ok()?,
                }
            };
            let is_over = *stopping.borrow();
            let (why, wait) = match sent {
                Ok(answer) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(to = self.transport.peer(), "OTLP's receiver takes messages again");
                    }
                    return Some(answer);
                }
                Err(SendError::Refused(why)) => (why, None),
                Err(SendError::Later { why, after }) => {
                    (why, Some(delays.next_delay().max(after.unwrap_or_default())))
                }
            };
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::warn!(to = self.transport.peer(), %why, "OTLP's receiver does not take a message");
            }
            let wait = wait.filter(|wait| !is_over && began.elapsed() + *wait < TRY_FOR)?;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = ended(stopping) => {}
            }
        }
    }

    /// How many spans the receiver did not take of a message that it took.
    fn rejected_spans(&self, answer: &[u8]) -> u64 {
        let (rejected, why) = match self.is_json() {
            true => rejected_in_json(answer, "rejectedSpans"),
            false => {
                let told = ExportTraceServiceResponse::decode(answer).unwrap_or_default().partial_success;
                told.map(|told| (told.rejected_spans, told.error_message)).unwrap_or_default()
            }
        };
        self.tell_rejected(rejected, &why)
    }

    /// The same of points of metrics.
    fn rejected_points(&self, answer: &[u8]) -> u64 {
        let (rejected, why) = match self.is_json() {
            true => rejected_in_json(answer, "rejectedDataPoints"),
            false => {
                let told = ExportMetricsServiceResponse::decode(answer).unwrap_or_default().partial_success;
                told.map(|told| (told.rejected_data_points, told.error_message)).unwrap_or_default()
            }
        };
        self.tell_rejected(rejected, &why)
    }

    fn tell_rejected(&self, rejected: i64, why: &str) -> u64 {
        let rejected = u64::try_from(rejected).unwrap_or(0);
        if rejected > 0 {
            let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
            tracing::warn!(to = self.transport.peer(), rejected, %why, "OTLP's receiver took a part of a message");
        }
        rejected
    }
}

fn rejected_in_json(answer: &[u8], member: &str) -> (i64, String) {
    let told: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &told["partialSuccess"];
    // A 64-bit number is text in JSON; some write it as a number.
    let rejected = partial[member].as_i64().or_else(|| partial[member].as_str()?.parse().ok());
    (rejected.unwrap_or(0), partial["errorMessage"].as_str().unwrap_or_default().to_owned())
}

//! The stream by which the control plane looks into the proxy: live requests, what it goes by, the level of its log.
//!
//! The proxy opens it and keeps it open. What was asked for over it ends with it; a tap ends earlier where it is not
//! asked for again in time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_discovery::{
    introspection::{
        DumpPart, FromProxy, Hello, LogLevel as LogLevelOrder, LogLevelSet, TappedBatch, ToProxy,
        from_proxy::Report, introspection_client::IntrospectionClient, to_proxy::Order,
    },
    tonic,
};
use bowline_model::clock::Timestamp;
use bowline_plumbing::{backoff::Backoff, wall_clock};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    certificates::chain_text,
    control_plane::{ControlPlane, ControlPlaneError},
    diagnostics,
    log_level::LogLevel,
    shared::Shared,
    tap::{QUEUE_MAX, Told},
};

const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Time to open the stream, and for the control plane to take a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often taps are looked at: what they have told is sent, those whose time is over end.
const TICK: Duration = Duration::from_millis(100);
/// Most requests in a message.
const BATCH_MAX: usize = 128;
/// Bytes of a dump in a message: gRPC clients take 4 MiB by default.
const PART_BYTES: usize = 1024 * 1024;
/// Longest dump, in bytes.
const DUMP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// See the module.
pub(crate) struct Introspector {
    control_plane: ControlPlane,
    shared: Arc<Shared>,
    log_level: LogLevel,
    state_file: PathBuf,
    started: Timestamp,
}

/// Ends all taps with the stream that they were asked for over.
struct TapsOfStream<'a>(&'a Shared);

impl Drop for TapsOfStream<'_> {
    fn drop(&mut self) {
        self.0.taps.end_all();
    }
}

impl Introspector {
    /// Of a process that begins now.
    pub(crate) fn new(control_plane: ControlPlane, log_level: LogLevel, state_file: PathBuf) -> Self {
        let shared = Arc::clone(&control_plane.control.lock().shared);
        Self { control_plane, shared, log_level, state_file, started: wall_clock::now() }
    }

    /// Keeps the stream open for as long as the process lives.
    pub(crate) async fn run(self, mut certified: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        while certified.wait_for(|certified| *certified).await.is_ok() {
            match self.follow(&mut backoff).await {
                Ok(()) => tracing::debug!("the control plane closed the stream of introspection"),
                // The stream of resources has said as much, louder. An older control plane has no such service.
                Err(error) => tracing::debug!(error = %chain_text(&error), "no stream of introspection"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn follow(&self, backoff: &mut Backoff) -> Result<(), ControlPlaneError> {
        let mut client = IntrospectionClient::new(self.control_plane.channel(true)?);
        let (reports, outgoing) = mpsc::channel(4);
        let hello =
            Hello { version: env!("CARGO_PKG_VERSION").to_owned(), started_ms: self.started.as_millis() };
        // The channel has room for it.
        let _ = reports.send(report(Report::Hello(hello))).await;
        let opened = timeout(PATIENCE, client.introspect(ReceiverStream::new(outgoing)));
        let opened = opened.await.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no stream")));
        let mut orders = opened?.into_inner();
        backoff.reset();
        let _taps = TapsOfStream(&self.shared);
        let (out, mut told) = mpsc::channel(QUEUE_MAX);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.message() => match order? {
                    Some(order) => self.obey(order, &out, &reports).await?,
                    None => return Ok(()),
                },
                _ = ticks.tick(), if self.shared.taps.is_any() => self.tell(None, &mut told, &reports).await?,
                // Of a request that ended after its tap did.
                late = told.recv(), if !self.shared.taps.is_any() => {
                    self.tell(late, &mut told, &reports).await?;
                }
            }
        }
    }

    async fn obey(
        &self,
        order: ToProxy,
        out: &mpsc::Sender<Told>,
        reports: &mpsc::Sender<FromProxy>,
    ) -> Result<(), ControlPlaneError> {
        match order.order {
            Some(Order::Tap(order)) => {
                let tap = order.id;
                if let Err(error) = self.shared.taps.open(order, out) {
                    let batch = TappedBatch { tap, error: error.to_string(), ..TappedBatch::default() };
                    send(reports, Report::Tapped(batch)).await?;
                }
            }
            Some(Order::EndTap(order)) => self.shared.taps.end(order.id),
            Some(Order::Dump(order)) => self.dump(order.id, reports).await?,
            Some(Order::LogLevel(order)) => {
                send(reports, Report::LogLevel(self.set_log_level(&order))).await?;
            }
            // Of a newer control plane: whoever asked is told that nothing came.
            None => tracing::debug!("the control plane asks for what this version does not know"),
        }
        Ok(())
    }

    fn set_log_level(&self, order: &LogLevelOrder) -> LogLevelSet {
        match self.log_level.set(&order.filter, Duration::from_millis(order.lasting_ms)) {
            Ok(state) => LogLevelSet {
                id: order.id,
                filter: state.filter,
                until_ms: state.until.map_or(0, Timestamp::as_millis),
                error: String::new(),
            },
            Err(error) => LogLevelSet { id: order.id, error: error.to_string(), ..LogLevelSet::default() },
        }
    }

    async fn dump(&self, id: u64, reports: &mpsc::Sender<FromProxy>) -> Result<(), ControlPlaneError> {
        let control = &self.control_plane.control;
        let dump = diagnostics::collect(control, self.started, self.log_level.state(), &self.state_file);
        let json = match serde_json::to_vec(&dump) {
            Ok(json) if json.len() <= DUMP_BYTES_MAX => json,
            refused => {
                let error = match refused {
                    Ok(json) => format!("it would have {} MiB, more than is sent", json.len() >> 20),
                    Err(error) => error.to_string(),
                };
                let part = DumpPart { id, error, last: true, ..DumpPart::default() };
                return send(reports, Report::Dump(part)).await;
            }
        };
        let mut parts = json.chunks(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            send(reports, Report::Dump(DumpPart { id, json: part.to_vec(), last, error: String::new() }))
                .await?;
        }
        Ok(())
    }

    /// Sends what taps have told, of which the first may have been taken already, and ends those whose time is over.
    async fn tell(
        &self,
        mut first: Option<Told>,
        told: &mut mpsc::Receiver<Told>,
        reports: &mpsc::Sender<FromProxy>,
    ) -> Result<(), ControlPlaneError> {
        let mut batches: Vec<TappedBatch> = Vec::new();
        let mut left = QUEUE_MAX;
        while left > 0
            && let Some((tap, request)) = first.take().or_else(|| told.try_recv().ok())
        {
            left -= 1;
            match batches.iter_mut().find(|batch| batch.tap == tap && batch.requests.len() < BATCH_MAX) {
                Some(batch) => batch.requests.push(request),
                None => batches.push(TappedBatch { tap, requests: vec![request], ..TappedBatch::default() }),
            }
        }
        for (tap, dropped) in self.shared.taps.take_dropped() {
            match batches.iter_mut().find(|batch| batch.tap == tap) {
                Some(batch) => batch.dropped = dropped,
                None => batches.push(TappedBatch { tap, dropped, ..TappedBatch::default() }),
            }
        }
        for batch in batches {
            send(reports, Report::Tapped(batch)).await?;
        }
        self.shared.taps.end_old();
        Ok(())
    }
}

fn report(report: Report) -> FromProxy {
    FromProxy { report: Some(report) }
}

async fn send(reports: &mpsc::Sender<FromProxy>, what: Report) -> Result<(), ControlPlaneError> {
    match timeout(PATIENCE, reports.send(report(what))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(tonic::Status::unavailable("the stream of introspection ended").into()),
        Err(_) => Err(tonic::Status::deadline_exceeded("the control plane does not read").into()),
    }
}

//! The Telemetry service: proxies' counters and spans come in.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_discovery::telemetry::{MetricReport, ReportAck, SpanBatch, telemetry_server::Telemetry};
use bowline_model::task::TaskId;
use bowline_plumbing::drain::DrainWatch;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::task_of;
use crate::{
    connection::{AuthenticatedPeer, Connection},
    connection_of,
    directory::Directory,
};

/// What a report costs of the connection's budget: it is read whole, and may have a thousand rows. So do spans: 256
/// of them, some 12,000 a second of one proxy.
const REPORT_COST: f64 = 20.0;
/// Longest time between two reports; a proxy that is silent for longer opens another stream.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Time for a proxy to read an acknowledgement.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The service.
pub(crate) struct TelemetryService {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) drain: DrainWatch,
}

type Acks = ReceiverStream<Result<ReportAck, Status>>;

#[tonic::async_trait]
impl Telemetry for TelemetryService {
    type ReportStream = Acks;
    type TraceStream = Acks;

    async fn report(&self, request: Request<Streaming<MetricReport>>) -> Result<Response<Acks>, Status> {
        self.open(request, take_report)
    }

    async fn trace(&self, request: Request<Streaming<SpanBatch>>) -> Result<Response<Acks>, Status> {
        self.open(request, take_spans)
    }
}

/// Takes one message of the task's proxy in.
type Take<M> = fn(&dyn Directory, &TaskId, M) -> Result<ReportAck, Status>;

fn take_report(directory: &dyn Directory, task: &TaskId, report: MetricReport) -> Result<ReportAck, Status> {
    let taken =
        directory.reported(task, report).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let interval = taken.interval.map_or(0, |interval| interval.as_millis());
    let interval_ms = u32::try_from(interval).unwrap_or(u32::MAX);
    Ok(ReportAck { sequence: taken.sequence, interval_ms })
}

fn take_spans(directory: &dyn Directory, task: &TaskId, batch: SpanBatch) -> Result<ReportAck, Status> {
    let sequence = batch.sequence;
    directory.traced(task, batch).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(ReportAck { sequence, interval_ms: 0 })
}

impl TelemetryService {
    fn open<M: Send + 'static>(
        &self,
        request: Request<Streaming<M>>,
        take: Take<M>,
    ) -> Result<Response<Acks>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(1.0)?;
        let peer = connection.peer()?.clone();
        task_of(&*self.directory, &peer.peer)?;
        let (acks, receiver) = mpsc::channel(1);
        let session = Session { connection, peer, directory: Arc::clone(&self.directory), take };
        tokio::spawn(session.run(request.into_inner(), acks, self.drain.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One proxy's reports, or its spans.
struct Session<M> {
    connection: Arc<Connection>,
    peer: AuthenticatedPeer,
    directory: Arc<dyn Directory>,
    take: Take<M>,
}

impl<M: Send + 'static> Session<M> {
    async fn run(
        self,
        mut reports: Streaming<M>,
        acks: mpsc::Sender<Result<ReportAck, Status>>,
        mut drain: DrainWatch,
    ) {
        let ended = tokio::select! {
            ended = self.take_all(&mut reports, &acks) => ended,
            () = drain.signaled() => Err(Status::unavailable("the control plane drains")),
            () = acks.closed() => Ok(()),
        };
        if let Err(status) = ended {
            tracing::debug!(peer = %self.peer.peer.id, code = ?status.code(), reason = status.message(), "a stream of reports closed");
            // A proxy that does not read is not waited for.
            let _ = acks.try_send(Err(status));
        }
    }

    async fn take_all(
        &self,
        reports: &mut Streaming<M>,
        acks: &mpsc::Sender<Result<ReportAck, Status>>,
    ) -> Result<(), Status> {
        let lifetime = self.peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let expiry = Instant::now() + lifetime.min(Duration::from_secs(365 * 86_400));
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = tokio::time::sleep_until(expiry) => {
                    return Err(Status::unauthenticated("the client certificate has expired"));
                }
                () = tokio::time::sleep(SILENCE_MAX) => return Err(Status::deadline_exceeded("no report for too long")),
            };
            let Some(report) = report else { return Ok(()) };
            self.connection.spend(REPORT_COST)?;
            // Each time anew: the certificate may have been revoked, and the task be over.
            let task = task_of(&*self.directory, &self.peer.peer)?;
            let ack = (self.take)(&*self.directory, &task, report)?;
            match tokio::time::timeout(READ_TIMEOUT, acks.send(Ok(ack))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Status::deadline_exceeded("the proxy does not read")),
            }
        }
    }
}

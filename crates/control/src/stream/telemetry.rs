//! The Telemetry service: proxies' counters come in.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_discovery::telemetry::{MetricReport, ReportAck, SpanBatch, telemetry_server::Telemetry};
use bowline_plumbing::drain::DrainWatch;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    connection::{AuthenticatedPeer, Connection},
    connection_of,
    directory::Directory,
    identity::task_of,
};

/// What a report costs of the connection's budget: it is read whole, and may have a thousand rows.
const REPORT_COST: f64 = 20.0;
/// Longest time between two reports; a proxy that is silent for longer opens another stream.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Time for a proxy to read an acknowledgement.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The service.
pub(super) struct TelemetryService {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) drain: DrainWatch,
}

#[tonic::async_trait]
impl Telemetry for TelemetryService {
    type ReportStream = ReceiverStream<Result<ReportAck, Status>>;
    type TraceStream = ReceiverStream<Result<ReportAck, Status>>;

    async fn trace(&self, _: Request<Streaming<SpanBatch>>) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("no spans are taken"))
    }

    async fn report(
        &self,
        request: Request<Streaming<MetricReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let connection = connection_of(&request)?;
        connection.spend(1.0)?;
        let peer = connection.peer()?.clone();
        task_of(&*self.directory, &peer.peer)?;
        let (acks, receiver) = mpsc::channel(1);
        let session = Session { connection, peer, directory: Arc::clone(&self.directory) };
        tokio::spawn(session.run(request.into_inner(), acks, self.drain.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One proxy's reports.
struct Session {
    connection: Arc<Connection>,
    peer: AuthenticatedPeer,
    directory: Arc<dyn Directory>,
}

impl Session {
    async fn run(
        self,
        mut reports: Streaming<MetricReport>,
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
        reports: &mut Streaming<MetricReport>,
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
            let taken = self
                .directory
                .reported(&task, report)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let interval = taken.interval.map_or(0, |interval| interval.as_millis());
            let interval_ms = u32::try_from(interval).unwrap_or(u32::MAX);
            let ack = ReportAck { sequence: taken.sequence, interval_ms };
            match tokio::time::timeout(READ_TIMEOUT, acks.send(Ok(ack))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Status::deadline_exceeded("the proxy does not read")),
            }
        }
    }
}

//! The Introspection service: proxies open a stream each, over which they are asked.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_discovery::introspection::{
    FromProxy, Hello, ToProxy, from_proxy::Report, introspection_server::Introspection as Service,
};
use bowline_model::task::TaskId;
use bowline_plumbing::{drain::DrainWatch, wall_clock};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::{no_task, task_of};
use crate::introspection::ORDERS_MAX;
use crate::{
    connection::{AuthenticatedPeer, Connection},
    connection_of,
    directory::Directory,
};

/// Time for a proxy to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked whether the peer's certificate and task are still good.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Time for a proxy to make room for an order.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What a message costs of the connection's budget: it may have a hundred requests in it.
const MESSAGE_COST: f64 = 4.0;

/// The service.
pub(crate) struct IntrospectionService {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) drain: DrainWatch,
}

#[tonic::async_trait]
impl Service for IntrospectionService {
    type IntrospectStream = ReceiverStream<Result<ToProxy, Status>>;

    async fn introspect(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::IntrospectStream>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(1.0)?;
        let peer = connection.peer()?.clone();
        let task = task_of(&*self.directory, &peer.peer)?;
        let (out, receiver) = mpsc::channel(1);
        let session = Session { connection, peer, task, directory: Arc::clone(&self.directory), out };
        tokio::spawn(session.run(request.into_inner(), self.drain.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One proxy's stream.
struct Session {
    connection: Arc<Connection>,
    peer: AuthenticatedPeer,
    task: TaskId,
    directory: Arc<dyn Directory>,
    out: mpsc::Sender<Result<ToProxy, Status>>,
}

/// Tells that a session is over, however it ended.
struct Presence<'a> {
    session: &'a Session,
    id: u64,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.session.directory.introspection().disconnected(&self.session.task, self.id);
    }
}

impl Session {
    async fn run(self, mut reports: Streaming<FromProxy>, mut drain: DrainWatch) {
        let ended = tokio::select! {
            ended = self.converse(&mut reports) => ended,
            () = drain.signaled() => Err(Status::unavailable("the control plane drains")),
            () = self.out.closed() => Ok(()),
        };
        if let Err(status) = ended {
            tracing::debug!(task = %self.task, code = ?status.code(), reason = status.message(), "a stream of introspection closed");
            // A proxy that does not read is not waited for.
            let _ = self.out.try_send(Err(status));
        }
    }

    async fn converse(&self, reports: &mut Streaming<FromProxy>) -> Result<(), Status> {
        let hello = tokio::time::timeout(HELLO_TIMEOUT, reports.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("no word of who it is"))??;
        let Some(FromProxy { report: Some(Report::Hello(Hello { version, started_ms })) }) = hello else {
            return Err(Status::invalid_argument("the first message says who it is"));
        };
        let (orders, mut to_send) = mpsc::channel(ORDERS_MAX);
        let introspection = self.directory.introspection();
        let now = wall_clock::now();
        let id = introspection.connected(&self.task, &version, started_ms, orders, now);
        let _presence = Presence { session: self, id };
        let lifetime = self.peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let expiry = Instant::now() + lifetime.min(Duration::from_secs(365 * 86_400));
        let mut recheck = tokio::time::interval(RECHECK_INTERVAL);
        recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = reports.message() => match report? {
                    Some(report) => {
                        self.connection.spend(MESSAGE_COST)?;
                        introspection.told(&self.task, report);
                    }
                    None => return Ok(()),
                },
                order = to_send.recv() => match order {
                    Some(order) => self.send(order).await?,
                    // Another stream of the same proxy has taken its place.
                    None => return Err(Status::aborted("another stream was opened")),
                },
                _ = recheck.tick() => {
                    if task_of(&*self.directory, &self.peer.peer)? != self.task {
                        return Err(no_task());
                    }
                }
                () = tokio::time::sleep_until(expiry) => {
                    return Err(Status::unauthenticated("the client certificate has expired"));
                }
            }
        }
    }

    async fn send(&self, order: ToProxy) -> Result<(), Status> {
        match tokio::time::timeout(READ_TIMEOUT, self.out.send(Ok(order))).await {
            // The stream's end is seen where it is read.
            Ok(_) => Ok(()),
            Err(_) => Err(Status::deadline_exceeded("the proxy does not read")),
        }
    }
}

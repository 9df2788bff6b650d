//! The delta discovery service: one session per stream.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_discovery::{
    prost_types::Any,
    resource::ResourceType,
    xds::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use bowline_http2::Body;
use bowline_model::task::TaskId;
use bowline_plumbing::drain::DrainWatch;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep_until, timeout},
};
use tonic::Status;

use super::identity::{no_task, not_revoked, task_of};
use crate::{
    connection::{AuthenticatedPeer, Connection},
    directory::{Directory, Peer},
    requests::Requests,
    responses::{self, Responses, responses},
    standing::{Over, Standing},
    subscription::{self, Demand, Subscriptions},
};

/// What changes within so long after a change was sent gathers, and is sent together. The first change goes at once.
pub(crate) const COALESCE: Duration = Duration::from_millis(50);
/// How long a proxy may take to answer a response, or to make room for one.
/// One that hangs is better off with a new stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const _: () = assert!(ANSWER_TIMEOUT.as_secs() > RECHECK_INTERVAL.as_secs(), "it is looked at as often");
/// How often it is asked whether the peer's certificate and task are still good. Whether the certificate is revoked, and
/// the task is over, shows with the next change as well.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// The service: the aggregated delta discovery of xDS, which is the only call of it that there is.
#[derive(Clone)]
pub(crate) struct DiscoveryService {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) drain: DrainWatch,
}

impl DiscoveryService {
    /// The call's path.
    pub(crate) const DELTA: &str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

    /// Opens a call, on the thread that serves the connection.
    pub(crate) fn open(&self, connection: Arc<Connection>, requests: Body) -> Result<Responses, Status> {
        connection.spend(1.0)?;
        let peer = connection.peer()?.clone();
        let task = task_of(&*self.directory, &peer.peer)?;
        let standing = Standing::of(&*self.directory, &task).map_err(|Over| no_task())?;
        // At most one response per type is in flight, so this never fills
        // unless a proxy answers what it did not read.
        let (sender, responses) = responses(ResourceType::ALL.len());
        // Before the proxy hears that its stream is open: what it tells from then on is not forgotten.
        let presence = Presence::announce(&self.directory, &task, &peer.peer);
        let session = Session {
            connection,
            peer,
            directory: Arc::clone(&self.directory),
            standing,
            subscriptions: Subscriptions::default(),
            responses: sender,
            answer_by: None,
            task,
        };
        spawn_local(session.run(Requests::new(requests), self.drain.clone(), presence));
        Ok(responses)
    }
}

/// One proxy's stream.
struct Session {
    connection: Arc<Connection>,
    peer: AuthenticatedPeer,
    task: TaskId,
    directory: Arc<dyn Directory>,
    standing: Standing,
    subscriptions: Subscriptions,
    responses: responses::Sender,
    /// When the earliest unanswered response is overdue.
    answer_by: Option<Instant>,
}

/// Tells the directory that the stream ended, however it did.
struct Presence {
    directory: Arc<dyn Directory>,
    task: TaskId,
}

impl Presence {
    fn announce(directory: &Arc<dyn Directory>, task: &TaskId, peer: &Peer) -> Self {
        directory.connected(task, &peer.serial);
        Self { directory: Arc::clone(directory), task: task.clone() }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.directory.disconnected(&self.task);
    }
}

impl Session {
    async fn run(mut self, requests: Requests, drain: DrainWatch, presence: Presence) {
        let task = self.task.clone();
        match self.converse(requests, drain).await {
            Ok(()) => tracing::debug!(task = task.as_str(), "the proxy ended its stream"),
            Err(status) => {
                tracing::info!(task = task.as_str(), code = ?status.code(), reason = status.message(), "stream closed");
                self.responses.fail(status);
            }
        }
        drop(presence);
    }

    /// Until the proxy ends the stream (`Ok`) or this side must.
    async fn converse(&mut self, mut requests: Requests, mut drain: DrainWatch) -> Result<(), Status> {
        let lifetime = self.peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        // A certificate of a century is no reason to overflow.
        let expiry = Instant::now() + lifetime.min(Duration::from_secs(365 * 86_400));
        let mut draining = pin!(drain.signaled());
        // One that is set anew for every response would be the timer's work all the time.
        let mut recheck = pin!(sleep_until(expiry.min(Instant::now() + RECHECK_INTERVAL)));
        let mut refresh_at: Option<Instant> = None;
        let mut refreshed: Option<Instant> = None;
        let responses = self.responses.clone();
        let mut closed = pin!(responses.closed());
        loop {
            tokio::select! {
                request = requests.next() => match request? {
                    Some(request) => self.take(request)?,
                    None => return Ok(()),
                },
                changed = self.standing.changed(), if refresh_at.is_none() => {
                    changed.map_err(|_| Status::unavailable("the control plane stops"))?;
                    let now = Instant::now();
                    match refreshed.map(|last| last + COALESCE).filter(|next| *next > now) {
                        Some(next) => refresh_at = Some(next),
                        None => {
                            refreshed = Some(now);
                            self.refresh()?;
                        }
                    }
                }
                () = sleep_until(refresh_at.unwrap_or(expiry)), if refresh_at.is_some() => {
                    refresh_at = None;
                    refreshed = Some(Instant::now());
                    self.refresh()?;
                }
                () = recheck.as_mut() => {
                    let now = Instant::now();
                    if expiry <= now {
                        return Err(Status::unauthenticated("the client certificate has expired"));
                    }
                    if self.answer_by.is_some_and(|answer_by| answer_by <= now) {
                        return Err(Status::deadline_exceeded("a response was not answered in time"));
                    }
                    self.authorize()?;
                    // What is sent until then has longer to be answered.
                    let next = expiry.min(now + RECHECK_INTERVAL);
                    recheck.as_mut().reset(self.answer_by.map_or(next, |answer_by| next.min(answer_by)));
                }
                () = &mut draining => return Err(Status::unavailable("the control plane drains")),
                () = closed.as_mut() => return Ok(()),
            }
            self.publish().await?;
        }
    }

    /// Reads one request.
    fn take(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        self.connection.spend(1.0)?;
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else {
            // A newer proxy may know types that this server does not.
            let type_url: String = request.type_url.chars().take(200).collect();
            tracing::debug!(task = self.task.as_str(), type_url, "a type that is not served was asked for");
            return Ok(());
        };
        let demand = Demand {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            has: request.initial_resource_versions,
            nonce: request.response_nonce,
            refusal: request.error_detail.map(|status| status.message),
        };
        let answered = self
            .subscriptions
            .demand(kind, &demand)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        if let Some(acknowledgement) = answered {
            if let Some(refusal) = &acknowledgement.refusal {
                tracing::warn!(
                    task = self.task.as_str(),
                    kind = kind.name(),
                    refusal,
                    "the proxy refused an update"
                );
            }
            self.directory.acknowledged(&self.task, acknowledgement);
            self.answer_by = self.subscriptions.awaits_answer().then(|| Instant::now() + ANSWER_TIMEOUT);
        }
        Ok(())
    }

    /// Takes the newest snapshot.
    fn refresh(&mut self) -> Result<(), Status> {
        // Whether the certificate is its task's still is looked at now and then: a task that is over has no resources.
        not_revoked(&*self.directory, &self.peer.peer)?;
        self.standing.refresh(&*self.directory, &self.task).map_err(|Over| no_task())
    }

    fn authorize(&self) -> Result<(), Status> {
        let task = task_of(&*self.directory, &self.peer.peer)?;
        if task == self.task { Ok(()) } else { Err(no_task()) }
    }

    /// Sends all that may be sent.
    async fn publish(&mut self) -> Result<(), Status> {
        while let Some(response) = self.subscriptions.next(self.standing.set(), self.standing.generation()) {
            self.answer_by.get_or_insert_with(|| Instant::now() + ANSWER_TIMEOUT);
            match timeout(ANSWER_TIMEOUT, self.responses.send(&wire(response))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()), // the loop sees the same
                Err(_) => return Err(Status::deadline_exceeded("the proxy does not read")),
            }
        }
        Ok(())
    }
}

fn wire(response: subscription::Response) -> DeltaDiscoveryResponse {
    let type_url = response.kind.type_url();
    let resources = response
        .changed
        .into_iter()
        .map(|(name, resource)| xds::Resource {
            version: resource.version.to_string(),
            resource: Some(Any { type_url: type_url.clone(), value: resource.encoded.as_ref().clone() }),
            name: name.to_string(),
        })
        .collect();
    DeltaDiscoveryResponse {
        system_version_info: response.generation.to_string(),
        resources,
        type_url,
        nonce: response.nonce,
        removed_resources: response.removed.iter().map(ToString::to_string).collect(),
    }
}

//! The configuration stream: aggregated delta xDS.
//!
//! Every resource is judged by itself: one that cannot be applied is named in
//! a NACK, the rest of its response is applied, and the last good one of its
//! name stays. Without the control plane the proxy goes on with what it has.

use std::{sync::Arc, time::Duration};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    tonic::Code,
    xds::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use bowline_model::sabotage::{Defence, sabotaged};
use bowline_plumbing::{backoff::Backoff, wall_clock};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    certificates::chain_text,
    config::store::MESH_IDENTITY,
    control_plane::{ControlPlane, ControlPlaneError},
    run::describe,
};

/// Longest message of the stream, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest NACK text, in bytes.
const NACK_BYTES_MAX: usize = 4 * 1024;
/// gRPC's INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A type that the control plane has nothing of may never be answered: after
/// this long the first configuration counts as complete.
const FIRST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(3);

/// Follows the stream for as long as the process lives.
pub(crate) struct Stream {
    pub(crate) control_plane: ControlPlane,
    /// The task's id, told to the control plane.
    pub(crate) node: String,
    /// Told after each change of resources.
    pub(crate) changed: Arc<Notify>,
    /// Set once the first configuration is in effect.
    pub(crate) configured: watch::Sender<bool>,
    /// Counts how often it has been opened.
    pub(crate) opened: watch::Sender<u64>,
    /// Counts changes, for the state on disk.
    pub(crate) revision: watch::Sender<u64>,
}

impl Stream {
    pub(crate) async fn run(self, mut certified: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        loop {
            if certified.wait_for(|certified| *certified).await.is_err() {
                return;
            }
            match self.follow(&mut backoff, &mut certified).await {
                Ok(why) => tracing::info!("{why}"),
                Err(error) => {
                    tracing::warn!(error = %chain_text(&error), "no stream; going on with what there is");
                    if sabotaged(Defence::Autonomy) {
                        self.forget();
                    }
                    if matches!(&error, ControlPlaneError::Status(status) if status.code() == Code::Unauthenticated)
                    {
                        // Revoked, or at its end: whoever keeps the certificates asks for another one.
                        self.control_plane.control.lock().store.refuse_own();
                        self.changed.notify_one();
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Returns why it is over, where nothing is wrong.
    async fn follow(
        &self,
        backoff: &mut Backoff,
        certified: &mut watch::Receiver<bool>,
    ) -> Result<&'static str, ControlPlaneError> {
        certified.mark_unchanged();
        let shown = self.own_leaf();
        let mut client = AggregatedDiscoveryServiceClient::new(self.control_plane.channel(true)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (requests, outgoing) = mpsc::channel(2 * ResourceType::ALL.len());
        for kind in ResourceType::ALL {
            let held = self.control_plane.control.lock().store.versions(kind);
            let request = DeltaDiscoveryRequest {
                node: Some(Node { id: self.node.clone(), cluster: String::new() }),
                type_url: kind.type_url(),
                initial_resource_versions: held.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            };
            // The channel holds all of them.
            let _ = requests.send(request).await;
        }
        let mut responses =
            client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await?.into_inner();
        self.control_plane.control.lock().shared.metrics.stream_connects.increment();
        tracing::info!("the stream is open");
        self.opened.send_modify(|count| *count += 1);
        let mut unanswered: Vec<_> = ResourceType::ALL.to_vec();
        let first_answers = tokio::time::sleep(FIRST_ANSWERS_TIMEOUT);
        tokio::pin!(first_answers);
        loop {
            let response = tokio::select! {
                response = responses.message() => response?,
                changed = certified.changed() => match changed {
                    // It ends with the certificate that it was opened with, and who opens it anew shows
                    // that it has the later one.
                    Ok(()) if self.own_leaf() != shown => return Ok("another certificate: the stream is opened anew"),
                    Ok(()) => continue,
                    Err(_) => return Ok("nobody keeps certificates any more"),
                },
                () = &mut first_answers, if !*self.configured.borrow() => {
                    self.configured.send_replace(true);
                    continue;
                }
            };
            let Some(response) = response else { return Ok("the control plane closed the stream") };
            backoff.reset();
            let kind = ResourceType::from_type_url(&response.type_url);
            let answer = self.answer(kind, response);
            if requests.send(answer).await.is_err() {
                return Ok("the control plane closed the stream");
            }
            unanswered.retain(|waiting| Some(*waiting) != kind);
            if unanswered.is_empty() {
                self.configured.send_replace(true);
            }
        }
    }

    /// Has no resources any more: only where that is to be seen to break things.
    fn forget(&self) {
        let mut data_plane = self.control_plane.control.lock();
        let held = data_plane.store.all().map(|held| (held.resource.kind(), held.resource.name().to_owned()));
        let held: Vec<_> = held.collect();
        data_plane.apply(Vec::new(), &held);
    }

    /// The certificate that the proxy shows, DER.
    fn own_leaf(&self) -> Option<Vec<u8>> {
        let control = self.control_plane.control.lock();
        let held = control.store.identity(MESH_IDENTITY)?;
        held.key.cert.first().map(|leaf| leaf.to_vec())
    }

    /// Applies a response and makes its ACK or NACK.
    fn answer(&self, kind: Option<ResourceType>, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let reasons = match kind {
            Some(kind) => self.apply(kind, response),
            None => vec![format!("{}: this version knows no such type", response.type_url)],
        };
        if !reasons.is_empty() {
            let mut message = reasons.join("; ");
            if message.len() > NACK_BYTES_MAX {
                let end = (0..=NACK_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end));
                message.truncate(end.unwrap_or_default());
            }
            tracing::warn!(message, "refused resources of the stream");
            answer.error_detail = Some(Status { code: INVALID_ARGUMENT, message });
        }
        answer
    }

    fn apply(&self, kind: ResourceType, response: DeltaDiscoveryResponse) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut unread = Vec::new();
        let mut changed = Vec::with_capacity(response.resources.len());
        for held in response.resources {
            let mut refuse = |reason: String, name: String, version: String| {
                reasons.push(format!("{} {name:?}: {reason}", kind.name()));
                unread.push((name, version, reason));
            };
            let (name, version) = (held.name, held.version);
            let Some(any) = &held.resource else {
                refuse("holds no message".to_owned(), name, version);
                continue;
            };
            if any.type_url != response.type_url {
                refuse(format!("is of another type, {}", any.type_url), name, version);
                continue;
            }
            match Resource::decode(kind, &any.value) {
                Ok(resource) if resource.name() == name => changed.push((version, resource)),
                Ok(resource) => refuse(format!("calls itself {:?}", resource.name()), name, version),
                Err(error) => refuse(chain_text(&error), name, version),
            }
        }
        let mut removed: Vec<_> = response.removed_resources.into_iter().map(|name| (kind, name)).collect();
        if sabotaged(Defence::LastGood) {
            removed.extend(unread.iter().map(|(name, ..)| (kind, name.clone())));
        }
        let rejections = {
            let mut data_plane = self.control_plane.control.lock();
            for (name, version, reason) in unread {
                let now = wall_clock::now();
                data_plane.store.refusals.note(kind, &name, version, &reason, now);
            }
            data_plane.apply(changed, &removed)
        };
        reasons.extend(rejections.iter().map(describe));
        self.changed.notify_one();
        self.revision.send_modify(|revision| *revision += 1);
        reasons
    }
}

/// Whether the proxy has a certificate of its own, kept up to date.
pub(crate) async fn watch_certified(
    control_plane: ControlPlane,
    mut certificates: watch::Receiver<Vec<crate::certificates::Stored>>,
    certified: watch::Sender<bool>,
) {
    loop {
        let has = control_plane.control.lock().store.identity(MESH_IDENTITY).is_some();
        certified.send_replace(has);
        if certificates.changed().await.is_err() {
            return;
        }
    }
}

//! What the stream's servers ask: certificates, and each proxy's resources.

use std::sync::{Arc, PoisonError};

use bowline_discovery::{
    identity::ShowsRequest,
    resource::ResourceType,
    telemetry::{MetricReport, SpanBatch},
};
use bowline_model::task::TaskId;
use bowline_plumbing::wall_clock;
use bowline_stream::{
    directory::{
        Acknowledgement, Common, Directory, HeldCertificate, InvalidReport, InvalidSpans, IssueError,
        IssuedCertificate, Notice, Peer, Taken, TaskCredentials, TaskCredentialsError,
    },
    introspection::Introspection,
};
use tokio::sync::watch;

use super::{
    Core,
    chaos::STAGED_PREFIX,
    proxies::ProxyState,
    revocations::{KeepError, refuse_barred},
};
use crate::{
    acm::serving,
    authorities::LeafOrder,
    ca::CheckedCsr,
    publish::{self, MESH_IDENTITY, scope::Scope},
    registry::Registry,
    revocation,
};

impl Core {
    /// What stands in the certificate of one of a task's identities: decided by
    /// the task's record alone.
    pub(super) fn order_for(&self, registry: &Registry, task: &TaskId, name: &str) -> Option<LeafOrder> {
        let record = registry.tasks.get(task.as_str())?;
        if name.is_empty() || name == MESH_IDENTITY {
            return Some(LeafOrder {
                authority: publish::named_authority(registry, record).cloned(),
                spiffe_id: Some(registry.identity_of(record)?),
                dns_names: Vec::new(),
                addresses: Vec::new(),
                ttl: self.lifetime_for(task),
                public: false,
            });
        }
        let resources = self.resources(task)?;
        match &*resources.get(ResourceType::Identity, name)?.resource {
            bowline_discovery::resource::Resource::Identity(identity) if identity.spiffe_id.is_empty() => {
                Some(LeafOrder {
                    authority: None,
                    spiffe_id: None,
                    dns_names: identity.dns_names.clone(),
                    addresses: Vec::new(),
                    ttl: self.certificate_ttl,
                    public: true,
                })
            }
            _ => None,
        }
    }
}

impl Directory for Core {
    fn redeem(&self, token: &str) -> Result<TaskId, IssueError> {
        self.tokens.redeem(token, wall_clock::now()).ok_or(IssueError::Token)
    }

    fn is_revoked(&self, peer: &Peer) -> bool {
        revocation::is_revoked(&self.registry(), &peer.serial)
    }

    fn task_of(&self, peer: &Peer) -> Option<TaskId> {
        let registry = self.registry();
        let certificate = registry.certificates.get(&peer.serial)?;
        let same_id = certificate.spiffe_id.as_ref() == Some(&peer.id);
        let task = registry.tasks.get(certificate.task.as_str())?;
        same_id.then(|| task.id.clone())
    }

    fn issue(&self, task: &TaskId, name: &str, csr_der: &[u8]) -> Result<IssuedCertificate, IssueError> {
        let csr = CheckedCsr::parse(csr_der).map_err(|error| {
            tracing::warn!(%task, %error, "a certificate request was refused");
            IssueError::Request
        })?;
        if self.withholds(task) {
            return Err(IssueError::Withheld);
        }
        let registry = self.registry();
        let order = self.order_for(&registry, task, name).ok_or(IssueError::Unknown)?;
        refuse_barred(&registry, task)?;
        let name = if name.is_empty() { MESH_IDENTITY } else { name };
        let issued = self.issue_and_keep(task, name, &order, &csr);
        self.telemetry.own.asked_for_certificate(issued.is_ok());
        issued.map_err(|error| match error {
            KeepError::Barred(error) => error,
            error => {
                tracing::error!(%task, %error, "a certificate could not be issued");
                IssueError::Internal
            }
        })
    }

    fn fetch(&self, task: &TaskId, name: &str) -> Result<HeldCertificate, IssueError> {
        if name.starts_with(STAGED_PREFIX) {
            return self.staged(task, name).ok_or(IssueError::Unknown);
        }
        let held =
            self.resources(task).is_some_and(|resources| resources.contains(ResourceType::Identity, name));
        let registry = self.registry();
        refuse_barred(&registry, task)?;
        let row = serving::certificate_named(&registry, name).filter(|_| held).ok_or(IssueError::Unknown)?;
        let key = self.authorities.master_key().open(row.arn.as_str(), &row.sealed_key).map_err(|error| {
            tracing::error!(certificate = %row.arn, %error, "its key does not open");
            IssueError::Internal
        })?;
        tracing::info!(%task, certificate = %row.arn, "a certificate was fetched with its key");
        Ok(HeldCertificate { chain_der: serving::sent_chain(row), key })
    }

    fn shows(&self, task: &TaskId, shown: ShowsRequest) {
        self.note_shown(task, shown);
    }

    fn shows_outside(&self, task: &TaskId, serials: Vec<String>) {
        let serials = serials.iter().map(|serial| serial.trim_start_matches('0').to_owned()).collect();
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = proxies.get_mut(task) {
            state.shown_outside = serials;
        }
        drop(proxies);
        self.answered.send_modify(|count| *count += 1);
    }

    fn credentials(&self, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError> {
        self.task_credentials(task)
    }

    fn common(&self, task: &TaskId) -> Option<Arc<Common>> {
        self.made(task).map(|(common, _)| common)
    }

    fn notices(&self, task: &TaskId) -> watch::Receiver<Notice> {
        let registry = self.registry();
        let scope = registry.tasks.get(task.as_str()).map(|task| Scope::of(&registry, task));
        // Of a task that is over, what is published for those who are nowhere.
        self.published().follow(&scope.unwrap_or(Scope::Nowhere))
    }

    fn connected(&self, task: &TaskId, serial: &str) {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let state = proxies.entry(task.clone()).or_default();
        let (streams, shown) = (state.streams + 1, serial.to_owned());
        *state = ProxyState { streams, shown, ..ProxyState::default() };
        drop(proxies);
        self.answered.send_modify(|count| *count += 1);
    }

    fn disconnected(&self, task: &TaskId) {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = proxies.get_mut(task) {
            state.streams = state.streams.saturating_sub(1);
            if state.streams == 0 {
                proxies.remove(task);
            }
        }
        drop(proxies);
        self.answered.send_modify(|count| *count += 1);
    }

    fn reported(&self, task: &TaskId, report: MetricReport) -> Result<Taken, InvalidReport> {
        let registry = self.registry();
        let now = wall_clock::now();
        let sequence = report.sequence;
        match registry.tasks.get(task.as_str()) {
            Some(task) => self.telemetry.take(&registry, task, report, now),
            None => Ok(Taken { sequence, interval: None }),
        }
    }

    fn traced(&self, task: &TaskId, batch: SpanBatch) -> Result<(), InvalidSpans> {
        let registry = self.registry();
        match registry.tasks.get(task.as_str()) {
            Some(task) => self.telemetry.take_spans(&registry, task, batch),
            None => Ok(()),
        }
    }

    fn introspection(&self) -> &Introspection {
        &self.introspection
    }

    fn acknowledged(&self, task: &TaskId, acknowledgement: Acknowledgement) {
        self.telemetry.own.answered(acknowledgement.refusal.is_some());
        if let Some(refusal) = &acknowledgement.refusal {
            tracing::warn!(%task, kind = acknowledgement.kind.name(), refusal, "a proxy refused a resource");
        }
        let (kind, refusal) = (acknowledgement.kind, acknowledgement.refusal.clone());
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = proxies.get_mut(task) {
            state.acknowledged.insert(acknowledgement.kind, acknowledgement.generation);
            match acknowledgement.refusal {
                Some(refusal) => state.refused.insert(acknowledgement.kind, refusal),
                None => state.refused.remove(&acknowledgement.kind),
            };
        }
        drop(proxies);
        if let Some(refusal) = refusal {
            self.note_refusal(task, kind, &refusal);
        }
        self.answered.send_modify(|count| *count += 1);
    }
}

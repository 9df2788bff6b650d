//! What the control plane's servers and loops share.

pub(crate) mod chaos;
mod directory;
pub(crate) mod forgery;
pub(crate) mod harm;
mod issuance;
mod proxies;
mod published;
mod revocations;
mod succession;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bowline_aws::{cfn::Revision, ecs::RegisterTaskDefinitionRequest};
use bowline_model::{
    clock::Timestamp,
    fault::FaultInjector,
    service::Service,
    task::{Secret, TaskId},
};
use bowline_observe::{logs::LogStore, metrics::MetricStore, traces::TraceStore};
use bowline_plumbing::{exposition::Format, wall_clock};
use bowline_stream::{directory::IssuedCertificate, introspection::Introspection, tls::TlsMaterial};
use tokio::sync::watch;

use crate::{
    acm::rollover,
    alarms,
    api::{authorization::Authorizer, xray::daemon::DaemonCounters},
    audit::AuditLog,
    authorities::{self, Authorities, AuthoritiesError, LeafOrder},
    authorization::{self, PolicyAnswer, PolicyQuestion, PolicyQuestionError},
    ca::CheckedCsr,
    cloud_map::index::{DiscoveryCache, DiscoveryIndex},
    control_plane::{EventLog, verifier_id},
    credentials::Credentials,
    ecs::definition,
    logs::{declared::DeclaredLogs, queries::Queries},
    otlp::Otlp,
    private_ca,
    publish::{self, MESH_IDENTITY, PublishOptions, scope::Reach},
    random,
    reconcile::{self, Event, Histories, Pass},
    registry::{CertificateRecord, Registry, RegistryError, RegistryWriter},
    revocation, secrets,
    stack::secrets::SecretValues,
    telemetry::{Telemetry, exposition},
    tokens::Tokens,
    xray::sampling::SamplingStatistics,
};

use self::{
    chaos::Chaos,
    harm::Harms,
    proxies::{Diversions, ProxyState},
    published::{Published, Sets},
};

/// How long the control plane's own certificate lives.
const OWN_CERTIFICATE_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long a verifier's certificate lives.
const VERIFIER_TTL: Duration = Duration::from_secs(60);

/// What is kept beside the registry.
pub(crate) struct Kept {
    /// Who called what.
    pub(crate) audit: Arc<AuditLog>,
    /// Metrics.
    pub(crate) metrics: Arc<MetricStore>,
    /// Traces.
    pub(crate) traces: Arc<TraceStore>,
    /// Where spans and metrics are sent on to.
    pub(crate) otlp: Arc<Otlp>,
    /// Logs.
    pub(crate) logs: Arc<LogStore>,
}

/// What the control plane's servers and loops share.
pub(crate) struct Core {
    writer: RegistryWriter,
    authorities: Authorities,
    kept: Kept,
    telemetry: Telemetry,
    introspection: Introspection,
    sampling: SamplingStatistics,
    daemon: DaemonCounters,
    log_queries: Queries,
    /// What templates declared of logs when the store was made to agree with it.
    declared_logs: Mutex<Option<DeclaredLogs>>,
    credentials: Credentials,
    authorizer: Authorizer,
    tokens: Tokens,
    certificate_ttl: Duration,
    options: PublishOptions,
    diversions: Mutex<Diversions>,
    /// Faults that are in force on purpose.
    chaos: Mutex<Chaos>,
    /// What is done to the control plane itself on purpose.
    harms: Mutex<Harms>,
    /// Generations of what is published: the registry's changes, diversions and faults.
    published: Mutex<Published>,
    /// What was made of them.
    sets: Mutex<Sets>,
    /// The registry as far as it is published; held while something is.
    publishing: Mutex<Arc<Registry>>,
    /// Held while authorities are opened.
    opening: Mutex<()>,
    /// Held while an authority is moved in its line, until that is published.
    pub(crate) moving: Mutex<()>,
    proxies: Mutex<HashMap<TaskId, ProxyState>>,
    /// Woken when a proxy answers.
    answered: watch::Sender<u64>,
    events: EventLog,
    discovery: DiscoveryCache,
    secrets: ArcSwap<SecretValues>,
    /// Where the AWS endpoint listens for tasks, on loopback.
    task_endpoint: OnceLock<SocketAddr>,
    /// Who puts faults in force; there is none where no tasks are run.
    fault_injector: OnceLock<Arc<dyn FaultInjector>>,
    /// Holds the gateways' addresses until they listen themselves.
    pub(crate) reserved: Mutex<Vec<socket2::Socket>>,
}

impl Core {
    pub(crate) fn new(
        writer: RegistryWriter,
        authorities: Authorities,
        kept: Kept,
        credentials: Credentials,
        authorizer: Authorizer,
        certificate_ttl: Duration,
        options: PublishOptions,
    ) -> Self {
        let (answered, _) = watch::channel(0);
        let registry = writer.snapshot();
        let published = Published::new(&registry, &authorities.mesh_roots_pem());
        let telemetry = Telemetry::new(Arc::clone(&kept.metrics) as _, Arc::clone(&kept.traces) as _);
        Self {
            writer,
            authorities,
            kept,
            telemetry,
            introspection: Introspection::default(),
            sampling: SamplingStatistics::default(),
            daemon: DaemonCounters::default(),
            log_queries: Queries::default(),
            declared_logs: Mutex::default(),
            credentials,
            authorizer,
            tokens: Tokens::default(),
            certificate_ttl,
            options,
            diversions: Mutex::default(),
            chaos: Mutex::default(),
            harms: Mutex::default(),
            published: Mutex::new(published),
            sets: Mutex::default(),
            publishing: Mutex::new(registry),
            opening: Mutex::default(),
            moving: Mutex::default(),
            proxies: Mutex::default(),
            answered,
            events: EventLog::default(),
            discovery: DiscoveryCache::default(),
            secrets: ArcSwap::default(),
            task_endpoint: OnceLock::new(),
            fault_injector: OnceLock::new(),
            reserved: Mutex::default(),
        }
    }

    /// Where the AWS endpoint listens for tasks, on this machine's loopback; `None` before it is
    /// served.
    pub(crate) fn task_endpoint(&self) -> Option<SocketAddr> {
        self.task_endpoint.get().copied()
    }

    /// Tells where it listens for tasks. The first one served is the one.
    pub(crate) fn set_task_endpoint(&self, address: SocketAddr) {
        let _ = self.task_endpoint.set(address);
    }

    /// Who puts faults in force; `None` where no tasks are run.
    pub(crate) fn fault_injector(&self) -> Option<Arc<dyn FaultInjector>> {
        self.fault_injector.get().cloned()
    }

    /// Tells who puts faults in force. The first one told of is the one.
    pub(crate) fn set_fault_injector(&self, injector: Arc<dyn FaultInjector>) {
        let _ = self.fault_injector.set(injector);
    }

    /// Who called what.
    pub(crate) fn audit(&self) -> &Arc<AuditLog> {
        &self.kept.audit
    }

    /// Metrics.
    pub(crate) fn metrics(&self) -> &Arc<MetricStore> {
        &self.kept.metrics
    }

    /// Traces.
    pub(crate) fn traces(&self) -> &Arc<TraceStore> {
        &self.kept.traces
    }

    /// Where spans and metrics are sent on to.
    pub(crate) fn otlp(&self) -> &Arc<Otlp> {
        &self.kept.otlp
    }

    /// What X-Ray's clients have told of their sampling.
    pub(crate) fn sampling(&self) -> &SamplingStatistics {
        &self.sampling
    }

    /// What X-Ray's daemon has counted.
    pub(crate) fn daemon(&self) -> &DaemonCounters {
        &self.daemon
    }

    /// Logs.
    pub(crate) fn logs(&self) -> &Arc<LogStore> {
        &self.kept.logs
    }

    /// Queries of logs.
    pub(crate) fn log_queries(&self) -> &Queries {
        &self.log_queries
    }

    pub(crate) fn declared_logs(&self) -> &Mutex<Option<DeclaredLogs>> {
        &self.declared_logs
    }

    /// All that proxies have told, and the control plane's own counters.
    pub(crate) fn exposed_metrics(&self, format: Format) -> Vec<u8> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = proxies.values().map(|proxy| proxy.streams as usize).sum();
        drop(proxies);
        self.telemetry.render(format, streams, self.metrics(), |out| {
            exposition::write_traces(out, self.traces().counts());
            exposition::write_otlp(out, self.otlp().counts());
            exposition::write_daemon(out, &self.daemon);
        })
    }

    /// Services left without encryption on purpose.
    pub(crate) fn plaintext_services(&self) -> &std::collections::BTreeSet<String> {
        &self.options.plaintext_services
    }

    /// What proxies tell of what they counted.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Values for containers that want secrets injected.
    pub(crate) fn secrets(&self) -> Arc<SecretValues> {
        self.secrets.load_full()
    }

    pub(crate) fn set_secrets(&self, secrets: SecretValues) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Takes further secrets, in place of those with the same names.
    pub(crate) fn add_secrets(&self, more: SecretValues) {
        let mut secrets = SecretValues::clone(&self.secrets());
        secrets.extend(more);
        self.set_secrets(secrets);
    }

    /// Which revision a task definition of a template gets.
    pub(crate) fn revisions(self: &Arc<Self>) -> Revision {
        let core = Arc::clone(self);
        Revision::new(move |request| core.revision_of(request))
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.writer.snapshot()
    }

    /// Cloud Map's services and instances at this moment.
    pub(crate) fn discovery(&self) -> Arc<DiscoveryIndex> {
        self.discovery.at(&self.writer.snapshot(), wall_clock::now)
    }

    pub(crate) fn registry_generation(&self) -> watch::Receiver<u64> {
        self.writer.generation()
    }

    /// Changes the registry, and tells the streams.
    pub(crate) fn change<R, E: From<RegistryError>>(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<R, E>,
    ) -> Result<R, E> {
        let before = self.writer.snapshot();
        let result = self.writer.change(|registry| {
            let result = change(registry)?;
            if !before.services.is_same(&registry.services) {
                authorities::trust_named(registry);
            }
            Ok(result)
        });
        self.publish_changes();
        result
    }

    /// Changes the registry, and stands still between that and telling the streams.
    #[cfg(test)]
    pub(crate) fn change_untold(&self, change: impl FnOnce(&mut Registry)) -> Result<(), RegistryError> {
        self.writer.change(|registry| {
            change(registry);
            Ok(())
        })
    }

    /// Forgets everything but the settings and the authorities, and returns when the last task is
    /// over: false when some are not within `limit`.
    pub(crate) async fn reset(&self, limit: Duration) -> Result<bool, RegistryError> {
        let mut generation = self.registry_generation();
        self.change::<_, RegistryError>(|registry| {
            registry.forget_resources();
            Ok(())
        })?;
        let ended =
            async { while !self.registry().tasks.is_empty() && generation.changed().await.is_ok() {} };
        let ended = tokio::time::timeout(limit, ended).await.is_ok();
        self.events.clear();
        self.kept.metrics.clear();
        self.kept.traces.clear();
        self.forget_logs().await;
        self.change::<_, RegistryError>(|registry| {
            registry.forget_resources();
            Ok(())
        })?;
        Ok(ended)
    }

    /// Forgets all logs; what cannot be removed is told in the log.
    async fn forget_logs(&self) {
        let logs = Arc::clone(&self.kept.logs);
        let cleared = tokio::task::spawn_blocking(move || logs.clear()).await;
        if let Ok(Err(error)) = cleared {
            tracing::error!(%error, "the logs could not be forgotten");
        }
        self.log_queries.clear();
        *self.declared_logs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Access keys.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Who may do what.
    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    pub(crate) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    pub(crate) fn authorities_changed(&self) -> watch::Receiver<u64> {
        self.authorities.changed()
    }

    /// Takes up authorities that a stack has made.
    pub(crate) fn reload_authorities(&self) -> Result<(), AuthoritiesError> {
        if self.open_authorities()? {
            self.publish(&Reach::Everybody);
        }
        Ok(())
    }

    /// Opens the authorities of the latest snapshot: nobody puts older ones in their place.
    fn open_authorities(&self) -> Result<bool, AuthoritiesError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        self.authorities.reload(&self.writer.snapshot())
    }

    pub(crate) fn roots_pem(&self) -> String {
        self.authorities.mesh_roots_pem()
    }

    pub(crate) fn own_certificate_ttl(&self) -> Duration {
        OWN_CERTIFICATE_TTL
    }

    pub(crate) fn own_tls_material(&self) -> Result<TlsMaterial, AuthoritiesError> {
        let trust_domain = self.registry().settings().trust_domain.clone();
        self.authorities.own_tls_material(&trust_domain, OWN_CERTIFICATE_TTL, wall_clock::now())
    }

    pub(crate) fn issue_token(&self, task: &TaskId, now: Timestamp) -> Option<Secret> {
        let known = self.registry().tasks.get(task.as_str()).is_some();
        known.then(|| self.tokens.issue(task, now))
    }

    /// One pass of the reconciler. Nothing is started while `stopping`.
    pub(crate) fn reconcile(&self, histories: &mut Histories, stopping: bool) -> Result<Pass, RegistryError> {
        let now = wall_clock::now();
        let pass = self.change::<_, RegistryError>(|registry| {
            if stopping {
                reconcile::forget(registry);
                return Ok(Pass::default());
            }
            secrets::commands::sweep(registry, now);
            private_ca::sweep(registry, now);
            authorities::sweep(registry, now);
            rollover::sweep(registry, now);
            revocation::sweep(registry, now);
            histories.alarms = alarms::in_alarm(registry).map(str::to_owned).collect();
            let mut pass = reconcile::pass(registry, histories, now, random::task_id);
            let certificates = rollover::again_in(registry, now);
            pass.again_in = pass.again_in.into_iter().chain(certificates).min();
            Ok(pass)
        })?;
        self.tell(pass.events.clone());
        Ok(pass)
    }

    /// Tells people.
    pub(crate) fn tell(&self, events: Vec<Event>) {
        for event in events {
            tracing::info!(subject = %event.subject, "{}", event.message);
            self.events.push(event);
        }
    }

    pub(crate) fn events_since(&self, number: u64) -> Vec<(u64, Event)> {
        self.events.since(number)
    }

    /// The present revision of an unchanged definition, else the next.
    pub(crate) fn revision_of(&self, request: &RegisterTaskDefinitionRequest) -> u32 {
        let registry = self.registry();
        let latest = definition::latest_active(&registry, &request.family);
        let same = latest.filter(|arn| {
            registry
                .task_definition_records
                .get(arn.as_str())
                .is_some_and(|record| record.request == *request)
        });
        match same.as_ref().and_then(definition::revision_of) {
            Some(revision) => revision,
            None => definition::next_revision(&registry, &request.family),
        }
    }

    /// The latest certificate of a task's own identity.
    pub(crate) fn certificate_of(&self, task: &TaskId) -> Option<CertificateRecord> {
        let registry = self.registry();
        let own = registry
            .certificates
            .values()
            .filter(|record| &record.task == task && record.name == MESH_IDENTITY);
        let in_use = |record: &CertificateRecord| !revocation::is_revoked(&registry, &record.serial);
        own.max_by_key(|record| (in_use(record), record.age())).map(|record| (**record).clone())
    }

    pub(crate) fn verifier_certificate(&self, csr_der: &[u8]) -> Result<IssuedCertificate, AuthoritiesError> {
        let csr = CheckedCsr::parse(csr_der)?;
        let trust_domain = self.registry().settings().trust_domain.clone();
        let order = LeafOrder {
            authority: None,
            spiffe_id: verifier_id(&trust_domain),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            ttl: VERIFIER_TTL,
            public: false,
        };
        self.authorities.issue(&order, &csr, wall_clock::now())
    }

    pub(crate) fn policy_test(
        &self,
        question: &PolicyQuestion,
    ) -> Result<Vec<PolicyAnswer>, PolicyQuestionError> {
        let proves_callers = |service: &Service| publish::proves_callers(&self.options, service);
        authorization::answer(&self.registry(), proves_callers, question)
    }
}

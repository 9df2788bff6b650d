//! The control plane as one thing: started, told what to run, watched.

mod audit_trail;
mod authorities;
mod certificates;
mod chaos;
mod config;
pub(crate) mod desired;
mod disturbance;
mod event_log;
mod harm;
mod introspection;
mod measurements;
mod opening;
pub(crate) mod pace;
mod private_dns;
mod reconciling;
mod renewals;
mod reports;
mod role_session;
mod routes;
mod served;
mod start_error;
mod task_endpoint;

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bowline_aws::cfn::{Revision, Stack};
use bowline_model::{
    fault::FaultInjector,
    identity::SpiffeId,
    log::LogWriter,
    log_driver::LogFigures,
    task::{DesiredStatus, Secret, TaskDesire, TaskId, TaskReport, TaskUsage, TokenIssuer},
};
use bowline_plumbing::{disk::Disk, drain, seal::SealKey, wall_clock};
use bowline_stream::{StreamServer, directory::IssuedCertificate, tls::TlsHandle};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::{
    alarms::evaluator,
    api::{
        authentication::Authentication,
        authorization::{AuthorizationMode, Authorizer},
        connection::ApiServer,
        limits::Limits,
        server::Api,
        tls::{EndpointCertificate, EndpointTls},
    },
    authorities::{Authorities, AuthoritiesError},
    authorization::{PolicyAnswer, PolicyQuestion, PolicyQuestionError},
    core::{Core, Kept},
    credentials::Credentials,
    dashboard::Dashboard,
    fis, logs,
    master_key::{MasterKeyError, Rotated},
    otlp::Otlp,
    publish::PublishOptions,
    reconcile::{self, Event},
    registry::{Registry, RegistryError, RegistryWriter, SETTINGS},
    stack::{ApplyError, StackFault, StackOrder, record::StackTemplate},
    state_lock::StateLock,
    store::{EmbeddedStore, LogLimits as StoreLogLimits, Store},
    task_spec::SpecOptions,
};

mod access_keys;
pub(crate) mod task_secrets;

use opening::{
    gateway_ca_path, listen, listen_as_xray_daemon, open_logs, open_master_key, open_metrics, open_traces,
    write_gateway_ca,
};
use private_dns::PrivateDns;

pub use access_keys::{AccessKeyError, AccessKeyView};
pub use audit_trail::{AUDIT_DIRECTORY, AUDIT_KEY_LABEL};
pub use authorities::{AuthorityError, AuthorityView, Moved};
pub use bowline_observe::traces::{TraceLimits, TraceStore, TraceStoreError};
pub use bowline_observe::{
    logs::{LogLimits, LogStore, LogStoreError},
    metrics::{MetricLimits, MetricStore, MetricStoreError, Retention as MetricRetention},
};
pub(crate) use certificates::authority_named;
pub use certificates::{
    AllowTarget, CertificateStatus, CertificateView, IdentityView, RevocationTarget, RevokeError, Revoked,
};
pub use chaos::{ChaosError, DiversionId, Forged, SpoofId, StageId};
pub use config::{ControlConfig, LOGS_DIRECTORY, METRICS_DIRECTORY, STORE_FILE, TRACES_DIRECTORY};
pub use disturbance::DisturbanceId;
pub(crate) use event_log::EventLog;
pub use harm::Harmed;
pub use introspection::{Diagnosis, GatewayGap, NameError, ProxyLink};
pub use role_session::RoleSession;
pub use served::ServedCertificate;
pub use start_error::{ServeError, StartError};

/// How long a diversion may last.
const DIVERSION_MAX: Duration = Duration::from_secs(60);
/// How long a proxy may take to go by a diversion, or by it no more.
const DIVERSION_ANSWER: Duration = Duration::from_secs(5);

/// How long the last spans may take to be sent on.
const OTLP_LAST: Duration = Duration::from_secs(4);

/// What an agent needs of the control plane.
pub struct AgentPort {
    /// The tasks that it should have, whole, whenever they change.
    pub desired: watch::Receiver<Arc<Vec<TaskDesire>>>,
    /// Where it reports.
    pub reports: mpsc::Sender<TaskReport>,
    /// Where it tells what tasks use of the machine.
    pub usage: mpsc::Sender<Vec<TaskUsage>>,
    /// Makes the tokens for first certificates.
    pub tokens: Arc<dyn TokenIssuer>,
    /// Takes lines whose place is the log store.
    pub logs: Arc<dyn LogWriter>,
    /// Where it counts what becomes of lines.
    pub log_figures: Arc<LogFigures>,
}

/// A running control plane.
pub struct ControlPlane {
    config: ControlConfig,
    core: Arc<Core>,
    desired: watch::Receiver<Arc<Vec<TaskDesire>>>,
    reports: mpsc::Sender<TaskReport>,
    usage: mpsc::Sender<Vec<TaskUsage>>,
    drain: drain::DrainTrigger,
    drain_watch: drain::DrainWatch,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    dns: Option<Arc<PrivateDns>>,
    stopping: watch::Sender<bool>,
    otlp: Sending,
    /// With the store and the audit trail.
    disk: Disk,
    _lock: StateLock,
}

/// What sends spans and metrics on, and what ends it.
struct Sending {
    stopping: watch::Sender<bool>,
    sender: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Sending {
    /// Sends what is left, and closes what keeps spans and metrics.
    async fn close(&self, core: &Core) {
        self.stopping.send_replace(true);
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            let abort = sender.abort_handle();
            if tokio::time::timeout(OTLP_LAST, sender).await.is_err() {
                abort.abort();
            }
        }
        let (metrics, traces) = (Arc::clone(core.metrics()), Arc::clone(core.traces()));
        // It waits for the disk.
        let close = move || {
            metrics.close();
            traces.close();
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

impl ControlPlane {
    /// Opens the state directory, makes what is missing, and serves proxies.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: ControlConfig) -> Result<Self, StartError> {
        let lock = StateLock::acquire(&config.state_dir)?;
        let disk = Disk::default();
        let path = config.state_dir.join(STORE_FILE);
        let store = match config.ephemeral {
            true => EmbeddedStore::in_memory(),
            false => EmbeddedStore::open_with(&path, disk.clone(), StoreLogLimits::default()),
        };
        let store = store.map_err(|source| StartError::Store { path, source })?;
        let store: Arc<dyn Store> = Arc::new(store);
        let writer = RegistryWriter::load(store)?;
        let master_key = Arc::new(open_master_key(&config, &writer)?);
        if writer.snapshot().settings().sampling != config.sampling {
            writer.change::<_, RegistryError>(|registry| {
                registry.settings.update(SETTINGS, |settings| settings.sampling = config.sampling);
                Ok(())
            })?;
        }
        let audit = audit_trail::open(&config, &master_key, disk.clone()).await?;
        let metrics = Arc::new(open_metrics(&config)?);
        let traces = Arc::new(open_traces(&config)?);
        let logs = Arc::new(open_logs(&config, &metrics)?);
        let authorities = Authorities::open(&writer, Arc::clone(&master_key), wall_clock::now())?;
        write_gateway_ca(&config.state_dir, &authorities)?;

        let listener = listen(&config, &writer)?;
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address: config.discovery_listen, source })?;
        let dns = config.dns.as_ref().map(|dns| PrivateDns::start(dns, &writer)).transpose()?;
        let xray_daemon = config.xray_daemon.map(listen_as_xray_daemon).transpose()?;
        let core = Arc::new(Core::new(
            writer,
            authorities,
            Kept { audit, metrics, logs, traces, otlp: Arc::new(Otlp::new(config.otlp.clone())) },
            Credentials::new(master_key),
            Authorizer::new(config.authorization),
            config.certificate_ttl,
            PublishOptions {
                plaintext_services: config.plaintext_services.clone(),
                certificate_ttl_seconds: config.certificate_ttl.as_secs(),
                private_dns: dns.as_ref().map(|dns| dns.server.local_addr()),
                ..PublishOptions::default()
            },
        ));
        core.restore_secrets();
        let (drain, drain_watch) = drain::channel();
        let tls = TlsHandle::new(&core.own_tls_material()?).map_err(AuthoritiesError::tls)?;
        let server = StreamServer::start(listener, tls.clone(), Arc::clone(&core) as _, drain_watch.clone())
            .map_err(|source| StartError::Listen { address, source })?;

        let (desired_sender, desired) = watch::channel(Arc::new(Vec::new()));
        let (reports, report_receiver) = mpsc::channel(1_024);
        let (usage, usage_receiver) = mpsc::channel(4);
        let (stopping, stopping_receiver) = watch::channel(false);
        let spec_options = SpecOptions {
            discovery_address: address,
            roots_pem: core.roots_pem(),
            egress: config.egress,
            exec: config.exec.clone(),
            secrets: Arc::default(),
            xray_daemon: xray_daemon.as_ref().and_then(|sockets| sockets.local_addr().ok()),
        };
        let dns = dns.map(Arc::new);
        let mut tasks = vec![
            tokio::spawn(reports::take_up(Arc::clone(&core), report_receiver)),
            tokio::spawn(measurements::run(Arc::clone(&core), usage_receiver)),
            tokio::spawn(reconciling::run(Arc::clone(&core), stopping_receiver)),
            tokio::spawn(desired::publish(Arc::clone(&core), spec_options, desired_sender)),
            tokio::spawn(renewals::renew_own_certificate(Arc::clone(&core), tls)),
            tokio::spawn(renewals::run(Arc::clone(&core))),
            tokio::spawn(evaluator::run(Arc::clone(&core), core.metrics().clone() as _)),
            tokio::spawn(logs::run(Arc::clone(&core))),
            tokio::spawn(fis::engine::run(Arc::clone(&core))),
            tokio::spawn(server.stopped()),
        ];
        if let Some(queue) = core.otlp().spans() {
            core.traces().follow(queue);
        }
        let (sending, sending_receiver) = watch::channel(false);
        let sender = tokio::spawn(Arc::clone(core.otlp()).run(Arc::clone(&core), sending_receiver));
        if let Some(sockets) = xray_daemon {
            tasks.push(tokio::spawn(sockets.serve(Arc::clone(&core), drain_watch.clone())));
        }
        if let Some(dns) = &dns {
            tasks.push(tokio::spawn(Arc::clone(dns).follow(Arc::clone(&core))));
        }
        Ok(Self {
            config,
            core,
            desired,
            reports,
            usage,
            drain,
            drain_watch,
            tasks,
            dns,
            stopping,
            otlp: Sending { stopping: sending, sender: Mutex::new(Some(sender)) },
            disk,
            _lock: lock,
        })
    }

    /// Serves AWS's API to whoever connects to `listener`, until the end: by TLS with this
    /// `certificate`, and only on loopback without one.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn serve_api(
        &self,
        listener: TcpListener,
        certificate: Option<EndpointCertificate>,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        let local = address.ip().is_loopback();
        if !local && certificate.is_none() {
            return Err(ServeError::Plaintext(address));
        }
        let tls = match certificate {
            Some(certificate) => Some(Arc::new(EndpointTls::new(Arc::clone(&self.core), certificate)?)),
            None => None,
        };
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.tell_crl_base(address, tls.is_some());
        let api = Arc::new(Api {
            core: Arc::clone(&self.core),
            authentication: Authentication::new(local),
            // Whoever resets is not asked who he is.
            resettable: self.config.ephemeral && local,
            audit_data_events: self.config.audit_data_events,
            limits: Limits::new(local, Instant::now()),
            dashboard: Some(Dashboard::new(Arc::clone(&self.core), self.drain_watch.clone())),
        });
        task_endpoint::serve(&self.core, self.config.audit_data_events, self.drain_watch.clone())?;
        let serving = ApiServer::serve(listener, api, tls.clone(), self.drain_watch.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => tokio::select! {
                    () = serving => {}
                    () = tls.renew() => {}
                },
                None => serving.await,
            }
        });
        Ok(())
    }

    /// Tells who puts faults in force for FIS's experiments. Without, those of their actions fail that take faults; the
    /// first one told of is the one.
    pub fn set_fault_injector(&self, injector: Arc<dyn FaultInjector>) {
        self.core.set_fault_injector(injector);
    }

    /// Where the DNS server listens; empty where there is none.
    pub fn dns_addresses(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], |dns| dns.server.local_addresses())
    }

    /// Where metrics are kept: to read them, and for whoever takes in what proxies, agents and this process itself
    /// measure.
    pub fn metrics(&self) -> Arc<MetricStore> {
        Arc::clone(self.core.metrics())
    }

    /// Where traces are kept: to read them, and for whoever takes in what proxies and applications tell.
    pub fn traces(&self) -> Arc<TraceStore> {
        Arc::clone(self.core.traces())
    }

    /// Where logs are kept: to read them, and for whoever takes in what tasks write.
    pub fn logs(&self) -> Arc<LogStore> {
        Arc::clone(self.core.logs())
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// What an agent needs.
    pub fn agent_port(&self) -> AgentPort {
        AgentPort {
            desired: self.desired.clone(),
            reports: self.reports.clone(),
            usage: self.usage.clone(),
            tokens: Arc::clone(&self.core) as _,
            logs: Arc::clone(self.core.logs()) as _,
            log_figures: Arc::clone(&self.core.telemetry().logs),
        }
    }

    /// Wraps the data keys by another master key, while everything goes on: see
    /// [`MasterKey::rotate`]. Blocks.
    ///
    /// # Errors
    /// See there.
    pub fn rotate_master_key(&self, new: Option<SealKey>) -> Result<Rotated, MasterKeyError> {
        let rotated = self.core.authorities().master_key().rotate(new)?;
        tracing::info!(from = rotated.from, to = rotated.to, "the master key was rotated");
        Ok(rotated)
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Arc<Registry> {
        self.core.registry()
    }

    /// Changes with every change of [`ControlPlane::snapshot`].
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.core.registry_generation()
    }

    /// Which revision a task definition of a template gets: the present one
    /// where it is unchanged, else the next.
    pub fn revisions(&self) -> Revision {
        self.core.revisions()
    }

    /// Makes the services what the stack says, which `template` was resolved to. Returns notes for
    /// people.
    ///
    /// # Errors
    /// The template asks for what cannot be done: nothing was changed.
    pub fn apply_stack(
        &self,
        stack: &Stack,
        template: &StackTemplate,
    ) -> Result<Vec<StackFault>, ApplyError> {
        let order = StackOrder {
            by: self.config.scope.root_arn(),
            // Whoever brought it up sees what fails, and decides.
            disable_rollback: true,
            ..StackOrder::default()
        };
        Ok(self.core.deploy(stack, template, &order)?.notes)
    }

    /// Events since the control plane started (the last thousand), with a number
    /// each that grows.
    pub fn events_since(&self, number: u64) -> Vec<(u64, Event)> {
        self.core.events_since(number)
    }

    /// Services left without encryption on purpose.
    pub fn plaintext_services(&self) -> &BTreeSet<String> {
        &self.config.plaintext_services
    }

    /// The file with the CA of gateways' certificates, for `curl --cacert`.
    pub fn gateway_ca_path(&self) -> PathBuf {
        gateway_ca_path(&self.config.state_dir)
    }

    /// Makes one task's proxy reach a cluster by another address for a while,
    /// and returns when the proxy has said that it does.
    ///
    /// # Errors
    /// The proxy is not connected, has no such cluster, or does not answer in 5 s.
    pub async fn divert(
        &self,
        task: &TaskId,
        cluster: &str,
        to: SocketAddr,
        lasting: Duration,
    ) -> Result<(), DivertError> {
        self.core.divert(task, cluster, Some((to, Instant::now() + lasting.min(DIVERSION_MAX))));
        self.core.in_step(task, DIVERSION_ANSWER).await.ok_or(DivertError)
    }

    /// Returns when every task's proxy has acknowledged the endpoints that are
    /// published now, or after `limit`.
    pub async fn in_step(&self, limit: Duration) {
        let end = tokio::time::Instant::now() + limit;
        let registry = self.snapshot();
        for task in registry.tasks.values().filter(|task| task.available()) {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            self.core.in_step(&task.id, left).await;
        }
    }

    /// What connected proxies refuse of their configuration now: task and reason.
    pub fn refusals(&self) -> Vec<(TaskId, String)> {
        self.core.refusals()
    }

    /// Ends a diversion, and returns when the proxy has said that it goes by it no more: until then it
    /// still makes connections to the other address.
    ///
    /// # Errors
    /// The proxy is not connected, or does not answer in 5 s.
    pub async fn end_diversion(&self, task: &TaskId, cluster: &str) -> Result<(), DivertError> {
        self.core.divert(task, cluster, None);
        self.core.in_step(task, DIVERSION_ANSWER).await.ok_or(DivertError)
    }

    /// Whether a call may be made, and which rule decides, for each port that is asked about.
    ///
    /// # Errors
    /// The question names what is not there.
    pub fn policy_test(&self, question: &PolicyQuestion) -> Result<Vec<PolicyAnswer>, PolicyQuestionError> {
        self.core.policy_test(question)
    }

    /// A certificate of a minute for whoever owns the state directory, with the
    /// id `spiffe://TRUST-DOMAIN/verifier`, which no rule allows to call anything.
    ///
    /// # Errors
    /// The CSR is unusable.
    pub fn verifier_certificate(&self, csr_der: &[u8]) -> Result<IssuedCertificate, AuthoritiesError> {
        self.core.verifier_certificate(csr_der)
    }

    /// The certificate that a task's proxy holds: the latest issued.
    pub fn certificate_of(&self, task: &TaskId) -> Option<crate::registry::CertificateRecord> {
        self.core.certificate_of(task)
    }

    /// Tells every task to stop, and returns when all have, or after `limit`.
    pub async fn stop_all(&self, limit: Duration) -> bool {
        self.stopping.send_replace(true);
        let stopped = self.core.change::<_, RegistryError>(|registry| {
            let ids: Vec<_> = registry.tasks.values().map(|task| task.id.clone()).collect();
            for id in ids {
                registry.tasks.update(id.as_str(), |task| task.desired = DesiredStatus::Stopped);
            }
            Ok(())
        });
        if let Err(error) = stopped {
            // They will not report it either: there is nothing to wait for.
            tracing::error!(%error, "the tasks could not be told to stop");
            return false;
        }
        let mut generation = self.generation();
        tokio::time::timeout(limit, async {
            while !self.snapshot().tasks.is_empty() && generation.changed().await.is_ok() {}
        })
        .await
        .is_ok()
    }

    /// Sends on what is left of spans and metrics, and closes what keeps them: what is told afterwards may be lost.
    pub async fn close_telemetry(&self) {
        self.otlp.close(&self.core).await;
    }

    /// Waits until the audit trail is on the disk, and closes it. Calls that change something are
    /// refused from now on.
    pub async fn close_audit_trail(&self) {
        audit_trail::close(&self.core).await;
    }

    /// Ends. Tasks are not touched.
    pub async fn shutdown(self) {
        // Drained is when nobody watches any more.
        drop(self.drain_watch);
        // Streams end when their proxies see the connection close.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.drain.drain()).await;
        // Proxies have told their last spans.
        self.otlp.close(&self.core).await;
        audit_trail::close(&self.core).await;
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        // The store closes with the last who holds it: a connection that drained just now, or work on a blocking
        // thread that cannot be aborted. Whoever starts on the same directory next must find it closed.
        let closed = async {
            while Arc::strong_count(&self.core) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    }
}

/// A proxy could not be led elsewhere.
#[derive(Clone, Copy, Debug, Error)]
#[error("the task's proxy did not take the change within 5 s: is it connected?")]
pub struct DivertError;
impl TokenIssuer for Core {
    fn issue(&self, task: &TaskId) -> Option<Secret> {
        self.issue_token(task, wall_clock::now())
    }
}

/// The id that the verifier's certificate carries.
pub(crate) fn verifier_id(trust_domain: &str) -> Option<SpiffeId> {
    format!("spiffe://{trust_domain}/verifier").parse().ok()
}

/// Whether every service is steady and every gateway serves.
pub fn is_settled(registry: &Registry) -> bool {
    registry.services.values().all(|service| reconcile::is_steady(registry, service))
        && registry
            .load_balancers
            .values()
            .all(|balancer| registry.tasks_of_gateway(&balancer.arn).iter().any(|task| task.available()))
}

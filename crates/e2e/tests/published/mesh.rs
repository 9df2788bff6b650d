//! A control plane, an agent whose tasks are proxies and servers of this process, and the proxies of
//! callers.
//!
//! Of what is published only places are changed: where sockets are, and whose certificates (a test
//! authority's, for the published SPIFFE ids).

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use bowline_aws::cfn::{Inputs, Template as Parsed};
use bowline_control::{
    control_plane::{AgentPort, ControlConfig, ControlPlane},
    publish::{self, PublishOptions},
    registry::{Registry, TaskOwner},
    stack::record::StackTemplate,
};
use bowline_discovery::{resource::Resource, v1};
use bowline_model::task::{
    DesiredStatus, HealthStatus, InboundSocket, TaskDesire, TaskId, TaskReport, TaskStatus,
};
use bowline_plumbing::wall_clock;
use bowline_proxy::{ProxyHandle, ProxyOptions, start_from_file};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{server::Backend, template::Template};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The authority of the test's certificates.
struct Ca {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = params.self_signed(&key).expect("a root").pem();
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, issuer: Issuer::new(params, key), root_pem }
    }

    /// A certificate for a SPIFFE id, in files.
    fn issue(&self, spiffe_id: &str) -> v1::FileCertificate {
        let path = |end: &str| self.directory.path().join(format!("{}.{end}", spiffe_id.replace('/', "_")));
        let (chain, private) = (path("pem"), path("key"));
        if !chain.exists() {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().expect("ASCII"))];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let certificate = params.signed_by(&key, &self.issuer).expect("signed");
            std::fs::write(&chain, certificate.pem()).expect("written");
            std::fs::write(&private, key.serialize_pem()).expect("written");
        }
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        v1::FileCertificate { certificate_chain: text(chain), private_key: text(private) }
    }
}

/// A task of a service: its sidecar, before its application.
struct Running {
    backend: Backend,
    proxy: Proxy,
}

/// A proxy by what is published for a task.
pub(crate) struct Proxy {
    handle: ProxyHandle,
    task: TaskId,
    path: std::path::PathBuf,
}

impl Proxy {
    /// Where a listener really is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let known = self.handle.addresses();
        *known.get(listener).unwrap_or_else(|| panic!("{listener} is none of {known:?}"))
    }
}

/// See the module.
pub(crate) struct Mesh {
    pub(crate) control: ControlPlane,
    port: AgentPort,
    ca: Ca,
    options: PublishOptions,
    tasks: BTreeMap<TaskId, Running>,
    told: BTreeMap<TaskId, DesiredStatus>,
    state: TempDir,
}

impl Mesh {
    /// Everything of a template runs.
    pub(crate) async fn start(template: &Template) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let config = ControlConfig { dns: None, ..ControlConfig::new(state.path().join("state")) };
        let control = ControlPlane::start(config).await.expect("it starts");
        let mut mesh = Self {
            port: control.agent_port(),
            control,
            ca: Ca::new(),
            options: PublishOptions::default(),
            tasks: BTreeMap::new(),
            told: BTreeMap::new(),
            state,
        };
        mesh.apply(template);
        mesh.until("everything runs", bowline_control::control_plane::is_settled).await;
        mesh
    }

    /// Makes the stack what a template says.
    pub(crate) fn apply(&self, template: &Template) {
        let text = template.text();
        let parsed = Parsed::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let revision = self.control.revisions();
        let inputs = Inputs { stack_name: "test".into(), revision, ..Inputs::default() };
        let stack = parsed.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
        let files = vec![("template".to_owned(), text)];
        let made_from = StackTemplate { files, parameters: Default::default() };
        self.control.apply_stack(&stack, &made_from).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs what is to run, until the registry is as it should be.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Registry) -> bool) {
        let mut generation = self.control.generation();
        let running = async {
            loop {
                self.step().await;
                if holds(&self.control.snapshot()) {
                    return;
                }
                tokio::select! {
                    changed = self.port.desired.changed() => changed.expect("the control plane runs"),
                    changed = generation.changed() => changed.expect("the control plane runs"),
                }
            }
        };
        tokio::time::timeout(LIMIT, running).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    async fn step(&mut self) {
        let list: Vec<TaskDesire> = self.port.desired.borrow_and_update().to_vec();
        for desire in list {
            let id = desire.spec.id.clone();
            if self.told.insert(id.clone(), desire.status) == Some(desire.status) {
                continue;
            }
            let running = desire.status == DesiredStatus::Running;
            let inbound = match running {
                true => self.run(&id, &desire).await,
                false => {
                    if let Some(task) = self.tasks.remove(&id) {
                        task.proxy.handle.stop();
                    }
                    Vec::new()
                }
            };
            let report = TaskReport {
                id,
                at: wall_clock::now(),
                status: if running { TaskStatus::Running } else { TaskStatus::Stopped },
                health: HealthStatus::Healthy,
                containers: Vec::new(),
                inbound,
                published: Vec::new(),
                proxy_ready: running,
                stopped_reason: None,
                stop_code: None,
                shim_pid: None,
                warnings: Vec::new(),
            };
            self.port.reports.send(report).await.expect("it is read");
        }
    }

    /// Starts a task; a gateway's proxy is started by [`Mesh::proxy`] when it is wanted.
    async fn run(&mut self, id: &TaskId, desire: &TaskDesire) -> Vec<InboundSocket> {
        let ports = desire.spec.proxy.as_ref().map(|proxy| proxy.inbound.clone()).unwrap_or_default();
        if ports.is_empty() {
            return Vec::new();
        }
        let backend = Backend::start(id.as_str()).await;
        let proxy = self.start_proxy(id, Some(backend.address));
        let sockets = ports.iter().map(|port| InboundSocket {
            port_name: port.port_name.clone(),
            container_port: port.container_port,
            address: proxy.address(&format!("inbound:{}", port.port_name)),
        });
        let sockets = sockets.collect();
        self.tasks.insert(id.clone(), Running { backend, proxy });
        sockets
    }

    fn start_proxy(&self, task: &TaskId, application: Option<SocketAddr>) -> Proxy {
        let path = self.state.path().join(format!("{}.json", task.as_str()));
        self.write(task, &path, application);
        let options = ProxyOptions { workers: 2, drain: Duration::ZERO, ..ProxyOptions::default() };
        let handle = start_from_file(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        Proxy { handle, task: task.clone(), path }
    }

    /// The proxy of a service's first task, or a load balancer's, by what is published now.
    pub(crate) fn proxy(&self, of: &str) -> Proxy {
        self.proxy_of(&self.task_of(of))
    }

    /// Another proxy of a task, that calls.
    pub(crate) fn proxy_of(&self, task: &TaskId) -> Proxy {
        self.start_proxy(task, None)
    }

    /// Gives a caller's proxy, and those of all tasks, what is published now.
    pub(crate) fn refresh(&self, caller: &Proxy) {
        let tasks = self.tasks.values().map(|running| (&running.proxy, Some(running.backend.address)));
        for (proxy, application) in tasks.chain([(caller, None)]) {
            self.write(&proxy.task, &proxy.path, application);
            proxy.handle.reload().unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// The first task of a service or a load balancer.
    pub(crate) fn task_of(&self, of: &str) -> TaskId {
        let registry = self.control.snapshot();
        let mut tasks = registry.tasks.values();
        let task = tasks.find(|task| match &task.owner {
            TaskOwner::Service { service, .. } => service.resource_name() == of,
            TaskOwner::Gateway { load_balancer } => {
                registry.load_balancers.get(load_balancer.as_str()).is_some_and(|row| row.name == of)
            }
            TaskOwner::Standalone(_) => false,
        });
        task.unwrap_or_else(|| panic!("{of} has no task")).id.clone()
    }

    /// The tasks of a service and their applications.
    pub(crate) fn backends(&self, service: &str) -> Vec<(&TaskId, &Backend)> {
        let registry = self.control.snapshot();
        let is_its = |id: &TaskId| match registry.tasks.get(id.as_str()).map(|task| &task.owner) {
            Some(TaskOwner::Service { service: arn, .. }) => arn.resource_name() == service,
            _ => false,
        };
        let its = self.tasks.iter().filter(|(id, _)| is_its(id));
        its.map(|(id, running)| (id, &running.backend)).collect()
    }

    /// Requests that a service's applications have had.
    pub(crate) fn count(&self, service: &str) -> u32 {
        self.backends(service).iter().map(|(_, backend)| backend.count()).sum()
    }

    /// What is published for a task.
    pub(crate) fn published(&self, task: &TaskId) -> Vec<Resource> {
        let registry = self.control.snapshot();
        let record = registry.tasks.get(task.as_str()).expect("the task is known");
        let all = publish::resources(&registry, &self.options, record).expect("it is served");
        all.iter().map(|(_, _, held)| (*held.resource).clone()).collect()
    }

    fn write(&self, task: &TaskId, path: &Path, application: Option<SocketAddr>) {
        let placed =
            self.published(task).into_iter().filter_map(|resource| self.place(resource, application));
        let file = json!({"node": task.as_str(), "resources": placed.collect::<Vec<_>>()});
        std::fs::write(path, file.to_string()).expect("written");
    }

    /// A resource with its places in this process.
    fn place(&self, mut resource: Resource, application: Option<SocketAddr>) -> Option<Resource> {
        match &mut resource {
            Resource::Listener(listener) => match &mut listener.bind {
                Some(v1::listener::Bind::Inbound(bind)) => bind.address = "127.0.0.1".into(),
                Some(v1::listener::Bind::Outbound(bind)) => {
                    (bind.address, bind.port) = ("127.0.0.1".into(), 0);
                }
                Some(v1::listener::Bind::Public(bind)) => {
                    (bind.address, bind.port) = ("127.0.0.1".into(), 0);
                }
                None => {}
            },
            Resource::Cluster(cluster) => {
                if let (Some(v1::cluster::Kind::Local(local)), Some(address)) =
                    (&mut cluster.kind, application)
                {
                    (local.address, local.port) = (address.ip().to_string(), u32::from(address.port()));
                }
            }
            Resource::Identity(identity) if identity.spiffe_id.is_empty() => return None,
            Resource::Identity(identity) => {
                let files = self.ca.issue(&identity.spiffe_id);
                identity.source = Some(v1::identity::Source::Files(files));
            }
            Resource::Trust(trust) => trust.roots_pem.clone_from(&self.ca.root_pem),
            _ => {}
        }
        Some(resource)
    }

    pub(crate) async fn stop(self) {
        for (_, task) in self.tasks {
            task.proxy.handle.stop();
        }
        drop(self.port);
        self.control.shutdown().await;
    }
}

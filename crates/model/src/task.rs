//! What an agent runs, and what it reports: the contract between the control
//! plane, which desires, and the agent, which makes it so.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{arn::Arn, clock::Timestamp, log_driver::LogConfiguration};

/// A task's id: 32 lower-case hexadecimal digits, as ECS's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// Why a text is no task id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a task id is 32 hexadecimal digits")]
pub struct InvalidTaskId;

impl TaskId {
    /// The id made of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == 32 && text.chars().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTaskId)
        }
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, InvalidTaskId> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that must not appear in logs: a token, a secret's value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Everything that an agent needs in order to run a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task's id.
    pub id: TaskId,
    /// The task's ARN.
    pub arn: Arn,
    /// The task definition's family.
    pub family: String,
    /// The task definition's revision.
    pub revision: u32,
    /// The cluster's name.
    pub cluster: String,
    /// `service:NAME`, `family:FAMILY` or `gateway:NAME`.
    pub group: String,
    /// The containers; none for a gateway.
    pub containers: Vec<ContainerSpec>,
    /// The sidecar; `None` where the service has no Service Connect.
    pub proxy: Option<ProxySpec>,
    /// Ports published on the host's loopback.
    pub published: Vec<PublishedPort>,
    /// What the task may reach beyond its aliases.
    pub egress: Egress,
    /// The task's limits, from the task definition's `cpu` and `memory`.
    pub limits: ResourceLimits,
    /// The role whose credentials the task's sidecar gives out; `None` where it has none.
    #[serde(default)]
    pub role: Option<TaskRole>,
    /// Where the sidecar's lines go; `None` is Bowline's own place.
    #[serde(default)]
    pub proxy_log: Option<LogSpec>,
    /// Where X-Ray's daemon listens on the host's loopback; `None` where there is none.
    #[serde(default)]
    pub xray_daemon: Option<SocketAddr>,
}

/// Where a container's lines go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The driver with its options.
    pub configuration: LogConfiguration,
    /// Values of `secretOptions`; never logged, and never on the disk.
    pub secrets: BTreeMap<String, Secret>,
}

/// What makes a container the task's log router, which is served without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FireLensSpec {
    /// Records say which task and container they are of.
    pub metadata: bool,
    /// Where the router's file may be, the likeliest place first; none where it has no file.
    pub config_files: Vec<PathBuf>,
}

/// What a task's containers are told of the task's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRole {
    /// `AWS_REGION` where the definition does not say.
    pub region: String,
}

/// The proxy beside a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxySpec {
    /// Whether it serves a task or stands alone.
    pub role: ProxyRole,
    /// Ports that other members may call; the shim opens a host socket for each.
    pub inbound: Vec<InboundPort>,
    /// Where its configuration comes from.
    pub control_plane: ControlPlaneAddress,
    /// Names that the task's aliases have when it starts, for host networking,
    /// where a running task's names cannot change: `host:port` texts in the
    /// containers' environment are replaced by the sidecar's address.
    pub aliases: Vec<Alias>,
    /// The access log, on standard output; `None`: there is none.
    #[serde(default)]
    pub access_log: Option<AccessLog>,
}

/// How a proxy logs what it carries: Service Connect's `accessLogConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// How a line is written.
    pub format: AccessLogFormat,
    /// Whether paths have their query parameters: `includeQueryParameters`.
    pub query_parameters: bool,
}

/// How a line of an access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Envoy's default format string, with what else is known behind it.
    Text,
}

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyRole {
    /// Carries one task's traffic.
    Sidecar,
    /// Takes traffic from outside into the mesh.
    Gateway,
}

/// A port of the task that other members may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundPort {
    /// The port mapping's name.
    pub port_name: String,
    /// Where the application listens.
    pub container_port: u16,
    /// Service Connect's `ingressPortOverride`; `None` takes any free port.
    pub ingress_port: Option<u16>,
}

/// Where a proxy finds its control plane, and how it knows that it is the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneAddress {
    /// TCP address of the discovery and identity services.
    pub address: SocketAddr,
    /// PEM of the roots under which its certificate must stand.
    pub roots_pem: String,
    /// The SPIFFE trust domain.
    pub trust_domain: String,
}

/// A client alias as one task sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// All names of the alias, the short one first.
    pub names: Vec<String>,
    /// Its virtual address.
    pub address: Ipv4Addr,
    /// The port that the application calls.
    pub port: u16,
}

/// A port of the task that is published on the host's loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Where the application listens.
    pub container_port: u16,
    /// Port on 127.0.0.1; 0 takes any that is free.
    pub host_port: u16,
}

/// What a task may reach beyond its aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Egress {
    /// Nothing; each attempt is logged.
    #[default]
    Deny,
    /// By TCP what the host reaches, but not the host itself; the sidecar
    /// connects in the task's place. The rest as with `Deny`.
    Allow,
}

/// CPU and memory bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// ECS CPU units, 1,024 to a core.
    pub cpu_units: Option<u32>,
    /// Mebibytes.
    pub memory_mib: Option<u32>,
}

/// A container, as a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// The image; a process launcher runs `command` instead.
    pub image: String,
    /// Program and arguments: a local command in place of the image, or
    /// `entryPoint` and `command`. Empty: cannot be run as a process.
    pub command: Vec<String>,
    /// Absolute; `None` is the state directory's place for the task.
    pub working_directory: Option<PathBuf>,
    /// Environment in addition to what the launcher sets.
    pub environment: BTreeMap<String, String>,
    /// Like `environment`; values never logged.
    pub secrets: BTreeMap<String, Secret>,
    /// The task stops when it stops.
    pub essential: bool,
    /// ECS's `healthCheck`.
    pub health_check: Option<HealthCheckSpec>,
    /// ECS's `dependsOn`.
    pub depends_on: Vec<ContainerDependency>,
    /// From SIGTERM to SIGKILL. ECS's default: 30 s.
    pub stop_timeout: Duration,
    /// ECS's `startTimeout` for its dependencies; `None` waits.
    pub start_timeout: Option<Duration>,
    /// ECS's `ulimits`.
    pub ulimits: Vec<Ulimit>,
    /// Bind mounts.
    pub mounts: Vec<BindMount>,
    /// The container's own limits.
    pub limits: ResourceLimits,
    /// Files that the container's root must not be able to change.
    pub readonly_root: bool,
    /// Where its lines go; `None` is Bowline's own place.
    #[serde(default)]
    pub log: Option<LogSpec>,
    /// `firelensConfiguration`: it is the task's log router.
    #[serde(default)]
    pub firelens: Option<FireLensSpec>,
}

/// ECS's container health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckSpec {
    /// `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub command: Vec<String>,
    /// 5–300 s, default 30.
    pub interval: Duration,
    /// 2–60 s, default 5.
    pub timeout: Duration,
    /// 1–10, default 3.
    pub retries: u32,
    /// 0–300 s, default 0.
    pub start_period: Duration,
}

/// ECS's `dependsOn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDependency {
    /// The container waited for.
    pub container: String,
    /// What it must have reached.
    pub condition: DependencyCondition,
}

/// What a dependency must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DependencyCondition {
    /// It has been started.
    Start,
    /// It has ended, with any code.
    Complete,
    /// It has ended with code 0.
    Success,
    /// Its health check passes.
    Healthy,
}

/// One of ECS's `ulimits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, `core`, …
    pub name: String,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// A host directory or file seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Absolute path on the host; made if it does not exist.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Whether a task should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredStatus {
    /// It should run.
    Running,
    /// It should be stopped, in order.
    Stopped,
}

/// A task that an agent should have in a certain state.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDesire {
    /// The task.
    pub spec: std::sync::Arc<TaskSpec>,
    /// The state.
    pub status: DesiredStatus,
}

/// ECS's task life cycle, as far as an agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Decided, not begun.
    Provisioning,
    /// Being set up: namespaces, sidecar, containers' dependencies.
    Pending,
    /// All essential containers run and the sidecar serves.
    Running,
    /// Being taken down.
    Stopping,
    /// Over.
    Stopped,
}

/// ECS's health of a container or task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthStatus {
    /// No health check, or no result yet.
    #[default]
    Unknown,
    /// The check passes.
    Healthy,
    /// It failed as often as it may.
    Unhealthy,
}

/// What an agent says of a task. A report is whole: it replaces the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub id: TaskId,
    /// When this was seen.
    pub at: Timestamp,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// The worst of the essential containers' health.
    pub health: HealthStatus,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
    /// Where other proxies reach the sidecar, once it serves.
    pub inbound: Vec<InboundSocket>,
    /// Where published ports are.
    pub published: Vec<PublishedSocket>,
    /// The sidecar, if there is one, accepts traffic.
    pub proxy_ready: bool,
    /// Why it stopped, in AWS's words.
    pub stopped_reason: Option<String>,
    /// ECS's stop code.
    pub stop_code: Option<StopCode>,
    /// The shim's process id, for people who look.
    pub shim_pid: Option<u32>,
    /// What a user should know of how it runs ("no user namespaces here: …").
    pub warnings: Vec<String>,
}

impl TaskReport {
    /// Of a task that is over and of which nothing else is known: it never ran, or nobody saw its end. With the reason,
    /// where that is a failure to start.
    pub fn unseen(id: TaskId, at: Timestamp, failure: Option<String>) -> Self {
        Self {
            id,
            at,
            status: TaskStatus::Stopped,
            health: HealthStatus::Unknown,
            containers: Vec::new(),
            inbound: Vec::new(),
            published: Vec::new(),
            proxy_ready: false,
            stop_code: failure.is_some().then_some(StopCode::TaskFailedToStart),
            stopped_reason: failure,
            shim_pid: None,
            warnings: Vec::new(),
        }
    }
}

/// What a task has used of its machine over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUsage {
    /// The task.
    pub task: TaskId,
    /// The end of that time.
    pub at: Timestamp,
    /// How long it was.
    pub over: Duration,
    /// Processor time, of all its processes, the sidecar's included.
    pub cpu: Duration,
    /// Memory at its end, without what the kernel may drop.
    pub memory_bytes: u64,
    /// Bytes received over the task's own network; 0 on the host's.
    pub received_bytes: u64,
    /// Bytes sent over it.
    pub sent_bytes: u64,
}

/// A host socket that the sidecar accepts other proxies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundSocket {
    /// The port mapping's name.
    pub port_name: String,
    /// The container port behind it.
    pub container_port: u16,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedSocket {
    /// The container port behind it.
    pub container_port: u16,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What an agent says of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// The container's name.
    pub name: String,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// Its health check's result.
    pub health: HealthStatus,
    /// Set once it ended; 128 + signal when a signal ended it.
    pub exit_code: Option<i32>,
    /// Why it did not start or was ended, in AWS's words.
    pub reason: Option<String>,
    /// Process id as the host sees it.
    pub pid: Option<u32>,
}

/// ECS's `stopCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // AWS's own words
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    SpotInterruption,
    TerminationNotice,
}

/// Makes the one-time tokens with which a proxy asks for its first certificate.
pub trait TokenIssuer: Send + Sync {
    /// A fresh token for `task`, good for 60 s and one use. `None` when the
    /// task is unknown or over.
    fn issue(&self, task: &TaskId) -> Option<Secret>;
}

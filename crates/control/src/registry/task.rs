//! Tasks: whose they are, and where they are in their lives.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::ecs::{CapacityProviderStrategyItem, LaunchType, Tag};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    service::DeploymentId,
    task::{DesiredStatus, HealthStatus, StopCode, TaskId, TaskReport, TaskStatus},
};
use serde::{Deserialize, Serialize};

/// A task, from the decision to start it until it is forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The id.
    pub id: TaskId,
    /// The ARN.
    pub arn: Arn,
    /// Whose task it is.
    pub owner: TaskOwner,
    /// When it was decided.
    pub created_at: Timestamp,
    /// Whether it should run.
    pub desired: DesiredStatus,
    /// Since when it takes no new requests, on its way to be stopped.
    pub draining_since: Option<Timestamp>,
    /// It has been healthy at least once, or, without a health check, has served for a second.
    pub was_healthy: bool,
    /// One of its essential containers has a health check, which must pass before it serves.
    pub health_checked: bool,
    /// Why it is to stop, where somebody said so.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// ECS's tags of it.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The capacity provider that it was placed on, where a strategy placed it.
    #[serde(default)]
    pub capacity_provider: Option<String>,
    /// The availability zone that it was placed in; `None`: its region's first.
    #[serde(default)]
    pub zone: Option<String>,
    /// Until when scale-in and deployments must not stop it: `UpdateTaskProtection`.
    #[serde(default)]
    pub protected_until: Option<Timestamp>,
    /// It has a sidecar (or is a gateway's), which must be ready before it serves.
    pub proxied: bool,
    /// When all of its containers ran first: ECS's `startedAt`.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Since when it serves.
    pub serving_since: Option<Timestamp>,
    /// The last report of its agent. Kept, so that a restarted control plane believes it until the
    /// agent reports anew: proxies that reconnect before that must not lose their endpoints.
    pub report: Option<Arc<TaskReport>>,
}

/// Why a task is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// ECS's code.
    pub code: StopCode,
    /// For people.
    pub reason: String,
}

/// Whose task it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskOwner {
    /// A service's.
    Service {
        /// The service.
        service: Arn,
        /// The task definition that it runs.
        task_definition: Arn,
        /// The deployment that started it.
        deployment: DeploymentId,
    },
    /// Nobody's: `RunTask` or `StartTask` made it.
    Standalone(Box<StandaloneTask>),
    /// The gateway of a load balancer.
    Gateway {
        /// The load balancer.
        load_balancer: Arn,
    },
}

/// A task that no service has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandaloneTask {
    /// The task definition that it runs.
    pub task_definition: Arn,
    /// The cluster's name.
    pub cluster: String,
    /// The namespace whose names it can call: its cluster's default.
    pub namespace: Option<String>,
    /// `group`; AWS's default is `family:FAMILY`.
    pub group: String,
    /// `startedBy`.
    pub started_by: Option<String>,
    /// Commands and environment in place of the definition's, by container.
    pub overrides: BTreeMap<String, ContainerOverride>,
    /// `overrides.taskRoleArn`: the role in place of the definition's.
    #[serde(default)]
    pub task_role: Option<String>,
    /// `assignPublicIp: ENABLED`: ports are published on the host's loopback.
    pub assign_public_ip: bool,
    /// `awsvpcConfiguration.subnets`.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// `launchType`, where one was given.
    #[serde(default)]
    pub launch_type: Option<LaunchType>,
    /// `capacityProviderStrategy`, or its cluster's default one.
    #[serde(default)]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// `enableExecuteCommand`.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// `platformVersion`, where one was given.
    #[serde(default)]
    pub platform_version: Option<String>,
    /// `clientToken` of the `RunTask` that made it, and how many tasks that made.
    #[serde(default)]
    pub client_token: Option<(String, usize)>,
}

/// What `RunTask` puts in place of a container definition's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOverride {
    /// The command, where it differs.
    pub command: Option<Vec<String>>,
    /// More environment.
    pub environment: BTreeMap<String, String>,
}

impl TaskOwner {
    /// The task definition that the task runs, if it runs one.
    pub fn task_definition(&self) -> Option<&Arn> {
        match self {
            Self::Service { task_definition, .. } => Some(task_definition),
            Self::Standalone(task) => Some(&task.task_definition),
            Self::Gateway { .. } => None,
        }
    }
}

impl TaskRecord {
    /// Where it is in its life, as far as is known.
    pub fn status(&self) -> TaskStatus {
        self.report.as_ref().map_or(TaskStatus::Provisioning, |report| report.status)
    }

    /// Believes what its agent says of it.
    pub fn take_up(&mut self, report: &TaskReport) {
        // One that only says the same again later is none: it would be a write, and would wake every stream.
        let known = self.report.as_ref();
        if known.is_some_and(|known| TaskReport { at: report.at, ..TaskReport::clone(known) } == *report) {
            return;
        }
        if report.status == TaskStatus::Running {
            self.started_at.get_or_insert(report.at);
        }
        self.report = Some(Arc::new(report.clone()));
    }

    /// It is over, or on its way there.
    pub fn is_ending(&self) -> bool {
        self.desired == DesiredStatus::Stopped
            || self.draining_since.is_some()
            || self.status() == TaskStatus::Stopped
    }

    /// When it ended, once it has.
    pub fn stopped_at(&self) -> Option<Timestamp> {
        let report = self.report.as_ref()?;
        (report.status == TaskStatus::Stopped).then_some(report.at)
    }

    /// Whether scale-in and deployments must leave it alone at this moment.
    pub fn is_protected(&self, now: Timestamp) -> bool {
        self.protected_until.is_some_and(|until| until > now)
    }

    /// It takes traffic: it runs, its sidecar serves, and its health check, if it has one, passes.
    pub fn serves(&self) -> bool {
        self.report.as_ref().is_some_and(|report| {
            let well = match report.health {
                HealthStatus::Healthy => true,
                HealthStatus::Unknown => !self.health_checked,
                HealthStatus::Unhealthy => false,
            };
            report.status == TaskStatus::Running && (report.proxy_ready || !self.proxied) && well
        })
    }

    /// It serves, and is not on its way out.
    pub fn available(&self) -> bool {
        self.serves() && !self.is_ending()
    }
}

//! What was asked of ECS, kept as it was asked, and what became of it.

use bowline_aws::ecs::{CreateServiceRequest, RegisterTaskDefinitionRequest};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    rollout::shift::{HookState, Stage},
    service::DeploymentId,
};
use serde::{Deserialize, Serialize};

use super::rollback::Rollback;
use crate::registry::TaskRecord;

/// Most deployments of a service that are remembered.
pub const DEPLOYMENTS_MAX: usize = 20;

/// Who asked, as an ARN: the caller of the API, or whoever ran `bowline up`.
pub type Asker = String;

/// A registered revision of a task definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinitionRecord {
    /// As it was asked for.
    pub request: RegisterTaskDefinitionRequest,
    /// When.
    pub registered_at: Timestamp,
    /// By whom.
    pub registered_by: Asker,
    /// Set when it was deregistered: `INACTIVE`.
    pub deregistered_at: Option<Timestamp>,
    /// Set when its deletion was asked for: `DELETE_IN_PROGRESS`.
    pub delete_requested_at: Option<Timestamp>,
}

/// A service, besides the model's row of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its present configuration.
    pub request: CreateServiceRequest,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Asker,
    /// Where it is in its life.
    pub status: ServiceStatus,
    /// Its deployments, the newest first, at most [`DEPLOYMENTS_MAX`].
    pub deployments: Vec<Deployment>,
}

/// ECS's status of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    /// It runs its tasks.
    Active,
    /// It is deleted; tasks of it still run.
    Draining,
    /// It is gone.
    Inactive,
}

impl ServiceStatus {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A deployment of a service, and the service revision that it brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The configuration that it brought.
    pub request: CreateServiceRequest,
    /// The task definition of its tasks.
    pub task_definition: Arn,
    /// When it began.
    pub created_at: Timestamp,
    /// When anything of it changed last.
    pub updated_at: Timestamp,
    /// When it was complete, or given up.
    pub finished_at: Option<Timestamp>,
    /// How it goes.
    pub state: DeploymentState,
    /// Why it is so.
    pub reason: String,
    /// Tasks of it that have failed.
    pub failed_tasks: u32,
    /// The deployment that it took the place of.
    #[serde(default)]
    pub source: Option<DeploymentId>,
    /// The lifecycle stage that it is in, or came to last; `None` where it is `ROLLING`.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// The lifecycle hooks that it came to.
    #[serde(default)]
    pub hooks: Vec<HookState>,
    /// Tasks of it that have failed, as the circuit breaker counts them.
    #[serde(default)]
    pub breaker_failures: u32,
    /// The alarms that ended it.
    #[serde(default)]
    pub triggered_alarms: Vec<String>,
    /// Its way back.
    #[serde(default)]
    pub rollback: Option<Rollback>,
}

/// How a deployment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentState {
    /// Its tasks are being started.
    InProgress,
    /// All of its tasks have run, and those of earlier ones are gone.
    Completed,
    /// Another came before it was complete.
    Superseded,
    /// It was stopped, and the one before it is being made anew.
    RollbackInProgress,
    /// It was stopped, and the one before it is there again.
    RollbackSuccessful,
    /// It was stopped, and another came before the one before it was there again.
    RollbackFailed,
    /// It failed or was aborted, and nothing is done about it: no more of its tasks are started.
    Stopped,
}

/// A task that is over, remembered for `DescribeTasks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppedTask {
    /// As it was at its end.
    pub task: TaskRecord,
    /// When it was put here, by the control plane's own clock: it is forgotten by this, however wrong an agent's clock is.
    /// When it ended is [`TaskRecord::stopped_at`].
    #[serde(alias = "stopped_at")]
    pub put_away_at: Timestamp,
}

//! Application Auto Scaling for ECS services: what is kept, and what it does.
//!
//! - `commands` changes a registry, or refuses with a [`ScalingError`].
//! - `policy` turns policies into the model's, and into the alarms that ask them.
//! - `engine` does what policies and scheduled actions want.
//!
//! Source: Application Auto Scaling user guide and API reference. Of its dimensions, `ecs:service:DesiredCount` is
//! served.

use std::collections::{BTreeMap, VecDeque};

use bowline_aws::application_autoscaling::{
    ScalableTargetAction, StepScalingPolicyConfiguration, TargetTrackingScalingPolicyConfiguration,
};
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    scaling::{CapacityBounds, Cooldown, Suspended},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::Registry;

pub(crate) mod commands;
pub(crate) mod engine;
mod policy;

/// The one namespace of services whose capacity is scaled here.
pub const NAMESPACE: &str = "ecs";

/// The one dimension that is scaled here.
pub const DIMENSION: &str = "ecs:service:DesiredCount";

/// Most scalable targets (AWS's quota for ECS).
pub const TARGETS_MAX: usize = 3_000;
/// Most policies of a target (AWS's quota).
pub const POLICIES_MAX: usize = 50;
/// Most scheduled actions of a target (AWS's quota).
pub const SCHEDULED_ACTIONS_MAX: usize = 200;
/// Most tasks that a target can be scaled to: ECS's quota of a service.
pub const CAPACITY_MAX: i64 = 5_000;
/// Most activities of a target that are remembered; AWS remembers six weeks of them.
pub const ACTIVITIES_MAX: usize = 100;
/// Most tags of a target.
pub const TAGS_MAX: usize = 50;

/// The tag of a scalable target that says how long the periods of its target tracking's customized metrics are, in
/// seconds: 10, 20, 30 or 60. Bowline's own: AWS's are of a minute.
pub const PERIOD_TAG: &str = "bowline:metric-period";

/// A service that may be scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalableTargetRecord {
    /// `…:scalable-target/ID`.
    pub arn: Arn,
    /// `service/CLUSTER/NAME`.
    pub resource_id: String,
    /// How far.
    pub bounds: CapacityBounds,
    /// Who does it.
    pub role_arn: String,
    /// What of it is off.
    pub suspended: Suspended,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// What was done last.
    #[serde(default)]
    pub cooldown: Option<Cooldown>,
}

/// A scaling policy, as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingPolicyRecord {
    /// `…:scalingPolicy:ID:resource/ecs/service/CLUSTER/NAME:policyName/NAME`.
    pub arn: Arn,
    /// The name, unique among the target's.
    pub name: String,
    /// `service/CLUSTER/NAME`.
    pub resource_id: String,
    /// What it does.
    pub content: PolicyContent,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a policy does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyContent {
    /// `TargetTrackingScaling`.
    TargetTracking(TargetTrackingScalingPolicyConfiguration),
    /// `StepScaling`.
    Step(StepScalingPolicyConfiguration),
}

/// A change of a target's bounds at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledActionRecord {
    /// `…:scheduledAction:ID:resource/ecs/service/CLUSTER/NAME:scheduledActionName/NAME`.
    pub arn: Arn,
    /// The name, unique among the target's.
    pub name: String,
    /// `service/CLUSTER/NAME`.
    pub resource_id: String,
    /// `at(…)`, `rate(…)` or `cron(…)`.
    pub schedule: String,
    /// `Timezone`, which can only be UTC here.
    pub timezone: Option<String>,
    /// Not before.
    pub start: Option<Timestamp>,
    /// Not after.
    pub end: Option<Timestamp>,
    /// The bounds from then on.
    pub action: ScalableTargetAction,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is due next; `None`: never again.
    pub next: Option<Timestamp>,
}

/// What was done to a target, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingActivities {
    /// The activities.
    pub items: VecDeque<ScalingActivityRecord>,
}

/// One change of a target's capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingActivityRecord {
    /// The id.
    pub id: String,
    /// To how many tasks.
    pub tasks: u32,
    /// For people.
    pub cause: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When the service had as many tasks, or something else was wanted.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub status: ActivityStatus,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<String>,
}

/// How a scaling activity goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivityStatus {
    /// The service has not as many tasks yet.
    InProgress,
    /// It has.
    Successful,
    /// Another number is wanted meanwhile.
    Overridden,
    /// The service took no other number.
    Failed,
}

/// Why nothing was told or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScalingError {
    /// It cannot be so.
    #[error("{0}")]
    Invalid(String),
    /// There is no such target, policy or action.
    #[error("{0}")]
    NotFound(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Quota(String),
    /// There is nothing with this ARN that has tags.
    #[error("The resource {0} does not exist.")]
    NoResource(String),
    /// There are too many tags.
    #[error("There can be {TAGS_MAX} tags at most.")]
    TooManyTags,
}

/// The key of a policy or of a scheduled action.
pub(crate) fn key_of(resource_id: &str, name: &str) -> String {
    // A resource's id has no line feed, whatever a name has.
    format!("{resource_id}\n{name}")
}

/// What the keys of a target's policies or actions begin with.
fn prefix_of(resource_id: &str) -> String {
    format!("{resource_id}\n")
}

/// How many tasks a service has that is scaled: what a template says of that is how many it begins with.
pub(crate) fn kept_count(registry: &Registry, service: &Arn) -> Option<i64> {
    registry.scalable_targets.get(service.resource())?;
    registry.services.get(service.as_str()).map(|service| i64::from(service.desired_count))
}

/// The ARN of the service that a resource id names; `None` if it names none.
pub fn service_arn(scope: &Scope, resource_id: &str) -> Option<Arn> {
    let mut parts = resource_id.split('/');
    let (Some("service"), Some(cluster), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    (is_name(cluster) && is_name(name)).then(|| scope.arn("ecs", format_args!("service/{cluster}/{name}")))
}

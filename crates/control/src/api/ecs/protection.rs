//! Protection of services' tasks against scale-in and deployments.

use std::time::Duration;

use bowline_aws::{
    ecs::api::{
        Failure, GetTaskProtectionRequest, ProtectedTask, TaskProtectionResponse, UpdateTaskProtectionRequest,
    },
    protocol::Fault,
};
use bowline_model::{arn::Arn, clock::Timestamp, task::TaskId};

use super::{arn_in_cluster, find_cluster, invalid, tasks};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    registry::{Cluster, Registry, TaskOwner, TaskRecord},
};

/// Most tasks in one `UpdateTaskProtection` (AWS's limit).
const UPDATED_MAX: usize = 10;

/// Most tasks in one `GetTaskProtection` (AWS's limit).
const TOLD_MAX: usize = 100;

/// How long a protection holds, where nothing is said. Minutes.
const DEFAULT_MINUTES: i64 = 120;

/// The longest protection. Minutes.
const LONGEST_MINUTES: i64 = 2_880;

fn failure(arn: &Arn, reason: &str, detail: Option<&str>) -> Failure {
    Failure { arn: Some(arn.to_string()), reason: Some(reason.into()), detail: detail.map(str::to_owned) }
}

/// A task that can be protected: a service's, and not on its way out.
fn find(registry: &Registry, cluster: &Cluster, arn: &Arn) -> Result<TaskId, Failure> {
    let task = registry.tasks.get(arn.resource_name()).filter(|task| task.arn == *arn);
    match task.filter(|task| tasks::is_in(task, cluster)) {
        None => Err(failure(arn, "MISSING", None)),
        Some(task) if !matches!(task.owner, TaskOwner::Service { .. }) => {
            Err(failure(arn, "TASK_NOT_VALID", Some("The task is not part of an Amazon ECS service.")))
        }
        Some(task) if task.is_ending() => Err(failure(arn, "TASK_NOT_VALID", Some("The task is stopping."))),
        Some(task) => Ok(task.id.clone()),
    }
}

fn told(task: &TaskRecord, now: Timestamp) -> ProtectedTask {
    let protected = task.is_protected(now);
    ProtectedTask {
        task_arn: task.arn.to_string(),
        protection_enabled: protected,
        expiration_date: task.protected_until.filter(|_| protected).map(wire),
    }
}

fn arns(given: &[String], cluster: &Cluster) -> Result<Vec<Arn>, Fault> {
    let arn = |given: &String| {
        arn_in_cluster("task", given, cluster).ok_or_else(|| invalid("Invalid task: its id or ARN is needed"))
    };
    given.iter().map(arn).collect()
}

pub(super) fn get(
    call: &Call<'_>,
    request: GetTaskProtectionRequest,
) -> Result<TaskProtectionResponse, Fault> {
    constraint::items("tasks", request.tasks.len(), 0..=TOLD_MAX).map_err(invalid)?;
    let registry = call.registry();
    let cluster = find_cluster(&registry, Some(&request.cluster))?;
    let mut response = TaskProtectionResponse { protected_tasks: Vec::new(), failures: Vec::new() };
    for arn in arns(&request.tasks, &cluster)? {
        match find(&registry, &cluster, &arn).map(|id| registry.tasks.get(id.as_str())) {
            Ok(task) => response.protected_tasks.extend(task.map(|task| told(task, call.now))),
            Err(failure) => response.failures.push(failure),
        }
    }
    if request.tasks.is_empty() {
        let of_cluster = registry.tasks.values().filter(|task| tasks::is_in(task, &cluster));
        let protected = of_cluster.filter(|task| task.is_protected(call.now));
        response.protected_tasks = protected.map(|task| told(task, call.now)).collect();
    }
    Ok(response)
}

pub(super) fn update(
    call: &Call<'_>,
    request: UpdateTaskProtectionRequest,
) -> Result<TaskProtectionResponse, Fault> {
    if request.tasks.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    constraint::items("tasks", request.tasks.len(), 1..=UPDATED_MAX).map_err(invalid)?;
    let minutes = request.expires_in_minutes.unwrap_or(DEFAULT_MINUTES);
    constraint::range("expiresInMinutes", minutes, 1..=LONGEST_MINUTES).map_err(invalid)?;
    let seconds = u64::try_from(minutes).unwrap_or(0) * 60;
    let until = request.protection_enabled.then(|| call.now + Duration::from_secs(seconds));
    call.change(|registry| {
        let cluster = find_cluster(registry, Some(&request.cluster))?;
        let mut response = TaskProtectionResponse { protected_tasks: Vec::new(), failures: Vec::new() };
        for arn in arns(&request.tasks, &cluster)? {
            match find(registry, &cluster, &arn) {
                Ok(id) => {
                    registry.tasks.update(id.as_str(), |task| task.protected_until = until);
                    let changed = registry.tasks.get(id.as_str());
                    response.protected_tasks.extend(changed.map(|task| told(task, call.now)));
                }
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(response)
    })
}

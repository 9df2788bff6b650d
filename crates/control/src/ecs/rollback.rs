//! A service deployment's way back: the service becomes what its last complete deployment made of
//! it, and the tasks of that deployment that still run stay.

use bowline_model::{arn::Arn, clock::Timestamp, service::DeploymentId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    record::{DeploymentState, ServiceRecord},
    service,
};
use crate::registry::Registry;

/// A way back that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// For people.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// The deployment that it goes back to.
    pub to: DeploymentId,
}

/// Why there is no way back.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RollbackError {
    /// The service has no deployment under way.
    #[error("there is no deployment in progress")]
    NothingInProgress,
    /// No earlier deployment was complete.
    #[error("there is no earlier service revision that was deployed")]
    NothingBefore,
    /// What was there before cannot be there again.
    #[error("the earlier service revision cannot be deployed again: {0}")]
    Impossible(String),
}

/// Takes the service back from the deployment that is under way.
///
/// # Errors
/// There is no way back; nothing was changed.
pub fn begin(
    registry: &mut Registry,
    arn: &Arn,
    reason: &str,
    now: Timestamp,
) -> Result<DeploymentId, RollbackError> {
    let record = registry.service_records.get(arn.as_str());
    let mut record: ServiceRecord = (**record.ok_or(RollbackError::NothingInProgress)?).clone();
    let under_way = record.deployments.first().filter(|first| first.state == DeploymentState::InProgress);
    let stopped = under_way.ok_or(RollbackError::NothingInProgress)?.id.clone();
    let complete = |deployment: &super::record::Deployment| deployment.state == DeploymentState::Completed;
    let place = record.deployments.iter().position(complete).ok_or(RollbackError::NothingBefore)?;
    let target = record.deployments.remove(place);

    let mut request = target.request.clone();
    // How many are wanted, and what the service is called by, are no part of a revision.
    request.desired_count = record.request.desired_count;
    request.tags.clone_from(&record.request.tags);
    // A family alone would be its latest revision.
    request.task_definition = Some(target.task_definition.to_string());
    let mut row = service::convert(registry, arn, &request)
        .map_err(|faults| RollbackError::Impossible(faults.join(" ")))?;
    row.deployment = target.id.clone();
    // Traffic stays where it is until the reconciler takes it back.
    row.shift = registry.services.get(arn.as_str()).and_then(|service| service.shift.clone());
    if let Some(failed) = record.deployments.first_mut() {
        failed.state = DeploymentState::RollbackInProgress;
        failed.reason = reason.to_owned();
        failed.updated_at = now;
        failed.rollback =
            Some(Rollback { reason: reason.to_owned(), started_at: now, to: target.id.clone() });
    }
    record.deployments.insert(0, target);
    record.request = request;
    registry.service_records.put(arn.as_str(), record);
    registry.services.put(arn.as_str(), row);
    service::assign_aliases(registry);
    Ok(stopped)
}

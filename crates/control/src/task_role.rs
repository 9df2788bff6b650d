//! A task's role: which it is, and temporary credentials of it.
//!
//! As in ECS the service `ecs-tasks.amazonaws.com` assumes the role for the task: the role's trust
//! policy must let it. Source: ECS's developer guide, "Task IAM role". What differs: a role that
//! this control plane's IAM has not is not an error of the task; it is another account's business,
//! and the task is told nothing of it.

use std::{sync::Arc, time::Duration};

use bowline_model::{
    arn::Arn,
    task::{TaskId, TaskRole, TaskStatus},
};
use bowline_plumbing::wall_clock;
use bowline_stream::directory::{TaskCredentials, TaskCredentialsError};
use serde_json::json;

use crate::{
    api::{authorization::Denied, call::Caller},
    audit::{
        AuditEvent,
        event::{AuditOutcome, AuditResource, UserIdentity, UserIdentityType},
    },
    core::Core,
    credentials::{Session, SessionOf},
    iam::{RoleRecord, SESSION_SECONDS_DEFAULT},
    random,
    registry::{Registry, TaskOwner, TaskRecord},
};

/// The service that assumes tasks' roles.
const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// The role of a task definition, if IAM has it.
pub(crate) fn of_definition<'a>(registry: &'a Registry, definition: &Arn) -> Option<&'a Arc<RoleRecord>> {
    let record = registry.task_definition_records.get(definition.as_str())?;
    named(registry, record.request.task_role_arn.as_deref()?)
}

/// The role of a task, if IAM has it.
pub(crate) fn of_owner<'a>(registry: &'a Registry, owner: &TaskOwner) -> Option<&'a Arc<RoleRecord>> {
    match owner {
        TaskOwner::Standalone(standalone) => match &standalone.task_role {
            Some(role) => named(registry, role),
            None => of_definition(registry, &standalone.task_definition),
        },
        TaskOwner::Service { task_definition, .. } => of_definition(registry, task_definition),
        TaskOwner::Gateway { .. } => None,
    }
}

/// A role by its ARN, or by its name as ECS takes it, too.
fn named<'a>(registry: &'a Registry, given: &str) -> Option<&'a Arc<RoleRecord>> {
    let name = given.rsplit('/').next()?;
    let role = registry.iam_roles.get(name)?;
    (given == name || role.arn.as_str() == given).then_some(role)
}

/// What the task's containers are told, where the task has a sidecar that gives the credentials out:
/// one that started before its role was made may have none.
pub(crate) fn told(registry: &Registry, task: &TaskRecord, has_sidecar: bool) -> Option<TaskRole> {
    of_owner(registry, &task.owner).filter(|_| has_sidecar)?;
    Some(TaskRole { region: registry.settings().scope.region.clone() })
}

impl Core {
    /// Temporary credentials of the task's role, good for an hour.
    pub(crate) fn task_credentials(&self, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError> {
        let registry = self.registry();
        let record = registry.tasks.get(task.as_str());
        let record = record.filter(|task| task.status() != TaskStatus::Stopped);
        let record = record.ok_or(TaskCredentialsError::NoRole)?;
        let role = of_owner(&registry, &record.owner).ok_or(TaskCredentialsError::NoRole)?;
        let now = wall_clock::now();
        let account = &registry.settings().scope.account_id;
        let keys = [
            ("sts:RoleSessionName", task.as_str()),
            ("aws:SourceArn", record.arn.as_str()),
            ("aws:SourceAccount", account.as_str()),
        ];
        let allowed = self.authorizer().authorize_service(SERVICE, role, account, now, &keys);
        self.record_assumption(&registry, role, task, allowed.as_ref().err());
        allowed.map_err(|denied| TaskCredentialsError::Denied(denied.0))?;
        let expires_at = now + Duration::from_secs(u64::from(SESSION_SECONDS_DEFAULT));
        let of = SessionOf::Role {
            name: role.name.clone(),
            id: role.id.clone(),
            session_name: task.as_str().to_owned(),
        };
        let made = self.credentials().make_session(|secret| Session {
            secret,
            of,
            issued_at: now,
            expires_at,
            policy: None,
            policy_arns: Vec::new(),
            tags: Default::default(),
            source_identity: None,
        });
        let (access_key_id, secret_access_key, session_token) = made.map_err(|error| {
            tracing::error!(%task, %error, "the credentials of a task's role could not be made");
            TaskCredentialsError::Internal
        })?;
        tracing::debug!(%task, role = %role.arn, access_key_id, "a task was given credentials");
        Ok(TaskCredentials {
            access_key_id,
            secret_access_key,
            session_token,
            expires_at,
            role_arn: role.arn.clone(),
            endpoint: self.task_endpoint(),
        })
    }

    /// As `CloudTrail` has it: the service assumed the role, not the task.
    fn record_assumption(
        &self,
        registry: &Registry,
        role: &RoleRecord,
        task: &TaskId,
        denied: Option<&Denied>,
    ) {
        let scope = &registry.settings().scope;
        let mut event = AuditEvent::new(wall_clock::now(), "sts.amazonaws.com", "AssumeRole");
        event.region = scope.region.clone();
        event.source_ip_address = SERVICE.to_owned();
        event.user_agent = Some(SERVICE.to_owned());
        event.user_identity = UserIdentity {
            kind: UserIdentityType::AwsService,
            invoked_by: Some(SERVICE.to_owned()),
            ..UserIdentity::default()
        };
        event.request_id = Some(random::uuid());
        event.read_only = true;
        event.recipient_account_id = scope.account_id.clone();
        event.resources = vec![AuditResource {
            arn: role.arn.to_string(),
            account_id: scope.account_id.clone(),
            resource_type: "AWS::IAM::Role".to_owned(),
        }];
        event.request_parameters = Some(json!({
            "roleArn": role.arn.as_str(),
            "roleSessionName": task.as_str(),
            "durationSeconds": SESSION_SECONDS_DEFAULT,
        }));
        match denied {
            Some(Denied(message)) => {
                let code = "AccessDenied".to_owned();
                event.outcome = AuditOutcome::Error { code, message: message.clone() };
            }
            None => {
                // Not the key: `CloudTrail` would tell its id, but of credentials the trail tells nothing.
                let session = Caller::assumed_role(scope, role, task.as_str(), "");
                event.response_elements = Some(json!({
                    "assumedRoleUser": {"assumedRoleId": session.user_id, "arn": session.arn},
                }));
            }
        }
        // The trail itself counts what it cannot take, and tells of it once it can.
        if let Err(full) = self.audit().record(event) {
            tracing::warn!(%task, reason = %full, "that a task assumed its role was not recorded");
        }
    }
}

#[cfg(test)]
mod tests;

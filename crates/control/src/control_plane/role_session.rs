//! Sessions of roles that experiments play somebody with, who may not do what they try.

use std::time::Duration;

use bowline_model::task::{Secret, TaskId};
use bowline_plumbing::wall_clock;

use super::{ControlPlane, chaos::ChaosError};
use crate::{
    credentials::{Session, SessionOf},
    iam::RoleRecord,
    registry::{Registry, TaskOwner},
};

/// How long such a session lasts: nothing has to be cleared away.
const LASTING: Duration = Duration::from_secs(120);
/// All that it may do, whatever its role may.
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}]}"#;

/// Temporary credentials.
#[derive(Clone, Debug)]
pub struct RoleSession {
    /// `AccessKeyId`.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: Secret,
    /// `SessionToken`.
    pub session_token: Secret,
    /// The role's ARN.
    pub role: String,
}

impl ControlPlane {
    /// A session of the task's role, or of its execution role, that may ask who it is and nothing else: for two
    /// minutes. `None`: IAM has neither.
    ///
    /// # Errors
    /// There is no such task, or the credentials could not be made.
    pub fn unprivileged_session(&self, task: &TaskId) -> Result<Option<RoleSession>, ChaosError> {
        let registry = self.snapshot();
        let record = registry.tasks.get(task.as_str()).ok_or_else(|| ChaosError::NoTask(task.clone()))?;
        let Some(role) = role_of(&registry, &record.owner) else { return Ok(None) };
        let now = wall_clock::now();
        let of = SessionOf::Role {
            name: role.name.clone(),
            id: role.id.clone(),
            session_name: task.as_str().to_owned(),
        };
        let made = self.core.credentials().make_session(|secret| Session {
            secret,
            of,
            issued_at: now,
            expires_at: now + LASTING,
            policy: Some(POLICY.to_owned()),
            policy_arns: Vec::new(),
            tags: Default::default(),
            source_identity: None,
        });
        let (access_key_id, secret, token) = made.map_err(|error| ChaosError::Made(error.into()))?;
        Ok(Some(RoleSession {
            access_key_id,
            secret_access_key: Secret::new(secret.to_string()),
            session_token: Secret::new(token),
            role: role.arn.to_string(),
        }))
    }
}

fn role_of<'a>(registry: &'a Registry, owner: &TaskOwner) -> Option<&'a RoleRecord> {
    let definition = match owner {
        TaskOwner::Standalone(standalone) => &standalone.task_definition,
        TaskOwner::Service { task_definition, .. } => task_definition,
        TaskOwner::Gateway { .. } => return None,
    };
    let request = &registry.task_definition_records.get(definition.as_str())?.request;
    let given = [request.task_role_arn.as_deref(), request.execution_role_arn.as_deref()];
    let mut names = given.into_iter().flatten().filter_map(|given| given.rsplit('/').next());
    names.find_map(|name| registry.iam_roles.get(name)).map(|role| &**role)
}

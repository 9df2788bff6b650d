//! A call that the control plane makes itself, as a role that a task names: allowed or denied by
//! the same policies as anybody's, and in the audit trail like anybody's.

use std::net::Ipv4Addr;

use bowline_aws::protocol::Fault;
use bowline_model::{arn::Scope, clock::Timestamp};
use bowline_plumbing::wall_clock;
use serde_json::json;

use super::{
    authorization::{Origin, demand},
    call::Caller,
    recording::identity,
};
use crate::{
    audit::{AuditEvent, event::AuditOutcome},
    core::Core,
    iam::RoleRecord,
    random,
    registry::Registry,
    secrets::{self, CURRENT},
};

/// Who `CloudTrail` says made the call on the role's behalf.
const SOURCE: &str = "ecs-tasks.amazonaws.com";

/// A session of a role, for one task.
pub(crate) struct RoleCall {
    caller: Caller,
    scope: Scope,
    now: Timestamp,
}

impl RoleCall {
    /// Of `role`, named after the task.
    pub(crate) fn new(registry: &Registry, role: &RoleRecord, task: &str, now: Timestamp) -> Self {
        let scope = registry.settings().scope.clone();
        let key = format!("ASIA{}", random::base32(16));
        Self { caller: Caller::assumed_role(&scope, role, task, &key), scope, now }
    }

    /// Asks whether the role may read a secret's value, and records that it was asked for.
    pub(crate) fn get_secret_value(
        &self,
        core: &Core,
        registry: &Registry,
        secret: &str,
        version: Option<&str>,
        stage: Option<&str>,
    ) -> Result<(), Fault> {
        let mut demand = demand::of_secret(registry, &self.scope, "GetSecretValue", secret, self.now);
        if let Some(version) = version {
            demand.keys.push(("secretsmanager:VersionId".into(), vec![version.to_owned()]));
        }
        if let Some(stage) = stage.or(version.is_none().then_some(CURRENT)) {
            demand.keys.push(("secretsmanager:VersionStage".into(), vec![stage.to_owned()]));
        }
        let origin = Origin {
            secure: true,
            address: Ipv4Addr::LOCALHOST.into(),
            region: self.scope.region.clone(),
            user_agent: Some(SOURCE.to_owned()),
            now: self.now,
        };
        let asked = core
            .authorizer()
            .authorize(registry, &self.caller, &[demand], &origin)
            .map_err(|denied| Fault::new("AccessDeniedException", denied.0))
            .and_then(|()| secrets::find(registry, secret, self.now).map(|_| ()).map_err(Fault::from));
        self.record(core, secret, version, stage, asked.as_ref().err());
        asked
    }

    fn record(
        &self,
        core: &Core,
        secret: &str,
        version: Option<&str>,
        stage: Option<&str>,
        fault: Option<&Fault>,
    ) {
        let source = "secretsmanager.amazonaws.com";
        let mut event = AuditEvent::new(wall_clock::now(), source, "GetSecretValue");
        event.region = self.scope.region.clone();
        event.source_ip_address = SOURCE.to_owned();
        event.user_agent = Some(SOURCE.to_owned());
        event.user_identity = identity::of(&self.caller);
        event.request_id = Some(random::uuid());
        event.read_only = true;
        event.recipient_account_id = self.scope.account_id.clone();
        let mut parameters = json!({"secretId": secret});
        for (name, value) in [("versionId", version), ("versionStage", stage)] {
            if let Some(value) = value {
                parameters[name] = value.into();
            }
        }
        event.request_parameters = Some(parameters);
        if let Some(fault) = fault {
            event.outcome = AuditOutcome::Error { code: fault.code.clone(), message: fault.message.clone() };
        }
        // The trail itself counts what it cannot take, and tells of it once it can.
        if let Err(full) = core.audit().record(event) {
            tracing::warn!(reason = %full, "a task's reading of a secret was not recorded");
        }
    }
}

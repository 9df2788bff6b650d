//! Calls that the control plane makes itself in the name of a role, for a service that acts for it: allowed or denied
//! by the same policies as anybody's, carried out by the same operations, and in the audit trail like anybody's.

use std::{net::Ipv4Addr, sync::Arc};

use bowline_aws::protocol::{Document, Fault, OperationName, SERVICES};
use bowline_model::arn::Scope;
use bowline_plumbing::wall_clock;
use serde_json::Value;

use super::{
    authorization::{
        Origin,
        demand::{self, Asked, Demand},
    },
    call::{Call, Caller, CallerPrincipal},
    operation::{self, Outcome},
    recording::identity,
    server::violated,
};
use crate::{
    audit::{
        AuditEvent,
        event::{AuditOutcome, EventType},
    },
    core::Core,
    random,
};

/// A session of a role that a service assumed.
#[derive(Clone, Debug)]
pub(crate) struct ServiceCall {
    caller: Caller,
    scope: Scope,
    /// `fis.amazonaws.com`.
    service: &'static str,
}

impl ServiceCall {
    /// A session of the role with this ARN. Its trust policy must let the service assume it; `keys` are the condition
    /// keys of that request. A role that is not there is no hindrance where policies are not enforced.
    ///
    /// # Errors
    /// For people: what is not so.
    pub(crate) fn assume(
        core: &Core,
        service: &'static str,
        role_arn: &str,
        session: &str,
        keys: &[(&str, &str)],
    ) -> Result<Self, String> {
        let registry = core.registry();
        let scope = registry.settings().scope.clone();
        let name = role_arn.rsplit('/').next().unwrap_or_default();
        let key = format!("ASIA{}", random::base32(16));
        let role = registry.iam_roles.get(name).filter(|role| role.arn.as_str() == role_arn);
        let caller = match role {
            Some(role) => {
                let account = &scope.account_id;
                core.authorizer()
                    .authorize_service(service, role, account, wall_clock::now(), keys)
                    .map_err(|denied| denied.0)?;
                Caller::assumed_role(&scope, role, session, &key)
            }
            None if core.authorizer().is_enforced() => return Err(format!("There is no role {role_arn}.")),
            None => unknown_role(&scope, name, session, &key),
        };
        Ok(Self { caller, scope, service })
    }

    /// Carries out an operation of `service`, a name of [`SERVICES`]. Blocks.
    ///
    /// # Errors
    /// What the API would answer.
    pub(crate) fn perform(
        &self,
        core: &Arc<Core>,
        service: &str,
        operation: &str,
        request: &Value,
    ) -> Result<Value, Fault> {
        let unknown =
            || Fault::new("UnknownOperationException", format!("{service}:{operation} is not served."));
        let service = SERVICES.iter().find(|known| known.name == service).ok_or_else(unknown)?;
        let known = operation::find(service, operation).ok_or_else(unknown)?;
        let name = OperationName { service, operation: operation.to_owned(), protocol: service.protocol };
        let document = Document::from(request.clone());
        let origin = self.origin();
        let registry = core.registry();
        let asked = Asked {
            registry: &registry,
            scope: &self.scope,
            caller: &self.caller,
            operation,
            request: &document,
        };
        let demands = demand::of(service.name, &asked);
        let mut event = self.event(&format!("{}.amazonaws.com", service.endpoint_prefix), operation);
        event.read_only = known.access.is_read();
        event.request_parameters = Some(request.clone());
        self.recorded(core, event, || {
            self.allowed(core, &demands)?;
            let call = Call {
                core,
                caller: &self.caller,
                scope: self.scope.clone(),
                now: origin.now,
                origin: &origin,
            };
            let response = (known.call)(&call, &document).map_err(|outcome| match outcome {
                Outcome::Fault(fault) => fault,
                Outcome::Violation(violation) => violated(&name, &violation),
            })?;
            Ok(Value::from(&response))
        })
    }

    /// Asks whether the role may do what is no operation of an API, and records that it is done: `name` and
    /// `parameters` say what.
    ///
    /// # Errors
    /// It may not, or nothing can be recorded.
    pub(crate) fn admit(
        &self,
        core: &Arc<Core>,
        demands: &[Demand],
        name: &str,
        parameters: Value,
    ) -> Result<(), Fault> {
        let mut event = self.event(self.service, name);
        event.event_type = EventType::AwsServiceEvent;
        event.request_parameters = Some(parameters);
        self.recorded(core, event, || self.allowed(core, demands))
    }

    fn allowed(&self, core: &Core, demands: &[Demand]) -> Result<(), Fault> {
        let allowed = core.authorizer().authorize(&core.registry(), &self.caller, demands, &self.origin());
        allowed.map_err(|denied| Fault::new("AccessDeniedException", denied.0))
    }

    fn origin(&self) -> Origin {
        Origin {
            address: Ipv4Addr::LOCALHOST.into(),
            secure: true,
            region: self.scope.region.clone(),
            user_agent: Some(self.service.to_owned()),
            now: wall_clock::now(),
        }
    }

    fn event(&self, source: &str, name: &str) -> AuditEvent {
        let mut event = AuditEvent::new(wall_clock::now(), source, name);
        event.region.clone_from(&self.scope.region);
        event.source_ip_address = self.service.to_owned();
        event.user_agent = Some(self.service.to_owned());
        event.user_identity = identity::of(&self.caller);
        event.user_identity.invoked_by = Some(self.service.to_owned());
        event.request_id = Some(random::uuid());
        event.recipient_account_id.clone_from(&self.scope.account_id);
        event
    }

    /// Does something, and records how it ended: what cannot be recorded is not done.
    fn recorded<R>(
        &self,
        core: &Core,
        mut event: AuditEvent,
        act: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let admission = core.audit().admit().map_err(|full| {
            Fault::new("ServiceUnavailable", format!("the call cannot be recorded: {full}")).with_status(503)
        })?;
        let outcome = act();
        if let Err(fault) = &outcome {
            event.outcome = AuditOutcome::Error { code: fault.code.clone(), message: fault.message.clone() };
        }
        if let Err(full) = admission.record(event) {
            tracing::warn!(reason = %full, "a call of a role was not recorded");
        }
        outcome
    }
}

/// A session of a role that is not there.
fn unknown_role(scope: &Scope, name: &str, session: &str, key: &str) -> Caller {
    let Scope { partition, account_id, .. } = scope;
    Caller {
        arn: format!("arn:{partition}:sts::{account_id}:assumed-role/{name}/{session}"),
        access_key_id: key.to_owned(),
        account_id: account_id.clone(),
        user_id: format!("unknown:{session}"),
        principal: CallerPrincipal::AssumedRole { role: name.to_owned(), session_name: session.to_owned() },
        session: None,
    }
}

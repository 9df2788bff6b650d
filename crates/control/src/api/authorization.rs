//! Whether the caller may: IAM's policies, asked before an operation is called.

mod certificates;
mod cloudwatch;
pub(crate) mod demand;
mod ecs;
mod fis;
mod iam;
mod kms;
mod secretsmanager;
mod services;
mod tags;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_model::{
    clock::Timestamp,
    policy::{
        AttachedPolicy, Decision, Missing, POLICY_BYTES_MAX, Policies, Policy, PolicyKind, Principal,
        RequestContext,
    },
    sabotage::{Defence, sabotaged},
};

use super::call::{Caller, CallerPrincipal};
use crate::{
    iam::{self as rows, Grants, RoleRecord},
    registry::Registry,
};
use demand::Demand;

/// Most documents that are kept as they were read.
const READ_MAX: usize = 1_024;

/// What becomes of requests that policies do not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// Policies are not asked.
    Off,
    /// They are carried out, and a line in the log says that they would be refused.
    Audit,
    /// They are refused. The root user, and so the default key, may everything all the same.
    #[default]
    Enforce,
}

/// Where a request comes from, as conditions of policies ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// `aws:SourceIp`.
    pub(crate) address: IpAddr,
    /// `aws:SecureTransport`: it came by TLS.
    pub(crate) secure: bool,
    /// `aws:RequestedRegion`: what the signature is for.
    pub(crate) region: String,
    /// `aws:UserAgent`.
    pub(crate) user_agent: Option<String>,
    /// `aws:CurrentTime`.
    pub(crate) now: Timestamp,
}

/// A request is not allowed; the text is AWS's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied(pub(crate) String);

/// Asks policies.
pub(crate) struct Authorizer {
    mode: AuthorizationMode,
    /// Documents as they were read, by kind and text.
    read: Mutex<HashMap<(PolicyKind, String), Arc<Policy>>>,
}

/// The policies of a caller, read.
#[derive(Default)]
struct Held {
    identity: Vec<(String, Arc<Policy>)>,
    boundary: Option<(String, Arc<Policy>)>,
    session: Option<Vec<(String, Arc<Policy>)>>,
}

impl Authorizer {
    pub(crate) fn new(mode: AuthorizationMode) -> Self {
        Self { mode, read: Mutex::default() }
    }

    /// Whether there is anything to ask of `caller`'s policies.
    pub(crate) fn asks_of(&self, caller: &Caller) -> bool {
        self.mode != AuthorizationMode::Off && !is_unlimited(caller)
    }

    /// Whether what policies do not allow is refused.
    pub(crate) fn is_enforced(&self) -> bool {
        self.mode == AuthorizationMode::Enforce
    }

    /// Whether `caller` may do all that is demanded.
    pub(crate) fn authorize(
        &self,
        registry: &Registry,
        caller: &Caller,
        demands: &[Demand],
        origin: &Origin,
    ) -> Result<(), Denied> {
        if !self.asks_of(caller) || sabotaged(Defence::ApiAuthorization) {
            return Ok(());
        }
        let held = self.held(registry, caller);
        for demand in demands {
            let request = context(registry, caller, demand, origin);
            let own = demand.resource_policy.as_ref().map(|own| self.read(PolicyKind::Resource, own));
            let decision = match (&held, &own) {
                (Some(held), None) => held.decide(&request, None),
                (Some(held), Some(Some(own))) => {
                    let own = AttachedPolicy { name: &demand.resource, policy: own };
                    held.decide_with(&request, Some(own), demand.resource_must_allow)
                }
                // A policy that cannot be read may be the one that denies.
                (None, _) | (_, Some(None)) => Decision::ImplicitDeny { because: Missing::NoIdentityPolicy },
            };
            let decision = match decision {
                Decision::ImplicitDeny { because: Missing::NoIdentityPolicy | Missing::ResourcePolicy }
                    if demand.granted && held.is_some() =>
                {
                    continue;
                }
                decision => decision,
            };
            self.settle(&decision, &request)?;
        }
        Ok(())
    }

    /// Whether `caller` may assume `role`: the role's trust policy must allow it, and for anybody
    /// whom that does not name itself, the caller's own policies as well.
    pub(crate) fn authorize_assumption(
        &self,
        registry: &Registry,
        caller: &Caller,
        role: &RoleRecord,
        demand: &Demand,
        origin: &Origin,
    ) -> Result<(), Denied> {
        if self.mode == AuthorizationMode::Off {
            return Ok(());
        }
        let request = context(registry, caller, demand, origin);
        let trust = self.read(PolicyKind::Trust, &role.trust_policy);
        let decision = match (self.held(registry, caller), &trust) {
            (Some(held), Some(trust)) => {
                held.decide(&request, Some(AttachedPolicy { name: role.arn.as_str(), policy: trust }))
            }
            _ => Decision::ImplicitDeny { because: Missing::TrustPolicy },
        };
        self.settle(&decision, &request)
    }

    /// Whether the AWS service `service` may assume `role`: its trust policy alone says. `keys` are
    /// the condition keys of the request besides those of every request.
    pub(crate) fn authorize_service(
        &self,
        service: &str,
        role: &RoleRecord,
        account_id: &str,
        now: Timestamp,
        keys: &[(&str, &str)],
    ) -> Result<(), Denied> {
        if self.mode == AuthorizationMode::Off {
            return Ok(());
        }
        let principal = Principal::Service { name: service.to_owned() };
        let mut request = RequestContext::new(principal, "sts:AssumeRole", role.arn.as_str())
            .with_resource_account(account_id)
            .with("aws:CurrentTime", [now.to_string()])
            .with("aws:EpochTime", [now.as_secs().to_string()])
            .with("aws:SecureTransport", ["true"])
            .with("aws:ViaAWSService", ["false"])
            .with("aws:PrincipalIsAWSService", ["true"])
            .with("aws:PrincipalServiceName", [service])
            .with("aws:ResourceAccount", [account_id]);
        for (key, value) in keys {
            request = request.with(key, [*value]);
        }
        let decision = match self.read(PolicyKind::Trust, &role.trust_policy) {
            Some(trust) => {
                let trust = AttachedPolicy { name: role.arn.as_str(), policy: &trust };
                Held::default().decide(&request, Some(trust))
            }
            None => Decision::ImplicitDeny { because: Missing::TrustPolicy },
        };
        self.settle(&decision, &request)
    }

    /// Whether a key policy lets `caller`, or its account, change it again.
    pub(crate) fn keeps_key_policy(
        &self,
        registry: &Registry,
        caller: &Caller,
        policy: &str,
        key_arn: &str,
        origin: &Origin,
    ) -> Result<bool, String> {
        let policy = Policy::parse(PolicyKind::Resource, policy, POLICY_BYTES_MAX)
            .map_err(|error| format!("The key policy is not valid: {error}"))?;
        let request = context(registry, caller, &Demand::new("kms:PutKeyPolicy", key_arn), origin);
        let own = AttachedPolicy { name: key_arn, policy: &policy };
        Ok(match Held::default().decide_with(&request, Some(own), true) {
            Decision::Allowed { .. } => true,
            // The account may, and so whom its policies let.
            Decision::ImplicitDeny { because } => because == Missing::NoIdentityPolicy,
            Decision::ExplicitDeny { .. } => false,
        })
    }

    fn settle(&self, decision: &Decision, request: &RequestContext) -> Result<(), Denied> {
        let Some(denied) = decision.access_denied(request) else { return Ok(()) };
        match self.mode {
            AuthorizationMode::Enforce => Err(Denied(denied.to_string())),
            AuthorizationMode::Audit | AuthorizationMode::Off => {
                tracing::warn!(
                    principal = request.principal().name(),
                    action = request.action(),
                    resource = request.resource(),
                    "would be denied: {denied}"
                );
                Ok(())
            }
        }
    }

    /// The policies of a caller; `None` if one of them cannot be read.
    fn held(&self, registry: &Registry, caller: &Caller) -> Option<Held> {
        let mut held = Held::default();
        let grants = match &caller.principal {
            CallerPrincipal::Root => None,
            CallerPrincipal::User(name) => Some(&registry.iam_users.get(name)?.grants),
            CallerPrincipal::AssumedRole { role, .. } => Some(&registry.iam_roles.get(role)?.grants),
        };
        if let Some(Grants { inline, attached, boundary }) = grants {
            for (name, document) in inline {
                held.identity.push((name.clone(), self.read(PolicyKind::Identity, document)?));
            }
            for arn in attached {
                held.identity.push(self.managed(registry, arn)?);
            }
            if let Some(arn) = boundary {
                held.boundary = Some(self.managed(registry, arn)?);
            }
        }
        if let Some(session) = &caller.session
            && (session.policy.is_some() || !session.policy_arns.is_empty())
        {
            let mut policies = Vec::new();
            if let Some(document) = &session.policy {
                policies.push(("session".to_owned(), self.read(PolicyKind::Identity, document)?));
            }
            for arn in &session.policy_arns {
                policies.push(self.managed(registry, arn)?);
            }
            held.session = Some(policies);
        }
        Some(held)
    }

    fn managed(&self, registry: &Registry, arn: &str) -> Option<(String, Arc<Policy>)> {
        let document = rows::managed_document(registry, arn);
        if document.is_none() {
            tracing::error!(policy = arn, "a managed policy that is in use is not there");
        }
        Some((arn.to_owned(), self.read(PolicyKind::Identity, document?)?))
    }

    /// A document as it was read before, or now.
    fn read(&self, kind: PolicyKind, document: &str) -> Option<Arc<Policy>> {
        let key = (kind, document.to_owned());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = read.get(&key) {
            return Some(Arc::clone(policy));
        }
        // Its length was looked at when it came in.
        match Policy::parse(kind, document, POLICY_BYTES_MAX) {
            Ok(policy) => {
                let policy = Arc::new(policy);
                if read.len() >= READ_MAX {
                    read.clear();
                }
                read.insert(key, Arc::clone(&policy));
                Some(policy)
            }
            Err(error) => {
                tracing::error!(%error, "a policy that was taken cannot be read: everything it bears on is denied");
                None
            }
        }
    }
}

impl Held {
    fn decide(&self, request: &RequestContext, resource: Option<AttachedPolicy<'_>>) -> Decision {
        self.decide_with(request, resource, false)
    }

    fn decide_with(
        &self,
        request: &RequestContext,
        resource: Option<AttachedPolicy<'_>>,
        resource_must_allow: bool,
    ) -> Decision {
        fn attached(policies: &[(String, Arc<Policy>)]) -> Vec<AttachedPolicy<'_>> {
            policies.iter().map(|(name, policy)| AttachedPolicy { name, policy }).collect()
        }
        let identity = attached(&self.identity);
        let session = self.session.as_deref().map(attached);
        let boundary = self.boundary.as_ref().map(|(name, policy)| AttachedPolicy { name, policy });
        Policies { identity: &identity, resource, resource_must_allow, boundary, session: session.as_deref() }
            .evaluate(request)
    }
}

/// Whether nothing can limit the caller: the root user, without a session policy.
fn is_unlimited(caller: &Caller) -> bool {
    let limited =
        |session: &crate::credentials::Session| session.policy.is_some() || !session.policy_arns.is_empty();
    caller.principal == CallerPrincipal::Root && !caller.session.as_deref().is_some_and(limited)
}

/// The request as policies see it. Source of the keys: IAM User Guide, "AWS global condition
/// context keys".
fn context(registry: &Registry, caller: &Caller, demand: &Demand, origin: &Origin) -> RequestContext {
    let account_id = caller.account_id.clone();
    let (principal, tags) = match &caller.principal {
        CallerPrincipal::Root => (Principal::Root { arn: caller.arn.clone(), account_id }, None),
        CallerPrincipal::User(name) => (
            Principal::User { arn: caller.arn.clone(), account_id },
            registry.iam_users.get(name).map(|user| &user.tags),
        ),
        CallerPrincipal::AssumedRole { role, .. } => {
            let role = registry.iam_roles.get(role);
            (
                Principal::AssumedRole {
                    session_arn: caller.arn.clone(),
                    role_arn: role.map(|role| role.arn.to_string()).unwrap_or_default(),
                    account_id,
                },
                role.map(|role| &role.tags),
            )
        }
    };
    let mut request = RequestContext::new(principal, demand.action.as_str(), demand.resource.as_str())
        .with_resource_account(caller.account_id.as_str())
        .with("aws:userid", [caller.user_id.as_str()])
        .with("aws:SourceIp", [origin.address.to_string()])
        .with("aws:CurrentTime", [origin.now.to_string()])
        .with("aws:EpochTime", [origin.now.as_secs().to_string()])
        .with("aws:RequestedRegion", [origin.region.as_str()])
        .with("aws:SecureTransport", [if origin.secure { "true" } else { "false" }])
        .with("aws:ViaAWSService", ["false"])
        .with("aws:PrincipalIsAWSService", ["false"])
        .with("aws:ResourceAccount", [caller.account_id.as_str()])
        .with("aws:UserAgent", origin.user_agent.iter().map(String::as_str));
    let session_tags = caller.session.as_ref().map(|session| &session.tags);
    for (key, value) in tags.into_iter().chain(session_tags).flatten() {
        request = request.with(&format!("aws:PrincipalTag/{key}"), [value.as_str()]);
    }
    if let Some(session) = &caller.session {
        request = request
            .with("aws:TokenIssueTime", [session.issued_at.to_string()])
            .with("aws:MultiFactorAuthPresent", ["false"])
            .with("aws:SourceIdentity", session.source_identity.iter().map(String::as_str));
    }
    for (key, values) in &demand.keys {
        request = request.with(key, values.iter().map(String::as_str));
    }
    request
}

#[cfg(test)]
mod tests;

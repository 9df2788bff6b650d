//! The decision that all policies of a request come to.

use std::fmt;

use super::{
    Effect, Policy, PolicyKind, Principal, RequestContext, Selection, Statement, principal::NamedBy,
};

/// A policy and what it is called: its ARN, or the name of an inline policy.
#[derive(Clone, Copy, Debug)]
pub struct AttachedPolicy<'a> {
    /// How decisions name it.
    pub name: &'a str,
    /// The policy.
    pub policy: &'a Policy,
}

/// The policies that bear on a request.
///
/// The default has none: nobody but a root user may do anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// Of the user and its groups, or of the role. Any of them allows.
    pub identity: &'a [AttachedPolicy<'a>],
    /// Of the resource; of a role that is to be assumed, its trust policy.
    pub resource: Option<AttachedPolicy<'a>>,
    /// Whether the resource's policy must allow within its account too, if only to the account: a KMS
    /// key's, without which no identity policy says anything.
    pub resource_must_allow: bool,
    /// The most that identity policies may allow, if a limit is set.
    pub boundary: Option<AttachedPolicy<'a>>,
    /// The most that the session may do, if it was started with policies. Any of them allows.
    pub session: Option<&'a [AttachedPolicy<'a>]>,
}

/// What a policy is to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyType {
    /// Attached to the principal.
    Identity,
    /// Attached to the resource.
    Resource,
    /// The trust policy of the role.
    Trust,
    /// The principal's permissions boundary.
    Boundary,
    /// Passed when the session was started.
    Session,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may go on.
    Allowed {
        /// Which policy allowed it, as it is called; `None` for a root user, who needs none.
        policy: Option<String>,
        /// The `Sid` of the statement, if it has one.
        sid: Option<String>,
    },
    /// A statement denies the request.
    ExplicitDeny {
        /// What the policy is to the request.
        of: PolicyType,
        /// How it is called.
        policy: String,
        /// The `Sid` of the statement, if it has one.
        sid: Option<String>,
    },
    /// No statement allows the request where one must.
    ImplicitDeny {
        /// Where an allowance is missing.
        because: Missing,
    },
}

/// Where an allowance is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// No identity policy allows, and no resource policy does in its place.
    NoIdentityPolicy,
    /// The permissions boundary does not allow.
    Boundary,
    /// No session policy allows.
    Session,
    /// The resource policy must allow (the principal is of another account, or of none) and does
    /// not.
    ResourcePolicy,
    /// The role's trust policy does not allow.
    TrustPolicy,
}

/// What a resource's policy says to the principal.
struct Grant<'a> {
    named_by: NamedBy,
    statement: &'a Statement,
}

impl<'a> Policies<'a> {
    /// Decides `request`. Source: "Policy evaluation logic".
    ///
    /// 1. What any statement denies is denied.
    /// 2. Within an account, a resource policy that names the user or the session itself allows,
    ///    whatever the boundary and the session's policies leave out.
    /// 3. Otherwise an identity policy must allow; within an account a resource policy that names
    ///    the session's role or everybody may do so in its place. A resource policy that names the
    ///    account leaves it to the identity's policies.
    /// 4. Across accounts the resource policy must allow as well; a trust policy and a KMS key's must
    ///    always.
    /// 5. The boundary and the session's policies, where there are any, must allow too.
    pub fn evaluate(&self, request: &RequestContext) -> Decision {
        if let Some(denied) = self.explicit_deny(request) {
            return denied;
        }
        let is_trust = self.resource.is_some_and(|resource| resource.policy.kind == PolicyKind::Trust);
        let missing = |because| Decision::ImplicitDeny { because };
        let no_resource_policy =
            || missing(if is_trust { Missing::TrustPolicy } else { Missing::ResourcePolicy });
        let grant = self.resource.and_then(|resource| grant(resource.policy, request));
        let by_resource = |grant: &Grant<'_>| Decision::Allowed {
            policy: self.resource.map(|resource| resource.name.to_owned()),
            sid: grant.statement.sid.clone(),
        };
        let is_identity = match request.principal() {
            Principal::Root { .. } | Principal::User { .. } | Principal::AssumedRole { .. } => true,
            Principal::Service { .. } | Principal::Federated { .. } | Principal::Anonymous => false,
        };
        if !is_identity {
            return grant.as_ref().map_or_else(no_resource_policy, by_resource);
        }
        let same_account = request.same_account();
        if let Some(grant) = grant.as_ref().filter(|grant| same_account && grant.named_by == NamedBy::Itself)
        {
            return by_resource(grant);
        }
        if grant.is_none() && (is_trust || self.resource_must_allow || !same_account) {
            return no_resource_policy();
        }
        let in_place = grant.as_ref().filter(|grant| same_account && grant.named_by > NamedBy::Account);
        let Some(allowed) = self.identity_allows(request).or_else(|| in_place.map(by_resource)) else {
            return missing(Missing::NoIdentityPolicy);
        };
        if self.boundary.is_some_and(|boundary| allows(boundary.policy, request).is_none()) {
            return missing(Missing::Boundary);
        }
        let session_allows = |session: &[AttachedPolicy<'_>]| {
            session.iter().any(|attached| allows(attached.policy, request).is_some())
        };
        if self.session.is_some_and(|session| !session_allows(session)) {
            return missing(Missing::Session);
        }
        allowed
    }

    fn explicit_deny(&self, request: &RequestContext) -> Option<Decision> {
        let find = |of, attached: &AttachedPolicy<'_>| {
            let denies = |statement: &&Statement| {
                statement.effect == Effect::Deny
                    && statement.concerns(request.principal())
                    && statement.covers(request)
            };
            let statement = attached.policy.statements.iter().find(denies)?;
            Some(Decision::ExplicitDeny { of, policy: attached.name.to_owned(), sid: statement.sid.clone() })
        };
        let of_resource = self.resource.map(|resource| match resource.policy.kind {
            PolicyKind::Trust => (PolicyType::Trust, resource),
            PolicyKind::Resource | PolicyKind::Identity => (PolicyType::Resource, resource),
        });
        of_resource
            .and_then(|(of, resource)| find(of, &resource))
            .or_else(|| self.identity.iter().find_map(|policy| find(PolicyType::Identity, policy)))
            .or_else(|| self.boundary.and_then(|policy| find(PolicyType::Boundary, &policy)))
            .or_else(|| self.session?.iter().find_map(|policy| find(PolicyType::Session, policy)))
    }

    fn identity_allows(&self, request: &RequestContext) -> Option<Decision> {
        if matches!(request.principal(), Principal::Root { .. }) {
            return Some(Decision::Allowed { policy: None, sid: None });
        }
        self.identity.iter().find_map(|attached| {
            let statement = allows(attached.policy, request)?;
            Some(Decision::Allowed { policy: Some(attached.name.to_owned()), sid: statement.sid.clone() })
        })
    }
}

/// The first statement of an identity's policy that allows.
fn allows<'p>(policy: &'p Policy, request: &RequestContext) -> Option<&'p Statement> {
    // A resource's policy at an identity's place allows nothing: it speaks of other principals.
    let is_identity = policy.kind == PolicyKind::Identity;
    policy
        .statements
        .iter()
        .find(|statement| is_identity && statement.effect == Effect::Allow && statement.covers(request))
}

/// The strongest allowance of a resource's policy.
fn grant<'p>(policy: &'p Policy, request: &RequestContext) -> Option<Grant<'p>> {
    let grant = |statement: &'p Statement| {
        let Some(Selection::Only(principals)) = &statement.principals else { return None };
        let named_by = principals.names(request.principal())?;
        (statement.effect == Effect::Allow && statement.covers(request))
            .then_some(Grant { named_by, statement })
    };
    policy.statements.iter().filter_map(grant).max_by_key(|grant| grant.named_by)
}

impl Statement {
    /// Whether a statement that denies speaks of `principal`.
    fn concerns(&self, principal: &Principal) -> bool {
        match &self.principals {
            None => true,
            Some(Selection::Only(principals)) => principals.names(principal).is_some(),
            // Naming an account excepts its root user, not everybody in it.
            Some(Selection::AllBut(principals)) => {
                principals.names(principal).is_none_or(|named_by| named_by == NamedBy::Account)
            }
        }
    }
}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// AWS's text for a request that may not go on; `None` for one that may.
    pub fn access_denied(&self, request: &RequestContext) -> Option<AccessDenied> {
        let decision = match self {
            Self::Allowed { .. } => return None,
            other => other.clone(),
        };
        Some(AccessDenied {
            principal: request.principal().name().to_owned(),
            action: request.action().to_owned(),
            resource: request.resource().to_owned(),
            decision,
        })
    }
}

/// Why somebody may not do something, in the words of AWS's access denied messages: `User: … is
/// not authorized to perform: … on resource: … because no identity-based policy allows the …
/// action`. AWS's error code is `AccessDeniedException` (JSON) or `AccessDenied` (query).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessDenied {
    principal: String,
    action: String,
    resource: String,
    decision: Decision,
}

impl fmt::Display for AccessDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, action, resource, decision } = self;
        write!(f, "User: {principal} is not authorized to perform: {action} on resource: {resource}")?;
        match decision {
            Decision::Allowed { .. } => Ok(()),
            Decision::ExplicitDeny { of, .. } => {
                let policy = match of {
                    PolicyType::Identity => "an identity-based policy",
                    PolicyType::Resource => "a resource-based policy",
                    PolicyType::Trust => "the role trust policy",
                    PolicyType::Boundary => "a permissions boundary",
                    PolicyType::Session => "a session policy",
                };
                write!(f, " with an explicit deny in {policy}")
            }
            Decision::ImplicitDeny { because } => {
                let policy = match because {
                    Missing::NoIdentityPolicy => "identity-based policy",
                    Missing::Boundary => "permissions boundary",
                    Missing::Session => "session policy",
                    Missing::ResourcePolicy => "resource-based policy",
                    Missing::TrustPolicy => "role trust policy",
                };
                write!(f, " because no {policy} allows the {action} action")
            }
        }
    }
}

impl std::error::Error for AccessDenied {}

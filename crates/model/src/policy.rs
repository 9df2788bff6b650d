//! IAM's policies: documents in the JSON policy language, and what they decide.
//!
//! A document is read once, with its wildcards compiled ([`Policy::parse`]); a request is then
//! decided by all policies that bear on it ([`Policies::evaluate`]). Deciding is pure: everything a
//! condition may ask for, the time included, is in the [`RequestContext`].
//!
//! Source: IAM User Guide, "IAM JSON policy reference" (elements, condition operators, policy
//! variables, grammar) and "Policy evaluation logic". What differs: an element, an operator or a
//! JSON key that is unknown or given twice is an error everywhere, `NotPrincipal` is for `Deny`
//! only, and what a policy variable without a value leaves undecided is never an `Allow`.

mod condition;
mod context;
mod error;
mod evaluate;
mod json;
mod parse;
mod pattern;
mod principal;
mod value;

pub use context::{Principal, RequestContext};
pub use error::MalformedPolicyDocument;
pub use evaluate::{AccessDenied, AttachedPolicy, Decision, Missing, Policies, PolicyType};

use condition::Condition;
use pattern::{ArnPattern, Pattern};
use principal::PrincipalSet;

/// Most characters of a managed policy (white space does not count).
pub const MANAGED_POLICY_CHARACTERS_MAX: usize = 6144;
/// Most characters of all inline policies of a role (white space does not count).
pub const ROLE_INLINE_POLICY_CHARACTERS_MAX: usize = 10_240;
/// Most characters of a role's trust policy, as AWS's quota has it by default.
pub const TRUST_POLICY_CHARACTERS_MAX: usize = 2048;
/// Longest document that is read at all, in bytes, white space included.
pub const POLICY_BYTES_MAX: usize = 131_072;

/// Where a policy stands, which decides what its statements consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Attached to a user, a group or a role, a permissions boundary or a session policy: no
    /// `Principal`, and a `Resource`.
    Identity,
    /// Attached to a resource: a `Principal` and a `Resource`.
    Resource,
    /// A role's trust policy: a `Principal` and no `Resource`. It must itself allow what is done.
    Trust,
}

/// A policy document, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Policy {
    kind: PolicyKind,
    id: Option<String>,
    statements: Vec<Statement>,
}

/// Whether a statement allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Allows, unless something denies.
    Allow,
    /// Denies, whatever allows.
    Deny,
}

/// One statement of a policy.
#[derive(Clone, Debug)]
pub struct Statement {
    sid: Option<String>,
    effect: Effect,
    /// Absent from the policies of identities.
    principals: Option<Selection<PrincipalSet>>,
    actions: Selection<Vec<Pattern>>,
    /// Absent from trust policies.
    resources: Option<Selection<Vec<ArnPattern>>>,
    conditions: Vec<Condition>,
}

/// An element or its `Not…` twin.
#[derive(Clone, Debug)]
enum Selection<T> {
    Only(T),
    AllBut(T),
}

impl Policy {
    /// Reads a document of at most `characters_max` characters, white space not counted.
    pub fn parse(
        kind: PolicyKind,
        document: &str,
        characters_max: usize,
    ) -> Result<Self, MalformedPolicyDocument> {
        parse::policy(kind, document, characters_max)
    }

    /// What kind of policy it was read as.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Its `Id`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

impl Statement {
    /// Its `Sid`.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// Its `Effect`.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether action, resource and conditions are those of the request; the principal apart.
    fn covers(&self, request: &RequestContext) -> bool {
        self.covers_action(request)
            && self.covers_resource(request)
            && self.conditions.iter().all(|condition| condition.holds(self.effect, request))
    }

    fn covers_action(&self, request: &RequestContext) -> bool {
        // Actions hold no variables.
        let named = |patterns: &[Pattern]| {
            patterns.iter().any(|pattern| pattern.matches(request.action_folded(), request) == Some(true))
        };
        match &self.actions {
            Selection::Only(patterns) => named(patterns),
            Selection::AllBut(patterns) => !named(patterns),
        }
    }

    fn covers_resource(&self, request: &RequestContext) -> bool {
        let matches = |pattern: &ArnPattern| pattern.matches(request.resource(), request);
        match &self.resources {
            None => true,
            Some(Selection::Only(patterns)) => patterns.iter().any(|pattern| matches(pattern) == Some(true)),
            // What a variable without a value would except is not known.
            Some(Selection::AllBut(patterns)) => patterns.iter().all(|pattern| match matches(pattern) {
                Some(excepted) => !excepted,
                None => self.effect == Effect::Deny,
            }),
        }
    }
}

#[cfg(test)]
mod tests;

//! Who may call whom: the decision on one call, made from compiled rules.
//!
//! A DENY wins over any ALLOW, an AUDIT only tells, and what no rule allows is denied: the
//! order of rules never matters to the verdict. [`policy`] makes the rules of a called port from
//! the policies that people write and the default within a namespace.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    cidr::Cidr,
    identity::{SpiffeId, SpiffePattern},
    wildcard::Wildcard,
};

mod path;
pub mod policy;
#[cfg(test)]
mod tests;

use path::Paths;

/// What a rule says of the calls that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Effect {
    /// They may be made, unless a [`Effect::Deny`] matches as well.
    Allow,
    /// They may not.
    Deny,
    /// They are told of, and decided by the other rules.
    Audit,
}

impl Effect {
    /// As templates and tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
        }
    }
}

/// Whose calls a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Everybody's, also of callers that prove no identity.
    Anyone,
    /// Of callers that prove one of these. None: nobody's.
    Of(Vec<SpiffePattern>),
}

/// One rule, as the called side goes by it. Lists other than of callers match everything when
/// they are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Told in logs and refusals.
    pub name: String,
    /// What it says.
    pub effect: Effect,
    /// Whose calls.
    pub callers: Callers,
    /// HTTP methods, as they stand in requests (`GET`).
    pub methods: Vec<String>,
    /// Patterns of the path without its query.
    pub paths: Vec<Wildcard>,
    /// Where calls come from.
    pub sources: Vec<Cidr>,
}

/// A call that is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls; `None` for one that has proved nothing.
    pub caller: Option<&'a SpiffeId>,
    /// Where the connection comes from.
    pub source: IpAddr,
    /// `None` for a TCP connection.
    pub request: Option<HttpCall<'a>>,
}

/// What there is to know of an HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as it was sent, without its query.
    pub path: &'a str,
}

/// What was decided, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether the call may be made.
    pub allowed: bool,
    /// The rule that decided: of several the first in the list. `None`: no rule allows it.
    pub rule: Option<&'a Rule>,
    /// Rules of effect AUDIT that match.
    pub audits: Vec<&'a Rule>,
}

/// The rules of one called port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Rules whose order decides only which of several that agree is named.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Every rule.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// Decides on a call.
    pub fn decide(&self, call: &Call<'_>) -> Decision<'_> {
        let paths = call.request.map(|request| Paths::of(request.path));
        let mut decision = Decision { allowed: false, rule: None, audits: Vec::new() };
        let mut denied = None;
        for rule in &self.0 {
            let settled = match rule.effect {
                // Nothing more to learn from it.
                Effect::Allow => decision.rule.is_some(),
                Effect::Deny => denied.is_some(),
                Effect::Audit => false,
            };
            if settled || !rule.matches(call, paths.as_ref()) {
                continue;
            }
            match rule.effect {
                Effect::Deny => denied = Some(rule),
                Effect::Allow => decision.rule = Some(rule),
                Effect::Audit => decision.audits.push(rule),
            }
        }
        decision.allowed = denied.is_none() && decision.rule.is_some();
        decision.rule = denied.or(decision.rule);
        decision
    }
}

impl Rule {
    fn matches(&self, call: &Call<'_>, paths: Option<&Paths<'_>>) -> bool {
        let of_caller = match (&self.callers, call.caller) {
            (Callers::Anyone, _) => true,
            (Callers::Of(patterns), Some(caller)) => patterns.iter().any(|pattern| pattern.matches(caller)),
            (Callers::Of(_), None) => false,
        };
        if !of_caller
            || !(self.sources.is_empty() || self.sources.iter().any(|range| range.contains(call.source)))
        {
            return false;
        }
        match (call.request, paths) {
            (Some(request), Some(paths)) => {
                (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
                    && (self.paths.is_empty() || self.matches_path(paths))
            }
            // A TCP connection has no method and no path: a denial that asks for
            // one holds all the same, a permission does not (as Istio has it).
            _ => self.effect != Effect::Allow || (self.methods.is_empty() && self.paths.is_empty()),
        }
    }

    /// A path can be written in several ways: a permission must cover every reading of it, a denial
    /// any one.
    fn matches_path(&self, paths: &Paths<'_>) -> bool {
        let covered = |reading: &str| self.paths.iter().any(|pattern| pattern.matches(reading));
        match self.effect {
            Effect::Allow => paths.readings().all(covered),
            Effect::Deny | Effect::Audit => paths.readings().any(covered),
        }
    }
}

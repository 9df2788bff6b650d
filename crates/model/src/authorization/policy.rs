//! Policies as people write them, and the rules of a called port that follow from them.

use serde::{Deserialize, Serialize};

use super::{Callers, Effect, Rule, Rules};
use crate::{
    cidr::Cidr,
    identity::{SpiffeId, SpiffePattern},
    wildcard::Wildcard,
};

/// `Bowline::ServiceConnect::AuthorizationPolicy`: rules for calls to some services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicy {
    /// Told in logs and refusals, before each rule's name.
    pub name: String,
    /// The called services' namespace, by name. `None`: of any, also of none.
    pub namespace: Option<String>,
    /// The called services, by name. Empty: all of the namespace.
    pub services: Vec<String>,
    /// Whom to allow where no rule decides.
    pub default: DefaultCallers,
    /// The rules. Their order does not matter to any verdict.
    pub rules: Vec<PolicyRule>,
}

/// Whom to allow where no rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DefaultCallers {
    /// Members of the called service's own namespace.
    #[default]
    Namespace,
    /// Nobody. One such policy is enough for every service that it speaks of.
    Nobody,
}

/// A rule of a policy. Each list is an "any of"; all lists that are given must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Told in logs and refusals.
    pub name: String,
    /// What it says of the calls that it matches.
    pub effect: Effect,
    /// Callers by SPIFFE id. Together with [`PolicyRule::namespaces`] empty: anyone.
    pub identities: Vec<SpiffePattern>,
    /// Callers by namespace.
    pub namespaces: Vec<String>,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// Patterns of the path.
    pub paths: Vec<Wildcard>,
    /// Container ports that are called.
    pub ports: Vec<u16>,
    /// Where calls come from: the address of the calling sidecar's machine.
    pub sources: Vec<Cidr>,
}

/// A port of a service, as far as its rules depend on it.
#[derive(Clone, Copy, Debug)]
pub struct CalledPort<'a> {
    /// The SPIFFE trust domain.
    pub trust_domain: &'a str,
    /// The service's name.
    pub service: &'a str,
    /// The service's namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// The container port.
    pub port: u16,
    /// Service Connect offers it to the namespace.
    pub offered: bool,
    /// Gateways whose target groups send to it.
    pub gateways: &'a [SpiffeId],
    /// Callers prove who they are. Without that the members of the namespace are anyone, unless a
    /// rule names callers: a permission that names some matches nobody, a denial that names some
    /// matches everybody, as the caller may be one of them, and there is no default.
    pub proves_callers: bool,
}

impl AuthorizationPolicy {
    /// Whether the policy speaks of a service.
    pub fn covers(&self, service: &str, namespace: Option<&str>) -> bool {
        let in_namespace = self.namespace.as_deref().is_none_or(|own| namespace == Some(own));
        in_namespace && (self.services.is_empty() || self.services.iter().any(|name| name == service))
    }
}

impl CalledPort<'_> {
    /// The rules of this port: those of policies that speak of it, and the defaults. In the order
    /// of policies, the defaults last.
    pub fn rules<'p>(&self, policies: impl IntoIterator<Item = &'p AuthorizationPolicy>) -> Rules {
        let mut rules = Vec::new();
        let mut default = DefaultCallers::Namespace;
        for policy in policies.into_iter().filter(|policy| policy.covers(self.service, self.namespace)) {
            if policy.default == DefaultCallers::Nobody {
                default = DefaultCallers::Nobody;
            }
            let of_port = |rule: &&PolicyRule| rule.ports.is_empty() || rule.ports.contains(&self.port);
            rules.extend(policy.rules.iter().filter(of_port).map(|rule| self.compiled(policy, rule)));
        }
        let names_callers = |rule: &Rule| rule.effect != Effect::Audit && rule.callers != Callers::Anyone;
        let by_name = !self.proves_callers && rules.iter().any(names_callers);
        if !self.proves_callers {
            for denial in rules.iter_mut().filter(|rule| rule.effect == Effect::Deny) {
                denial.callers = Callers::Anyone;
            }
        }
        let allow = |name: String, callers: Callers| Rule {
            name,
            effect: Effect::Allow,
            callers,
            methods: Vec::new(),
            paths: Vec::new(),
            sources: Vec::new(),
        };
        if by_name {
            return Rules::new(rules);
        }
        if let (Some(namespace), true, DefaultCallers::Namespace) = (self.namespace, self.offered, default) {
            rules.push(match self.proves_callers {
                true => {
                    let members = SpiffePattern::of_namespace(self.trust_domain, namespace);
                    allow(format!("default: members of {namespace}"), Callers::Of(vec![members]))
                }
                false => allow("default: callers prove nothing here".into(), Callers::Anyone),
            });
        }
        if !self.gateways.is_empty() {
            let gateways = self.gateways.iter().cloned().map(SpiffePattern::Exact).collect();
            rules.push(match self.proves_callers {
                true => allow("default: gateways of its target groups".into(), Callers::Of(gateways)),
                false => allow("default: callers prove nothing here".into(), Callers::Anyone),
            });
        }
        Rules::new(rules)
    }

    fn compiled(&self, policy: &AuthorizationPolicy, rule: &PolicyRule) -> Rule {
        let namespaces = rule.namespaces.iter();
        let members = namespaces.map(|name| SpiffePattern::of_namespace(self.trust_domain, name));
        let callers: Vec<_> = rule.identities.iter().cloned().chain(members).collect();
        Rule {
            name: format!("{}/{}", policy.name, rule.name),
            effect: rule.effect,
            callers: if callers.is_empty() { Callers::Anyone } else { Callers::Of(callers) },
            methods: rule.methods.clone(),
            paths: rule.paths.clone(),
            sources: rule.sources.clone(),
        }
    }
}

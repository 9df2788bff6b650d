//! Authorization policies of a template: `Bowline::ServiceConnect::AuthorizationPolicy`.

use std::str::FromStr;

use bowline_aws::{
    bowline,
    cfn::{ResourceBody, StackResource},
};
use bowline_model::{
    authorization::{
        Effect,
        policy::{AuthorizationPolicy, DefaultCallers, PolicyRule},
    },
    wildcard::Wildcard,
};

use super::Applying;
use crate::registry::Registry;

/// The table's name in a stack's record.
pub(super) const POLICIES: &str = "authorization-policies";

impl Applying<'_> {
    /// Takes up an authorization policy.
    pub(super) fn authorization_policy(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &bowline::AuthorizationPolicy,
    ) {
        if body.namespace.is_none() && body.services.is_empty() {
            self.fault(resource, "it speaks of no service: give a Namespace, Services, or both");
        }
        let namespace = body.namespace.as_ref().map(|given| self.namespace_name(registry, resource, given));
        // A name, or what `Ref` of a service yields.
        let service = |given: &String| given.rsplit('/').next().unwrap_or(given).to_owned();
        let services: Vec<String> = body.services.iter().map(service).collect();
        for name in &services {
            // One of this template may come after the policy.
            let comes = self.stack.resources.iter().any(|resource| {
                matches!(resource.body, ResourceBody::EcsService(_))
                    && resource.physical_id.rsplit('/').next() == Some(name)
            });
            if !comes && !registry.services.values().any(|service| service.name == *name) {
                self.note(resource, format!("there is no service {name} yet"));
            }
        }
        let rules: Vec<PolicyRule> = body
            .rules
            .iter()
            .enumerate()
            .map(|(place, rule)| self.authorization_rule(registry, resource, place, rule))
            .collect();
        let policy = AuthorizationPolicy {
            name: body.name.clone().unwrap_or_else(|| resource.logical_id.clone()),
            namespace,
            services,
            default: match body.default.as_deref() {
                Some("NOBODY") => DefaultCallers::Nobody,
                _ => DefaultCallers::Namespace,
            },
            rules,
        };
        let key = format!("{}/{}", self.stack.name, resource.logical_id);
        self.made(POLICIES, &key);
        registry.authorization_policies.put(key, policy);
    }

    fn authorization_rule(
        &mut self,
        registry: &Registry,
        resource: &StackResource,
        place: usize,
        rule: &bowline::AuthorizationRule,
    ) -> PolicyRule {
        let paths = rule.paths.iter();
        PolicyRule {
            name: rule.name.clone().unwrap_or_else(|| (place + 1).to_string()),
            effect: match rule.effect.as_str() {
                "ALLOW" => Effect::Allow,
                "AUDIT" => Effect::Audit,
                _ => Effect::Deny,
            },
            identities: self.parsed(resource, "SpiffeIds", &rule.spiffe_ids),
            namespaces: rule
                .namespaces
                .iter()
                .map(|given| self.namespace_name(registry, resource, given))
                .collect(),
            methods: rule.methods.clone(),
            // The template's reader has seen to their length.
            paths: paths.filter_map(|pattern| Wildcard::new(pattern, false)).collect(),
            ports: rule.ports.clone(),
            sources: self.parsed(resource, "SourceCidrs", &rule.source_cidrs),
        }
    }

    /// What is wrong with any is a fault of the template: a rule never means less than it says.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        resource: &StackResource,
        property: &str,
        texts: &[String],
    ) -> Vec<T> {
        let mut parsed = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(value) => parsed.push(value),
                Err(error) => self.fault(resource, format!("{property}: {error}")),
            }
        }
        parsed
    }

    /// The name of a namespace that is given by name, ARN or id.
    pub(super) fn namespace_name(
        &mut self,
        registry: &Registry,
        resource: &StackResource,
        given: &str,
    ) -> String {
        match registry.namespace_named(given) {
            Some(namespace) => namespace.name.clone(),
            None => {
                let comes = self.stack.resources.iter().any(|resource| match &resource.body {
                    ResourceBody::PrivateDnsNamespace(namespace) => namespace.name == given,
                    ResourceBody::HttpNamespace(namespace) => namespace.name == given,
                    _ => false,
                });
                if !comes {
                    self.note(resource, format!("there is no namespace {given} yet"));
                }
                given.to_owned()
            }
        }
    }
}

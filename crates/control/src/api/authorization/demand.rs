//! What a request demands: actions on resources, with the keys that conditions may ask for.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys" of each
//! service. An action without resources there is asked for `*`.

use bowline_aws::protocol::Document;
use bowline_model::arn::Scope;

use super::{super::call::Caller, certificates, cloudwatch, ecs, fis, iam, kms, secretsmanager, services};
use crate::registry::Registry;

pub(crate) use super::{
    kms::{of_key_use, of_retiring},
    secretsmanager::of_secret,
};

/// One action on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// `ecs:CreateService`.
    pub(crate) action: String,
    /// An ARN, or `*`.
    pub(crate) resource: String,
    /// Condition keys with their values.
    pub(crate) keys: Vec<(String, Vec<String>)>,
    /// The resource's own policy, where it has one.
    pub(crate) resource_policy: Option<String>,
    /// The resource's own policy must allow, if only the account: a KMS key's.
    pub(crate) resource_must_allow: bool,
    /// A grant allows it, where no policy does.
    pub(crate) granted: bool,
}

/// A request on its way to policies.
pub(crate) struct Asked<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) scope: &'a Scope,
    pub(crate) caller: &'a Caller,
    pub(crate) operation: &'a str,
    pub(crate) request: &'a Document,
}

impl Asked<'_> {
    /// A member that is text.
    pub(super) fn text(&self, member: &str) -> Option<&str> {
        self.request.get(member).and_then(Document::as_text)
    }

    /// A member that is a list of text.
    pub(super) fn texts(&self, member: &str) -> Vec<&str> {
        match self.request.get(member) {
            Some(Document::List(items)) => items.iter().filter_map(Document::as_text).collect(),
            _ => Vec::new(),
        }
    }

    /// The ARN of a resource of `service` in this account and region.
    pub(super) fn arn(&self, service: &str, resource: impl std::fmt::Display) -> String {
        self.scope.arn(service, resource).to_string()
    }
}

impl Demand {
    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            keys: Vec::new(),
            resource_policy: None,
            resource_must_allow: false,
            granted: false,
        }
    }

    pub(super) fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.keys.push((key.into(), vec![value.into()]));
        self
    }
}

/// Everything that a request demands. Nothing at all for what AWS lets everybody do who is
/// authentic, and for what the operation itself decides ([`super::Authorizer::authorize_assumption`]).
pub(crate) fn of(service: &str, asked: &Asked<'_>) -> Vec<Demand> {
    if matches!((service, asked.operation), ("sts", "GetCallerIdentity" | "GetSessionToken" | "AssumeRole")) {
        return Vec::new();
    }
    let mut demands = match service {
        "acm" => certificates::of_certificate_manager(asked),
        "acm-pca" => certificates::of_private_ca(asked),
        "cloudwatch" => cloudwatch::demands(asked),
        "ecs" => ecs::demands(asked),
        "fis" => fis::demands(asked),
        "iam" => iam::demands(asked),
        "kms" => kms::demands(asked),
        "secretsmanager" => secretsmanager::demands(asked),
        _ => {
            let action = format!("{service}:{}", asked.operation);
            let more = if service == "cloudformation" { services::of_template(asked) } else { Vec::new() };
            let resources = services::resources(service, asked);
            let own = resources.into_iter().map(|resource| Demand::new(action.clone(), resource));
            own.chain(more).collect()
        }
    };
    let tags = request_tags(asked.request);
    for demand in &mut demands {
        demand.keys.extend(tags.iter().cloned());
        demand.keys.extend(super::tags::keys(asked.registry, &demand.resource));
    }
    demands
}

/// What handing `role`, an ARN or a name, to tasks demands.
pub(crate) fn of_passing_to_tasks(registry: &Registry, scope: &Scope, role: &str) -> Demand {
    let arn = match registry.iam_roles.get(role) {
        Some(known) => known.arn.to_string(),
        None if role.starts_with("arn:") => role.to_owned(),
        None => format!("arn:{}:iam::{}:role/{role}", scope.partition, scope.account_id),
    };
    let mut demand = Demand::new("iam:PassRole", arn).with("iam:PassedToService", ecs::TASKS);
    demand.keys.extend(super::tags::keys(registry, &demand.resource));
    demand
}

/// `aws:RequestTag/…` and `aws:TagKeys`.
pub(crate) fn request_tags(request: &Document) -> Vec<(String, Vec<String>)> {
    let member = |names: [&str; 2]| names.into_iter().find_map(|name| request.get(name));
    let mut keys = Vec::new();
    let mut names = Vec::new();
    if let Some(Document::List(tags)) = member(["tags", "Tags"]) {
        for tag in tags {
            let part = |names: [&str; 2]| names.into_iter().find_map(|name| tag.get(name)?.as_text());
            if let Some(key) = part(["key", "Key"]) {
                let value = part(["value", "Value"]).unwrap_or_default();
                keys.push((format!("aws:RequestTag/{key}"), vec![value.to_owned()]));
                names.push(key.to_owned());
            }
        }
    }
    // FIS has a map of them.
    if let Some(Document::Map(tags)) = member(["tags", "Tags"]) {
        for (key, value) in tags {
            let value = value.as_text().unwrap_or_default();
            keys.push((format!("aws:RequestTag/{key}"), vec![value.to_owned()]));
            names.push(key.clone());
        }
    }
    if let Some(Document::List(tag_keys)) = member(["tagKeys", "TagKeys"]) {
        names.extend(tag_keys.iter().filter_map(Document::as_text).map(str::to_owned));
    }
    if !names.is_empty() {
        keys.push(("aws:TagKeys".to_owned(), names));
    }
    keys
}

//! Resource types of Bowline's own: what AWS has no field for.
//!
//! They stand in the template, or in a second template beside one that CloudFormation itself
//! must accept (see [`crate::cfn::Template::parse_many`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod traffic;

/// `Bowline::ServiceConnect::LocalCommand`: what runs on this machine in place of the images of a
/// task definition's containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocalCommand {
    /// The family of the task definition, optionally with `:revision`, or its ARN. A `Ref` to a
    /// task definition of the template yields the ARN; see [`LocalCommand::family`].
    pub task_definition: String,
    /// One entry for each container that has a local command.
    pub containers: Vec<LocalContainer>,
}

impl LocalCommand {
    /// The family that [`task_definition`](Self::task_definition) names, without ARN and revision.
    #[must_use]
    pub fn family(&self) -> &str {
        let name = self.task_definition.rsplit('/').next().unwrap_or(&self.task_definition);
        name.split(':').next().unwrap_or(name)
    }
}

/// The local command of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocalContainer {
    /// The container's name in the task definition.
    pub name: String,
    /// Program and arguments. A template may give one string instead, which runs under
    /// `/bin/sh -c`.
    pub command: Vec<String>,
    /// Where it runs; a relative path counts from the directory of the template that names it.
    /// The default is that directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// A shell command that is run once, in the working directory, before the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Variables added to the container's `environment`; these win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// `Bowline::ServiceConnect::AuthorizationPolicy`: who may call some services. `Ref` yields its
/// physical id.
///
/// A `DENY` wins over every `ALLOW`; an `AUDIT` only logs. Where no rule decides, members of the
/// called service's own namespace may call and nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthorizationPolicy {
    /// Told in logs and refusals; the default is the logical id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The called services' namespace: its name, ARN or id. Without it services of any namespace,
    /// and of none, are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The called services, by name or ARN. The default is all of the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Who may call where no rule decides: `NAMESPACE` (the default) or `NOBODY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The rules; their order does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AuthorizationRule>,
}

/// A rule of an [`AuthorizationPolicy`]. All lists that are given must match; each is an "any of".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthorizationRule {
    /// Told in logs and refusals; the default is its place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ALLOW`, `DENY` or `AUDIT`.
    pub effect: String,
    /// Callers by SPIFFE id; one that ends in `/*` stands for every id below it. Without these and
    /// without namespaces every caller is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spiffe_ids: Vec<String>,
    /// Callers by namespace: name, ARN or id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// HTTP methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Patterns of the path, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Container ports that are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Address ranges that calls come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_cidrs: Vec<String>,
}

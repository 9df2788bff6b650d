//! Resource types of Bowline's own: what AWS has no field for.
//!
//! They stand in the template, or in a second template beside one that CloudFormation itself
//! must accept (see [`crate::cfn::Template::parse_many`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

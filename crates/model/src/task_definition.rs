//! Task definitions: what a task of a family and revision consists of.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    arn::Arn,
    log_driver::{FireLensConfiguration, LogConfiguration},
    task::{BindMount, ContainerDependency, HealthCheckSpec, ResourceLimits, Ulimit},
};

/// A revision of a family. Never changes once registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// `…:task-definition/FAMILY:REVISION`
    pub arn: Arn,
    /// The family.
    pub family: String,
    /// Counts from 1 in each family.
    pub revision: u32,
    /// The containers.
    pub containers: Vec<ContainerDefinition>,
    /// Limits of the whole task.
    pub limits: ResourceLimits,
}

/// A container of a task definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerDefinition {
    /// The name, unique in the task definition.
    pub name: String,
    /// The image.
    pub image: String,
    /// `entryPoint` and `command`, one after the other.
    pub command: Vec<String>,
    /// `workingDirectory`.
    pub working_directory: Option<String>,
    /// `environment`.
    pub environment: BTreeMap<String, String>,
    /// `secrets`: variable and ARN.
    pub secrets: BTreeMap<String, String>,
    /// `essential`; AWS's default is true.
    pub essential: bool,
    /// `portMappings`.
    pub ports: Vec<PortMapping>,
    /// `healthCheck`.
    pub health_check: Option<HealthCheckSpec>,
    /// `dependsOn`.
    pub depends_on: Vec<ContainerDependency>,
    /// `stopTimeout`; AWS's default is 30 s.
    pub stop_timeout: Duration,
    /// `startTimeout`.
    pub start_timeout: Option<Duration>,
    /// `ulimits`.
    pub ulimits: Vec<Ulimit>,
    /// `mountPoints` with the volumes that they name. A source below
    /// [`TASK_VOLUMES`] is a directory of the task's own.
    pub mounts: Vec<BindMount>,
    /// The container's own limits.
    pub limits: ResourceLimits,
    /// `readonlyRootFilesystem`.
    pub readonly_root: bool,
    /// `logConfiguration`.
    #[serde(default)]
    pub log: Option<LogConfiguration>,
    /// `firelensConfiguration`.
    #[serde(default)]
    pub firelens: Option<FireLensConfiguration>,
}

/// Stands, as a mount's source, for a directory that lives as long as the task.
pub const TASK_VOLUMES: &str = "/bowline-task-volumes";

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port name that Service Connect refers to.
    pub name: Option<String>,
    /// Where the application listens.
    pub container_port: u16,
    /// A port published on the host, 0 for any.
    pub host_port: Option<u16>,
    /// What the application speaks.
    pub protocol: AppProtocol,
}

/// AWS's `appProtocol`; unset is [`AppProtocol::Tcp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AppProtocol {
    /// Bytes.
    #[default]
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
}

impl TaskDefinition {
    /// The container that maps the port with this name, and the mapping.
    pub fn named_port(&self, name: &str) -> Option<(&ContainerDefinition, &PortMapping)> {
        self.containers.iter().find_map(|container| {
            let port = container.ports.iter().find(|port| port.name.as_deref() == Some(name))?;
            Some((container, port))
        })
    }

    /// The mapping of a container's port.
    pub fn port(&self, container: &str, container_port: u16) -> Option<&PortMapping> {
        let container = self.containers.iter().find(|candidate| candidate.name == container)?;
        container.ports.iter().find(|port| port.container_port == container_port)
    }

    /// Whether an essential container has a health check.
    pub fn is_health_checked(&self) -> bool {
        self.containers.iter().any(|container| container.essential && container.health_check.is_some())
    }
}

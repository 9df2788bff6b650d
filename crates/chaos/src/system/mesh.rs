//! A compact view of what runs.

use std::net::SocketAddr;

use bowline_model::{clock::Timestamp, task::TaskId};
use serde::{Deserialize, Serialize};

/// What runs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mesh {
    /// The SPIFFE trust domain.
    pub trust_domain: String,
    /// Where the AWS endpoint listens: `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// Services.
    pub services: Vec<Service>,
    /// Where load balancers lead: paths that are known to be answered, with the service that answers.
    pub paths: Vec<(String, String)>,
    /// Where load balancers listen.
    pub gateways: Vec<SocketAddr>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its ECS cluster.
    pub cluster: String,
    /// Its SPIFFE id.
    pub identity: String,
    /// Tasks wanted.
    pub desired: u32,
    /// Its tasks that have not stopped.
    pub tasks: Vec<Task>,
    /// The names that its applications can call.
    pub aliases: Vec<Alias>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// It runs, is well, and others are told of it.
    pub healthy: bool,
    /// Where other sidecars reach it.
    pub inbound: Vec<Socket>,
    /// Its shim's process id.
    pub shim_pid: Option<u32>,
    /// Serial number of its sidecar's certificate, lower-case hexadecimal.
    pub serial: Option<String>,
    /// When that certificate ends.
    #[serde(default)]
    pub certificate_ends: Option<Timestamp>,
}

/// Where a port of a task is reached by other sidecars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Socket {
    /// The port mapping's name.
    pub port_name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A name that a service's applications can call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// All its names.
    pub names: Vec<String>,
    /// Its port.
    pub port: u16,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub protocol: String,
    /// The cluster on the stream that it leads to.
    pub cluster: String,
    /// Name of the service behind it.
    pub service: String,
    /// The port mapping behind it.
    pub port_name: String,
    /// How the hop is protected: `MUTUAL_TLS`, `TLS` or `PLAINTEXT`.
    pub mode: String,
}

impl Mesh {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

impl Service {
    /// Tasks that run and whose health check does not fail.
    pub fn healthy(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.healthy)
    }

    /// Ids of [`Service::healthy`].
    #[must_use]
    pub fn healthy_ids(&self) -> Vec<TaskId> {
        self.healthy().map(|task| task.id.clone()).collect()
    }
}

impl Task {
    /// Where its port of that name is reached.
    #[must_use]
    pub fn address(&self, port_name: &str) -> Option<SocketAddr> {
        self.inbound.iter().find(|socket| socket.port_name == port_name).map(|socket| socket.address)
    }
}

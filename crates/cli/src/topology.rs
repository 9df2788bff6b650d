//! What runs, as the CLI's commands show and check it.

use std::net::SocketAddr;

use bowline_model::{
    clock::Timestamp,
    task::{HealthStatus, InboundSocket, PublishedSocket, TaskId, TaskStatus},
};
use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topology {
    /// The SPIFFE trust domain.
    pub(crate) trust_domain: String,
    /// ECS services.
    pub(crate) services: Vec<ServiceView>,
    /// Load balancers.
    pub(crate) gateways: Vec<GatewayView>,
    /// PEM file for `curl --cacert`.
    pub(crate) gateway_ca: String,
}

/// A service and its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceView {
    /// The service's name.
    pub(crate) name: String,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The namespace, where it takes part in Service Connect.
    pub(crate) namespace: Option<String>,
    /// Its SPIFFE id.
    pub(crate) identity: String,
    /// Tasks wanted.
    pub(crate) desired: u32,
    /// Its tasks that have not stopped.
    pub(crate) tasks: Vec<TaskView>,
    /// Names under which its sidecars reach others, itself included.
    pub(crate) aliases: Vec<AliasView>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    /// The task's id.
    pub(crate) id: TaskId,
    /// Where it is in its life.
    pub(crate) status: TaskStatus,
    /// Its health.
    pub(crate) health: HealthStatus,
    /// Where other sidecars reach it.
    pub(crate) inbound: Vec<InboundSocket>,
    /// Ports on the host's loopback.
    pub(crate) published: Vec<PublishedSocket>,
    /// Its sidecar's certificate.
    pub(crate) certificate: Option<CertificateView>,
    /// The shim's process id.
    pub(crate) shim_pid: Option<u32>,
    /// What is weaker than it should be.
    pub(crate) warnings: Vec<String>,
}

/// A certificate that a sidecar holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateView {
    /// Its SPIFFE id.
    pub(crate) identity: String,
    /// Lower-case hexadecimal.
    pub(crate) serial: String,
    /// Valid from.
    pub(crate) not_before: Timestamp,
    /// Valid until.
    pub(crate) not_after: Timestamp,
}

/// A name that the service's applications can call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AliasView {
    /// All its names.
    pub(crate) names: Vec<String>,
    /// Its port.
    pub(crate) port: u16,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub(crate) protocol: String,
    /// The cluster on the stream that it leads to.
    pub(crate) cluster: String,
    /// Name of the service behind it.
    pub(crate) service: String,
    /// The port mapping behind it.
    pub(crate) port_name: String,
    /// Whether the hop is without encryption on purpose.
    pub(crate) plaintext: bool,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayView {
    /// The load balancer's name.
    pub(crate) name: String,
    /// `<name>.elb.localhost`.
    pub(crate) dns_name: String,
    /// Whether its proxy serves.
    pub(crate) ready: bool,
    /// Its listeners.
    pub(crate) listeners: Vec<GatewayListenerView>,
}

/// A listener of a load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayListenerView {
    /// The port in the template.
    pub(crate) requested_port: u16,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// HTTPS rather than HTTP.
    pub(crate) tls: bool,
    /// Paths of its rules, for the curl lines to try.
    pub(crate) paths: Vec<String>,
}

impl GatewayListenerView {
    /// The URL's beginning, as a client types it.
    pub(crate) fn url(&self, dns_name: &str) -> String {
        let (scheme, default_port) = if self.tls { ("https", 443) } else { ("http", 80) };
        match self.address.port() {
            port if port == default_port => format!("{scheme}://{dns_name}"),
            port => format!("{scheme}://{dns_name}:{port}"),
        }
    }
}

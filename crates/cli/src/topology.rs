//! What runs, as the CLI's commands show and check it.

use std::net::SocketAddr;

use bowline_model::{
    clock::Timestamp,
    task::{HealthStatus, InboundSocket, PublishedSocket, TaskId, TaskStatus},
};
use serde::{Deserialize, Serialize};

use crate::display::Table;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topology {
    /// The SPIFFE trust domain.
    pub(crate) trust_domain: String,
    /// Where the AWS endpoint listens: `http://127.0.0.1:4566`.
    #[serde(default)]
    pub(crate) endpoint: String,
    /// Where the DNS server of private namespaces listens.
    #[serde(default)]
    pub(crate) dns: Vec<std::net::SocketAddr>,
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
    /// SHA-256 of imported certificates that its sidecars show in place of those with its id.
    #[serde(default)]
    pub(crate) imported: Vec<String>,
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
    /// Others are told of it: it runs, is well, and its sidecar has what it needs. A task runs before it serves.
    #[serde(default)]
    pub(crate) serving: bool,
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
    /// How the hop is protected: `MUTUAL_TLS`, `TLS` (the caller proves nothing) or `PLAINTEXT`.
    pub(crate) mode: String,
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
    /// Where its rules lead, for the curl lines to try.
    pub(crate) targets: Vec<GatewayTargetView>,
}

/// Where a rule of a gateway leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayTargetView {
    /// A path that matches; the target group's health-check path where the rule
    /// leaves it open.
    pub(crate) path: String,
    /// A host that matches, where the rule asks for one.
    pub(crate) host: Option<String>,
    /// Name of the service.
    pub(crate) service: String,
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

/// The table that `up` and `status` print: a line a task, then the gateways.
pub(crate) fn table(topology: &Topology, now: Timestamp) -> String {
    let mut table = Table::new(["SERVICE", "TASK", "STATUS", "HEALTH", "ADDRESS", "CERTIFICATE ENDS", "URL"]);
    for service in &topology.services {
        let url = service_url(topology, service).unwrap_or_else(|| "-".into());
        if service.tasks.is_empty() {
            let none = || "-".to_owned();
            table.row([service.name.clone(), none(), "no task".into(), none(), none(), none(), url.clone()]);
        }
        for task in &service.tasks {
            let addresses: Vec<_> = task.inbound.iter().map(|socket| socket.address.to_string()).collect();
            table.row([
                service.name.clone(),
                task.id.as_str()[..12].to_owned(),
                format!("{:?}", task.status).to_uppercase(),
                format!("{:?}", task.health).to_uppercase(),
                if addresses.is_empty() { "-".into() } else { addresses.join(", ") },
                task.certificate.as_ref().map_or_else(|| "-".into(), |certificate| ends(certificate, now)),
                url.clone(),
            ]);
        }
    }
    table.to_string()
}

/// `2026-11-22T03:47:48Z (23 h 59 min)`
fn ends(certificate: &CertificateView, now: Timestamp) -> String {
    let end = certificate.not_after.to_string();
    let minutes = certificate.not_after.since(now).as_secs() / 60;
    format!("{}Z ({} h {} min)", end.split('.').next().unwrap_or(&end), minutes / 60, minutes % 60)
}

/// The gateway's URL of the first path that leads to the service.
fn service_url(topology: &Topology, service: &ServiceView) -> Option<String> {
    topology.gateways.iter().find_map(|gateway| {
        gateway.listeners.iter().find_map(|listener| {
            let target = listener.targets.iter().find(|target| target.service == service.name)?;
            Some(format!("{}{}", listener.url(&gateway.dns_name), target.path))
        })
    })
}

/// The `curl` lines to try: one a rule of the gateways' listeners.
pub(crate) fn curl_lines(topology: &Topology) -> Vec<String> {
    let mut lines = Vec::new();
    for gateway in &topology.gateways {
        for listener in &gateway.listeners {
            for target in &listener.targets {
                let ca =
                    if listener.tls { format!("--cacert {} ", topology.gateway_ca) } else { String::new() };
                let host = target.host.as_ref().map(|host| format!("-H 'Host: {host}' ")).unwrap_or_default();
                lines.push(format!("curl {ca}{host}{}{}", listener.url(&gateway.dns_name), target.path));
            }
        }
    }
    lines
}

/// Ports that are not the template's.
pub(crate) fn port_notes(topology: &Topology) -> Vec<String> {
    let mut notes = Vec::new();
    for gateway in &topology.gateways {
        for listener in gateway.listeners.iter().filter(|one| one.requested_port != one.address.port()) {
            notes.push(format!(
                "{}: port {} could not be had; it listens on {}",
                gateway.name,
                listener.requested_port,
                listener.address.port()
            ));
        }
    }
    notes
}

//! A running Bowline, asked over its local API and its AWS endpoint.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_chaos::system::{
    Alias, AwsCall, Event, Evidence, Forged, Mesh, RoleSession, Running, Service, Socket, System,
    SystemError, SystemFuture, Task,
};
use bowline_model::{
    fault::{Fault, FaultId, FaultOrder, FaultyCertificate},
    task::TaskId,
};

use crate::{
    certificates::CertificateTarget,
    chaos::{aws, process},
    local_api::{Client, Request, Response},
    topology::{AliasView, GatewayView, ServiceView, TaskView, Topology},
};

/// The Bowline that holds a state directory. Each question has a connection of its own, so that many can be asked at once.
#[derive(Clone, Debug)]
pub(crate) struct LiveSystem {
    state_dir: PathBuf,
    region: String,
}

impl LiveSystem {
    /// The one that holds `state_dir`.
    pub(crate) fn new(state_dir: &Path, region: &str) -> Self {
        Self { state_dir: state_dir.to_owned(), region: region.to_owned() }
    }

    /// Asks it.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, SystemError> {
        let answered = async { Client::connect(&self.state_dir).await?.call(request).await };
        answered.await.map_err(|error| SystemError::new(format!("{error:#}")))
    }

    /// The account whose everything is, as a cluster's ARN names it.
    pub(crate) async fn account(&self) -> Result<String, SystemError> {
        let mesh = self.mesh().await?;
        let cluster = mesh.services.first().map(|service| service.cluster.clone());
        let input = cluster.map(|name| serde_json::json!({ "clusters": [name] })).unwrap_or_default();
        let described = self.aws(AwsCall::ecs("DescribeClusters", input)).await?;
        let arn = described["clusters"][0]["clusterArn"].as_str().unwrap_or_default();
        arn.split(':').nth(4).map(str::to_owned).ok_or_else(unexpected)
    }

    /// What runs, with all that is told of it.
    pub(crate) async fn topology(&self) -> Result<Topology, SystemError> {
        match self.ask(&Request::Topology).await? {
            Response::Topology(topology) => Ok(*topology),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> SystemError {
    SystemError::new("Bowline gave another answer than was asked for")
}

impl System for LiveSystem {
    fn mesh(&self) -> SystemFuture<'_, Mesh> {
        Box::pin(async { Ok(mesh(self.topology().await?)) })
    }

    fn begin_fault(&self, order: FaultOrder) -> SystemFuture<'_, Fault> {
        Box::pin(async move {
            match self.ask(&Request::BeginFault(Box::new(order))).await? {
                Response::FaultBegun(fault) => Ok(*fault),
                _ => Err(unexpected()),
            }
        })
    }

    fn end_fault(&self, id: FaultId) -> SystemFuture<'_, ()> {
        Box::pin(async move { self.ask(&Request::EndFault { id }).await.map(drop) })
    }

    fn faults(&self) -> SystemFuture<'_, Vec<Fault>> {
        Box::pin(async {
            match self.ask(&Request::Faults).await? {
                Response::Faults(faults) => Ok(faults),
                _ => Err(unexpected()),
            }
        })
    }

    fn evidence(&self, id: FaultId) -> SystemFuture<'_, Evidence> {
        Box::pin(async move {
            match self.ask(&Request::FaultEvidence { id }).await? {
                Response::FaultEvidence(evidence) => Ok(evidence),
                _ => Err(unexpected()),
            }
        })
    }

    fn forge(
        &self,
        task: TaskId,
        shows: Option<FaultyCertificate>,
        lasting: Duration,
    ) -> SystemFuture<'_, Forged> {
        Box::pin(async move {
            match self.ask(&Request::Forge { task, shows, lasting }).await? {
                Response::Forged { chain_der, key, roots_pem, serial } => {
                    Ok(Forged { chain_der, key, roots_pem, serial })
                }
                _ => Err(unexpected()),
            }
        })
    }

    fn revoke(&self, serial: String) -> SystemFuture<'_, ()> {
        Box::pin(async move {
            let target = CertificateTarget::Serial(serial);
            let request = Request::Revoke { target, reason: "KEY_COMPROMISE".to_owned() };
            self.ask(&request).await.map(drop)
        })
    }

    fn renew(&self, tasks: Vec<TaskId>) -> SystemFuture<'_, usize> {
        Box::pin(async move {
            match self.ask(&Request::RenewCertificates { tasks }).await? {
                Response::Renewed { count } => Ok(count),
                _ => Err(unexpected()),
            }
        })
    }

    fn run(
        &self,
        task: TaskId,
        container: Option<String>,
        command: Vec<String>,
    ) -> SystemFuture<'_, Running> {
        Box::pin(async move {
            let request = Request::Exec { task, container, command };
            process::start(&self.state_dir, request)
                .await
                .map_err(|error| SystemError::new(format!("{error:#}")))
        })
    }

    fn events(&self, after: u64) -> SystemFuture<'_, Vec<Event>> {
        Box::pin(async move {
            let request = Request::Events { services: Vec::new(), after };
            let Response::Events(rows) = self.ask(&request).await? else { return Err(unexpected()) };
            let event = |row: crate::events::EventRow| Event {
                number: row.number,
                at: row.at,
                subject: row.subject,
                message: row.message,
            };
            Ok(rows.into_iter().map(event).collect())
        })
    }

    fn aws(&self, call: AwsCall) -> SystemFuture<'_, serde_json::Value> {
        Box::pin(async move {
            let endpoint = self.topology().await?.endpoint;
            let answered = aws::call(&endpoint, &self.region, &call).await;
            answered.map_err(|error| SystemError::new(format!("{}: {error:#}", call.operation)))
        })
    }

    fn unprivileged(&self, task: TaskId) -> SystemFuture<'_, Option<RoleSession>> {
        Box::pin(async move {
            match self.ask(&Request::RoleSession { task }).await? {
                Response::RoleSession(session) => Ok(session),
                _ => Err(unexpected()),
            }
        })
    }

    fn program(&self) -> Result<String, SystemError> {
        let program = std::env::current_exe();
        let program = program
            .map_err(|error| SystemError::new(format!("this program's path cannot be read: {error}")))?;
        let text = program.to_str().map(str::to_owned);
        text.ok_or_else(|| SystemError::new("this program's path is not UTF-8"))
    }
}

fn mesh(topology: Topology) -> Mesh {
    let listeners = || topology.gateways.iter().flat_map(|gateway: &GatewayView| &gateway.listeners);
    let targets = listeners().flat_map(|listener| &listener.targets);
    let paths = targets.map(|target| (target.path.clone(), target.service.clone())).collect();
    let gateways = listeners().map(|listener| listener.address).collect();
    Mesh {
        trust_domain: topology.trust_domain,
        endpoint: topology.endpoint,
        paths,
        gateways,
        services: topology.services.into_iter().map(service).collect(),
    }
}

fn service(view: ServiceView) -> Service {
    Service {
        name: view.name,
        cluster: view.cluster,
        identity: view.identity,
        desired: view.desired,
        tasks: view.tasks.into_iter().map(task).collect(),
        aliases: view.aliases.into_iter().map(alias).collect(),
    }
}

fn task(view: TaskView) -> Task {
    Task {
        healthy: view.serving,
        inbound: view
            .inbound
            .into_iter()
            .map(|socket| Socket { port_name: socket.port_name, address: socket.address })
            .collect(),
        shim_pid: view.shim_pid,
        certificate_ends: view.certificate.as_ref().map(|certificate| certificate.not_after),
        serial: view.certificate.map(|certificate| certificate.serial),
        id: view.id,
    }
}

fn alias(view: AliasView) -> Alias {
    Alias {
        names: view.names,
        port: view.port,
        protocol: view.protocol,
        cluster: view.cluster,
        service: view.service,
        port_name: view.port_name,
        mode: view.mode,
    }
}

//! A running `bowline up`: what the other commands ask of it.

use std::{io::Read, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bowline_agent::AgentHandle;
use bowline_chaos::{injector::Injector, system::RoleSession};
use bowline_control::{
    control_plane::{AccessKeyView, AllowTarget, ControlPlane},
    iam::KeyOwner,
    master_key::{MasterKeySource, NEW_VARIABLE, Rotated},
    traces, view,
};
use bowline_model::{fault::FaultInjector, task::TaskId};
use tokio::sync::watch;

use crate::{
    authorities,
    certificates::{self, CertificateTarget},
    chaos::configuration,
    events, faults, inspection,
    local_api::{AccessKey, Request, Response, Stdio},
    logs, measured, routes,
    stand_in::{self, StandIn},
    topology::{
        AliasView, CertificateView, GatewayListenerView, GatewayTargetView, GatewayView, ServiceView,
        TaskView, Topology,
    },
};

/// Longest output of a probe that is read.
const PROBE_OUTPUT_MAX: u64 = 64 * 1024;

/// Longest that sidecars may take to show new certificates that they were told to ask for.
const RENEWAL_LIMIT: Duration = Duration::from_secs(20);

/// The parts of a running `bowline up`.
pub(crate) struct Running {
    pub(crate) control: Arc<ControlPlane>,
    /// `None` where tasks are only recorded.
    pub(crate) agent: Option<Arc<AgentHandle>>,
    pub(crate) injector: Injector,
    pub(crate) state_dir: PathBuf,
    /// Where the AWS endpoint listens: `http://127.0.0.1:4566`.
    pub(crate) endpoint: String,
    pub(crate) ended: watch::Sender<bool>,
}

impl Running {
    /// Returns when another command has asked for the end.
    pub(crate) async fn told_to_end(&self) {
        // The sender is `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Where the dashboard is; `None` where the endpoint is not on loopback, for it is for this machine alone.
    pub(crate) fn dashboard(&self) -> Option<String> {
        let (_, host) = self.endpoint.split_once("://")?;
        let is_local = ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start));
        is_local.then(|| format!("{}/dashboard/", self.endpoint))
    }

    /// Answers a request of another command.
    pub(crate) async fn answer(&self, request: Request, stdio: Option<Stdio>) -> Response {
        match self.try_answer(request, stdio).await {
            Ok(response) => response,
            Err(error) => Response::Error { message: format!("{error:#}") },
        }
    }

    async fn try_answer(&self, request: Request, stdio: Option<Stdio>) -> anyhow::Result<Response> {
        match request {
            Request::Topology => Ok(Response::Topology(Box::new(self.topology()))),
            Request::Divert { task, cluster, to, seconds } => {
                self.control.divert(&task, &cluster, to, Duration::from_secs(seconds)).await?;
                Ok(Response::Done)
            }
            Request::EndDivert { task, cluster } => {
                self.control.end_diversion(&task, &cluster).await?;
                Ok(Response::Done)
            }
            Request::VerifierCertificate { csr_der } => {
                let issued = self.control.verifier_certificate(&csr_der)?;
                Ok(Response::Certificate { chain_der: issued.chain_der, roots_pem: issued.roots_pem })
            }
            Request::Probe { task, host, port, mark, tcp } => {
                self.probe(&task, &host, port, &mark, tcp).await
            }
            Request::Exec { task, container, command } => {
                let stdio = stdio.context("a command needs standard input and output")?;
                let container = match container {
                    Some(container) => container,
                    None => view::first_container(&self.control.snapshot(), &task)
                        .context("the task has no container")?,
                };
                let agent = self.agent.as_ref().context("with --launcher record no task runs")?;
                match agent.exec(&task, &container, command, stdio).await {
                    Ok(exit_code) => Ok(Response::Exited { exit_code }),
                    Err(reason) => bail!("the command did not run: {reason}"),
                }
            }
            Request::StandIn(_) if self.agent.is_some() => {
                bail!(
                    "tasks have sidecars of their own: only with --launcher record can somebody stand in for them"
                )
            }
            Request::StandIn(StandIn::Start { tasks }) => {
                Ok(Response::SidecarStarts(stand_in::start(&self.control, &tasks)?))
            }
            Request::StandIn(StandIn::Listen { sockets }) => {
                stand_in::listen(&self.control, sockets).await?;
                Ok(Response::Done)
            }
            Request::PolicyTest(question) => Ok(Response::PolicyTest(self.control.policy_test(&question)?)),
            Request::CreateAccessKey { user } => {
                let (key, secret) = self.control.create_access_key(user.as_deref())?;
                Ok(Response::AccessKey { key: access_key(key), secret })
            }
            Request::RoleSession { task } => {
                let session = self.control.unprivileged_session(&task)?;
                Ok(Response::RoleSession(session.map(|session| RoleSession {
                    access_key_id: session.access_key_id,
                    secret_access_key: session.secret_access_key,
                    session_token: session.session_token,
                    role: session.role,
                })))
            }
            Request::AccessKeys => {
                Ok(Response::AccessKeys(self.control.access_keys().into_iter().map(access_key).collect()))
            }
            Request::DeleteAccessKey { id } => {
                self.control.delete_access_key(&id)?;
                Ok(Response::Done)
            }
            Request::RotateMasterKey { new } => {
                let new = new.map(|new| MasterKeySource::key_of_variable(NEW_VARIABLE, new.expose()));
                let new = new.transpose()?;
                // It waits for the disk, and perhaps for a command.
                let rotate = || self.control.rotate_master_key(new);
                let Rotated { from, to, at_next_start } = tokio::task::block_in_place(rotate)?;
                Ok(Response::MasterKeyRotated { from, to, at_next_start })
            }
            Request::Certificates => {
                let served = self.control.served_certificates().into_iter().map(certificates::served_row);
                let views = self.control.certificates().into_iter().map(certificates::row);
                Ok(Response::Certificates(views.chain(served).collect()))
            }
            Request::Identity { task } => {
                Ok(Response::Identity(Box::new(certificates::identity(self.control.identity(&task)?))))
            }
            Request::Revoke { target, reason } => {
                let revoked = self.control.revoke(&target.into(), reason.parse()?).await?;
                Ok(Response::Revoked(certificates::revoked(revoked)))
            }
            Request::AllowCertificates { target } => {
                let target = match target {
                    CertificateTarget::Task(task) => AllowTarget::Task(task),
                    CertificateTarget::Service(service) => AllowTarget::Service(service),
                    CertificateTarget::Serial(_) => bail!("a revoked certificate stays revoked"),
                };
                self.control.allow(&target)?;
                Ok(Response::Done)
            }
            Request::Crl { authority } => {
                Ok(Response::Crl { pem: self.control.crl(authority.as_deref())?.pem })
            }
            Request::Authorities => {
                let views = self.control.authorities().into_iter();
                Ok(Response::Authorities(views.map(authorities::row).collect()))
            }
            Request::MoveAuthority(wanted) => {
                let moved = authorities::carry_out(&self.control, wanted).await?;
                Ok(Response::AuthorityMoved(Box::new(moved)))
            }
            Request::Stat { services, by, window_seconds } => {
                let window = Duration::from_secs(window_seconds);
                Ok(Response::Stat(measured::stat(&self.control, &services, by, window)?))
            }
            Request::Edges { services, window_seconds } => {
                let window = Duration::from_secs(window_seconds);
                Ok(Response::Edges(measured::edges(&self.control, &services, window)?))
            }
            Request::Events { services, after } => {
                Ok(Response::Events(events::rows(self.control.events_since(after), &services)))
            }
            // Reading them waits for the disk.
            Request::Trace { id } => {
                let store = self.control.traces();
                let read = move || traces::waterfall(&store, &id).map(Box::new);
                Ok(Response::Trace(tokio::task::spawn_blocking(read).await?))
            }
            Request::Traces(question) => {
                let store = self.control.traces();
                let read = move || traces::list(&store, &question);
                Ok(Response::Traces(tokio::task::spawn_blocking(read).await?))
            }
            Request::TraceNumbers => Ok(Response::TraceNumbers(self.control.traces().counts().into())),
            // They wait for the disk.
            Request::Logs(question) => {
                Ok(Response::Logs(tokio::task::block_in_place(|| logs::lines(&self.control, &question))?))
            }
            Request::QueryLogs { services, since, query } => {
                let answered = || logs::query(&self.control, &services, since, &query);
                Ok(Response::LogRows(tokio::task::block_in_place(answered)?))
            }
            Request::Routes { services } => Ok(Response::Routes(routes::rows(&self.control, &services)?)),
            Request::Inspect(asked) => {
                Ok(Response::Inspected(inspection::answer(&self.control, asked).await?))
            }
            Request::BeginFault(order) => {
                Ok(Response::FaultBegun(Box::new(self.injector.begin(*order).await?)))
            }
            Request::EndFault { id } => {
                self.injector.end(id).await?;
                Ok(Response::Done)
            }
            Request::Faults => Ok(Response::Faults(self.injector.faults())),
            Request::FaultEvidence { id } => Ok(Response::FaultEvidence(self.injector.evidence(&id).await?)),
            Request::Forge { task, shows, lasting } => {
                faults::forged(&self.control, &task, shows.as_ref(), lasting)
            }
            Request::RenewCertificates { tasks } => {
                let count = self.control.renew_certificates(&tasks, RENEWAL_LIMIT).await?;
                Ok(Response::Renewed { count })
            }
            Request::Configuration => {
                Ok(Response::Configuration(configuration::fingerprints(&self.control.snapshot())))
            }
            Request::Down => {
                self.ended.send_replace(true);
                Ok(Response::Done)
            }
        }
    }

    async fn probe(
        &self,
        task: &TaskId,
        host: &str,
        port: u16,
        mark: &str,
        tcp: bool,
    ) -> anyhow::Result<Response> {
        let program = std::env::current_exe().context("this program's path cannot be read")?;
        let mut command = vec![
            program.to_str().context("this program's path is not UTF-8")?.to_owned(),
            "probe".to_owned(),
            host.to_owned(),
            port.to_string(),
            "--mark".to_owned(),
            mark.to_owned(),
        ];
        if tcp {
            command.push("--tcp".to_owned());
        }
        let container =
            view::first_container(&self.control.snapshot(), task).context("the task has no container")?;
        let (reader, writer) = std::io::pipe()?;
        let null = std::fs::File::open("/dev/null")?;
        let stdio: [OwnedFd; 3] = [null.into(), writer.try_clone()?.into(), writer.into()];
        let output = tokio::task::spawn_blocking(move || {
            let mut output = String::new();
            // What is no UTF-8 is no answer of the probe.
            let _ = reader.take(PROBE_OUTPUT_MAX).read_to_string(&mut output);
            output
        });
        let agent = self.agent.as_ref().context("with --launcher record no task runs")?;
        match agent.exec(task, &container, command, stdio).await {
            Ok(exit_code) => Ok(Response::Probe { exit_code, output: output.await.unwrap_or_default() }),
            Err(reason) => bail!("the probe did not run: {reason}"),
        }
    }

    /// What runs now.
    pub(crate) fn topology(&self) -> Topology {
        let registry = self.control.snapshot();
        let services = registry.services.values().map(|service| {
            let tasks = registry.tasks_of_service(&service.arn);
            ServiceView {
                name: service.name.clone(),
                cluster: service.cluster.clone(),
                namespace: service.connect.as_ref().map(|connect| connect.namespace.clone()),
                identity: registry.identity_of_service(service).to_string(),
                imported: view::imported_fingerprints(&registry, service),
                desired: service.desired_count,
                tasks: tasks
                    .into_iter()
                    .map(|task| TaskView {
                        id: task.id.clone(),
                        status: task.status(),
                        health: task.report.as_ref().map(|report| report.health).unwrap_or_default(),
                        serving: task.available(),
                        inbound: task
                            .report
                            .as_ref()
                            .map(|report| report.inbound.clone())
                            .unwrap_or_default(),
                        published: task
                            .report
                            .as_ref()
                            .map(|report| report.published.clone())
                            .unwrap_or_default(),
                        certificate: self.control.certificate_of(&task.id).and_then(|certificate| {
                            Some(CertificateView {
                                identity: certificate.spiffe_id?.to_string(),
                                serial: certificate.serial,
                                not_before: certificate.not_before,
                                not_after: certificate.not_after,
                            })
                        }),
                        shim_pid: task.report.as_ref().and_then(|report| report.shim_pid),
                        warnings: task
                            .report
                            .as_ref()
                            .map(|report| report.warnings.clone())
                            .unwrap_or_default(),
                    })
                    .collect(),
                aliases: view::aliases(&registry, service, self.control.plaintext_services())
                    .into_iter()
                    .map(|alias| AliasView {
                        names: alias.names,
                        port: alias.port,
                        protocol: alias.protocol.to_owned(),
                        cluster: alias.cluster,
                        service: alias.service,
                        port_name: alias.port_name,
                        mode: alias.mode.to_owned(),
                    })
                    .collect(),
            }
        });
        Topology {
            trust_domain: registry.settings().trust_domain.clone(),
            endpoint: self.endpoint.clone(),
            dns: self.control.dns_addresses().to_vec(),
            services: services.collect(),
            gateways: view::gateways(&registry)
                .into_iter()
                .map(|gateway| GatewayView {
                    name: gateway.name,
                    dns_name: gateway.dns_name,
                    ready: gateway.ready,
                    listeners: gateway
                        .listeners
                        .into_iter()
                        .map(|listener| GatewayListenerView {
                            requested_port: listener.requested_port,
                            address: listener.address,
                            tls: listener.tls,
                            targets: listener
                                .targets
                                .into_iter()
                                .map(|target| GatewayTargetView {
                                    path: target.path,
                                    host: target.host,
                                    service: target.service,
                                })
                                .collect(),
                        })
                        .collect(),
                })
                .collect(),
            gateway_ca: self.control.gateway_ca_path().display().to_string(),
        }
    }
}

fn access_key(key: AccessKeyView) -> AccessKey {
    AccessKey {
        id: key.id,
        user: match key.owner {
            KeyOwner::Root => None,
            KeyOwner::User(name) => Some(name),
        },
        active: key.active,
        created_at: key.created_at.to_string(),
    }
}

//! Certificates, for whoever owns the state directory: what there is, and what is refused.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{arn::Arn, clock::Timestamp, service::Service, succession::Slot, task::TaskId};
use bowline_plumbing::wall_clock;
use serde_json::json;
use thiserror::Error;

use super::ControlPlane;
use crate::{
    audit::{
        AuditEvent, AuditFull,
        event::{AuditResource, UserIdentity, UserIdentityType},
    },
    authorities::{self, AuthoritiesError},
    core::Core,
    registry::{
        CertificateRecord, CrlRecord, MESH_AUTHORITY, Registry, RegistryError, TaskOwner, TaskRecord,
    },
    revocation::{self, BarRecord, BarSubject, REVOCATIONS_MAX, RevocationReason, RevocationRecord},
};

/// How long [`ControlPlane::revoke`] waits for the proxies to say that they refuse.
const TAKEN_LIMIT: Duration = Duration::from_secs(5);

/// Source of these commands' records in the audit trail.
const SOURCE: &str = "certificates.bowline";

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// One certificate, by its serial number: the task's proxy gets another one.
    Serial(String),
    /// Every certificate of a task, by its id or the beginning of it; the task gets no more.
    Task(String),
    /// Every certificate of a service's tasks, by its name, `cluster/name` or ARN; its tasks, those
    /// to come too, get no more.
    Service(String),
}

/// Who may have certificates again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowTarget {
    /// As in [`RevocationTarget::Task`].
    Task(String),
    /// As in [`RevocationTarget::Service`].
    Service(String),
}

/// Why nothing was revoked or allowed.
#[derive(Debug, Error)]
pub enum RevokeError {
    /// No certificate that has not ended has this serial number.
    #[error("no certificate with the serial number {0:?} is valid: `bowline certs` lists them")]
    NoSerial(String),
    /// There is no such task, or more than one begins so.
    #[error("{count} tasks have ids that begin with {given:?}: one is needed")]
    NoTask {
        /// What was asked for.
        given: String,
        /// How many there are.
        count: usize,
    },
    /// There is no such service, or more than one is called so.
    #[error("{} services are called {given:?}{}: one is needed", .found.len(), listed(.found))]
    NoService {
        /// What was asked for.
        given: String,
        /// The ARNs of those that there are.
        found: Vec<Arn>,
    },
    /// Nothing was revoked of it.
    #[error("the {0} is not revoked")]
    NotBarred(BarSubject),
    /// As many are refused as proxies can be told of.
    #[error(
        "{REVOCATIONS_MAX} certificates are revoked already, and there may be no more until some have ended"
    )]
    TooMany,
    /// There is no such authority.
    #[error("there is no certificate authority {0:?}")]
    NoAuthority(String),
    /// The call could not be recorded, so nothing was done.
    #[error("the audit trail takes no record of it, so nothing was done")]
    Audit(#[from] AuditFull),
    /// The authority failed.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn listed(found: &[Arn]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let names: Vec<_> = found.iter().map(Arn::to_string).collect();
    format!(" ({})", names.join(", "))
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The certificates' serial numbers, without those that were revoked before.
    pub serials: Vec<String>,
    /// Who gets no more of them.
    pub barred: Option<BarSubject>,
    /// How many connected proxies have said that they refuse.
    pub proxies_refusing: usize,
    /// How many proxies are connected; the revoked ones are not.
    pub proxies_connected: usize,
}

/// What a certificate is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStatus {
    /// Its holder shows it.
    InUse,
    /// Its holder has a later one.
    Replaced,
    /// Its task is over.
    TaskOver,
    /// It is refused.
    Revoked,
}

/// A certificate that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateView {
    /// As it was recorded.
    pub record: CertificateRecord,
    /// Who signed it.
    pub authority: Arn,
    /// The service whose task's it is, or the load balancer of the gateway; `None` for a task of nobody.
    pub owner: Option<String>,
    /// What it is at present.
    pub status: CertificateStatus,
    /// About when its holder asks for another one: at two thirds of its life.
    pub renews_at: Option<Timestamp>,
    /// Its revocation, if it is revoked.
    pub revocation: Option<RevocationRecord>,
    /// Why it is going to end without another one in its place.
    pub warnings: Vec<String>,
}

/// The identity of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityView {
    /// The task.
    pub task: TaskId,
    /// Its certificates in use: its own first, then public ones.
    pub certificates: Vec<CertificateView>,
    /// The roots that members believe, PEM.
    pub roots_pem: String,
}

impl ControlPlane {
    /// Every certificate that has not ended: by owner, task, and the latest first.
    pub fn certificates(&self) -> Vec<CertificateView> {
        views(&self.core, wall_clock::now())
    }

    /// The certificates that a task shows.
    ///
    /// # Errors
    /// There is no such task.
    pub fn identity(&self, task: &str) -> Result<IdentityView, RevokeError> {
        let registry = self.snapshot();
        let task = task_named(&registry, task)?.id.clone();
        let mut certificates = self.certificates();
        certificates.retain(|view| {
            view.record.task == task
                && matches!(view.status, CertificateStatus::InUse | CertificateStatus::Revoked)
        });
        certificates.sort_by_key(|view| view.record.spiffe_id.is_none());
        Ok(IdentityView { task, certificates, roots_pem: self.core.roots_pem() })
    }

    /// Refuses certificates from now on, and returns when every connected proxy has said that it
    /// does, or after 5 s. What is revoked already stays so, and is no error. Recorded in the audit
    /// trail.
    ///
    /// # Errors
    /// See [`RevokeError`]: nothing was revoked then.
    pub async fn revoke(
        &self,
        target: &RevocationTarget,
        reason: RevocationReason,
    ) -> Result<Revoked, RevokeError> {
        let admission = self.core.audit().admit()?;
        let forged = self.core.forgeries();
        let done = self.core.change(|registry| revoke(registry, target, &forged, reason, wall_clock::now()));
        let (key, value) = match target {
            RevocationTarget::Serial(serial) => ("serial", serial),
            RevocationTarget::Task(task) => ("task", task),
            RevocationTarget::Service(service) => ("service", service),
        };
        let mut event = self.event("RevokeCertificates", &json!({ key: value, "reason": reason.as_str() }));
        match &done {
            Ok((serials, barred)) => {
                tracing::warn!(serials = serials.len(), barred = ?barred, %reason, "certificates were revoked");
                event.response_elements = Some(json!({ "serials": serials }));
                event.resources = barred.iter().filter_map(|subject| self.resource(subject)).collect();
            }
            Err(error) => event.outcome = failed(error),
        }
        admission.record(event)?;
        let (serials, barred) = done?;
        let generation = self.core.revocations_generation();
        let (proxies_refusing, proxies_connected) =
            self.core.revocations_taken(generation, TAKEN_LIMIT).await;
        Ok(Revoked { serials, barred, proxies_refusing, proxies_connected })
    }

    /// Lets a task or service have certificates again. What was revoked stays refused; its proxies
    /// ask for others. Recorded in the audit trail.
    ///
    /// # Errors
    /// It was not revoked, or see [`RevokeError`].
    pub fn allow(&self, target: &AllowTarget) -> Result<BarSubject, RevokeError> {
        let admission = self.core.audit().admit()?;
        let done = self.core.change(|registry| {
            let subject = match target {
                AllowTarget::Task(task) => BarSubject::Task(task_named(registry, task)?.id.clone()),
                AllowTarget::Service(service) => {
                    BarSubject::Service(service_named(registry, service)?.arn.clone())
                }
            };
            if registry.bars.get(&subject.key()).is_none() {
                return Err(RevokeError::NotBarred(subject));
            }
            registry.bars.remove(&subject.key());
            Ok(subject)
        });
        let (key, value) = match target {
            AllowTarget::Task(task) => ("task", task),
            AllowTarget::Service(service) => ("service", service),
        };
        let mut event = self.event("AllowCertificates", &json!({ key: value }));
        match &done {
            Ok(subject) => event.resources = self.resource(subject).into_iter().collect(),
            Err(error) => event.outcome = failed(error),
        }
        admission.record(event)?;
        done
    }

    /// The CRL of an authority, by its ARN or its resource name; the mesh's own where none is named.
    ///
    /// # Errors
    /// There is no such authority, or it cannot sign.
    pub fn crl(&self, authority: Option<&str>) -> Result<CrlRecord, RevokeError> {
        let registry = self.snapshot();
        let arn = match authority {
            Some(given) => authority_named(&registry, given),
            None => {
                let line = authorities::own_line(&registry.settings().scope, false);
                authorities::succession_of(&registry, &line).in_slot(Slot::Current).cloned()
            }
        };
        let given = authority.unwrap_or(MESH_AUTHORITY);
        let arn = arn.ok_or_else(|| RevokeError::NoAuthority(given.chars().take(200).collect()))?;
        Ok(self.core.crl(&arn)?)
    }

    pub(super) fn event(&self, name: &str, parameters: &serde_json::Value) -> AuditEvent {
        let scope = self.snapshot().settings().scope.clone();
        let mut event = AuditEvent::new(wall_clock::now(), SOURCE, name);
        event.region.clone_from(&scope.region);
        event.source_ip_address = "bowline".into();
        event.user_agent = Some("bowline".into());
        event.user_identity = UserIdentity {
            kind: UserIdentityType::Root,
            principal_id: Some(scope.account_id.clone()),
            arn: Some(scope.root_arn().to_string()),
            account_id: Some(scope.account_id.clone()),
            ..UserIdentity::default()
        };
        event.recipient_account_id = scope.account_id;
        event.request_parameters = Some(parameters.clone());
        event
    }

    fn resource(&self, subject: &BarSubject) -> Option<AuditResource> {
        let registry = self.snapshot();
        let (arn, resource_type) = match subject {
            BarSubject::Service(arn) => (arn.to_string(), "AWS::ECS::Service"),
            BarSubject::Task(task) => (registry.tasks.get(task.as_str())?.arn.to_string(), "AWS::ECS::Task"),
        };
        let account_id = registry.settings().scope.account_id.clone();
        Some(AuditResource { arn, account_id, resource_type: resource_type.into() })
    }
}

fn failed(error: &RevokeError) -> crate::audit::event::AuditOutcome {
    let code = match error {
        RevokeError::Registry(_) | RevokeError::Authorities(_) | RevokeError::Audit(_) => "InternalFailure",
        RevokeError::TooMany => "LimitExceededException",
        _ => "ResourceNotFoundException",
    };
    crate::audit::event::AuditOutcome::Error { code: code.into(), message: error.to_string() }
}

/// An authority by its ARN or its resource name.
pub(crate) fn authority_named(registry: &Registry, given: &str) -> Option<Arn> {
    let mut all = registry.authorities.values().map(|record| &record.arn);
    all.find(|arn| arn.as_str() == given || arn.resource_name() == given).cloned()
}

fn task_named<'a>(registry: &'a Registry, given: &str) -> Result<&'a TaskRecord, RevokeError> {
    let id = given.rsplit('/').next().unwrap_or(given);
    let mut found = registry.tasks.under(id).map(|(_, task)| &**task);
    let first = found.next();
    let count = usize::from(first.is_some()) + found.count();
    match first {
        Some(task) if count == 1 && !id.is_empty() => Ok(task),
        _ => Err(RevokeError::NoTask { given: given.chars().take(200).collect(), count }),
    }
}

fn service_named<'a>(registry: &'a Registry, given: &str) -> Result<&'a Service, RevokeError> {
    let named = |service: &Service| {
        service.name == given
            || service.arn.as_str() == given
            || given
                .split_once('/')
                .is_some_and(|(cluster, name)| service.cluster == cluster && service.name == name)
    };
    let found: Vec<_> = registry.services.values().filter(|service| named(service)).collect();
    match found[..] {
        [service] => Ok(service),
        _ => Err(RevokeError::NoService {
            given: given.chars().take(200).collect(),
            found: found.into_iter().map(|service| service.arn.clone()).collect(),
        }),
    }
}

/// A serial number as it is recorded.
fn plain(serial: &str) -> String {
    serial.chars().filter(|it| *it != ':').collect::<String>().to_ascii_lowercase()
}

fn revoke(
    registry: &mut Registry,
    target: &RevocationTarget,
    forged: &[CertificateRecord],
    reason: RevocationReason,
    now: Timestamp,
) -> Result<(Vec<String>, Option<BarSubject>), RevokeError> {
    let (certificates, barred) = match target {
        RevocationTarget::Serial(serial) => {
            let issued = registry.certificates.get(&plain(serial)).map(|record| &**record);
            let forged = forged.iter().find(|record| record.serial == plain(serial));
            let certificate = issued.or(forged).filter(|record| record.not_after > now);
            let certificate =
                certificate.ok_or_else(|| RevokeError::NoSerial(serial.chars().take(100).collect()))?;
            (vec![CertificateRecord::clone(certificate)], None)
        }
        RevocationTarget::Task(task) => {
            let task = task_named(registry, task)?.id.clone();
            let mut certificates = certificates_of(registry, std::slice::from_ref(&task));
            certificates.extend(forged.iter().filter(|record| record.task == task).cloned());
            (certificates, Some(BarSubject::Task(task)))
        }
        RevocationTarget::Service(service) => {
            let service = service_named(registry, service)?;
            let (arn, identity) = (service.arn.clone(), registry.identity_of_service(service));
            let tasks: Vec<_> =
                registry.tasks_of_service(&arn).into_iter().map(|task| task.id.clone()).collect();
            let mut certificates = certificates_of(registry, &tasks);
            // Those of tasks that are over speak for the service as well.
            let others = registry.certificates.values().filter(|record| {
                record.spiffe_id.as_ref() == Some(&identity) && !tasks.contains(&record.task)
            });
            certificates.extend(others.map(|record| CertificateRecord::clone(record)));
            let of_faults = forged.iter().filter(|record| {
                record.spiffe_id.as_ref() == Some(&identity) || tasks.contains(&record.task)
            });
            certificates.extend(of_faults.cloned());
            (certificates, Some(BarSubject::Service(arn)))
        }
    };
    if let Some(subject) = &barred
        && registry.bars.get(&subject.key()).is_none()
    {
        let bar = BarRecord { subject: subject.clone(), reason, since: now };
        registry.bars.put(subject.key(), bar);
    }
    let mut serials = Vec::new();
    for certificate in certificates.iter().filter(|record| record.not_after > now) {
        if registry.revocations.len() >= REVOCATIONS_MAX {
            return Err(RevokeError::TooMany);
        }
        if revocation::revoke(registry, certificate, reason, now) {
            if forged.iter().any(|forged| forged.serial == certificate.serial) {
                registry
                    .revocations
                    .update(&certificate.serial, |record| record.fault_until = Some(certificate.not_after));
            }
            serials.push(certificate.serial.clone());
        }
    }
    Ok((serials, barred))
}

fn certificates_of(registry: &Registry, tasks: &[TaskId]) -> Vec<CertificateRecord> {
    let of_tasks = registry.certificates.values().filter(|record| tasks.contains(&record.task));
    of_tasks.map(|record| CertificateRecord::clone(record)).collect()
}

fn views(core: &Core, now: Timestamp) -> Vec<CertificateView> {
    let registry = core.registry();
    let live: Vec<_> = registry.certificates.values().filter(|record| record.not_after > now).collect();
    let mut latest = BTreeMap::new();
    for record in live.iter().filter(|record| !revocation::is_revoked(&registry, &record.serial)) {
        let of = latest.entry((&record.task, &record.name)).or_insert_with(|| record.age());
        *of = (*of).max(record.age());
    }
    let mut views: Vec<_> = live
        .iter()
        .map(|record| {
            let task = registry.tasks.get(record.task.as_str());
            let revocation = registry.revocations.get(&record.serial).map(|it| RevocationRecord::clone(it));
            let replaced = latest.get(&(&record.task, &record.name)).is_some_and(|of| *of > record.age());
            let status = match (&revocation, task) {
                (Some(_), _) => CertificateStatus::Revoked,
                (None, None) => CertificateStatus::TaskOver,
                (None, Some(_)) if replaced => CertificateStatus::Replaced,
                (None, Some(_)) => CertificateStatus::InUse,
            };
            let authority = registry.authority_of(record);
            let in_use = task.filter(|_| status == CertificateStatus::InUse);
            CertificateView {
                owner: task.and_then(|task| owner_of(&registry, task)),
                renews_at: in_use.map(|_| renews_at(record)),
                warnings: in_use.map_or_else(Vec::new, |task| {
                    let authority_ends = core.authorities().certificate_of(&authority).map(|(_, end)| end);
                    let connected = core.is_connected(&task.id);
                    let bar = revocation::bar_on(&registry, task);
                    warnings(record, authority_ends, connected, bar, now)
                }),
                record: CertificateRecord::clone(record),
                authority,
                status,
                revocation,
            }
        })
        .collect();
    views.sort_by(|a, b| {
        let key = |view: &CertificateView| {
            let record = &view.record;
            (view.owner.is_none(), view.owner.clone(), record.task.clone(), record.name.clone())
        };
        key(a).cmp(&key(b)).then(b.record.not_after.cmp(&a.record.not_after))
    });
    views
}

fn owner_of(registry: &Registry, task: &TaskRecord) -> Option<String> {
    match &task.owner {
        TaskOwner::Service { .. } => registry.service_of(task).map(|service| service.name.clone()),
        TaskOwner::Gateway { load_balancer } => {
            registry.load_balancers.get(load_balancer.as_str()).map(|balancer| balancer.name.clone())
        }
        TaskOwner::Standalone(_) => None,
    }
}

/// Proxies ask at two thirds of the life, one twentieth of it earlier or later.
fn renews_at(record: &CertificateRecord) -> Timestamp {
    record.not_before + record.not_after.since(record.not_before).mul_f64(2.0 / 3.0)
}

/// What is going to keep a certificate in use from being replaced in time.
fn warnings(
    record: &CertificateRecord,
    authority_ends: Option<Timestamp>,
    connected: bool,
    bar: Option<&BarRecord>,
    now: Timestamp,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let life = record.not_after.since(record.not_before);
    let latest = record.not_before + life.mul_f64(2.0 / 3.0 + 0.1);
    if let Some(bar) = bar {
        warnings.push(format!(
            "it is not renewed: the {} was revoked at {} ({}); `bowline certs allow` lifts it",
            bar.subject, bar.since, bar.reason
        ));
    }
    match authority_ends {
        None => warnings.push("it is not renewed: its certificate authority is no more".into()),
        Some(end) if end <= renews_at(record) => {
            warnings.push(format!("it is not renewed: its certificate authority ends before that, at {end}"));
        }
        Some(end) if end < renews_at(record) + life => warnings.push(format!(
            "its certificate authority ends at {end}, so the next certificate is shorter, and there is none after it"
        )),
        Some(_) => {}
    }
    if now > latest {
        warnings.push(format!(
            "its renewal was due at {}: {}",
            renews_at(record),
            if connected { "the proxy's log says what fails" } else { "the proxy is not connected" }
        ));
    } else if !connected {
        warnings
            .push("its proxy is not connected to the control plane: until it is, nothing is renewed".into());
    }
    warnings
}

#[cfg(test)]
mod tests;

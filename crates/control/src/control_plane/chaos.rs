//! Faults that the control plane and the sidecars make: certificates that nobody must believe, ways that lead
//! elsewhere, DNS answers, and renewals out of turn.
//!
//! All of it is kept in memory, and has a deadline that sidecars keep by themselves: of a control plane that was
//! killed nothing is left by then. Every certificate that is made is in the audit trail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bowline_discovery::v1;
use bowline_model::{
    clock::Timestamp,
    fault::{ALL, FaultyCertificate, LASTING_MAX},
    task::TaskId,
};
use bowline_plumbing::wall_clock;
use serde_json::{Value, json};
use thiserror::Error;
use zeroize::Zeroizing;

use super::ControlPlane;
use crate::{
    audit::{AuditFull, event::AuditOutcome},
    authorities::AuthoritiesError,
    core::{
        chaos::{PathDiversion, RevokeForFaultError, Stage, StagedKey},
        forgery::ForgeryError,
    },
    dns::{spoof::SpoofError, zone::DnsName},
    random,
    registry::RegistryError,
    revocation::REVOCATIONS_MAX,
};

/// How long sidecars have to say that they do what they were told.
pub(super) const TAKEN_LIMIT: Duration = Duration::from_secs(10);
/// Source of these commands' records in the audit trail.
const SOURCE: &str = "chaos.bowline";

/// A certificate as somebody has it who has no right to: with its key.
pub struct Forged {
    /// DER, leaf first, without the root.
    pub chain_der: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// Lower-case hexadecimal. [`ControlPlane::revoke`] takes it.
    pub serial: String,
}

/// Names a staged certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StageId(u64);

/// Names a diversion of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiversionId(u64);

/// Names an answer of the DNS server's that leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpoofId(u64);

/// Why a fault of the mesh was not put in force, or not ended in time.
#[derive(Debug, Error)]
pub enum ChaosError {
    /// There is no such task.
    #[error("there is no task {0}")]
    NoTask(TaskId),
    /// The task's sidecar calls no such cluster, or it has no such endpoint.
    #[error("the sidecar of task {caller} has no endpoint {address} in the cluster {cluster:?}")]
    NoEndpoint {
        /// Whose sidecar.
        caller: TaskId,
        /// The cluster.
        cluster: String,
        /// The endpoint's address.
        address: SocketAddr,
    },
    /// Another one's identity is wanted that is nobody's.
    #[error("{0:?} is the SPIFFE id of no service of the mesh")]
    NoService(String),
    /// There is one of its kind already.
    #[error("{0} already has a fault of this kind: it has to end first")]
    Conflict(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// As many certificates are refused, or forged, as may be.
    #[error("{REVOCATIONS_MAX} certificates are refused, or 1000 forged, which is as many as there may be")]
    TooMany,
    /// Sidecars have not said that they do it.
    #[error("the sidecars of these tasks have not taken it in time: {}", listed(.tasks))]
    NotTaken {
        /// Whose.
        tasks: Vec<TaskId>,
    },
    /// The authority failed.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Made(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call could not be recorded, so nothing was done.
    #[error("the audit trail takes no record of it, so nothing was done")]
    Audit(#[from] AuditFull),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn listed<T: Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl From<ForgeryError> for ChaosError {
    fn from(error: ForgeryError) -> Self {
        match error {
            ForgeryError::NoTask(task) => Self::NoTask(task),
            ForgeryError::NoService(id) => Self::NoService(id),
            ForgeryError::Authorities(error) => Self::Authorities(error),
            ForgeryError::Made(error) => Self::Made(error.into()),
        }
    }
}

impl From<RevokeForFaultError> for ChaosError {
    fn from(error: RevokeForFaultError) -> Self {
        match error {
            RevokeForFaultError::TooMany => Self::TooMany,
            RevokeForFaultError::Registry(error) => Self::Registry(error),
        }
    }
}

impl ControlPlane {
    /// Makes a certificate as a task's would be, with something wrong as `shows` says, or, without, with nothing
    /// wrong: as if it had been stolen. It lives for `lasting` and a minute, and is not the task's: neither the stream
    /// nor `bowline certs` knows it. One with [`FaultyCertificate::Revoked`] is refused from now on, and that is
    /// forgotten when it ends. Recorded in the audit trail.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing was made then.
    pub fn forge(
        &self,
        task: &TaskId,
        shows: Option<&FaultyCertificate>,
        lasting: Duration,
    ) -> Result<Forged, ChaosError> {
        let now = wall_clock::now();
        let until = checked_end(now, now + lasting)?;
        let parameters =
            json!({ "task": task.as_str(), "shows": shows, "lastingSeconds": lasting.as_secs() });
        self.recorded("ForgeCertificate", &parameters, || {
            let forgery = self.core.forge(task, shows, now, until)?;
            let serial = forgery.record.serial.clone();
            self.core.remember_forged(forgery.record.clone()).map_err(|_| ChaosError::TooMany)?;
            if shows == Some(&FaultyCertificate::Revoked)
                && let Err(error) = self.core.revoke_for_fault(&[forgery.record])
            {
                self.core.forget_forged(&serial);
                return Err(error.into());
            }
            tracing::warn!(%task, serial, ?shows, "a certificate was forged, for a fault on purpose");
            let elements = json!({ "serials": [&serial] });
            Ok((Forged { chain_der: forgery.chain_der, key_pkcs8: forgery.key, serial }, elements))
        })
    }

    /// Has a certificate of [`ControlPlane::forge`] refused from now on, until it ends.
    pub fn end_forgery(&self, serial: &str) {
        let forged = self.core.forgeries().into_iter().find(|record| record.serial == serial);
        if let Some(record) = forged {
            self.core.outlaw(&[record]);
            self.core.forget_forged(serial);
        }
    }

    /// Makes the sidecars of `tasks` show a faulty certificate to other sidecars, when they call and when they are
    /// called, for `per_million` of new connections, until `until` at the latest: they go back by themselves. Returns
    /// when every one of them does; if one does not, all is undone. Connections that were made before take no new
    /// requests. Recorded in the audit trail.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing is left of it then.
    pub async fn stage_certificate(
        &self,
        tasks: &[TaskId],
        shows: &FaultyCertificate,
        per_million: u32,
        until: Timestamp,
    ) -> Result<StageId, ChaosError> {
        let now = wall_clock::now();
        let until = checked_end(now, until)?;
        if per_million == 0 || per_million > ALL {
            return Err(ChaosError::Invalid(format!(
                "a share is from 1 to {ALL} in a million, not {per_million}"
            )));
        }
        let tasks = self.checked_tasks(tasks)?;
        let version = hexadecimal(&random::bytes::<16>());
        let parameters = json!({
            "tasks": tasks.iter().map(TaskId::as_str).collect::<Vec<_>>(),
            "shows": shows, "perMillion": per_million, "until": until.as_secs(),
        });
        let (id, generation) = self.recorded("StageCertificate", &parameters, || {
            let mut made = Vec::with_capacity(tasks.len());
            for task in &tasks {
                made.push(self.core.forge(task, Some(shows), now, until)?);
            }
            let records: Vec<_> = made.iter().map(|forgery| forgery.record.clone()).collect();
            let serials: Vec<_> = records.iter().map(|record| record.serial.clone()).collect();
            // By its number each can be revoked as any other.
            for record in &records {
                self.core.remember_forged(record.clone()).map_err(|_| ChaosError::TooMany)?;
            }
            if *shows == FaultyCertificate::Revoked {
                self.core.revoke_for_fault(&records)?;
            }
            let believable = match shows {
                FaultyCertificate::Revoked | FaultyCertificate::Identity(_) => records,
                _ => Vec::new(),
            };
            let held = tasks.iter().cloned().zip(
                made.into_iter().map(|forgery| StagedKey { chain_der: forgery.chain_der, key: forgery.key }),
            );
            let told = v1::StagedCertificate {
                version: version.clone(),
                per_million,
                ends_at_unix_ms: until.as_millis(),
                shows: format!("{shows:?}"),
            };
            let stage = Stage { told, until, held: held.collect(), believable };
            let id = self.core.stage(stage).map_err(|task| {
                // Nobody has been given one of them.
                self.core.forget_revoked(&serials);
                ChaosError::Conflict(format!("task {task}"))
            })?;
            Ok(((id, self.core.revocations_generation()), json!({ "serials": serials })))
        })?;
        tracing::warn!(tasks = tasks.len(), ?shows, per_million, %until, "sidecars are to show a faulty certificate, on purpose");
        // Whoever gives up waiting has no id to end it by.
        let undo = Undo::of(|| drop(self.core.unstage(id)));
        if *shows == FaultyCertificate::Revoked {
            self.core.revocations_taken(generation, TAKEN_LIMIT).await;
        }
        let limit = TAKEN_LIMIT.min(until.since(wall_clock::now()));
        self.core
            .staged_shown(&tasks, &version, true, limit)
            .await
            .map_err(|tasks| ChaosError::NotTaken { tasks })?;
        undo.not();
        Ok(StageId(id))
    }

    /// Ends a staged certificate before its time; returns when none of the sidecars shows it. One that is over is no
    /// error.
    ///
    /// # Errors
    /// Sidecars have not said so within 10 s: they go back by themselves at the deadline.
    pub async fn unstage_certificate(&self, id: StageId) -> Result<(), ChaosError> {
        let Some((version, tasks, until)) = self.core.unstage(id.0) else { return Ok(()) };
        let limit = TAKEN_LIMIT.min(until.since(wall_clock::now()));
        let ended = self.core.staged_shown(&tasks, &version, false, limit).await;
        ended.or_else(|tasks| match wall_clock::now() >= until {
            true => Ok(()),
            false => Err(ChaosError::NotTaken { tasks }),
        })
    }

    /// Makes the sidecars of `callers` reach endpoints of a cluster by other addresses (the true one first) until
    /// `until` at the latest: they go back by themselves. Identities are checked as ever. Returns when every one of
    /// them does; if one does not, all is undone.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing is left of it then.
    pub async fn divert_path(
        &self,
        callers: &[TaskId],
        cluster: &str,
        to: &[(SocketAddr, SocketAddr)],
        until: Timestamp,
    ) -> Result<DiversionId, ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        let callers = self.checked_tasks(callers)?;
        if to.is_empty() {
            return Err(ChaosError::Invalid("no endpoint is to be reached by another address".to_owned()));
        }
        for caller in &callers {
            let endpoints = self.endpoints_of(caller, cluster);
            let missing = to.iter().find(|(from, _)| !endpoints.iter().any(|(_, address)| address == from));
            if let Some((address, _)) = missing {
                let (caller, cluster) = (caller.clone(), cluster.to_owned());
                return Err(ChaosError::NoEndpoint { caller, cluster, address: *address });
            }
        }
        let diversion = PathDiversion {
            callers: callers.iter().cloned().collect(),
            cluster: cluster.to_owned(),
            to: to.iter().copied().collect::<BTreeMap<_, _>>(),
            until,
        };
        let id = self.core.divert_paths(diversion).map_err(|(caller, address)| {
            ChaosError::Conflict(format!("the way from task {caller} to {address}"))
        })?;
        tracing::warn!(callers = callers.len(), cluster, %until, "sidecars are led elsewhere, on purpose");
        let undo = Undo::of(|| drop(self.core.end_diverted_paths(id)));
        self.callers_in_step(&callers, TAKEN_LIMIT.min(until.since(wall_clock::now()))).await?;
        undo.not();
        Ok(DiversionId(id))
    }

    /// Ends a diversion before its time; returns when the sidecars go to the true addresses. One that is over is no
    /// error.
    ///
    /// # Errors
    /// Sidecars have not said so within 10 s: they go back by themselves at the deadline.
    pub async fn end_path_diversion(&self, id: DiversionId) -> Result<(), ChaosError> {
        let Some(callers) = self.core.end_diverted_paths(id.0) else { return Ok(()) };
        let living = callers.into_iter().filter(|caller| self.core.is_connected(caller));
        self.callers_in_step(&living.collect::<Vec<_>>(), TAKEN_LIMIT).await
    }

    /// Where the sidecar of `caller` goes for a cluster, by its name on the stream (`name.namespace`): the tasks there
    /// and the true addresses of their sidecars. Empty where there is no such cluster.
    pub fn endpoints_of(&self, caller: &TaskId, cluster: &str) -> Vec<(TaskId, SocketAddr)> {
        self.core.endpoints_of(caller, cluster)
    }

    /// Makes the DNS server of private namespaces answer with `address`, alone, for `name` until `until` at the latest,
    /// whether there is such a name or not. The later of two for one name counts. Sidecars answer aliases of Service
    /// Connect themselves: those never ask.
    ///
    /// # Errors
    /// It is no DNS name, there is no DNS server, or there are too many such answers.
    pub fn spoof_name(&self, name: &str, address: IpAddr, until: Timestamp) -> Result<SpoofId, ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        let name: DnsName = name.parse().map_err(|error| ChaosError::Invalid(format!("{error}")))?;
        let no_server = || ChaosError::Invalid("there is no DNS server".to_owned());
        let dns = self.dns.as_ref().ok_or_else(no_server)?;
        let number = dns
            .spoofs
            .begin(name.clone(), address, until)
            .map_err(|SpoofError| ChaosError::Invalid(SpoofError.to_string()))?;
        tracing::warn!(%name, %address, %until, "the DNS server's answer leads elsewhere, on purpose");
        Ok(SpoofId(number))
    }

    /// Ends such an answer before its time. One that is over is no error.
    pub fn end_spoof(&self, id: SpoofId) {
        if let Some(dns) = &self.dns {
            dns.spoofs.end(id.0);
        }
    }

    /// Makes every sidecar of `tasks` ask for another certificate now, and returns when all of them show theirs: how
    /// many that are.
    ///
    /// # Errors
    /// A task is not there, or sidecars have not said so within `limit`; they may renew still.
    pub async fn renew_certificates(&self, tasks: &[TaskId], limit: Duration) -> Result<usize, ChaosError> {
        let tasks = self.checked_tasks(tasks)?;
        let renewed = self.core.renew_out_of_turn(&tasks, limit).await;
        renewed.map(|()| tasks.len()).map_err(|tasks| ChaosError::NotTaken { tasks })
    }

    async fn callers_in_step(&self, callers: &[TaskId], limit: Duration) -> Result<(), ChaosError> {
        let end = tokio::time::Instant::now() + limit;
        let mut missing = Vec::new();
        for caller in callers {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if self.core.in_step(caller, left).await.is_none() {
                missing.push(caller.clone());
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(ChaosError::NotTaken { tasks: missing }),
        }
    }

    /// Those tasks, each once.
    pub(super) fn checked_tasks(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, ChaosError> {
        let registry = self.snapshot();
        let unknown = tasks.iter().find(|task| registry.tasks.get(task.as_str()).is_none());
        if let Some(task) = unknown {
            return Err(ChaosError::NoTask(task.clone()));
        }
        if tasks.is_empty() {
            return Err(ChaosError::Invalid("the fault names no task".to_owned()));
        }
        Ok(tasks.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Does something that has to be in the audit trail; it says what is to be told there of the outcome.
    fn recorded<T>(
        &self,
        name: &str,
        parameters: &Value,
        act: impl FnOnce() -> Result<(T, Value), ChaosError>,
    ) -> Result<T, ChaosError> {
        let admission = self.core.audit().admit()?;
        let mut event = self.event(name, parameters);
        SOURCE.clone_into(&mut event.source);
        let done = act();
        match &done {
            Ok((_, elements)) => event.response_elements = Some(elements.clone()),
            Err(error) => {
                event.outcome =
                    AuditOutcome::Error { code: code_of(error).into(), message: error.to_string() };
            }
        }
        admission.record(event)?;
        done.map(|(made, _)| made)
    }
}

fn code_of(error: &ChaosError) -> &'static str {
    match error {
        ChaosError::NoTask(_) | ChaosError::NoService(_) | ChaosError::NoEndpoint { .. } => {
            "ResourceNotFoundException"
        }
        ChaosError::Conflict(_) => "ConflictException",
        ChaosError::Invalid(_) => "ValidationException",
        ChaosError::TooMany => "ServiceQuotaExceededException",
        _ => "InternalFailure",
    }
}

/// When a fault ends, within the longest that one may last.
pub(super) fn checked_end(now: Timestamp, until: Timestamp) -> Result<Timestamp, ChaosError> {
    if until <= now {
        return Err(ChaosError::Invalid("the fault would be over already".to_owned()));
    }
    // A moment more, for what passed since it was asked for.
    if until > now + LASTING_MAX + Duration::from_secs(1) {
        return Err(ChaosError::Invalid("a fault lasts 12 hours at most".to_owned()));
    }
    Ok(until)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is done unless it is called off: a future that is dropped leaves nothing.
pub(super) struct Undo<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Undo<F> {
    pub(super) fn of(undo: F) -> Self {
        Self(Some(undo))
    }

    pub(super) fn not(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Undo<F> {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::LookupQuery, control_plane::ControlConfig};

    #[tokio::test]
    async fn what_is_asked_for_is_in_the_audit_trail_under_its_own_name() {
        let directory = tempfile::tempdir().unwrap();
        let config = ControlConfig { ephemeral: true, dns: None, ..ControlConfig::new(directory.path()) };
        let control = ControlPlane::start(config).await.unwrap();
        let nobody = TaskId::from_random([9; 16]);
        let minute = Duration::from_secs(60);
        assert!(matches!(control.forge(&nobody, None, minute), Err(ChaosError::NoTask(_))));
        assert!(matches!(control.forge(&nobody, None, LASTING_MAX * 2), Err(ChaosError::Invalid(_))));
        let page = control.core.audit().lookup(&LookupQuery::default()).unwrap();
        let texts: Vec<String> = page.events.iter().map(|event| format!("{event:?}")).collect();
        let marks = ["chaos.bowline", "ForgeCertificate", "ResourceNotFoundException", nobody.as_str()];
        let found: Vec<_> =
            texts.iter().filter(|text| marks.iter().all(|mark| text.contains(mark))).collect();
        assert_eq!(found.len(), 1, "{texts:?}");
        // There is no DNS server that could lead anybody elsewhere.
        let spoofed =
            control.spoof_name("a.example", IpAddr::from([192, 0, 2, 1]), wall_clock::now() + minute);
        assert!(matches!(spoofed, Err(ChaosError::Invalid(_))));
        control.shutdown().await;
    }

    #[tokio::test]
    async fn a_renewal_that_ends_takes_nothing_from_one_that_was_asked_for_since() {
        let directory = tempfile::tempdir().unwrap();
        let config = ControlConfig { ephemeral: true, dns: None, ..ControlConfig::new(directory.path()) };
        let control = ControlPlane::start(config).await.unwrap();
        let tasks = [TaskId::from_random([9; 16])];
        let word = || control.core.renewal_asked(&tasks[0]);
        let first = control.core.renew_out_of_turn(&tasks, Duration::from_millis(50));
        let second = async {
            tokio::task::yield_now().await;
            let before = word();
            let second = control.core.renew_out_of_turn(&tasks, Duration::from_secs(1));
            let meanwhile = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(word().is_some() && word() != before, "{before:?}, {:?}", word());
            };
            tokio::join!(second, meanwhile).0
        };
        let (first, second) = tokio::join!(first, second);
        // Nobody is there who could renew.
        assert!(first.is_err() && second.is_err());
        assert_eq!(word(), None);
        control.shutdown().await;
    }
}

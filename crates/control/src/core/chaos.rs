//! Faults of the mesh that are in force: staged certificates, diversions of paths, renewals out of turn. In memory
//! alone: a control plane that was killed knows none of them, and its proxies end what they have by themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use bowline_discovery::{
    identity::ShowsRequest,
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_plumbing::wall_clock;
use bowline_stream::directory::{Directory, HeldCertificate};
use zeroize::Zeroizing;

use super::Core;
use crate::{
    publish::{PublishedFaults, scope::Reach},
    registry::{CertificateRecord, RegistryError},
    revocation::{self, REVOCATIONS_MAX, RevocationReason},
};

/// Begins the name by which a staged certificate is fetched.
pub(super) const STAGED_PREFIX: &str = "staged:";
/// Most forged certificates that are known, so that they can be revoked.
const FORGED_MAX: usize = 1_000;

/// What is in force.
#[derive(Default)]
pub(super) struct Chaos {
    stages: BTreeMap<u64, Stage>,
    paths: BTreeMap<u64, PathDiversion>,
    disturbances: BTreeMap<u64, Disturbed>,
    /// Who is asked for another certificate out of turn, by which word.
    renewals: BTreeMap<TaskId, String>,
    /// What proxies have said that they show.
    shown: BTreeMap<TaskId, Shown>,
    /// By serial number, until they end.
    forged: BTreeMap<String, CertificateRecord>,
    next: u64,
}

/// What a proxy shows to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Serial number of its own certificate, without zeros before it.
    serial: String,
    /// Version of the staged certificate; empty: none.
    staged: String,
    /// Version of the disturbance; empty: none.
    disturbance: String,
    /// Requests that came during the last disturbance.
    arrived: u64,
}

/// Tasks whose proxies something is wrong with.
#[derive(Clone, Debug)]
pub(crate) struct Disturbed {
    /// As proxies are told.
    pub(crate) told: v1::Disturbance,
    pub(crate) until: Timestamp,
    pub(crate) tasks: BTreeSet<TaskId>,
}

/// A faulty certificate that tasks' proxies show.
pub(crate) struct Stage {
    /// As proxies are told.
    pub(crate) told: v1::StagedCertificate,
    pub(crate) until: Timestamp,
    /// Each task's own.
    pub(crate) held: BTreeMap<TaskId, StagedKey>,
    /// Those of the certificates that somebody would believe: they are refused from its end on, until theirs.
    pub(crate) believable: Vec<CertificateRecord>,
}

/// A certificate with its key.
pub(crate) struct StagedKey {
    pub(crate) chain_der: Vec<Vec<u8>>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Other addresses for endpoints of a cluster, for some callers.
#[derive(Clone, Debug)]
pub(crate) struct PathDiversion {
    pub(crate) callers: BTreeSet<TaskId>,
    pub(crate) cluster: String,
    /// From the true addresses.
    pub(crate) to: BTreeMap<SocketAddr, SocketAddr>,
    pub(crate) until: Timestamp,
}

impl Core {
    fn chaos(&self) -> MutexGuard<'_, Chaos> {
        self.chaos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `task`'s proxy has of faults at this moment.
    pub(super) fn published_faults(&self, task: &TaskId) -> PublishedFaults {
        let (chaos, now) = (self.chaos(), wall_clock::now());
        let stage = chaos.stages.values().find(|stage| stage.until > now && stage.held.contains_key(task));
        let paths = chaos.paths.values().filter(|path| path.until > now && path.callers.contains(task));
        let disturbed = chaos.disturbances.values();
        let disturbed = disturbed.filter(|it| it.until > now).find(|it| it.tasks.contains(task));
        PublishedFaults {
            disturbance: disturbed.map(|it| it.told.clone()),
            staged: stage.map(|stage| stage.told.clone()),
            renewal: chaos.renewals.get(task).cloned().unwrap_or_default(),
            garbage: self.is_spoiled(task),
            diversions: paths
                .flat_map(|path| {
                    let until = path.until.as_millis();
                    path.to.iter().map(move |(from, to)| ((path.cluster.clone(), *from), (*to, until)))
                })
                .collect(),
        }
    }

    /// The staged certificate that a task's proxy fetches by this name.
    pub(super) fn staged(&self, task: &TaskId, name: &str) -> Option<HeldCertificate> {
        let version = name.strip_prefix(STAGED_PREFIX)?;
        let (chaos, now) = (self.chaos(), wall_clock::now());
        let stage = chaos.stages.values().find(|stage| stage.told.version == version && stage.until > now)?;
        let held = stage.held.get(task)?;
        Some(HeldCertificate { chain_der: held.chain_der.clone(), key: held.key.clone() })
    }

    /// Puts a stage in force; the task that has one already, where there is such.
    pub(crate) fn stage(&self, stage: Stage) -> Result<u64, TaskId> {
        let number = {
            let (mut chaos, now) = (self.chaos(), wall_clock::now());
            let taken = |task: &&TaskId| {
                chaos.stages.values().any(|other| other.until > now && other.held.contains_key(*task))
            };
            if let Some(task) = stage.held.keys().find(taken) {
                return Err(task.clone());
            }
            let number = chaos.number();
            chaos.stages.insert(number, stage);
            number
        };
        self.publish(&Reach::Everybody);
        Ok(number)
    }

    /// Ends a stage. Its version, its tasks and its deadline; `None` if it is over.
    pub(crate) fn unstage(&self, number: u64) -> Option<(String, Vec<TaskId>, Timestamp)> {
        let stage = self.chaos().stages.remove(&number)?;
        self.outlaw(&stage.believable);
        self.publish(&Reach::Everybody);
        Some((stage.told.version, stage.held.into_keys().collect(), stage.until))
    }

    /// Refuses certificates that were made for a fault, until they end: whoever has their keys by then has nothing.
    pub(crate) fn revoke_for_fault(&self, records: &[CertificateRecord]) -> Result<(), RevokeForFaultError> {
        self.change(|registry| {
            let now = wall_clock::now();
            for record in records.iter().filter(|record| record.not_after > now) {
                if registry.revocations.len() >= REVOCATIONS_MAX {
                    return Err(RevokeForFaultError::TooMany);
                }
                if revocation::revoke(registry, record, RevocationReason::Unspecified, now) {
                    registry.revocations.update(&record.serial, |revocation| {
                        revocation.fault_until = Some(record.not_after);
                    });
                }
            }
            Ok(())
        })
    }

    /// As [`Core::revoke_for_fault`], at a fault's end: nobody is there who could be told that it fails.
    pub(crate) fn outlaw(&self, records: &[CertificateRecord]) {
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.revoke_for_fault(records) {
            let serials: Vec<_> = records.iter().map(|record| record.serial.as_str()).collect();
            tracing::error!(%error, ?serials, "certificates of a fault that is over are believed until they end");
        }
    }

    /// Forgets revocations of certificates that were made for a fault and given to nobody.
    pub(crate) fn forget_revoked(&self, serials: &[String]) {
        if serials.is_empty() {
            return;
        }
        let forgotten = self.change::<_, RegistryError>(|registry| {
            for serial in serials {
                registry.revocations.remove(serial);
            }
            Ok(())
        });
        if let Err(error) = forgotten {
            // The sweep forgets them when the certificates end.
            tracing::error!(%error, "revocations of a fault are left until its certificates end");
        }
    }

    /// Leads callers elsewhere; the caller and address that are led elsewhere already, where there is such.
    pub(crate) fn divert_paths(&self, diversion: PathDiversion) -> Result<u64, (TaskId, SocketAddr)> {
        let number = {
            let (mut chaos, now) = (self.chaos(), wall_clock::now());
            let others =
                chaos.paths.values().filter(|other| other.until > now && other.cluster == diversion.cluster);
            for other in others {
                let caller = diversion.callers.intersection(&other.callers).next();
                let address = diversion.to.keys().find(|address| other.to.contains_key(address));
                if let Some((caller, address)) = caller.zip(address) {
                    return Err((caller.clone(), *address));
                }
            }
            let number = chaos.number();
            chaos.paths.insert(number, diversion);
            number
        };
        self.publish(&Reach::Everybody);
        Ok(number)
    }

    /// Ends a diversion of paths. Its callers; `None` if it is over.
    pub(crate) fn end_diverted_paths(&self, number: u64) -> Option<BTreeSet<TaskId>> {
        let diversion = self.chaos().paths.remove(&number)?;
        self.publish(&Reach::Everybody);
        Some(diversion.callers)
    }

    /// Has something be wrong with proxies; the task with whose proxy something is already, where there is such.
    pub(crate) fn disturb(&self, disturbed: Disturbed) -> Result<u64, TaskId> {
        let number = {
            let (mut chaos, now) = (self.chaos(), wall_clock::now());
            let others = chaos.disturbances.values().filter(|other| other.until > now);
            let taken = others.flat_map(|other| other.tasks.intersection(&disturbed.tasks)).next();
            if let Some(task) = taken {
                return Err(task.clone());
            }
            let number = chaos.number();
            chaos.disturbances.insert(number, disturbed);
            number
        };
        self.publish(&Reach::Everybody);
        Ok(number)
    }

    /// Ends a disturbance; `None` if it is over.
    pub(crate) fn end_disturbance(&self, number: u64) -> Option<Disturbed> {
        let disturbed = self.chaos().disturbances.remove(&number)?;
        self.publish(&Reach::Everybody);
        Some(disturbed)
    }

    /// Asks proxies for certificates out of turn, by a word that is nobody else's.
    pub(crate) fn ask_for_renewal(&self, tasks: &[TaskId], word: &str) {
        self.chaos().renewals.extend(tasks.iter().map(|task| (task.clone(), word.to_owned())));
        self.publish(&Reach::Everybody);
    }

    /// By which word a task's proxy is asked.
    #[cfg(test)]
    pub(crate) fn renewal_asked(&self, task: &TaskId) -> Option<String> {
        self.chaos().renewals.get(task).cloned()
    }

    /// Asks no more by that word. Who has been asked by another since is asked by that one still.
    pub(crate) fn ask_no_more(&self, tasks: &[TaskId], word: &str) {
        self.chaos().renewals.retain(|task, asked| asked != word || !tasks.contains(task));
        self.publish(&Reach::Everybody);
    }

    /// Makes every sidecar of `tasks` ask for another certificate now, and returns when all of them show theirs; those
    /// whose sidecars have not by `limit`, who may renew still.
    pub(crate) async fn renew_out_of_turn(
        &self,
        tasks: &[TaskId],
        limit: Duration,
    ) -> Result<(), Vec<TaskId>> {
        struct Asked<'a>(&'a Core, &'a [TaskId], &'a str);
        impl Drop for Asked<'_> {
            fn drop(&mut self) {
                self.0.ask_no_more(self.1, self.2);
            }
        }
        let before = self.serials_of(tasks);
        let word = format!("{:016x}", u64::from_ne_bytes(crate::random::bytes()));
        self.ask_for_renewal(tasks, &word);
        let _asked = Asked(self, tasks, &word);
        self.renewed_shown(tasks, &before, limit).await
    }

    /// Keeps a forged certificate, so that it can be revoked like others.
    pub(crate) fn remember_forged(&self, record: CertificateRecord) -> Result<(), TooManyForged> {
        let (mut chaos, now) = (self.chaos(), wall_clock::now());
        chaos.forged.retain(|_, record| record.not_after > now);
        if chaos.forged.len() >= FORGED_MAX {
            return Err(TooManyForged);
        }
        chaos.forged.insert(record.serial.clone(), record);
        Ok(())
    }

    /// The forged certificates that have not ended.
    pub(crate) fn forgeries(&self) -> Vec<CertificateRecord> {
        let now = wall_clock::now();
        self.chaos().forged.values().filter(|record| record.not_after > now).cloned().collect()
    }

    /// Forgets a forged certificate.
    pub(crate) fn forget_forged(&self, serial: &str) {
        self.chaos().forged.remove(serial);
    }

    /// A proxy has said what it shows.
    pub(super) fn note_shown(&self, task: &TaskId, shown: ShowsRequest) {
        let ShowsRequest { serial, staged, disturbance, arrived } = shown;
        let serial = serial.trim_start_matches('0').to_owned();
        self.chaos().shown.insert(task.clone(), Shown { serial, staged, disturbance, arrived });
        self.answered.send_modify(|count| *count += 1);
    }

    /// Returns when every one of `tasks` shows the staged certificate of that version (`begun`), or no longer does, or
    /// is over; else, after `limit`, those that are missing.
    pub(crate) async fn staged_shown(
        &self,
        tasks: &[TaskId],
        version: &str,
        begun: bool,
        limit: Duration,
    ) -> Result<(), Vec<TaskId>> {
        self.told(tasks, limit, |task, shown| match begun {
            true => shown.is_some_and(|shown| shown.staged == version),
            false => shown.is_none_or(|shown| shown.staged != version) || !self.is_connected(task),
        })
        .await
    }

    /// Returns when the disturbance of that version is in force at every one of `tasks` (`begun`), or no longer is, or
    /// the task is gone; else, after `limit`, those that are missing.
    pub(crate) async fn disturbance_taken(
        &self,
        tasks: &[TaskId],
        version: &str,
        begun: bool,
        limit: Duration,
    ) -> Result<(), Vec<TaskId>> {
        self.told(tasks, limit, |task, shown| match begun {
            true => shown.is_some_and(|shown| shown.disturbance == version),
            false => shown.is_none_or(|shown| shown.disturbance != version) || !self.is_connected(task),
        })
        .await
    }

    /// How many requests came to `tasks` during the last disturbance of each.
    pub(crate) fn arrived(&self, tasks: &[TaskId]) -> u64 {
        let chaos = self.chaos();
        tasks.iter().filter_map(|task| chaos.shown.get(task)).map(|shown| shown.arrived).sum()
    }

    /// Returns when every one of `tasks` shows a certificate that is none of `before`; else those that do not.
    pub(crate) async fn renewed_shown(
        &self,
        tasks: &[TaskId],
        before: &BTreeSet<String>,
        limit: Duration,
    ) -> Result<(), Vec<TaskId>> {
        self.told(tasks, limit, |_, shown| {
            shown.is_some_and(|shown| !shown.serial.is_empty() && !before.contains(&shown.serial))
        })
        .await
    }

    async fn told(
        &self,
        tasks: &[TaskId],
        limit: Duration,
        is_done: impl Fn(&TaskId, Option<&Shown>) -> bool,
    ) -> Result<(), Vec<TaskId>> {
        let mut answered = self.answered.subscribe();
        let missing = || {
            let shown = self.chaos().shown.clone();
            let left = tasks.iter().filter(|task| !is_done(task, shown.get(*task)));
            left.cloned().collect::<Vec<_>>()
        };
        let all = async {
            loop {
                answered.mark_unchanged();
                if missing().is_empty() || answered.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        match missing() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    }

    /// The serial numbers of a task's certificates, without zeros before them.
    pub(crate) fn serials_of(&self, tasks: &[TaskId]) -> BTreeSet<String> {
        let registry = self.registry();
        let of_tasks = registry.certificates.values().filter(|record| tasks.contains(&record.task));
        let recorded = of_tasks.map(|record| record.serial.trim_start_matches('0').to_owned());
        // What was said once is not taken back when the certificate has ended.
        let chaos = self.chaos();
        let shown = tasks.iter().filter_map(|task| chaos.shown.get(task)).map(|shown| shown.serial.clone());
        recorded.chain(shown).collect()
    }

    /// Where a task's proxy goes for a cluster: the tasks there, and their true addresses.
    pub(crate) fn endpoints_of(&self, caller: &TaskId, cluster: &str) -> Vec<(TaskId, SocketAddr)> {
        let Some(resources) = self.resources(caller) else { return Vec::new() };
        let all = resources.of(ResourceType::Endpoints).iter();
        let of_cluster = all.filter(|(name, _)| is_of_cluster(name, cluster));
        let endpoints = of_cluster.flat_map(|(_, held)| match &*held.resource {
            Resource::Endpoints(endpoints) => endpoints.endpoints.as_slice(),
            _ => &[],
        });
        let mut found: Vec<_> = endpoints
            .filter_map(|endpoint| {
                let address = address_of(endpoint)?;
                Some((endpoint.task_id.parse::<TaskId>().ok()?, address))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Ends what is past its deadline. When the next one is.
    pub(crate) fn end_old_faults(&self) -> Option<Timestamp> {
        let registry = self.registry();
        let (ended, believable, next) = {
            let (mut chaos, now) = (self.chaos(), wall_clock::now());
            let count = |chaos: &Chaos| chaos.stages.len() + chaos.paths.len() + chaos.disturbances.len();
            let before = count(&chaos);
            let over = chaos.stages.values().filter(|stage| stage.until <= now);
            let believable: Vec<_> = over.flat_map(|stage| stage.believable.iter().cloned()).collect();
            chaos.stages.retain(|_, stage| stage.until > now);
            chaos.paths.retain(|_, path| path.until > now);
            chaos.disturbances.retain(|_, disturbed| disturbed.until > now);
            chaos.forged.retain(|_, record| record.not_after > now);
            chaos.shown.retain(|task, _| registry.tasks.get(task.as_str()).is_some());
            let ended = count(&chaos) != before;
            let stages = chaos.stages.values().map(|stage| stage.until);
            let paths = chaos.paths.values().map(|path| path.until);
            let disturbances = chaos.disturbances.values().map(|disturbed| disturbed.until);
            (ended, believable, stages.chain(paths).chain(disturbances).min())
        };
        self.outlaw(&believable);
        if ended {
            self.publish(&Reach::Everybody);
        }
        next
    }
}

impl Chaos {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Whether a resource of that name is of the cluster: a deployment's shift divides one into two.
pub(crate) fn is_of_cluster(name: &str, cluster: &str) -> bool {
    let rest = name.strip_prefix(cluster);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// The endpoint's own address; `None` for one that is given by name.
pub(crate) fn address_of(endpoint: &v1::Endpoint) -> Option<SocketAddr> {
    let port = u16::try_from(endpoint.port).ok()?;
    Some(SocketAddr::new(endpoint.address.parse().ok()?, port))
}

/// Why certificates of a fault are not refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeForFaultError {
    #[error("{REVOCATIONS_MAX} certificates are revoked, and there may be no more")]
    TooMany,
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// As many forged certificates as may be, are.
#[derive(Debug)]
pub(crate) struct TooManyForged;

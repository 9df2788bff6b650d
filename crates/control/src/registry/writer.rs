//! The single writer of the registry.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bowline_aws::protocol::{Violation, from_json};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::watch;

use super::{Registry, Table};
use crate::store::{Change, CommitError, Store, StoreError, Transaction};

/// Version of the rows' JSON; a store with another one is refused.
const FORMAT: u32 = 1;

/// Why a row could not be read or written.
#[derive(Debug, Error)]
pub enum RowError {
    /// It is no JSON, or cannot become JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has not the members that this version reads.
    #[error("{}", .0.message())]
    Shape(#[from] Violation),
}

/// Why the registry could not be read or changed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A change could not be written.
    #[error("the change could not be written to the store")]
    Commit(#[from] CommitError),
    /// A row of the store is not as this version writes it.
    #[error("the row {key} of the store cannot be read: it was written by another version, or is damaged")]
    Row {
        /// The row's key.
        key: String,
        /// What is wrong.
        source: RowError,
    },
    /// The store was written by another version.
    #[error("the store has format {found}, this version reads format {FORMAT}")]
    Format {
        /// The format found.
        found: u32,
    },
}

/// Reads are lock-free snapshots; changes are made one at a time.
pub struct RegistryWriter {
    store: Arc<dyn Store>,
    current: ArcSwap<Registry>,
    writing: Mutex<()>,
    generation: watch::Sender<u64>,
}

/// Applies a macro to every table with the prefix of its keys in the store.
macro_rules! for_each_table {
    ($apply:ident) => {
        $apply!(settings, "settings");
        $apply!(clusters, "clusters");
        $apply!(capacity_providers, "capacity-providers");
        $apply!(container_instances, "container-instances");
        $apply!(namespaces, "namespaces");
        $apply!(discovery_services, "discovery-services");
        $apply!(instances, "instances");
        $apply!(cloud_map_operations, "cloud-map-operations");
        $apply!(task_definitions, "task-definitions");
        $apply!(task_definition_records, "task-definition-records");
        $apply!(services, "services");
        $apply!(service_records, "service-records");
        $apply!(load_balancers, "load-balancers");
        $apply!(target_groups, "target-groups");
        $apply!(listeners, "listeners");
        $apply!(rules, "rules");
        $apply!(authorization_policies, "authorization-policies");
        $apply!(traffic_policies, "traffic-policies");
        $apply!(subnets, "subnets");
        $apply!(authorities, "authorities");
        $apply!(tasks, "tasks");
        $apply!(stopped_tasks, "stopped-tasks");
        $apply!(certificates, "certificates");
        $apply!(acm_certificates, "acm-certificates");
        $apply!(private_certificates, "private-certificates");
        $apply!(revocations, "revocations");
        $apply!(bars, "certificate-bars");
        $apply!(crls, "crls");
        $apply!(stacks, "stacks");
        $apply!(deleted_stacks, "deleted-stacks");
        $apply!(change_sets, "change-sets");
        $apply!(iam_users, "iam-users");
        $apply!(iam_roles, "iam-roles");
        $apply!(iam_policies, "iam-policies");
        $apply!(iam_instance_profiles, "iam-instance-profiles");
        $apply!(access_keys, "access-keys");
        $apply!(secrets, "secrets");
        $apply!(secret_values, "secret-values");
        $apply!(kms_keys, "kms-keys");
        $apply!(kms_aliases, "kms-aliases");
        $apply!(experiment_templates, "experiment-templates");
        $apply!(experiments, "experiments");
        $apply!(safety_levers, "safety-levers");
        $apply!(sampling_rules, "sampling-rules");
        $apply!(alarms, "alarms");
        $apply!(alarm_histories, "alarm-histories");
        $apply!(log_groups, "log-groups");
        $apply!(metric_filters, "metric-filters");
        $apply!(scalable_targets, "scalable-targets");
        $apply!(scaling_policies, "scaling-policies");
        $apply!(scheduled_actions, "scheduled-actions");
        $apply!(scaling_activities, "scaling-activities");
    };
}

impl RegistryWriter {
    /// Reads everything from the store.
    ///
    /// # Errors
    /// The store fails, or holds what this version cannot read.
    pub fn load(store: Arc<dyn Store>) -> Result<Self, RegistryError> {
        match store.get("format")? {
            Some(entry) => {
                let found = read_row("format", &entry.value)?;
                if found != FORMAT {
                    return Err(RegistryError::Format { found });
                }
            }
            None => {
                let value = write_row(&FORMAT)?;
                let changes = vec![Change::Put { key: "format".into(), value }];
                store.commit(Transaction { conditions: Vec::new(), changes })?;
            }
        }
        let mut registry = Registry { generation: 1, ..Registry::default() };
        macro_rules! load_table {
            ($table:ident, $prefix:literal) => {
                registry.$table = load_table(&*store, $prefix)?;
            };
        }
        for_each_table!(load_table);
        let (generation, _) = watch::channel(registry.generation);
        Ok(Self { store, current: ArcSwap::from_pointee(registry), writing: Mutex::new(()), generation })
    }

    /// The present snapshot.
    pub fn snapshot(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Changes with every change.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Makes a change on a copy, writes it, and then makes it visible. An error
    /// of `change` leaves everything as it was. Blocks for the store's write.
    ///
    /// # Errors
    /// What `change` returns, or the store's.
    pub fn change<R, E: From<RegistryError>>(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<R, E>,
    ) -> Result<R, E> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut after = Registry::clone(&before);
        let result = change(&mut after)?;
        self.follow(&before, after)?;
        Ok(result)
    }

    /// Writes what has changed and makes it visible; the caller holds the lock.
    fn follow(&self, before: &Registry, mut after: Registry) -> Result<(), RegistryError> {
        let (changes, visible) = changes(before, &after)?;
        if !visible {
            return Ok(());
        }
        if !changes.is_empty() {
            self.store.commit(Transaction { conditions: Vec::new(), changes })?;
        }
        after.generation = before.generation + 1;
        let generation = after.generation;
        self.current.store(Arc::new(after));
        self.generation.send_replace(generation);
        Ok(())
    }
}

impl std::fmt::Debug for RegistryWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryWriter")
            .field("generation", &self.snapshot().generation)
            .finish_non_exhaustive()
    }
}

/// What must be written, and whether anything changed at all (a report changes
/// a task without changing what is kept of it).
fn changes(before: &Registry, after: &Registry) -> Result<(Vec<Change>, bool), RegistryError> {
    let mut changes = Vec::new();
    let mut visible = false;
    macro_rules! compare {
        ($table:ident, $prefix:literal) => {
            visible |= compare_table(&before.$table, &after.$table, $prefix, &mut changes)?;
        };
    }
    for_each_table!(compare);
    Ok((changes, visible))
}

fn compare_table<T: Serialize>(
    before: &Table<T>,
    after: &Table<T>,
    prefix: &str,
    changes: &mut Vec<Change>,
) -> Result<bool, RegistryError> {
    let (put, removed) = after.changes_since(before);
    let visible = !put.is_empty() || !removed.is_empty();
    for (key, row) in put {
        let value = write_row(row)?;
        let kept = match before.get(key) {
            Some(present) => write_row(&**present)? == value,
            None => false,
        };
        if !kept {
            changes.push(Change::Put { key: format!("{prefix}/{key}"), value });
        }
    }
    changes.extend(removed.into_iter().map(|key| Change::Delete { key: format!("{prefix}/{key}") }));
    Ok(visible)
}

fn load_table<T: DeserializeOwned + PartialEq>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Table<T>, RegistryError> {
    let mut table = Table::default();
    let prefix = format!("{prefix}/");
    for entry in store.list(&prefix)?.entries {
        let row = read_row(&entry.key, &entry.value)?;
        table.put(entry.key[prefix.len()..].to_owned(), row);
    }
    Ok(table)
}

fn write_row<T: Serialize + ?Sized>(row: &T) -> Result<Vec<u8>, RegistryError> {
    serde_json::to_vec(row)
        .map_err(|source| RegistryError::Row { key: "being written".into(), source: source.into() })
}

fn read_row<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RegistryError> {
    let read = || Ok(from_json(serde_json::from_slice(value)?)?);
    read().map_err(|source: RowError| RegistryError::Row { key: key.to_owned(), source })
}

#[cfg(test)]
mod tests;

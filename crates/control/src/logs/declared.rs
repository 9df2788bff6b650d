//! Groups and metric filters of templates: rows of the registry, which the store is made to agree with.
//!
//! The store is no part of the registry's transactions, for events come too often. What templates declare is: it is
//! taken up right after it changed, and again when Bowline starts.

use std::collections::BTreeMap;

use bowline_observe::logs::{DeclaredGroup, GroupSettings, MetricFilter};
use serde::{Deserialize, Serialize};

use crate::{
    core::Core,
    registry::{Registry, Table},
};

/// A group that a template declares, by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogGroupRecord {
    /// What it declares.
    pub settings: GroupSettings,
}

/// A metric filter that a template declares, by its group's name and its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricFilterRecord {
    /// Its group.
    pub group: String,
    /// What it declares.
    pub filter: MetricFilter,
}

/// The rows that the store was made to agree with.
pub(crate) type DeclaredLogs = (Table<LogGroupRecord>, Table<MetricFilterRecord>);

/// What all templates declare, by the group's name.
fn declared(registry: &Registry) -> BTreeMap<String, DeclaredGroup> {
    let mut all: BTreeMap<String, DeclaredGroup> = BTreeMap::new();
    for (name, record) in registry.log_groups.iter() {
        all.entry(name.to_owned()).or_default().settings = Some(record.settings.clone());
    }
    for record in registry.metric_filters.values() {
        all.entry(record.group.clone()).or_default().metric_filters.push(record.filter.clone());
    }
    all
}

impl Core {
    /// Makes the store's groups and metric filters what templates declare. Waits for the disk.
    pub(crate) fn declare_logs(&self) {
        let registry = self.registry();
        let tables = (registry.log_groups.clone(), registry.metric_filters.clone());
        let mut seen = self.declared_logs().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_same = seen
            .as_ref()
            .is_some_and(|(groups, filters)| groups.is_same(&tables.0) && filters.is_same(&tables.1));
        if is_same {
            return;
        }
        match self.logs().declare(&declared(&registry)) {
            Ok(()) => *seen = Some(tables),
            Err(error) => tracing::error!(%error, "a log group of a template could not be made"),
        }
    }
}

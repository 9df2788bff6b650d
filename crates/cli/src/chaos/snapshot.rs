//! What a mesh is at one moment, to be compared with another: nothing of an experiment may be left.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bowline_chaos::system::{System, SystemError};
use bowline_plumbing::text::printable;
use serde::Serialize;
use serde_json::Value;

use super::{
    configuration::Fingerprints,
    kernel::{self, KernelState},
    system::LiveSystem,
};
use crate::local_api::{Request, Response};

/// One moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    /// What is configured.
    configuration: Fingerprints,
    /// Of each service: tasks wanted, and tasks that are healthy.
    tasks: BTreeMap<String, (u32, usize)>,
    /// Of each service: identities in the certificates that its tasks show.
    identities: BTreeMap<String, BTreeSet<String>>,
    /// What the kernel holds.
    kernel: KernelState,
    /// Faults in force.
    faults: usize,
}

impl Snapshot {
    /// Takes one.
    pub(crate) async fn take(system: &LiveSystem, state_dir: &Path) -> Result<Self, SystemError> {
        let Response::Configuration(configuration) = system.ask(&Request::Configuration).await? else {
            return Err(SystemError::new("Bowline gave another answer than was asked for"));
        };
        let topology = system.topology().await?;
        let mesh = system.mesh().await?;
        let tasks = mesh.services.iter().map(|it| (it.name.clone(), (it.desired, it.healthy().count())));
        let identities = topology.services.iter().map(|service| {
            let certificates = service.tasks.iter().filter_map(|task| task.certificate.as_ref());
            (service.name.clone(), certificates.map(|it| it.identity.clone()).collect())
        });
        let own = state_dir.to_owned();
        let kernel = tokio::task::spawn_blocking(move || kernel::look(&own)).await;
        Ok(Self {
            configuration,
            tasks: tasks.collect(),
            identities: identities.collect(),
            kernel: kernel.map_err(|error| SystemError::new(error.to_string()))?,
            faults: system.faults().await?.len(),
        })
    }

    /// What is not as it was before; a line each.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let value = |snapshot: &Self| serde_json::to_value(snapshot).unwrap_or_default();
        let mut lines = Vec::new();
        compare("", &value(before), &value(self), &mut lines);
        let count = |state: &KernelState, name: &str| state.processes.get(name).copied().unwrap_or_default();
        for (name, pids) in &self.kernel.pids {
            if count(&self.kernel, name) > count(&before.kernel, name) {
                let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
                lines.push(format!("  {} now: process {}", printable(name), pids.join(", ")));
            }
        }
        lines
    }

    /// Whether every service has as many healthy tasks as it wants, and no fault is in force.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.faults == 0 && self.tasks.values().all(|(wanted, healthy)| *wanted as usize == *healthy)
    }

    /// What could not be looked at.
    pub(crate) fn gaps(&self) -> Vec<&'static str> {
        let filters = self.kernel.filters.is_none().then_some("packet filters (needs nft and nsenter)");
        let disciplines =
            self.kernel.disciplines.is_none().then_some("queueing disciplines (needs tc and nsenter)");
        filters.into_iter().chain(disciplines).collect()
    }
}

fn compare(path: &str, before: &Value, now: &Value, lines: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}: {name}") };
                let of =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&path, &of(before), &of(now), lines);
            }
        }
        (before, now) if before != now => {
            let path = printable(path);
            lines.push(format!("{path}: {} before, {} now", shown(before), shown(now)));
        }
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_a_line() {
        let before = Snapshot {
            configuration: Fingerprints::from([("services/a desired".to_owned(), "01".to_owned())]),
            tasks: BTreeMap::from([("a".to_owned(), (2, 2))]),
            identities: BTreeMap::new(),
            kernel: KernelState::default(),
            faults: 0,
        };
        let mut now = before.clone();
        assert_eq!(now.differences(&before), [""; 0]);
        assert!(now.is_at_rest());
        now.tasks.insert("a".to_owned(), (2, 1));
        now.kernel.processes.insert("bowline relay".to_owned(), 1);
        now.kernel.pids.insert("bowline relay".to_owned(), vec![4711]);
        let expected = [
            "kernel: processes: bowline relay: none before, 1 now",
            "tasks: a: [2,2] before, [2,1] now",
            "  bowline relay now: process 4711",
        ];
        assert_eq!(now.differences(&before), expected);
        assert!(!now.is_at_rest());
    }
}

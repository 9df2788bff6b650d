//! What is configured, as fingerprints: whether two moments are the same, without telling what is secret in them.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use bowline_control::registry::{Registry, Table};
use serde::Serialize;
use serde_json::Value;

/// Fingerprints of a row's fields, by `table/key field`.
pub(crate) type Fingerprints = BTreeMap<String, String>;

/// Endings of the names of fields that tell a time, and names of others that change though nothing is changed.
const PASSING: &[&str] = &["_at", "At", "time", "Time", "generation", "last_used", "lastUsed"];

/// Everything that was asked for: what tasks, certificates and telemetry follow from, but not those themselves.
pub(crate) fn fingerprints(registry: &Registry) -> Fingerprints {
    let mut all = Fingerprints::new();
    add(&mut all, "clusters", &registry.clusters);
    add(&mut all, "capacity providers", &registry.capacity_providers);
    add(&mut all, "namespaces", &registry.namespaces);
    add(&mut all, "discovery services", &registry.discovery_services);
    add(&mut all, "instances", &registry.instances);
    add(&mut all, "task definitions", &registry.task_definitions);
    add(&mut all, "services", &registry.services);
    add(&mut all, "load balancers", &registry.load_balancers);
    add(&mut all, "target groups", &registry.target_groups);
    add(&mut all, "listeners", &registry.listeners);
    add(&mut all, "rules", &registry.rules);
    add(&mut all, "authorization policies", &registry.authorization_policies);
    add(&mut all, "traffic policies", &registry.traffic_policies);
    add(&mut all, "subnets", &registry.subnets);
    add(&mut all, "authorities", &registry.authorities);
    add(&mut all, "imported certificates", &registry.acm_certificates);
    add(&mut all, "bars", &registry.bars);
    add(&mut all, "stacks", &registry.stacks);
    add(&mut all, "users", &registry.iam_users);
    add(&mut all, "roles", &registry.iam_roles);
    add(&mut all, "policies", &registry.iam_policies);
    add(&mut all, "access keys", &registry.access_keys);
    add(&mut all, "secrets", &registry.secrets);
    add(&mut all, "keys", &registry.kms_keys);
    all
}

fn add<T: Serialize>(all: &mut Fingerprints, table: &str, rows: &Table<T>) {
    for (key, row) in rows.iter() {
        // What cannot be written has not changed as far as anybody can tell.
        let mut row = serde_json::to_value(&**row).unwrap_or_default();
        without_passing(&mut row);
        match row {
            Value::Object(fields) => {
                for (field, value) in fields {
                    all.insert(format!("{table}/{key} {field}"), fingerprint(&value));
                }
            }
            other => drop(all.insert(format!("{table}/{key}"), fingerprint(&other))),
        }
    }
}

fn without_passing(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !PASSING.iter().any(|ending| name.ends_with(ending)));
            fields.values_mut().for_each(without_passing);
        }
        Value::Array(values) => values.iter_mut().for_each(without_passing),
        _ => {}
    }
}

fn fingerprint(value: &Value) -> String {
    let hash = digest(&SHA256, value.to_string().as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_do_not_count_and_all_else_does() {
        let row = |at: u64, desired: u64| json!({"desired": desired, "created_at": at, "deep": [{"updatedAt": at, "x": 1}]});
        let stripped = |mut value: Value| {
            without_passing(&mut value);
            fingerprint(&value)
        };
        assert_eq!(stripped(row(1, 2)), stripped(row(9, 2)));
        assert_ne!(stripped(row(1, 2)), stripped(row(1, 3)));
    }
}

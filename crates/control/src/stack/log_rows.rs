//! Log groups and metric filters of a template.

use std::collections::BTreeMap;

use bowline_aws::{
    cfn::{ResourceBody, StackResource},
    logs::{MetricTransformation, PutMetricFilterRequest},
};
use bowline_observe::logs::{GroupClass, GroupSettings};
use serde_json::Value;

use super::Applying;
use crate::{
    api::logs::metric_filters::filter_of,
    logs::{LogGroupRecord, MetricFilterRecord},
    registry::Registry,
};

const GROUP: &str = "AWS::Logs::LogGroup";
const METRIC_FILTER: &str = "AWS::Logs::MetricFilter";

const GROUPS: &str = "log-groups";
const METRIC_FILTERS: &str = "metric-filters";

/// Removes what a stack made. Whether the table is one of these.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str) -> bool {
    match table {
        GROUPS => registry.log_groups.remove(key),
        METRIC_FILTERS => registry.metric_filters.remove(key),
        _ => return false,
    }
    true
}

fn text(body: &Value, property: &str) -> Option<String> {
    match body.get(property)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// `[{Key: …, Value: …}]`
fn pairs(body: &Value, property: &str) -> BTreeMap<String, String> {
    let pairs = body.get(property).and_then(Value::as_array).into_iter().flatten();
    pairs.filter_map(|pair| Some((text(pair, "Key")?, text(pair, "Value").unwrap_or_default()))).collect()
}

impl Applying<'_> {
    /// Takes up groups, then the metric filters that may name them.
    pub(super) fn all_logs(&mut self, registry: &mut Registry) {
        let stack = self.stack;
        for kind in [GROUP, METRIC_FILTER] {
            for resource in stack.resources.iter().filter(|resource| resource.resource_type == kind) {
                let ResourceBody::Record(body) = &resource.body else { continue };
                match kind {
                    GROUP => self.log_group(registry, resource, body),
                    _ => self.metric_filter(registry, resource, body),
                }
            }
        }
    }

    fn log_group(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let name = &resource.physical_id;
        let present = registry.log_groups.get(name).is_some();
        if !self.is_free(registry, resource, (GROUPS, name), present) {
            return;
        }
        let settings = GroupSettings {
            retention_days: text(body, "RetentionInDays").and_then(|days| days.parse().ok()),
            tags: pairs(body, "Tags"),
            kms_key_id: text(body, "KmsKeyId"),
            class: match text(body, "LogGroupClass").as_deref() {
                Some("INFREQUENT_ACCESS") => GroupClass::InfrequentAccess,
                Some("DELIVERY") => GroupClass::Delivery,
                _ => GroupClass::Standard,
            },
            deletion_protected: text(body, "DeletionProtectionEnabled").as_deref() == Some("true"),
            declared: true,
            declaration: Some(format!("{}\n{body}", self.stack.id)),
        };
        registry.log_groups.put(name.as_str(), LogGroupRecord { settings });
        self.made(GROUPS, name);
    }

    fn metric_filter(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let group = text(body, "LogGroupName").unwrap_or_default();
        let name = text(body, "FilterName").unwrap_or_else(|| resource.physical_id.clone());
        let key = format!("{group}\n{name}");
        let present = registry.metric_filters.get(&key).is_some();
        if !self.is_free(registry, resource, (METRIC_FILTERS, &key), present) {
            return;
        }
        let transformation = |given: &Value| MetricTransformation {
            metric_name: text(given, "MetricName").unwrap_or_default(),
            metric_namespace: text(given, "MetricNamespace").unwrap_or_default(),
            metric_value: text(given, "MetricValue").unwrap_or_default(),
            default_value: text(given, "DefaultValue").and_then(|value| value.parse().ok()),
            dimensions: pairs(given, "Dimensions"),
            unit: text(given, "Unit"),
        };
        let given = body.get("MetricTransformations").and_then(Value::as_array).into_iter().flatten();
        let request = PutMetricFilterRequest {
            log_group_name: group.clone(),
            filter_name: name,
            filter_pattern: text(body, "FilterPattern").unwrap_or_default(),
            metric_transformations: given.map(transformation).collect(),
        };
        let mut filter = match filter_of(request, self.now) {
            Ok(filter) => filter,
            Err(fault) => return self.fault(resource, fault.message),
        };
        filter.declared = true;
        // The same again is not another one.
        if let Some(present) = registry.metric_filters.get(&key) {
            filter.created_at = present.filter.created_at;
        }
        registry.metric_filters.put(key.as_str(), MetricFilterRecord { group, filter });
        self.made(METRIC_FILTERS, &key);
    }
}

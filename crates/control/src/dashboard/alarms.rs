//! Alarms as pages have them.

use std::collections::{BTreeSet, HashMap};

use bowline_model::{
    alarm::{Alarm, AlarmSource, AlarmState, Comparison, MetricStat, QuerySource},
    metric::MetricId,
};
use serde_json::{Value, json};

use super::parties::{Kind, Party};
use crate::registry::Registry;

/// An alarm with what it is in and why.
pub(super) fn told(registry: &Registry, alarm: &Alarm) -> Value {
    json!({
        "name": alarm.name,
        "arn": alarm.arn.as_str(),
        "description": alarm.description,
        "state": alarm.state.state.as_str(),
        "reason": alarm.state.reason,
        "since": alarm.state.transitioned_at.as_millis(),
        "updatedAt": alarm.state.updated_at.as_millis(),
        "actionsEnabled": alarm.actions_enabled,
        "actions": alarm.actions.alarm.len() + alarm.actions.ok.len() + alarm.actions.insufficient_data.len(),
        "rule": rule(alarm),
        "of": subjects(registry, alarm),
    })
}

/// What happened to an alarm, the latest first; `None` where nothing ever did.
pub(super) fn history(registry: &Registry, name: &str) -> Option<Vec<Value>> {
    let history = registry.alarm_histories.get(name)?;
    let item = |item: &bowline_model::alarm::HistoryItem| json!({"at": item.at.as_millis(), "summary": item.summary, "kind": format!("{:?}", item.kind)});
    Some(history.items.iter().rev().map(item).collect())
}

/// How many alarms of each thing are in `ALARM`.
pub(super) fn firing(registry: &Registry) -> HashMap<String, usize> {
    let mut firing = HashMap::new();
    for alarm in registry.alarms.values().filter(|alarm| alarm.state.state == AlarmState::Alarm) {
        for subject in subjects(registry, alarm) {
            *firing.entry(subject).or_default() += 1;
        }
    }
    firing
}

fn stats(alarm: &Alarm) -> Vec<&MetricStat> {
    match &alarm.source {
        AlarmSource::Metric(stat) => vec![stat],
        AlarmSource::Queries(queries) => {
            let stats = queries.iter().filter_map(|query| match &query.source {
                QuerySource::Stat(stat) => Some(stat),
                QuerySource::Expression { .. } => None,
            });
            stats.collect()
        }
    }
}

/// Ids of what the alarm's metrics are of.
fn subjects(registry: &Registry, alarm: &Alarm) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for stat in stats(alarm) {
        all.extend(subject(registry, &stat.metric).map(|party| party.id()));
    }
    all
}

fn subject(registry: &Registry, metric: &MetricId) -> Option<Party> {
    let dimension = |name: &str| metric.dimensions.get(name).map(String::as_str);
    if let Some(balancer) = dimension("LoadBalancer") {
        return Some(Party::new(Kind::LoadBalancer, "", balancer.split('/').nth(1)?));
    }
    let cluster = dimension("ClusterName");
    let offers = |service: &bowline_model::service::Service, name: &str| {
        service.connect.iter().flat_map(|connect| &connect.services).any(|offer| offer.discovery_name == name)
    };
    let found = registry.services.values().find(|service| {
        cluster.is_none_or(|cluster| service.cluster == cluster)
            && match (dimension("ServiceName"), dimension("DiscoveryName")) {
                (Some(name), _) => service.name == name,
                (None, Some(name)) => offers(service, name),
                (None, None) => false,
            }
    })?;
    Some(Party::new(Kind::Service, &found.cluster, &found.name))
}

/// `p99 ServiceConnectTargetResponseTime > 250 for 2 of 3 × 60 s`.
fn rule(alarm: &Alarm) -> String {
    let what = match &alarm.source {
        AlarmSource::Metric(stat) => format!("{} {}", stat.statistic, stat.metric.name),
        AlarmSource::Queries(queries) => {
            let returned = queries.iter().find(|query| query.return_data);
            match returned.map(|query| &query.source) {
                Some(QuerySource::Expression { text, .. }) => text.clone(),
                Some(QuerySource::Stat(stat)) => format!("{} {}", stat.statistic, stat.metric.name),
                None => "?".to_owned(),
            }
        }
    };
    let rule = &alarm.rule;
    let compared = match rule.comparison {
        Comparison::GreaterThanOrEqualToThreshold => "≥",
        Comparison::GreaterThanThreshold => ">",
        Comparison::LessThanThreshold => "<",
        Comparison::LessThanOrEqualToThreshold => "≤",
    };
    let (needed, of) = (rule.needed(), rule.evaluation_periods);
    let seconds = alarm.source.period().as_secs();
    format!("{what} {compared} {} for {needed} of {of} × {seconds} s", rule.threshold)
}

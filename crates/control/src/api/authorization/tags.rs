//! The tags of a resource, for `aws:ResourceTag/KEY` and the key of the same sense that some services
//! have of their own.

use std::collections::BTreeMap;

use bowline_aws::ecs::Tag as EcsTag;

use crate::registry::Registry;

/// Services with a condition key `SERVICE:ResourceTag/KEY` beside AWS's global one.
const WITH_OWN_KEY: &[&str] = &["ecs", "iam"];

/// The condition keys that the tags of a resource give, by its ARN; none of one that is not there.
pub(super) fn keys(registry: &Registry, arn: &str) -> Vec<(String, Vec<String>)> {
    let mut parts = arn.splitn(6, ':');
    let (Some("arn"), Some(service), Some(resource)) = (parts.next(), parts.nth(1), parts.nth(2)) else {
        return Vec::new();
    };
    let tags = match service {
        "ecs" => ecs(registry, arn, resource),
        "servicediscovery" => cloud_map(registry, arn, resource),
        "acm" => registry.acm_certificates.get(arn).map(|row| row.tags.clone()),
        "acm-pca" => registry.authorities.get(arn).and_then(|row| Some(row.private.as_ref()?.tags.clone())),
        "iam" => iam(registry, arn, resource),
        "fis" => fis(registry, resource),
        "xray" => resource
            .strip_prefix("sampling-rule/")
            .and_then(|name| registry.sampling_rules.get(name).map(|row| row.tags.clone())),
        "cloudwatch" => resource
            .strip_prefix("alarm:")
            .and_then(|name| registry.alarms.get(name).map(|alarm| alarm.tags.clone())),
        "application-autoscaling" => registry
            .scalable_targets
            .values()
            .find(|target| target.arn.as_str() == arn)
            .map(|target| target.tags.clone()),
        _ => None,
    };
    let prefixes = ["aws"].into_iter().chain(WITH_OWN_KEY.iter().copied().filter(|own| *own == service));
    let tags = tags.unwrap_or_default();
    prefixes
        .flat_map(|prefix| {
            tags.iter().map(move |(key, value)| (format!("{prefix}:ResourceTag/{key}"), vec![value.clone()]))
        })
        .collect()
}

type Tags = BTreeMap<String, String>;

fn ecs(registry: &Registry, arn: &str, resource: &str) -> Option<Tags> {
    let (kind, name) = resource.split_once('/')?;
    let id = name.rsplit('/').next().unwrap_or_default();
    let of = |tags: &[EcsTag]| {
        let pairs =
            tags.iter().filter_map(|tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default())));
        pairs.collect()
    };
    match kind {
        "cluster" => registry.clusters.get(name).map(|row| of(&row.request.tags)),
        "service" => registry.service_records.get(arn).map(|row| of(&row.request.tags)),
        "task-definition" => registry.task_definition_records.get(arn).map(|row| of(&row.request.tags)),
        "task" => registry.known_task(id).map(|task| of(&task.tags)),
        _ => None,
    }
}

fn cloud_map(registry: &Registry, arn: &str, resource: &str) -> Option<Tags> {
    let (kind, id) = resource.split_once('/')?;
    let tags = match kind {
        "namespace" => &registry.namespaces.values().find(|row| row.arn.as_str() == arn)?.tags,
        "service" => &registry.discovery_services.get(id)?.tags,
        _ => return None,
    };
    Some(tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect())
}

fn fis(registry: &Registry, resource: &str) -> Option<Tags> {
    let (kind, id) = resource.split_once('/')?;
    match kind {
        "experiment-template" => registry.experiment_templates.get(id).map(|row| row.tags.clone()),
        "experiment" => registry.experiments.get(id).map(|row| row.tags.clone()),
        _ => None,
    }
}

fn iam(registry: &Registry, arn: &str, resource: &str) -> Option<Tags> {
    let (kind, path) = resource.split_once('/')?;
    // A path may stand before the name.
    let name = path.rsplit('/').next().unwrap_or_default();
    match kind {
        "user" => registry.iam_users.get(name).map(|row| row.tags.clone()),
        "role" => registry.iam_roles.get(name).map(|row| row.tags.clone()),
        "policy" => registry.iam_policies.get(arn).map(|row| row.tags.clone()),
        "instance-profile" => registry.iam_instance_profiles.get(name).map(|row| row.tags.clone()),
        _ => None,
    }
}

//! Tags.

use bowline_aws::{
    ecs::{
        Tag,
        api::{
            ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest, UntagResourceRequest,
        },
    },
    protocol::Fault,
};
use serde::Serialize;

use super::{cluster_not_found, invalid};
use crate::{
    api::{call::Call, constraint},
    ecs::encryption,
    registry::Registry,
};

/// Most tags of a resource.
const TAGS_MAX: usize = 50;

/// Longest value of the tag that only Bowline reads.
const OWN_TAG_MAX: usize = 2_048;

/// A response without members.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// Refuses tags that AWS would.
pub(super) fn check(tags: &[Tag]) -> Result<(), Fault> {
    constraint::items("tags", tags.len(), 0..=TAGS_MAX).map_err(invalid)?;
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        constraint::length("tags.key", key, 1..=128).map_err(invalid)?;
        // Two ARNs are longer than AWS's limit.
        let longest = if key == encryption::TAG { OWN_TAG_MAX } else { 256 };
        constraint::length("tags.value", tag.value.as_deref().unwrap_or_default(), 0..=longest)
            .map_err(invalid)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(format!("the tag key {key:?} begins with aws:, which AWS keeps for itself")));
        }
        if tags.iter().filter(|other| other.key == tag.key).count() > 1 {
            return Err(invalid(format!("Duplicate tag keys found: {key}")));
        }
    }
    Ok(())
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Nothing, Fault> {
    check(&request.tags)?;
    change(call, &request.resource_arn, |tags| {
        for new in request.tags {
            match tags.iter_mut().find(|tag| tag.key == new.key) {
                Some(present) => present.value = new.value,
                None => tags.push(new),
            }
        }
    })
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Nothing, Fault> {
    change(call, &request.resource_arn, |tags| {
        tags.retain(|tag| !request.tag_keys.iter().any(|key| tag.key.as_deref() == Some(key)));
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    match find(&call.registry(), &request.resource_arn) {
        Ok((_, tags)) => Ok(ListTagsForResourceResponse { tags }),
        // Its model has no code of its own for this.
        Err(fault) if fault.code == "ResourceNotFoundException" => Err(invalid(fault.message)),
        Err(fault) => Err(fault),
    }
}

/// A resource that has tags.
enum Tagged {
    CapacityProvider(String),
    ContainerInstance(String),
    Cluster(String),
    Service(String),
    TaskDefinition(String),
    Task(String),
    StoppedTask(String),
}

fn find(registry: &Registry, arn: &str) -> Result<(Tagged, Vec<Tag>), Fault> {
    if let Some(row) = registry.clusters.values().find(|row| row.arn.as_str() == arn) {
        return Ok((Tagged::Cluster(row.name.clone()), row.request.tags.clone()));
    }
    if let Some(record) = registry.service_records.get(arn) {
        return Ok((Tagged::Service(arn.to_owned()), record.request.tags.clone()));
    }
    if let Some(record) = registry.task_definition_records.get(arn) {
        return Ok((Tagged::TaskDefinition(arn.to_owned()), record.request.tags.clone()));
    }
    if let Some(row) = registry.capacity_providers.values().find(|row| row.arn.as_str() == arn) {
        return Ok((Tagged::CapacityProvider(row.name.clone()), row.tags.clone()));
    }
    if let Some(row) = registry.container_instances.values().find(|row| row.arn.as_str() == arn) {
        return Ok((Tagged::ContainerInstance(row.cluster.clone()), row.tags.clone()));
    }
    let id = arn.rsplit('/').next().unwrap_or_default();
    if let Some(task) = registry.tasks.get(id).filter(|task| task.arn.as_str() == arn) {
        return Ok((Tagged::Task(id.to_owned()), task.tags.clone()));
    }
    if let Some(stopped) = registry.stopped_tasks.get(id).filter(|stopped| stopped.task.arn.as_str() == arn) {
        return Ok((Tagged::StoppedTask(id.to_owned()), stopped.task.tags.clone()));
    }
    Err(not_found(arn))
}

fn change(call: &Call<'_>, arn: &str, change: impl FnOnce(&mut Vec<Tag>)) -> Result<Nothing, Fault> {
    call.change(|registry| {
        let (resource, mut tags) = find(registry, arn)?;
        change(&mut tags);
        if tags.len() > TAGS_MAX {
            return Err(Fault::new(
                "LimitExceededException",
                format!("A resource can have at most {TAGS_MAX} tags."),
            ));
        }
        match resource {
            Tagged::CapacityProvider(name) => {
                registry.capacity_providers.update(&name, |row| row.tags = tags);
            }
            Tagged::ContainerInstance(cluster) => {
                registry.container_instances.update(&cluster, |row| row.tags = tags);
            }
            Tagged::Cluster(name) => registry.clusters.update(&name, |row| row.request.tags = tags),
            Tagged::Service(arn) => registry.service_records.update(&arn, |row| row.request.tags = tags),
            Tagged::TaskDefinition(arn) => {
                registry.task_definition_records.update(&arn, |row| row.request.tags = tags);
            }
            Tagged::Task(id) => registry.tasks.update(&id, |row| row.tags = tags),
            Tagged::StoppedTask(id) => registry.stopped_tasks.update(&id, |row| row.task.tags = tags),
        }
        Ok(Nothing {})
    })
}

/// `own`, and those of `others` whose keys it does not have.
pub(super) fn merged(own: &[Tag], others: &[Tag]) -> Vec<Tag> {
    let more = others.iter().filter(|other| own.iter().all(|tag| tag.key != other.key));
    own.iter().chain(more).take(TAGS_MAX).cloned().collect()
}

fn not_found(arn: &str) -> Fault {
    let mut parts = arn.splitn(6, ':');
    match (parts.next(), parts.nth(1), parts.nth(2)) {
        (Some("arn"), Some("ecs"), Some(resource)) if resource.starts_with("cluster/") => cluster_not_found(),
        (Some("arn"), Some("ecs"), Some(_)) => {
            Fault::new("ResourceNotFoundException", "The specified resource wasn't found.")
        }
        _ => invalid("Invalid ARN: an ARN of an ECS resource is needed."),
    }
}

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

use super::invalid;
use crate::{
    api::{call::Call, constraint},
    registry::Registry,
};

/// Most tags of a resource.
const TAGS_MAX: usize = 50;

/// A response without members.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// Refuses tags that AWS would.
pub(super) fn check(tags: &[Tag]) -> Result<(), Fault> {
    constraint::items("tags", tags.len(), 0..=TAGS_MAX).map_err(invalid)?;
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        constraint::length("tags.key", key, 1..=128).map_err(invalid)?;
        constraint::length("tags.value", tag.value.as_deref().unwrap_or_default(), 0..=256)
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
    Ok(ListTagsForResourceResponse { tags: tags_of(&call.registry(), &request.resource_arn)? })
}

fn tags_of(registry: &Registry, arn: &str) -> Result<Vec<Tag>, Fault> {
    let cluster =
        || registry.clusters.values().find(|row| row.arn.as_str() == arn).map(|row| row.request.tags.clone());
    let service = || registry.service_records.get(arn).map(|record| record.request.tags.clone());
    let definition = || registry.task_definition_records.get(arn).map(|record| record.request.tags.clone());
    cluster().or_else(service).or_else(definition).ok_or_else(|| not_found(arn))
}

fn change(call: &Call<'_>, arn: &str, change: impl FnOnce(&mut Vec<Tag>)) -> Result<Nothing, Fault> {
    call.change(|registry| {
        let mut tags = tags_of(registry, arn)?;
        change(&mut tags);
        constraint::items("tags", tags.len(), 0..=TAGS_MAX).map_err(invalid)?;
        let cluster =
            registry.clusters.values().find(|row| row.arn.as_str() == arn).map(|row| row.name.clone());
        if let Some(name) = cluster {
            registry.clusters.update(&name, |row| row.request.tags = tags);
        } else if registry.service_records.get(arn).is_some() {
            registry.service_records.update(arn, |record| record.request.tags = tags);
        } else {
            registry.task_definition_records.update(arn, |record| record.request.tags = tags);
        }
        Ok(Nothing {})
    })
}

fn not_found(arn: &str) -> Fault {
    if arn.starts_with("arn:") && arn.split(':').nth(2) == Some("ecs") {
        Fault::new("ResourceNotFoundException", "The specified resource wasn't found.")
    } else {
        invalid("Invalid ARN: an ARN of an ECS resource is needed.")
    }
}

//! Tags of namespaces and services.

use bowline_aws::{
    protocol::{Document, Fault},
    servicediscovery::{
        Tag,
        api::{
            ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest, UntagResourceRequest,
        },
    },
};

use super::{Nothing, invalid};
use crate::{
    api::{call::Call, constraint},
    cloud_map::{CloudMapError, external, managed},
    registry::Registry,
};

/// Most tags of a resource.
const TAGS_MAX: usize = 50;

/// Most tags in a request.
const GIVEN_MAX: usize = 200;

/// Refuses tags that AWS would; `resource` is named in the error.
pub(super) fn check(resource: &str, tags: &[Tag]) -> Result<(), Fault> {
    constraint::items("tags", tags.len(), 0..=GIVEN_MAX).map_err(invalid)?;
    for tag in tags {
        constraint::length("tags.key", &tag.key, 1..=128).map_err(invalid)?;
        constraint::length("tags.value", &tag.value, 0..=256).map_err(invalid)?;
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(format!(
                "the tag key {:?} begins with aws:, which AWS keeps for itself",
                tag.key
            )));
        }
        if tags.iter().filter(|other| other.key == tag.key).count() > 1 {
            return Err(invalid(format!("the tag key {:?} is given twice", tag.key)));
        }
    }
    check_count(resource, tags.len())
}

fn check_count(resource: &str, count: usize) -> Result<(), Fault> {
    match count > TAGS_MAX {
        true => Err(Fault::new(
            "TooManyTagsException",
            format!("{resource} would have {count} tags: {TAGS_MAX} are allowed"),
        )
        .with("ResourceName", Document::Text(resource.to_owned()))),
        false => Ok(()),
    }
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Nothing, Fault> {
    check(&request.resource_arn, &request.tags)?;
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
    constraint::items("tagKeys", request.tag_keys.len(), 0..=GIVEN_MAX).map_err(invalid)?;
    change(call, &request.resource_arn, |tags| tags.retain(|tag| !request.tag_keys.contains(&tag.key)))
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let arn = &request.resource_arn;
    let registry = call.registry();
    let tags = match kind(&registry, arn) {
        Some(Kind::Namespace(name)) => registry.namespaces.get(&name).map(|row| row.tags.clone()),
        Some(Kind::Service(id)) => registry.discovery_services.get(&id).map(|row| row.tags.clone()),
        None => {
            let index = call.core.discovery();
            index
                .all()
                .find(|service| service.row.arn.as_str() == arn)
                .map(|service| service.row.tags.clone())
        }
    };
    Ok(ListTagsForResourceResponse { tags: tags.ok_or_else(|| not_found(arn))? })
}

/// What has tags: the key of its row.
enum Kind {
    Namespace(String),
    Service(String),
}

fn kind(registry: &Registry, arn: &str) -> Option<Kind> {
    let id = arn.rsplit('/').next().unwrap_or_default();
    let service = || registry.discovery_services.get(id).filter(|row| row.arn.as_str() == arn);
    let namespace = registry.namespaces.values().find(|row| row.arn.as_str() == arn);
    match namespace {
        Some(row) => Some(Kind::Namespace(row.name.clone())),
        None => service().map(|row| Kind::Service(row.id.clone())),
    }
}

fn change(call: &Call<'_>, arn: &str, change: impl FnOnce(&mut Vec<Tag>)) -> Result<Nothing, Fault> {
    call.change(|registry| {
        let mut count = 0;
        let change = |tags: &mut Vec<Tag>| {
            change(tags);
            count = tags.len();
        };
        match kind(registry, arn) {
            Some(Kind::Namespace(name)) => registry.namespaces.update(&name, |row| change(&mut row.tags)),
            Some(Kind::Service(id)) => {
                registry.discovery_services.update(&id, |row| change(&mut row.tags));
                external::warn_if_unusable(registry, &id);
            }
            None => {
                let id = arn.rsplit('/').next().unwrap_or_default();
                return Err(match managed::owner_of(registry, id) {
                    Some(owner) => {
                        CloudMapError::Managed { id: id.to_owned(), owner: owner.to_string() }.into()
                    }
                    None => not_found(arn),
                });
            }
        }
        check_count(arn, count)?;
        Ok(Nothing {})
    })
}

fn not_found(arn: &str) -> Fault {
    match arn.starts_with("arn:") {
        true => Fault::new("ResourceNotFoundException", format!("there is no resource {arn}")),
        false => invalid("ResourceARN is the ARN of a namespace or service"),
    }
}

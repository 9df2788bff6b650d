//! Tags of alarms.

use std::collections::BTreeMap;

use bowline_aws::{
    cloudwatch::{
        AlarmTag, Empty, ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest,
        UntagResourceRequest,
    },
    protocol::Fault,
};
use bowline_model::arn::Arn;

use crate::{
    alarms::TAGS_MAX,
    api::{call::Call, cloudwatch::invalid},
    registry::Registry,
};

/// Tags as they are kept.
pub(super) fn of(tags: Vec<AlarmTag>) -> Result<BTreeMap<String, String>, Fault> {
    let mut all = BTreeMap::new();
    for AlarmTag { key, value } in tags {
        let key = key.filter(|key| (1..=128).contains(&key.chars().count()));
        let key = key.ok_or_else(|| invalid("A tag's key has 1 to 128 characters."))?;
        let value = value.unwrap_or_default();
        if value.chars().count() > 256 {
            return Err(invalid("A tag's value has 256 characters at most."));
        }
        all.insert(key, value);
    }
    Ok(all)
}

/// The name of the alarm that an ARN is of.
fn find(registry: &Registry, arn: &str) -> Result<String, Fault> {
    let parsed: Arn = arn.parse().map_err(|_| invalid("The ARN is not valid."))?;
    let name =
        parsed.resource().strip_prefix("alarm:").ok_or_else(|| invalid("The ARN is none of an alarm."))?;
    let there = registry.alarms.get(name).filter(|alarm| alarm.arn == parsed);
    there.map(|alarm| alarm.name.clone()).ok_or_else(|| {
        Fault::new("ResourceNotFoundException", format!("There is no alarm {arn}."))
            .with_query_code("ResourceNotFoundException")
            .with_status(404)
    })
}

pub(in crate::api::cloudwatch) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    let more = of(request.tags)?;
    call.change(|registry| {
        let name = find(registry, &request.resource_arn)?;
        let mut count = 0;
        registry.alarms.update(&name, |alarm| {
            alarm.tags.extend(more);
            count = alarm.tags.len();
        });
        if count > TAGS_MAX {
            return Err(invalid(format!("There can be {TAGS_MAX} tags at most.")));
        }
        Ok(Empty {})
    })
}

pub(in crate::api::cloudwatch) fn untag(
    call: &Call<'_>,
    request: UntagResourceRequest,
) -> Result<Empty, Fault> {
    call.change(|registry| {
        let name = find(registry, &request.resource_arn)?;
        registry.alarms.update(&name, |alarm| alarm.tags.retain(|key, _| !request.tag_keys.contains(key)));
        Ok(Empty {})
    })
}

pub(in crate::api::cloudwatch) fn list_tags(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let registry = call.registry();
    let name = find(&registry, &request.resource_arn)?;
    let tags = registry.alarms.get(&name).map(|alarm| alarm.tags.clone()).unwrap_or_default();
    let tag = |(key, value)| AlarmTag { key: Some(key), value: Some(value) };
    Ok(ListTagsForResourceResponse { tags: tags.into_iter().map(tag).collect() })
}

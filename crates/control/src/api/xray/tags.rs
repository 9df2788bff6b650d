//! Tags of sampling rules.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Fault,
    xray::{
        Empty, ListTagsForResourceRequest, ListTagsForResourceResponse, Tag, TagResourceRequest,
        UntagResourceRequest,
    },
};
use bowline_model::arn::{Arn, Scope};

use super::{invalid, no_token};
use crate::{
    api::call::Call,
    registry::Registry,
    xray::sampling::{self, SamplingRuleRow},
};

fn not_found(arn: &str) -> Fault {
    Fault::new("ResourceNotFoundException", format!("The resource {arn} was not found.")).with_status(404)
}

/// The rule that an ARN names.
fn rule(registry: &Registry, scope: &Scope, arn: &str) -> Result<SamplingRuleRow, Fault> {
    let parsed: Arn = arn.parse().map_err(|_| invalid("Invalid resource ARN."))?;
    let name = parsed
        .resource()
        .strip_prefix("sampling-rule/")
        .filter(|name| scope.arn("xray", format_args!("sampling-rule/{name}")) == parsed);
    let name = name.ok_or_else(|| not_found(arn))?;
    sampling::find(registry, scope, name).map_err(|_| not_found(arn))
}

fn change(
    call: &Call<'_>,
    arn: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<Empty, Fault> {
    call.change(|registry| {
        let mut row = rule(registry, &call.scope, arn)?;
        change(&mut row.tags);
        sampling::check_tags(&row.tags)?;
        registry.sampling_rules.put(row.name().to_owned(), row);
        Ok(Empty {})
    })
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    let given = request.tags.into_iter().map(|tag| (tag.key, tag.value));
    change(call, &request.resource_arn, |tags| tags.extend(given))
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    change(call, &request.resource_arn, |tags| tags.retain(|key, _| !request.tag_keys.contains(key)))
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    no_token(request.next_token.as_deref())?;
    let row = rule(&call.registry(), &call.scope, &request.resource_arn)?;
    let tags = row.tags.into_iter().map(|(key, value)| Tag { key, value });
    Ok(ListTagsForResourceResponse { tags: tags.collect() })
}

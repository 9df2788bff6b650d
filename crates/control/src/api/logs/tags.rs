//! Tags of groups.

use std::collections::BTreeMap;

use bowline_aws::{
    logs::{
        Empty, ListTagsForResourceRequest, ListTagsResponse, LogGroupRequest, TagLogGroupRequest,
        TagResourceRequest, UntagLogGroupRequest, UntagResourceRequest,
    },
    protocol::Fault,
};

use super::{Refused, checks, no_group, store};
use crate::api::call::Call;

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    add(call, &checks::of_arn(call, &request.resource_arn)?, request.tags, "TooManyTagsException")
}

pub(super) fn tag_group(call: &Call<'_>, request: TagLogGroupRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    add(call, &request.log_group_name, request.tags, "InvalidParameterException")
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    remove(call, &checks::of_arn(call, &request.resource_arn)?, &request.tag_keys)
}

pub(super) fn untag_group(call: &Call<'_>, request: UntagLogGroupRequest) -> Result<Empty, Fault> {
    remove(call, &request.log_group_name, &request.tags)
}

pub(super) fn list(call: &Call<'_>, request: ListTagsForResourceRequest) -> Result<ListTagsResponse, Fault> {
    of(call, &checks::of_arn(call, &request.resource_arn)?)
}

pub(super) fn list_of_group(call: &Call<'_>, request: LogGroupRequest) -> Result<ListTagsResponse, Fault> {
    of(call, &request.log_group_name)
}

fn add(
    call: &Call<'_>,
    group: &str,
    more: BTreeMap<String, String>,
    too_many: &'static str,
) -> Result<Empty, Fault> {
    store(call)
        .change_group::<Refused>(group, |settings| {
            checks::tags(&settings.tags, &more, too_many)?;
            settings.tags.extend(more);
            Ok(())
        })
        .map_err(|refused| refused.0)?;
    Ok(Empty {})
}

fn remove(call: &Call<'_>, group: &str, keys: &[String]) -> Result<Empty, Fault> {
    store(call)
        .change_group::<Refused>(group, |settings| {
            settings.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .map_err(|refused| refused.0)?;
    Ok(Empty {})
}

fn of(call: &Call<'_>, group: &str) -> Result<ListTagsResponse, Fault> {
    let group = store(call).describe(group).ok_or_else(no_group)?;
    Ok(ListTagsResponse { tags: group.settings.tags })
}

//! Tags of templates. AWS tags actions too; here those are the program's own and have none.

use bowline_aws::{
    fis::{
        Empty, ListTagsForResourceRequest, ListTagsForResourceResponse, TagMap, TagResourceRequest,
        UntagResourceRequest,
    },
    protocol::Fault,
};
use bowline_model::arn::{Arn, Scope};

use super::invalid;
use crate::{
    api::{call::Call, constraint},
    fis::{FisError, catalogue, commands},
};

/// What has tags.
enum Tagged {
    /// The template with this id.
    Template(String),
    /// An action.
    Action,
}

fn not_found(arn: &str) -> Fault {
    FisError::NotFound(format!("Resource {arn} was not found.")).into()
}

/// What an ARN names. A template that is looked up next need not be there.
fn resource(scope: &Scope, arn: &str) -> Result<Tagged, Fault> {
    constraint::length("resourceArn", arn, 20..=2_048).map_err(invalid)?;
    let parsed: Arn = arn.parse().map_err(|_| invalid(format!("{arn} is not an ARN.")))?;
    let here = scope.arn("fis", parsed.resource()) == parsed;
    match parsed.resource().split_once('/') {
        Some(("experiment-template", id)) if here => Ok(Tagged::Template(id.to_owned())),
        Some(("action", id)) if here && catalogue::action(id).is_some() => Ok(Tagged::Action),
        _ => Err(not_found(arn)),
    }
}

/// The id of the template that an ARN names.
fn template(scope: &Scope, arn: &str) -> Result<String, Fault> {
    match resource(scope, arn)? {
        Tagged::Template(id) => Ok(id),
        Tagged::Action => Err(invalid("Actions cannot be tagged here: they are the program's own.")),
    }
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let tags = match resource(&call.scope, &request.resource_arn)? {
        Tagged::Template(id) => {
            commands::find(&call.registry(), &id).map_err(|_| not_found(&request.resource_arn))?.tags.clone()
        }
        Tagged::Action => TagMap::new(),
    };
    Ok(ListTagsForResourceResponse { tags })
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    let id = template(&call.scope, &request.resource_arn)?;
    call.change(|registry| {
        commands::retag(registry, &id, |tags| tags.extend(request.tags))?;
        Ok(Empty {})
    })
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    let id = template(&call.scope, &request.resource_arn)?;
    call.change(|registry| {
        commands::retag(registry, &id, |tags| tags.retain(|key, _| !request.tag_keys.contains(key)))?;
        Ok(Empty {})
    })
}

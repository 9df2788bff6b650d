//! Tags of templates and experiments. AWS tags actions too; here those are the program's own and have none.

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
    fis::{FisError, catalogue, commands, experiments},
};

/// What has tags.
enum Tagged {
    /// The template with this id.
    Template(String),
    /// The experiment with this id.
    Experiment(String),
    /// An action.
    Action,
}

fn not_found(arn: &str) -> Fault {
    FisError::NotFound(format!("Resource {arn} was not found.")).into()
}

/// What an ARN names. A template or experiment that is looked up next need not be there.
fn resource(scope: &Scope, arn: &str) -> Result<Tagged, Fault> {
    constraint::length("resourceArn", arn, 20..=2_048).map_err(invalid)?;
    let parsed: Arn = arn.parse().map_err(|_| invalid(format!("{arn} is not an ARN.")))?;
    let here = scope.arn("fis", parsed.resource()) == parsed;
    match parsed.resource().split_once('/') {
        Some(("experiment-template", id)) if here => Ok(Tagged::Template(id.to_owned())),
        Some(("experiment", id)) if here => Ok(Tagged::Experiment(id.to_owned())),
        Some(("action", id)) if here && catalogue::action(id).is_some() => Ok(Tagged::Action),
        _ => Err(not_found(arn)),
    }
}

/// Changes the tags of what an ARN names.
fn retag(call: &Call<'_>, arn: &str, change: impl FnOnce(&mut TagMap)) -> Result<Empty, Fault> {
    let tagged = resource(&call.scope, arn)?;
    call.change(|registry| {
        match tagged {
            Tagged::Template(id) => commands::retag(registry, &id, change)?,
            Tagged::Experiment(id) => experiments::retag(registry, &id, change)?,
            Tagged::Action => {
                return Err(invalid("Actions cannot be tagged here: they are the program's own."));
            }
        }
        Ok(Empty {})
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let tags = match resource(&call.scope, &request.resource_arn)? {
        Tagged::Template(id) => {
            commands::find(&call.registry(), &id).map_err(|_| not_found(&request.resource_arn))?.tags.clone()
        }
        Tagged::Experiment(id) => experiments::find(&call.registry(), &id)
            .map_err(|_| not_found(&request.resource_arn))?
            .tags
            .clone(),
        Tagged::Action => TagMap::new(),
    };
    Ok(ListTagsForResourceResponse { tags })
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    retag(call, &request.resource_arn, |tags| tags.extend(request.tags))
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    let UntagResourceRequest { resource_arn, tag_keys } = request;
    retag(call, &resource_arn, |tags| tags.retain(|key, _| !tag_keys.contains(key)))
}

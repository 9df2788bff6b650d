//! Actions and kinds of targets.

use std::collections::BTreeMap;

use bowline_aws::{
    fis::{
        Action, ActionTarget, GetActionResponse, GetTargetResourceTypeRequest, GetTargetResourceTypeResponse,
        IdRequest, ListActionsResponse, ListTargetResourceTypesResponse, PageRequest, Parameter, TagMap,
        TargetResourceType,
    },
    protocol::Fault,
};
use bowline_model::arn::Scope;

use super::{invalid, page_of};
use crate::{
    api::{call::Call, constraint},
    fis::{
        FisError,
        catalogue::{self, ActionKind, ParameterKind, ResourceType},
    },
};

fn parameters(known: &[ParameterKind]) -> Option<BTreeMap<String, Parameter>> {
    let of = |kind: &ParameterKind| Parameter {
        description: kind.description.to_owned(),
        required: kind.required,
    };
    (!known.is_empty()).then(|| known.iter().map(|kind| (kind.name.to_owned(), of(kind))).collect())
}

/// An action without its parameters.
fn summary(scope: &Scope, action: &ActionKind) -> Action {
    let target = action.target.map(|target| {
        (target.name.to_owned(), ActionTarget { resource_type: target.resource_type.to_owned() })
    });
    Action {
        id: action.id.to_owned(),
        arn: scope.arn("fis", format_args!("action/{}", action.id)).to_string(),
        description: action.description.to_owned(),
        parameters: None,
        targets: target.into_iter().collect(),
        tags: TagMap::new(),
    }
}

pub(super) fn action(call: &Call<'_>, request: IdRequest) -> Result<GetActionResponse, Fault> {
    constraint::length("id", &request.id, 0..=128).map_err(invalid)?;
    let Some(known) = catalogue::action(&request.id) else {
        return Err(FisError::NotFound(format!("Action {} was not found.", request.id)).into());
    };
    let action = Action { parameters: parameters(known.parameters), ..summary(&call.scope, known) };
    Ok(GetActionResponse { action })
}

pub(super) fn actions(call: &Call<'_>, request: PageRequest) -> Result<ListActionsResponse, Fault> {
    let key = |action: &&ActionKind| action.id.to_owned();
    let page = page_of("ListActions", catalogue::ACTIONS, key, &request)?;
    Ok(ListActionsResponse {
        actions: page.items.into_iter().map(|action| summary(&call.scope, action)).collect(),
        next_token: page.next_token,
    })
}

fn told(known: &ResourceType) -> TargetResourceType {
    TargetResourceType {
        resource_type: known.id.to_owned(),
        description: known.description.to_owned(),
        parameters: None,
    }
}

pub(super) fn resource_type(
    _: &Call<'_>,
    request: GetTargetResourceTypeRequest,
) -> Result<GetTargetResourceTypeResponse, Fault> {
    let id = request.resource_type;
    constraint::length("resourceType", &id, 0..=128).map_err(invalid)?;
    let Some(known) = catalogue::resource_type(&id) else {
        return Err(FisError::NotFound(format!("Target resource type {id} was not found.")).into());
    };
    let target_resource_type = TargetResourceType { parameters: parameters(known.parameters), ..told(known) };
    Ok(GetTargetResourceTypeResponse { target_resource_type })
}

pub(super) fn resource_types(
    _: &Call<'_>,
    request: PageRequest,
) -> Result<ListTargetResourceTypesResponse, Fault> {
    let key = |known: &&ResourceType| known.id.to_owned();
    let page = page_of("ListTargetResourceTypes", catalogue::RESOURCE_TYPES, key, &request)?;
    Ok(ListTargetResourceTypesResponse {
        target_resource_types: page.items.into_iter().map(told).collect(),
        next_token: page.next_token,
    })
}

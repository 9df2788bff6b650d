//! Scheduled actions.

use bowline_aws::{
    application_autoscaling::{
        DeleteScheduledActionRequest, DescribeScheduledActionsRequest, DescribeScheduledActionsResponse,
        Empty, PutScheduledActionRequest, ScheduledAction,
    },
    protocol::Fault,
};

use super::{check_filter, check_name, check_resource_id, invalid, moment, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    scaling::{
        DIMENSION, NAMESPACE, ScheduledActionRecord,
        commands::{self, Scheduling},
    },
};

pub(super) fn put(call: &Call<'_>, request: PutScheduledActionRequest) -> Result<Empty, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    check_name("scheduledActionName", &request.scheduled_action_name)?;
    let given = Scheduling {
        resource_id: request.resource_id,
        name: request.scheduled_action_name,
        schedule: request.schedule,
        timezone: request.timezone,
        start: request.start_time.map(moment),
        end: request.end_time.map(moment),
        action: request.scalable_target_action,
    };
    call.change(|registry| {
        commands::put_scheduled_action(registry, &call.scope, given, call.now)?;
        Ok(Empty {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteScheduledActionRequest) -> Result<Empty, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    call.change(|registry| {
        commands::delete_scheduled_action(registry, &request.resource_id, &request.scheduled_action_name)?;
        Ok(Empty {})
    })
}

fn told(action: &ScheduledActionRecord) -> ScheduledAction {
    ScheduledAction {
        scheduled_action_name: action.name.clone(),
        scheduled_action_arn: action.arn.to_string(),
        service_namespace: NAMESPACE,
        schedule: action.schedule.clone(),
        timezone: action.timezone.clone(),
        resource_id: action.resource_id.clone(),
        scalable_dimension: DIMENSION,
        start_time: action.start.map(wire),
        end_time: action.end.map(wire),
        scalable_target_action: action.action,
        creation_time: wire(action.created_at),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeScheduledActionsRequest,
) -> Result<DescribeScheduledActionsResponse, Fault> {
    let id = request.resource_id.as_deref();
    check_filter(&request.service_namespace, request.scalable_dimension.as_deref(), id)?;
    constraint::items("scheduledActionNames", request.scheduled_action_names.len(), 0..=50)
        .map_err(invalid)?;
    let registry = call.registry();
    let names = &request.scheduled_action_names;
    let wanted = registry.scheduled_actions.iter().filter(|(_, action)| {
        id.is_none_or(|id| action.resource_id == id) && (names.is_empty() || names.contains(&action.name))
    });
    let key = |(key, _): &(&str, &std::sync::Arc<ScheduledActionRecord>)| (*key).to_owned();
    let token = request.next_token.as_deref();
    let page = page_of("DescribeScheduledActions", wanted, key, token, request.max_results)?;
    Ok(DescribeScheduledActionsResponse {
        scheduled_actions: page.items.into_iter().map(|(_, action)| told(action)).collect(),
        next_token: page.next_token,
    })
}

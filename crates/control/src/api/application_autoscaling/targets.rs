//! Scalable targets, what was done to them, and their tags.

use bowline_aws::{
    application_autoscaling::{
        DeregisterScalableTargetRequest, DescribeScalableTargetsRequest, DescribeScalableTargetsResponse,
        DescribeScalingActivitiesRequest, DescribeScalingActivitiesResponse, Empty,
        ListTagsForResourceRequest, ListTagsForResourceResponse, RegisterScalableTargetRequest,
        RegisterScalableTargetResponse, ScalableTarget, ScalingActivity, SuspendedState, TagResourceRequest,
        UntagResourceRequest,
    },
    protocol::Fault,
};

use super::{check_filter, check_resource_id, invalid, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint, pages,
    },
    scaling::{
        ActivityStatus, DIMENSION, NAMESPACE, ScalableTargetRecord,
        commands::{self, Registration},
    },
};

pub(super) fn register(
    call: &Call<'_>,
    request: RegisterScalableTargetRequest,
) -> Result<RegisterScalableTargetResponse, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    let given = Registration {
        resource_id: request.resource_id,
        min: request.min_capacity,
        max: request.max_capacity,
        role_arn: request.role_arn,
        suspended: request.suspended_state,
        tags: request.tags,
    };
    call.change(|registry| {
        let arn = commands::register(registry, &call.scope, given, call.now)?;
        Ok(RegisterScalableTargetResponse { scalable_target_arn: arn.to_string() })
    })
}

pub(super) fn deregister(call: &Call<'_>, request: DeregisterScalableTargetRequest) -> Result<Empty, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    call.change(|registry| {
        commands::deregister(registry, &request.resource_id, call.now)?;
        Ok(Empty {})
    })
}

fn told(target: &ScalableTargetRecord) -> ScalableTarget {
    ScalableTarget {
        service_namespace: NAMESPACE,
        resource_id: target.resource_id.clone(),
        scalable_dimension: DIMENSION,
        min_capacity: target.bounds.min,
        max_capacity: target.bounds.max,
        role_arn: target.role_arn.clone(),
        creation_time: wire(target.created_at),
        suspended_state: SuspendedState {
            dynamic_scaling_in_suspended: Some(target.suspended.in_),
            dynamic_scaling_out_suspended: Some(target.suspended.out),
            scheduled_scaling_suspended: Some(target.suspended.scheduled),
        },
        scalable_target_arn: target.arn.to_string(),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeScalableTargetsRequest,
) -> Result<DescribeScalableTargetsResponse, Fault> {
    let first = request.resource_ids.first().map(String::as_str);
    check_filter(&request.service_namespace, request.scalable_dimension.as_deref(), first.or(Some("*")))?;
    constraint::items("resourceIds", request.resource_ids.len(), 0..=50).map_err(invalid)?;
    let registry = call.registry();
    let wanted = registry.scalable_targets.values().filter(|target| {
        request.resource_ids.is_empty() || request.resource_ids.contains(&target.resource_id)
    });
    let key = |target: &&std::sync::Arc<ScalableTargetRecord>| target.resource_id.clone();
    let token = request.next_token.as_deref();
    let page = page_of("DescribeScalableTargets", wanted, key, token, request.max_results)?;
    Ok(DescribeScalableTargetsResponse {
        scalable_targets: page.items.into_iter().map(|target| told(target)).collect(),
        next_token: page.next_token,
    })
}

pub(super) fn activities(
    call: &Call<'_>,
    request: DescribeScalingActivitiesRequest,
) -> Result<DescribeScalingActivitiesResponse, Fault> {
    let id = request.resource_id.as_deref();
    check_filter(&request.service_namespace, request.scalable_dimension.as_deref(), id)?;
    let registry = call.registry();
    let wanted = registry.scaling_activities.iter().filter(|(of, _)| id.is_none_or(|id| id == *of));
    let items = wanted.flat_map(|(of, activities)| {
        activities.items.iter().enumerate().map(move |(index, activity)| (of, index, activity))
    });
    // The latest first.
    let key = |(of, index, activity): &(&str, usize, &crate::scaling::ScalingActivityRecord)| {
        pages::reversed(&format!("{:020} {of} {index:04}", activity.started_at.as_millis()))
    };
    let token = request.next_token.as_deref();
    let page = page_of("DescribeScalingActivities", items, key, token, request.max_results)?;
    let told = page.items.into_iter().map(|(of, _, activity)| {
        let did = format!("Successfully set desired count to {}.", activity.tasks);
        let (status_code, status_message) = match activity.status {
            ActivityStatus::InProgress => {
                ("InProgress", format!("{did} Waiting for change to be fulfilled by ecs."))
            }
            ActivityStatus::Successful => {
                ("Successful", format!("{did} Change successfully fulfilled by ecs."))
            }
            ActivityStatus::Overridden => {
                ("Overridden", format!("{did} Another desired count was set meanwhile."))
            }
            ActivityStatus::Failed => {
                let why = activity.failure.as_deref().unwrap_or_default();
                ("Failed", format!("Failed to set desired count to {}. Reason: {why}", activity.tasks))
            }
        };
        ScalingActivity {
            activity_id: activity.id.clone(),
            service_namespace: NAMESPACE,
            resource_id: of.to_owned(),
            scalable_dimension: DIMENSION,
            description: format!("Setting desired count to {}.", activity.tasks),
            cause: activity.cause.clone(),
            start_time: wire(activity.started_at),
            end_time: activity.ended_at.map(wire),
            status_code,
            status_message,
        }
    });
    Ok(DescribeScalingActivitiesResponse { scaling_activities: told.collect(), next_token: page.next_token })
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    for (key, value) in &request.tags {
        constraint::length("tags.key", key, 1..=128).map_err(invalid)?;
        constraint::length("tags.value", value, 0..=256).map_err(invalid)?;
    }
    call.change(|registry| {
        commands::change_tags(registry, &request.resource_arn, |tags| tags.extend(request.tags))?;
        Ok(Empty {})
    })
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::change_tags(registry, &request.resource_arn, |tags| {
            tags.retain(|key, _| !request.tag_keys.contains(key));
        })?;
        Ok(Empty {})
    })
}

pub(super) fn list_tags(
    call: &Call<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let registry = call.registry();
    let target = commands::find_by_arn(&registry, &request.resource_arn)?;
    Ok(ListTagsForResourceResponse { tags: target.tags.clone() })
}

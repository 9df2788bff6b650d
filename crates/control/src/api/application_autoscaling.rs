//! Application Auto Scaling (`application-autoscaling`; `AnyScaleFrontendService`), for ECS services' desired counts.
//!
//! Source of names, shapes and errors: AWS's Application Auto Scaling API reference. Predictive scaling is not served.

mod policies;
mod schedules;
mod targets;

use bowline_aws::protocol::{Fault, Timestamp as WireTimestamp};
use bowline_model::clock::Timestamp;

use super::{
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::scaling::{ScalingError, commands};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "DeleteScalingPolicy", policies::delete),
    operation!(Write, Effective, "DeleteScheduledAction", schedules::delete),
    operation!(Write, Effective, "DeregisterScalableTarget", targets::deregister),
    operation!(Read, Effective, "DescribeScalableTargets", targets::describe),
    operation!(Read, Effective, "DescribeScalingActivities", targets::activities),
    operation!(Read, Effective, "DescribeScalingPolicies", policies::describe),
    operation!(Read, Effective, "DescribeScheduledActions", schedules::describe),
    operation!(Read, Effective, "ListTagsForResource", targets::list_tags),
    operation!(Write, Effective, "PutScalingPolicy", policies::put),
    operation!(Write, Effective, "PutScheduledAction", schedules::put),
    operation!(Write, Effective, "RegisterScalableTarget", targets::register),
    operation!(Write, Effective, "TagResource", targets::tag),
    operation!(Write, Effective, "UntagResource", targets::untag),
];

/// Most items of a page, and AWS's default.
const PAGE_MAX: i64 = 50;

impl From<ScalingError> for Fault {
    fn from(error: ScalingError) -> Self {
        let code = match &error {
            ScalingError::Invalid(_) => "ValidationException",
            ScalingError::NotFound(_) => "ObjectNotFoundException",
            ScalingError::Quota(_) => "LimitExceededException",
            ScalingError::NoResource(_) => "ResourceNotFoundException",
            ScalingError::TooManyTags => "TooManyTagsException",
        };
        Self::new(code, error.to_string())
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationException", message)
}

fn check_resource_id(id: &str) -> Result<(), Fault> {
    constraint::length("resourceId", id, 1..=1_600).map_err(invalid)
}

fn check_name(member: &str, name: &str) -> Result<(), Fault> {
    constraint::length(member, name, 1..=256).map_err(invalid)?;
    if name.chars().any(char::is_control) {
        return Err(invalid(format!("{member} has signs that are none of a text.")));
    }
    Ok(())
}

/// What lists filter by. Whether one is asked for that can be here.
fn check_filter(namespace: &str, dimension: Option<&str>, resource_id: Option<&str>) -> Result<(), Fault> {
    commands::check_namespace(namespace)?;
    if let Some(dimension) = dimension {
        commands::check_dimension(namespace, dimension)?;
        if resource_id.is_none() {
            return Err(invalid("ResourceId must be given with ScalableDimension."));
        }
    }
    Ok(())
}

fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i64>,
) -> Result<Page<T>, Fault> {
    let size = max_results.unwrap_or(PAGE_MAX);
    constraint::range("maxResults", size, 1..=PAGE_MAX).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size)
        .map_err(|_| Fault::new("InvalidNextTokenException", "The NextToken value is invalid."))
}

fn moment(at: WireTimestamp) -> Timestamp {
    Timestamp::from_millis((at.seconds().max(0.0) * 1_000.0) as u64)
}

//! `CloudTrail` (`com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101`): the audit trail, read.
//!
//! There is one trail. It records all the time and cannot be changed by a call.
//! Source of names, shapes and errors: AWS's `CloudTrail` API reference.

use std::error::Error as _;

use bowline_aws::{
    cloudtrail::{
        DescribeTrailsRequest, DescribeTrailsResponse, Event, GetTrailStatusRequest, GetTrailStatusResponse,
        ListTrailsRequest, ListTrailsResponse, LookupEventsRequest, LookupEventsResponse, Resource, Trail,
        TrailInfo,
    },
    protocol::{Fault, Timestamp as WireTimestamp},
};
use bowline_model::clock::Timestamp;

use super::{
    call::{Call, wire},
    operation::{Operation, operation},
};
use crate::audit::{
    AuditError, LookupQuery,
    lookup::{FoundEvent, LookupAttribute, LookupError, LookupKey},
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Read, Effective, "DescribeTrails", describe_trails),
    operation!(Read, Effective, "GetTrailStatus", trail_status),
    operation!(Read, Effective, "ListTrails", list_trails),
    operation!(Read, Effective, "LookupEvents", lookup_events, waits),
];

/// The trail's name.
const TRAIL: &str = "bowline";

fn lookup_events(call: &Call<'_>, request: LookupEventsRequest) -> Result<LookupEventsResponse, Fault> {
    match request.event_category.as_deref() {
        None => {}
        // Nothing here makes insights.
        Some("insight") => return Ok(LookupEventsResponse::default()),
        Some(_) => {
            return Err(Fault::new(
                "InvalidEventCategoryException",
                "The event category is not valid: insight is the one that can be named.",
            ));
        }
    }
    let attribute = match request.lookup_attributes.as_slice() {
        [] => None,
        [one] => Some(attribute(one)?),
        [_, _, ..] => return Err(invalid_attributes("Only one lookup attribute can be given.".to_owned())),
    };
    let max_results = request.max_results.unwrap_or(50);
    let query = LookupQuery {
        start: request.start_time.map(moment),
        end: request.end_time.map(moment),
        attribute,
        data_events: false,
        // What is out of range either way is refused as such below.
        max_results: u32::try_from(max_results).unwrap_or(0),
        next_token: request.next_token,
    };
    let page = call.core.audit().lookup(&query).map_err(|error| fault(error, max_results))?;
    Ok(LookupEventsResponse {
        events: page.events.into_iter().map(event).collect(),
        next_token: page.next_token,
    })
}

fn attribute(given: &bowline_aws::cloudtrail::LookupAttribute) -> Result<LookupAttribute, Fault> {
    let (Some(key), Some(value)) = (&given.attribute_key, &given.attribute_value) else {
        return Err(invalid_attributes("AttributeKey and AttributeValue are both needed.".to_owned()));
    };
    let key = LookupKey::from_name(key)
        .ok_or_else(|| invalid_attributes(format!("There is no lookup attribute {key:.100}.")))?;
    Ok(LookupAttribute { key, value: value.clone() })
}

fn invalid_attributes(message: String) -> Fault {
    Fault::new("InvalidLookupAttributesException", message)
}

fn moment(at: WireTimestamp) -> Timestamp {
    Timestamp::from_millis(u64::try_from(at.milliseconds()).unwrap_or(0))
}

fn fault(error: LookupError, max_results: i64) -> Fault {
    let message = error.to_string();
    match error {
        LookupError::InvalidMaxResults(_) => Fault::new(
            "InvalidMaxResultsException",
            format!("MaxResults is {max_results}, and it must be from 1 to 50"),
        ),
        LookupError::InvalidTimeRange => Fault::new("InvalidTimeRangeException", message),
        LookupError::InvalidLookupAttributes => invalid_attributes(message),
        LookupError::InvalidNextToken => Fault::new("InvalidNextTokenException", message),
        LookupError::Trail(error) => {
            tracing::error!(%error, cause = error.source(), "events could not be looked up");
            let message = match error {
                AuditError::Tampered { tampering, .. } => {
                    format!("The audit trail was tampered with: {tampering}")
                }
                _ => "The audit trail cannot be read.".to_owned(),
            };
            Fault::new("InternalFailure", message).with_status(500)
        }
    }
}

fn event(found: FoundEvent) -> Event {
    Event {
        event_id: found.event_id,
        event_name: found.event_name,
        read_only: found.read_only.to_string(),
        access_key_id: found.access_key_id,
        event_time: wire(found.event_time),
        event_source: found.event_source,
        username: found.username,
        resources: found
            .resources
            .into_iter()
            .map(|(resource_type, resource_name)| Resource { resource_type, resource_name })
            .collect(),
        cloud_trail_event: found.cloud_trail_event,
    }
}

fn trail(call: &Call<'_>) -> Trail {
    Trail {
        name: TRAIL.to_owned(),
        home_region: call.scope.region.clone(),
        trail_arn: call.scope.arn("cloudtrail", format_args!("trail/{TRAIL}")).to_string(),
        // Of every service, whatever region a call was signed for.
        include_global_service_events: true,
        is_multi_region_trail: true,
        log_file_validation_enabled: true,
        ..Trail::default()
    }
}

fn describe_trails(call: &Call<'_>, request: DescribeTrailsRequest) -> Result<DescribeTrailsResponse, Fault> {
    let trail = trail(call);
    let named = &request.trail_name_list;
    named.iter().try_for_each(|name| check_name(name))?;
    let asked = named.is_empty() || named.iter().any(|name| *name == trail.name || *name == trail.trail_arn);
    Ok(DescribeTrailsResponse { trail_list: asked.then_some(trail).into_iter().collect() })
}

/// Refuses what can be neither a trail's name nor its ARN.
fn check_name(name: &str) -> Result<(), Fault> {
    let (name, code) = match name.starts_with("arn:") {
        false => (Some(name), "InvalidTrailNameException"),
        true => {
            let mut parts = name.splitn(6, ':').skip(2);
            let of_cloudtrail = parts.next() == Some("cloudtrail");
            let resource = parts.nth(2).and_then(|resource| resource.strip_prefix("trail/"));
            (resource.filter(|_| of_cloudtrail), "CloudTrailARNInvalidException")
        }
    };
    let fits = name.is_some_and(|name| {
        (3..=128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.ends_with(|last: char| last.is_ascii_alphanumeric())
    });
    match fits {
        true => Ok(()),
        false => Err(Fault::new(
            code,
            "A trail is named by its ARN, arn:aws:cloudtrail:REGION:ACCOUNT:trail/NAME, or its name: 3 to 128 letters, \
             digits, periods, underscores and dashes, the first and the last a letter or digit.",
        )),
    }
}

fn list_trails(call: &Call<'_>, _: ListTrailsRequest) -> Result<ListTrailsResponse, Fault> {
    let Trail { name, trail_arn, home_region, .. } = trail(call);
    Ok(ListTrailsResponse { trails: vec![TrailInfo { trail_arn, name, home_region }] })
}

fn trail_status(call: &Call<'_>, request: GetTrailStatusRequest) -> Result<GetTrailStatusResponse, Fault> {
    check_name(&request.name)?;
    let trail = trail(call);
    if request.name != trail.name && request.name != trail.trail_arn {
        let message = format!("Unknown trail: {:.200} for the user: {}", request.name, call.scope.account_id);
        return Err(Fault::new("TrailNotFoundException", message));
    }
    let status = call.core.audit().status();
    Ok(GetTrailStatusResponse {
        is_logging: status.failure.is_none(),
        latest_delivery_error: status.failure,
        start_logging_time: Some(wire(call.core.audit().opened_at())),
    })
}

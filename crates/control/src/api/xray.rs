//! AWS X-Ray (`xray`): segments are taken, traces and graphs of services told, sampling rules kept.
//!
//! - `traces` takes and tells traces, `graphs` tells graphs.
//! - `rules` keeps sampling rules, `targets` tells clients of their share of them.
//! - `daemon` is X-Ray's daemon, by UDP and TCP.
//! - `tags` is what rules are tagged with; `telemetry` takes what daemons count.
//!
//! Source of names, shapes and errors: AWS's X-Ray API reference. Groups and insights are not kept: there is the group
//! `Default`, which all traces are of.

pub(crate) mod daemon;
mod graphs;
mod rules;
mod tags;
mod targets;
mod telemetry;
mod traces;

use bowline_aws::{
    protocol::{Fault, Timestamp as WireTimestamp},
    xray::{
        Empty, EncryptionConfig, GetEncryptionConfigResponse, GetGroupsResponse, GroupSummary, PageRequest,
    },
};

use super::{
    call::Call,
    operation::{Operation, operation},
};
use crate::xray::sampling::RuleError;

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Data, Effective, "BatchGetTraces", traces::batch_get, waits),
    operation!(Write, Effective, "CreateSamplingRule", rules::create),
    operation!(Write, Effective, "DeleteSamplingRule", rules::delete),
    operation!(Read, Effective, "GetEncryptionConfig", encryption),
    operation!(Read, Effective, "GetGroups", groups),
    operation!(Data, Effective, "GetSamplingRules", rules::get),
    operation!(Data, Effective, "GetSamplingStatisticSummaries", targets::summaries),
    operation!(Data, Effective, "GetSamplingTargets", targets::get),
    operation!(Data, Effective, "GetServiceGraph", graphs::of_services, waits),
    operation!(Data, Effective, "GetTraceGraph", graphs::of_traces, waits),
    operation!(Data, Effective, "GetTraceSummaries", traces::summaries, waits),
    operation!(Read, Effective, "ListTagsForResource", tags::list),
    operation!(DataWrite, Effective, "PutTelemetryRecords", telemetry::put),
    operation!(DataWrite, Effective, "PutTraceSegments", traces::put),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Write, Effective, "UntagResource", tags::untag),
    operation!(Write, Effective, "UpdateSamplingRule", rules::update),
];

/// `InvalidRequestException`: whatever X-Ray does not take.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidRequestException", message)
}

impl From<RuleError> for Fault {
    fn from(error: RuleError) -> Self {
        let code = match error {
            RuleError::Invalid(_) => "InvalidRequestException",
            RuleError::TooManyTags => "TooManyTagsException",
            RuleError::Limit => "RuleLimitExceededException",
        };
        Self::new(code, error.to_string())
    }
}

/// A moment of the wire as microseconds since 1970.
fn microseconds(at: WireTimestamp) -> u64 {
    u64::try_from(at.milliseconds()).unwrap_or(0).saturating_mul(1_000)
}

/// Traces are kept as other files of the state directory are.
fn encryption(_: &Call<'_>, _: Empty) -> Result<GetEncryptionConfigResponse, Fault> {
    Ok(GetEncryptionConfigResponse {
        encryption_config: EncryptionConfig { status: "ACTIVE", r#type: "NONE" },
    })
}

/// The name of the group that all traces are of.
const DEFAULT_GROUP: &str = "Default";

fn groups(call: &Call<'_>, request: PageRequest) -> Result<GetGroupsResponse, Fault> {
    no_token(request.next_token.as_deref())?;
    let group_arn = call.scope.arn("xray", format_args!("group/{DEFAULT_GROUP}")).to_string();
    Ok(GetGroupsResponse { groups: vec![GroupSummary { group_name: DEFAULT_GROUP.to_owned(), group_arn }] })
}

/// Of an operation whose lists are told whole: it gives no tokens out.
fn no_token(token: Option<&str>) -> Result<(), Fault> {
    match token {
        None | Some("") => Ok(()),
        Some(_) => Err(invalid("Invalid NextToken.")),
    }
}

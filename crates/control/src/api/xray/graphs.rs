//! Graphs of services.

use bowline_aws::{
    protocol::Fault,
    xray::{GetServiceGraphRequest, GetServiceGraphResponse, GetTraceGraphResponse, TraceIdsRequest},
};
use bowline_observe::traces::TraceQuery;

use super::{DEFAULT_GROUP, invalid, microseconds, no_token, traces::ids};
use crate::{
    api::call::Call,
    xray::{graph::Graph, view::TraceView},
};

/// Longest time that a graph is of. Source: `GetServiceGraph`.
const WINDOW_MAX_US: u64 = 6 * 3_600 * 1_000_000;
/// Most traces that a graph is made of: the newest.
const TRACES_MAX: usize = 20_000;

pub(super) fn of_services(
    call: &Call<'_>,
    request: GetServiceGraphRequest,
) -> Result<GetServiceGraphResponse, Fault> {
    no_token(request.next_token.as_deref())?;
    let group = request
        .group_name
        .as_deref()
        .or_else(|| request.group_arn.as_deref().map(|arn| arn.split(":group/").nth(1).unwrap_or(arn)));
    if group.is_some_and(|group| group.split('/').next() != Some(DEFAULT_GROUP)) {
        return Err(invalid("Group not found."));
    }
    let (from_us, until_us) = (microseconds(request.start_time), microseconds(request.end_time));
    if until_us < from_us {
        return Err(invalid("Start time must be before end time."));
    }
    if until_us - from_us > WINDOW_MAX_US {
        return Err(invalid("Time range cannot be longer than 6 hours."));
    }
    let query = TraceQuery { from_us, until_us, limit: TRACES_MAX, ..TraceQuery::default() };
    let store = call.core.traces();
    let mut graph = Graph::default();
    for trace in store.list(&query).into_iter().filter_map(|found| store.trace(found.id)) {
        graph.add(&TraceView::of(&trace));
    }
    Ok(GetServiceGraphResponse {
        start_time: request.start_time,
        end_time: request.end_time,
        services: graph.services(&call.scope.account_id),
        contains_old_group_versions: false,
    })
}

pub(super) fn of_traces(call: &Call<'_>, request: TraceIdsRequest) -> Result<GetTraceGraphResponse, Fault> {
    let mut graph = Graph::default();
    for (_, id) in ids(&request)? {
        if let Some(trace) = call.core.traces().trace(id) {
            graph.add(&TraceView::of(&trace));
        }
    }
    Ok(GetTraceGraphResponse { services: graph.services(&call.scope.account_id) })
}

//! Queries of Insights.

use std::sync::Arc;

use bowline_aws::{
    logs::{
        DescribeQueriesRequest, DescribeQueriesResponse, GetQueryResultsResponse, QueryInfo, QueryRequest,
        QueryStatistics, ResultField, StartQueryRequest, StartQueryResponse, StopQueryResponse,
    },
    protocol::{Document, Fault},
};
use bowline_model::{clock::Timestamp, log_query::LogQuery};

use super::{checks, invalid, no_group, page_of, store};
use crate::{
    api::{call::Call, constraint},
    logs::queries::{QueryOrder, QueryState, StartQueryError, StartedQuery},
};

/// Most groups of a query. Source: `StartQuery`.
const GROUPS_MAX: usize = 50;
/// The only language of queries here.
const LANGUAGE: &str = "CWLI";
/// Queries of a page. Source: `DescribeQueries`.
const PAGE: i64 = 1_000;

pub(super) fn start(call: &Call<'_>, request: StartQueryRequest) -> Result<StartQueryResponse, Fault> {
    match request.query_language.as_deref() {
        None | Some(LANGUAGE) => {}
        Some(other) => {
            return Err(invalid(format!("Queries are in {LANGUAGE} here, not in {other}.")));
        }
    }
    let given = [
        request.log_group_name.is_some(),
        request.log_group_names.is_some(),
        request.log_group_identifiers.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(invalid(
            "Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be specified.",
        ));
    }
    let identifiers = request.log_group_identifiers.unwrap_or_default();
    let mut groups: Vec<String> = identifiers
        .iter()
        .map(|identifier| checks::identified(call, identifier))
        .collect::<Result<_, _>>()?;
    groups.extend(request.log_group_name);
    groups.extend(request.log_group_names.unwrap_or_default());
    constraint::items("logGroupNames", groups.len(), 1..=GROUPS_MAX).map_err(invalid)?;
    for group in &groups {
        checks::group_name(group)?;
        store(call).describe(group).ok_or_else(no_group)?;
    }
    constraint::range("startTime", request.start_time, 0..=i64::MAX).map_err(invalid)?;
    constraint::range("endTime", request.end_time, 0..=i64::MAX).map_err(invalid)?;
    if request.start_time > request.end_time {
        return Err(invalid("End time should not be before start time."));
    }
    constraint::length("queryString", &request.query_string, 0..=10_000).map_err(invalid)?;
    let limit = request.limit.map(|limit| {
        constraint::range("limit", limit, 1..=100_000).map_err(invalid)?;
        Ok::<_, Fault>(usize::try_from(limit).unwrap_or(1))
    });
    let limit = limit.transpose()?;
    let query = LogQuery::parse(&request.query_string).map_err(|error| {
        let message = error.to_string();
        Fault::new("MalformedQueryException", message.clone()).with(
            "queryCompileError",
            Document::Map([("message".to_owned(), Document::Text(message))].into_iter().collect()),
        )
    })?;
    // A number as large as a client likes, in seconds or, as some give it, milliseconds.
    let seconds = |at: i64| Timestamp::from_secs(at.unsigned_abs());
    let order = QueryOrder {
        text: request.query_string,
        query,
        account_id: call.scope.account_id.clone(),
        groups,
        from: seconds(request.start_time),
        // What is at the end is told too.
        until: seconds(request.end_time.saturating_add(1)),
        limit,
        created_at: call.now,
    };
    let started = call.core.log_queries().start(call.core.logs(), order);
    let query_id = started.map_err(|StartQueryError| {
        Fault::new("LimitExceededException", "Account maximum query concurrency limit is reached.")
    })?;
    Ok(StartQueryResponse { query_id })
}

/// The query of an id.
fn find(call: &Call<'_>, id: &str) -> Result<Arc<StartedQuery>, Fault> {
    constraint::length("queryId", id, 1..=256).map_err(invalid)?;
    call.core.log_queries().find(id).ok_or_else(unknown)
}

fn unknown() -> Fault {
    Fault::new("ResourceNotFoundException", "The specified query does not exist.")
}

pub(super) fn results(call: &Call<'_>, request: QueryRequest) -> Result<GetQueryResultsResponse, Fault> {
    let query = find(call, &request.query_id)?;
    let state = query.state();
    let (rows, scanned, matched) = match &state {
        QueryState::Complete { rows, scanned } => (&rows.rows[..], *scanned, rows.matched),
        _ => (&[][..], Default::default(), 0),
    };
    let row = |row: &Vec<(String, String)>| {
        let field =
            |(field, value): &(String, String)| ResultField { field: field.clone(), value: value.clone() };
        row.iter().map(field).collect()
    };
    Ok(GetQueryResultsResponse {
        query_language: LANGUAGE.to_owned(),
        results: rows.iter().map(row).collect(),
        statistics: QueryStatistics {
            records_matched: matched as f64,
            records_scanned: scanned.events as f64,
            bytes_scanned: scanned.bytes as f64,
            log_groups_scanned: query.order.groups.len() as f64,
        },
        status: state.name().to_owned(),
    })
}

pub(super) fn stop(call: &Call<'_>, request: QueryRequest) -> Result<StopQueryResponse, Fault> {
    let query = find(call, &request.query_id)?;
    match query.stop() {
        true => Ok(StopQueryResponse { success: true }),
        false => Err(invalid(format!("Query {} is already ended.", request.query_id))),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeQueriesRequest,
) -> Result<DescribeQueriesResponse, Fault> {
    if let Some(group) = &request.log_group_name {
        checks::group_name(group)?;
        store(call).describe(group).ok_or_else(no_group)?;
    }
    let mut queries = call.core.log_queries().all();
    queries.retain(|(_, query)| {
        request.log_group_name.as_ref().is_none_or(|group| query.order.groups.contains(group))
            && request.status.as_ref().is_none_or(|status| query.state().name() == status)
            && request.query_language.as_ref().is_none_or(|language| language == LANGUAGE)
    });
    let page = page_of(
        "DescribeQueries",
        queries,
        |(id, _)| id.clone(),
        request.next_token.as_deref(),
        request.max_results,
        PAGE,
    )?;
    let info = |(query_id, query): (String, Arc<StartedQuery>)| QueryInfo {
        query_language: LANGUAGE.to_owned(),
        query_id,
        query_string: query.order.text.clone(),
        status: query.state().name().to_owned(),
        create_time: query.order.created_at.as_millis(),
        log_group_name: query.order.groups.first().cloned(),
    };
    Ok(DescribeQueriesResponse {
        queries: page.items.into_iter().map(info).collect(),
        next_token: page.next_token,
    })
}

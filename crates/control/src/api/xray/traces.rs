//! Segments are taken, and traces told.

use bowline_aws::{
    protocol::Fault,
    xray::{
        BatchGetTracesResponse, GetTraceSummariesRequest, GetTraceSummariesResponse, PutTraceSegmentsRequest,
        PutTraceSegmentsResponse, SamplingStrategy, Segment as WireSegment, Trace as WireTrace,
        TraceIdsRequest, UnprocessedTraceSegment,
    },
};
use bowline_model::trace::TraceId;
use bowline_observe::traces::TraceQuery;

use super::{invalid, microseconds, no_token};
use crate::{
    api::{
        call::{Call, wire},
        pages,
    },
    xray::{filter::Filter, segment, summary, view::TraceView},
};

/// Most documents of a request. AWS names no number; its daemon sends 50 at a time.
const DOCUMENTS_MAX: usize = 500;
/// Most traces of `BatchGetTraces`. Source: X-Ray's API reference.
const TRACES_MAX: usize = 5;
/// Longest time that summaries are asked for. Source: X-Ray answers the same.
const WINDOW_MAX_US: u64 = 24 * 3_600 * 1_000_000;
/// Most summaries of a page.
const PAGE: usize = 500;
/// Most traces that are looked at for a page: where few are taken, a page has few.
const SCAN_MAX: usize = 5_000;
/// How many of these are looked at at a time.
const SCAN: usize = 500;

const SUMMARIES: &str = "GetTraceSummaries";

pub(super) fn put(
    call: &Call<'_>,
    request: PutTraceSegmentsRequest,
) -> Result<PutTraceSegmentsResponse, Fault> {
    let given = request.trace_segment_documents;
    if given.len() > DOCUMENTS_MAX {
        return Err(invalid(format!("At most {DOCUMENTS_MAX} segment documents can be sent at once.")));
    }
    let (mut taken, mut unprocessed_trace_segments) = (Vec::with_capacity(given.len()), Vec::new());
    for document in &given {
        match segment::check(document) {
            Ok(document) => taken.push(document),
            Err(refused) => unprocessed_trace_segments.push(UnprocessedTraceSegment {
                message: refused.to_string(),
                id: refused.id,
                error_code: refused.code.to_owned(),
            }),
        }
    }
    call.core.traces().put_documents(&taken);
    Ok(PutTraceSegmentsResponse { unprocessed_trace_segments })
}

pub(super) fn summaries(
    call: &Call<'_>,
    request: GetTraceSummariesRequest,
) -> Result<GetTraceSummariesResponse, Fault> {
    let (from_us, until_us) = (microseconds(request.start_time), microseconds(request.end_time));
    if until_us < from_us {
        return Err(invalid("Start time must be before end time."));
    }
    if until_us - from_us > WINDOW_MAX_US {
        return Err(invalid("Time range cannot be longer than 24 hours."));
    }
    if let Some(kind) = request.time_range_type.as_deref()
        && !matches!(kind, "TraceId" | "Event" | "Service")
    {
        return Err(invalid(format!("Invalid TimeRangeType: {kind}.")));
    }
    let expression = request.filter_expression.as_deref().filter(|text| !text.trim().is_empty());
    let filter = expression.map(Filter::parse).transpose().map_err(|error| invalid(error.to_string()))?;
    let share = share(request.sampling.unwrap_or(false), request.sampling_strategy.as_ref())?;
    let after = request.next_token.as_deref().map(cursor).transpose()?;
    let mut query =
        TraceQuery { from_us, until_us, newest_first: false, after, limit: SCAN, ..TraceQuery::default() };
    let account = &call.scope.account_id;
    let store = call.core.traces();
    let (mut trace_summaries, mut scanned, mut next_token) = (Vec::new(), 0, None);
    'page: while scanned < SCAN_MAX {
        let found = store.list(&query);
        let is_last = found.len() < SCAN;
        for trace in found {
            query.after = Some((trace.start_us, trace.id));
            scanned += 1;
            if !is_of_share(trace.id, share) {
                continue;
            }
            let Some(kept) = store.trace(trace.id) else { continue };
            let view = TraceView::of(&kept);
            if filter.as_ref().is_none_or(|filter| filter.takes(&view)) {
                trace_summaries.push(summary::of(trace.id, &view, account));
            }
            if trace_summaries.len() == PAGE {
                next_token = query.after;
                break 'page;
            }
        }
        next_token = query.after.filter(|_| !is_last);
        if is_last {
            break;
        }
    }
    Ok(GetTraceSummariesResponse {
        trace_summaries,
        approximate_time: wire(call.now),
        traces_processed_count: scanned as i64,
        next_token: next_token.map(|(start, id)| pages::encode(SUMMARIES, &format!("{start}/{id}"))),
    })
}

/// Where the page before ended.
fn cursor(token: &str) -> Result<(u64, TraceId), Fault> {
    let read = || {
        let key = pages::decode(SUMMARIES, token).ok()?;
        let (start, id) = key.split_once('/')?;
        Some((start.parse().ok()?, TraceId::parse(id.as_bytes())?))
    };
    read().ok_or_else(|| invalid("Invalid NextToken."))
}

/// Of how many of all traces it is asked, from 0 to 1.
fn share(is_sampled: bool, strategy: Option<&SamplingStrategy>) -> Result<f64, Fault> {
    let Some(strategy) = strategy.filter(|_| is_sampled) else { return Ok(1.0) };
    match strategy.name.as_deref() {
        // All are read alike here.
        None | Some("PartialScan") => Ok(1.0),
        Some("FixedRate") => match strategy.value {
            Some(value) if (0.0..=1.0).contains(&value) => Ok(value),
            _ => Err(invalid("The value of a FixedRate sampling strategy must be between 0 and 1.")),
        },
        Some(name) => Err(invalid(format!("Invalid sampling strategy: {name}."))),
    }
}

/// The end of an id is random: the same traces are told each time.
fn is_of_share(id: TraceId, share: f64) -> bool {
    let [.., a, b, c, d] = id.bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) < share * f64::from(u32::MAX) || share >= 1.0
}

/// The ids that a request names.
pub(super) fn ids(request: &TraceIdsRequest) -> Result<Vec<(String, TraceId)>, Fault> {
    no_token(request.next_token.as_deref())?;
    if request.trace_ids.len() > TRACES_MAX {
        return Err(invalid(format!("At most {TRACES_MAX} trace ids can be given at once.")));
    }
    let read = |given: &String| {
        let id = segment::trace_id(given).ok_or_else(|| invalid("Invalid trace id."))?;
        Ok((given.clone(), id))
    };
    request.trace_ids.iter().map(read).collect()
}

pub(super) fn batch_get(call: &Call<'_>, request: TraceIdsRequest) -> Result<BatchGetTracesResponse, Fault> {
    let (mut traces, mut unprocessed_trace_ids) = (Vec::new(), Vec::new());
    for (given, id) in ids(&request)? {
        // The bytes that its answers may have at the most are bounded by what one trace may have.
        let Some(kept) = call.core.traces().trace(id) else {
            unprocessed_trace_ids.push(given);
            continue;
        };
        let view = TraceView::of(&kept);
        let is_done = view.segments.iter().any(|segment| segment.end_time.is_some());
        let document = |segment: &segment::Segment| WireSegment {
            id: segment.id.clone(),
            // What was read from JSON, or made here, can be written.
            document: serde_json::to_string(segment).unwrap_or_default(),
        };
        traces.push(WireTrace {
            id: id.x_ray(),
            duration: is_done.then(|| view.duration()),
            limit_exceeded: kept.spans.len() + kept.documents.len()
                >= bowline_observe::traces::RECORDS_OF_TRACE_MAX,
            segments: view.segments.iter().map(document).collect(),
        });
    }
    Ok(BatchGetTracesResponse { traces, unprocessed_trace_ids })
}

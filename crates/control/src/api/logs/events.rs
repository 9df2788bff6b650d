//! Events: put, read and looked for.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bowline_aws::{
    logs::{
        FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent, GetLogEventsRequest,
        GetLogEventsResponse, GetLogRecordRequest, GetLogRecordResponse, InputLogEvent, OutputLogEvent,
        PutLogEventsRequest, PutLogEventsResponse, RejectedLogEventsInfo,
    },
    protocol::Fault,
};
use bowline_model::{
    clock::Timestamp,
    log::{LogEvent, MESSAGE_BYTES_MAX},
};
use bowline_observe::logs::{Page, Position, Reading, StoredEvent, Streams};

use super::{bad_token, checks, fault, invalid, no_group, store};
use crate::api::{call::Call, constraint, pages};

/// The token that every answer has and no request needs, as on AWS since 2023.
pub(super) const SEQUENCE_TOKEN: &str = "49039859625190528765374823045298237483904857239048572394";

/// Most events of a request. Source: `PutLogEvents`.
const EVENTS_MAX: usize = 10_000;
/// Most bytes of a request: its messages, and [`EVENT_OVERHEAD`] for each. Source: `PutLogEvents`.
const BATCH_BYTES_MAX: usize = 1_048_576;
const EVENT_OVERHEAD: usize = 26;
/// How far apart the events of a request may be. Source: `PutLogEvents`.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far in the future, and how old, an event may be. Source: `PutLogEvents`.
const FUTURE_MAX: Duration = Duration::from_secs(2 * 3600);
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most bytes of a page. Source: `GetLogEvents`.
const PAGE_BYTES_MAX: usize = 1_048_576;

pub(super) fn put(call: &Call<'_>, request: PutLogEventsRequest) -> Result<PutLogEventsResponse, Fault> {
    let PutLogEventsRequest { log_group_name: group, log_stream_name: stream, log_events: events, .. } =
        request;
    checks::group_name(&group)?;
    checks::stream_name("logStreamName", &stream)?;
    constraint::items("logEvents", events.len(), 1..=EVENTS_MAX).map_err(invalid)?;
    let described = store(call).describe(&group).ok_or_else(no_group)?;
    let mut bytes = 0;
    for (event, number) in events.iter().zip(1..) {
        constraint::length(&format!("logEvents.{number}.member.message"), &event.message, 1..=usize::MAX)
            .map_err(invalid)?;
        constraint::range(&format!("logEvents.{number}.member.timestamp"), event.timestamp, 0..=i64::MAX)
            .map_err(invalid)?;
        if event.message.len() > MESSAGE_BYTES_MAX {
            return Err(invalid(format!(
                "Log event too large: {} bytes exceeds limit of {BATCH_BYTES_MAX}",
                event.message.len() + EVENT_OVERHEAD
            )));
        }
        bytes += event.message.len() + EVENT_OVERHEAD;
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_MAX}")));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let at = |event: &InputLogEvent| Timestamp::from_millis(event.timestamp.unsigned_abs());
    if let (Some(first), Some(last)) = (events.first(), events.last())
        && at(last).since(at(first)) > SPAN_MAX
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    // In order of time: what is too old is in front, what is too new at the end.
    let expired = described.settings.retention_days.map_or(0, |days| {
        let horizon = call.now - Duration::from_secs(24 * 3600) * days;
        events.partition_point(|event| at(event) < horizon)
    });
    let too_old = events.partition_point(|event| at(event) < call.now - AGE_MAX);
    let too_new = events.partition_point(|event| at(event) <= call.now + FUTURE_MAX);
    let info = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < events.len()).then_some(too_new),
        too_old_log_event_end_index: (too_old > 0).then_some(too_old),
        expired_log_event_end_index: (expired > 0).then_some(expired),
    };
    let kept = expired.max(too_old)..too_new;
    let kept: Vec<LogEvent> = match kept.start < kept.end {
        true => {
            let there = events.into_iter().skip(kept.start).take(kept.end - kept.start);
            there.map(|event| LogEvent { at: at(&event), message: event.message }).collect()
        }
        false => Vec::new(),
    };
    store(call).append(&group, &stream, &kept).map_err(fault)?;
    Ok(PutLogEventsResponse {
        next_sequence_token: SEQUENCE_TOKEN.to_owned(),
        rejected_log_events_info: (info != RejectedLogEventsInfo::default()).then_some(info),
    })
}

fn limit_of(limit: Option<i64>) -> Result<usize, Fault> {
    let limit = limit.unwrap_or(EVENTS_MAX as i64);
    constraint::range("limit", limit, 1..=EVENTS_MAX as i64).map_err(invalid)?;
    Ok(usize::try_from(limit).unwrap_or(1))
}

pub(super) fn get(call: &Call<'_>, request: GetLogEventsRequest) -> Result<GetLogEventsResponse, Fault> {
    let group = checks::group(call, request.log_group_name, request.log_group_identifier)?;
    checks::stream_name("logStreamName", &request.log_stream_name)?;
    let from = request.start_time.map(|at| checks::moment("startTime", at)).transpose()?;
    let until = request.end_time.map(|at| checks::moment("endTime", at)).transpose()?;
    let token = request.next_token.as_deref().map(|token| {
        let (kind, place) = token.split_once('/').ok_or_else(bad_token)?;
        let place: Position = place.parse().map_err(|_| bad_token())?;
        match kind {
            "f" => Ok((true, place)),
            "b" => Ok((false, place)),
            _ => Err(bad_token()),
        }
    });
    let token = token.transpose()?;
    let is_forward = token.map_or(request.start_from_head.unwrap_or(false), |(is_forward, _)| is_forward);
    let place = token.map(|(_, place)| place);
    let reading = Reading {
        streams: Streams::Named(BTreeSet::from([request.log_stream_name])),
        from: from.unwrap_or_default(),
        until: until.unwrap_or(Timestamp::from_millis(u64::MAX)),
        after: place.filter(|_| is_forward),
        before: place.filter(|_| !is_forward),
        is_forward,
        limit: limit_of(request.limit)?,
        bytes: PAGE_BYTES_MAX,
        takes: &|_| true,
    };
    let page = store(call).read(&group, &reading).map_err(fault)?;
    let first = page.events.first().map(|event| event.position);
    let last = page.events.last().map(|event| event.position.next());
    // At either end the token is that which was given.
    let here = place.unwrap_or(Position { at: reading.from, sequence: 0 });
    let (forward, backward) = match is_forward {
        true => (page.rest.or(last).unwrap_or(here), first.unwrap_or(here)),
        false => (last.unwrap_or(here), page.rest.filter(|_| first.is_none()).or(first).unwrap_or(here)),
    };
    let event = |event: StoredEvent| OutputLogEvent {
        timestamp: event.position.at.as_millis(),
        message: event.message,
        ingestion_time: event.ingested_at.as_millis(),
    };
    Ok(GetLogEventsResponse {
        events: page.events.into_iter().map(event).collect(),
        next_forward_token: format!("f/{forward}"),
        next_backward_token: format!("b/{backward}"),
    })
}

pub(super) fn filter(
    call: &Call<'_>,
    request: FilterLogEventsRequest,
) -> Result<FilterLogEventsResponse, Fault> {
    let group = checks::group(call, request.log_group_name, request.log_group_identifier)?;
    let pattern = checks::pattern(request.filter_pattern.as_deref().unwrap_or_default())?;
    let streams = match (request.log_stream_names, request.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(invalid("logStreamNames and logStreamNamePrefix cannot be specified together."));
        }
        (Some(names), None) => {
            constraint::items("logStreamNames", names.len(), 1..=100).map_err(invalid)?;
            Streams::Named(names.into_iter().collect())
        }
        (None, Some(prefix)) => {
            checks::stream_name("logStreamNamePrefix", &prefix)?;
            Streams::Prefixed(prefix)
        }
        (None, None) => Streams::All,
    };
    let from = request.start_time.map(|at| checks::moment("startTime", at)).transpose()?;
    let until = request.end_time.map(|at| checks::moment("endTime", at)).transpose()?;
    if let (Some(from), Some(until)) = (from, until)
        && from > until
    {
        return Err(invalid("endTime must be after startTime."));
    }
    let operation = "FilterLogEvents";
    let place = request.next_token.as_deref().map(|token| {
        let place = pages::decode(operation, token).ok().and_then(|place| place.parse::<Position>().ok());
        place.ok_or_else(bad_token)
    });
    let place = place.transpose()?;
    let is_forward = request.start_from_head.unwrap_or(true);
    let reading = Reading {
        streams,
        from: from.unwrap_or_default(),
        // What is at the end is told too, other than by `GetLogEvents`.
        until: until.map_or(Timestamp::from_millis(u64::MAX), |until| until + Duration::from_millis(1)),
        after: place.filter(|_| is_forward),
        before: place.filter(|_| !is_forward),
        is_forward,
        limit: limit_of(request.limit)?,
        bytes: PAGE_BYTES_MAX,
        takes: &|message| pattern.matches(message),
    };
    let Page { mut events, rest, .. } = store(call).read(&group, &reading).map_err(fault)?;
    if !is_forward {
        events.reverse();
    }
    let event = |event: StoredEvent| FilteredLogEvent {
        log_stream_name: event.stream.to_string(),
        timestamp: event.position.at.as_millis(),
        event_id: event.position.to_string(),
        message: event.message,
        ingestion_time: event.ingested_at.as_millis(),
    };
    Ok(FilterLogEventsResponse {
        events: events.into_iter().map(event).collect(),
        searched_log_streams: Vec::new(),
        next_token: rest.map(|rest| pages::encode(operation, &rest.to_string())),
    })
}

/// What stands for an event in a query's result: `@ptr`.
pub(crate) fn pointer(group: &str, position: Position) -> String {
    URL_SAFE_NO_PAD.encode(format!("{group}\n{position}"))
}

pub(super) fn record(call: &Call<'_>, request: GetLogRecordRequest) -> Result<GetLogRecordResponse, Fault> {
    let bad = || invalid("The log record pointer is not valid.");
    let bytes = URL_SAFE_NO_PAD.decode(&request.log_record_pointer).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (group, place) = text.split_once('\n').ok_or_else(bad)?;
    let place: Position = place.parse().map_err(|_| bad())?;
    let reading = Reading {
        streams: Streams::All,
        from: place.at,
        until: place.at + Duration::from_millis(1),
        after: Some(place),
        before: Some(place.next()),
        is_forward: true,
        limit: 1,
        bytes: PAGE_BYTES_MAX,
        takes: &|_| true,
    };
    let page = store(call).read(group, &reading).map_err(fault)?;
    let event = page.events.into_iter().next();
    let event = event
        .ok_or_else(|| Fault::new("ResourceNotFoundException", "The specified log record does not exist."))?;
    let mut log_record = serde_json::from_str::<serde_json::Value>(&event.message)
        .ok()
        .map(|value| fields(&value))
        .unwrap_or_default();
    for (name, value) in [
        ("@message", event.message),
        ("@timestamp", event.position.at.as_millis().to_string()),
        ("@ingestionTime", event.ingested_at.as_millis().to_string()),
        ("@log", format!("{}:{group}", call.scope.account_id)),
        ("@logStream", event.stream.to_string()),
        ("@ptr", request.log_record_pointer),
    ] {
        log_record.insert(name.to_owned(), value);
    }
    Ok(GetLogRecordResponse { log_record })
}

/// Most fields of a record. Source: CloudWatch Logs Insights, "Supported logs and discovered fields".
const FIELDS_MAX: usize = 1_000;

/// The members of an object, and of those within, by their paths.
fn fields(value: &serde_json::Value) -> std::collections::BTreeMap<String, String> {
    fn add(path: &str, value: &serde_json::Value, into: &mut std::collections::BTreeMap<String, String>) {
        use serde_json::Value;
        if into.len() >= FIELDS_MAX {
            return;
        }
        let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| add(&under(name), value, into)),
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(place, value)| add(&under(&place.to_string()), value, into));
            }
            Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
            Value::Null => {}
            other => drop(into.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut all = std::collections::BTreeMap::new();
    add("", value, &mut all);
    all
}

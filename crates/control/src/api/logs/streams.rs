//! Streams.

use bowline_aws::{
    logs::{DescribeLogStreamsRequest, DescribeLogStreamsResponse, Empty, LogStream, LogStreamRequest},
    protocol::Fault,
};
use bowline_model::clock::Timestamp;
use bowline_observe::logs::StreamInfo;

use super::{checks, events::SEQUENCE_TOKEN, fault, invalid, page_of, store};
use crate::api::{call::Call, pages::reversed};

/// Streams of a page. Source: `DescribeLogStreams`.
const PAGE: i64 = 50;

pub(super) fn create(call: &Call<'_>, request: LogStreamRequest) -> Result<Empty, Fault> {
    let LogStreamRequest { log_group_name, log_stream_name } = request;
    checks::group_name(&log_group_name)?;
    checks::stream_name("logStreamName", &log_stream_name)?;
    store(call).create_stream(&log_group_name, &log_stream_name).map_err(fault)?;
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: LogStreamRequest) -> Result<Empty, Fault> {
    let LogStreamRequest { log_group_name, log_stream_name } = request;
    checks::group_name(&log_group_name)?;
    checks::stream_name("logStreamName", &log_stream_name)?;
    store(call).delete_stream(&log_group_name, &log_stream_name).map_err(fault)?;
    Ok(Empty {})
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, Fault> {
    let group = checks::group(call, request.log_group_name, request.log_group_identifier)?;
    let by_time = match request.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member must \
                 satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    if let Some(prefix) = &request.log_stream_name_prefix {
        checks::stream_name("logStreamNamePrefix", prefix)?;
        if by_time {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
    }
    let mut streams = store(call).streams(&group).map_err(fault)?;
    if let Some(prefix) = &request.log_stream_name_prefix {
        streams.retain(|stream| stream.name.starts_with(prefix.as_str()));
    }
    let descending = request.descending.unwrap_or(false);
    let key = |stream: &StreamInfo| {
        let at = stream.last_event_at.map_or(0, Timestamp::as_millis);
        let key = if by_time { format!("{at:020} {}", stream.name) } else { stream.name.clone() };
        if descending { reversed(&key) } else { key }
    };
    let page =
        page_of("DescribeLogStreams", streams, key, request.next_token.as_deref(), request.limit, PAGE)?;
    let stream = |stream: StreamInfo| LogStream {
        arn: call.scope.arn("logs", format_args!("log-group:{group}:log-stream:{}", stream.name)).to_string(),
        log_stream_name: stream.name,
        creation_time: stream.created_at.as_millis(),
        first_event_timestamp: stream.first_event_at.map(Timestamp::as_millis),
        last_event_timestamp: stream.last_event_at.map(Timestamp::as_millis),
        last_ingestion_time: stream.last_ingested_at.map(Timestamp::as_millis),
        upload_sequence_token: stream.last_ingested_at.map(|_| SEQUENCE_TOKEN.to_owned()),
        stored_bytes: 0,
    };
    Ok(DescribeLogStreamsResponse {
        log_streams: page.items.into_iter().map(stream).collect(),
        next_token: page.next_token,
    })
}

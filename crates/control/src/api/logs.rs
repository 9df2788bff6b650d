//! Amazon CloudWatch Logs (`logs`; `Logs_20140328`).
//!
//! - `groups` and `streams` are what events are kept in, `tags` what groups are tagged with.
//! - `events` puts and reads them, `queries` asks Insights' questions of them.
//! - `metric_filters` makes metrics of them.
//! - `checks` is what members must be.
//!
//! Source of names, shapes and errors: AWS's CloudWatch Logs API reference.

mod checks;
mod events;
mod groups;
pub(crate) mod metric_filters;
mod queries;
mod streams;
mod tags;

use bowline_aws::protocol::Fault;
use bowline_observe::logs::{LogStore, LogStoreError};

pub(crate) use events::pointer;

use super::{
    call::Call,
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CreateLogGroup", groups::create),
    operation!(Write, Effective, "CreateLogStream", streams::create),
    operation!(Write, Effective, "DeleteLogGroup", groups::delete),
    operation!(Write, Effective, "DeleteLogStream", streams::delete),
    operation!(Write, Effective, "DeleteMetricFilter", metric_filters::delete),
    operation!(Write, Effective, "DeleteRetentionPolicy", groups::delete_retention),
    operation!(Read, Effective, "DescribeLogGroups", groups::describe, waits),
    operation!(Read, Effective, "DescribeLogStreams", streams::describe, waits),
    operation!(Read, Effective, "DescribeMetricFilters", metric_filters::describe, waits),
    operation!(Read, Effective, "DescribeQueries", queries::describe),
    operation!(Data, Effective, "FilterLogEvents", events::filter, waits),
    operation!(Data, Effective, "GetLogEvents", events::get, waits),
    operation!(Data, Effective, "GetLogRecord", events::record, waits),
    operation!(Data, Effective, "GetQueryResults", queries::results, waits),
    operation!(Read, Effective, "ListTagsForResource", tags::list),
    operation!(Read, Effective, "ListTagsLogGroup", tags::list_of_group),
    operation!(DataWrite, Effective, "PutLogEvents", events::put, waits),
    operation!(Write, Effective, "PutLogGroupDeletionProtection", groups::protect),
    operation!(Write, Effective, "PutMetricFilter", metric_filters::put),
    operation!(Write, Effective, "PutRetentionPolicy", groups::put_retention),
    operation!(Read, Effective, "StartQuery", queries::start),
    operation!(Read, Effective, "StopQuery", queries::stop),
    operation!(Write, Effective, "TagLogGroup", tags::tag_group),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Read, Effective, "TestMetricFilter", metric_filters::test),
    operation!(Write, Effective, "UntagLogGroup", tags::untag_group),
    operation!(Write, Effective, "UntagResource", tags::untag),
];

/// Why the store or a check refuses, on its way to a [`Fault`].
struct Refused(Fault);

impl From<LogStoreError> for Refused {
    fn from(error: LogStoreError) -> Self {
        let code = match &error {
            LogStoreError::NoGroup | LogStoreError::NoStream => "ResourceNotFoundException",
            LogStoreError::GroupExists | LogStoreError::StreamExists => "ResourceAlreadyExistsException",
            LogStoreError::Limit => "LimitExceededException",
            LogStoreError::Protected => "ValidationException",
            LogStoreError::Name(_) => "InvalidParameterException",
            LogStoreError::Io { path, source } => {
                tracing::error!(file = %path.display(), error = %source, "logs cannot be read or written");
                let message = "The service cannot complete the request.";
                return Self(Fault::new("ServiceUnavailableException", message).with_status(503));
            }
        };
        Self(Fault::new(code, error.to_string()))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

/// The store's error as AWS answers it.
fn fault(error: LogStoreError) -> Fault {
    Refused::from(error).0
}

/// There is no such group.
fn no_group() -> Fault {
    fault(LogStoreError::NoGroup)
}

/// `InvalidParameterException`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}

fn store<'a>(call: &'a Call<'_>) -> &'a LogStore {
    call.core.logs()
}

/// `limit` and `nextToken` of a list of at most `most` a page.
fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    limit: Option<i64>,
    most: i64,
) -> Result<Page<T>, Fault> {
    let size = limit.unwrap_or(most);
    constraint::range("limit", size, 1..=most).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size).map_err(|_| bad_token())
}

fn bad_token() -> Fault {
    invalid("The specified nextToken is invalid.")
}

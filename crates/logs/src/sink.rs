//! Places that records are delivered to.

mod http;
mod store;

use std::{io, sync::Arc};

use bowline_model::{
    clock::Timestamp,
    log::{LogEvent, LogWriteError, LogWriter},
    log_driver::matches_tag,
};
use regex_lite::Regex;
use serde_json::Map;
use thiserror::Error;

use self::http::HttpSink;
use crate::{
    forward::ForwardClient,
    multiline,
    route::{Pipeline, Place},
    shape::{Entry, Shape},
    spool::{Batch, Record},
};

/// Why a delivery failed.
#[derive(Debug, Error)]
pub(crate) enum DeliveryError {
    /// It may succeed later.
    #[error("{0}")]
    Later(String),
    /// It was refused as too long: less may be taken.
    #[error("the receiver takes less at once")]
    TooLong,
    /// It was refused for what it is, and may be again.
    #[error("{0}")]
    Refused(String),
    /// It is of no use to try again.
    #[error("{0}")]
    Never(String),
}

impl From<io::Error> for DeliveryError {
    fn from(error: io::Error) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<LogWriteError> for DeliveryError {
    fn from(error: LogWriteError) -> Self {
        match error {
            LogWriteError::Refused(_) => Self::Never(error.to_string()),
            LogWriteError::NoGroup(_) | LogWriteError::Unavailable { .. } => Self::Later(error.to_string()),
        }
    }
}

/// What is delivered at once.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Events of a stream.
    Events(Vec<LogEvent>),
    /// Records.
    Entries(Vec<Entry>),
}

/// What a batch of a spool becomes.
#[derive(Debug)]
pub(crate) struct Shaped {
    pub(crate) payload: Payload,
    /// The cursor once it is delivered.
    pub(crate) next: u64,
    /// Lines in it.
    pub(crate) lines: u64,
    /// Lines that filters dropped.
    pub(crate) filtered: u64,
}

/// A place, and what it takes to deliver there.
#[derive(Debug)]
pub(crate) enum Sink {
    Lines { place: store::Stream, multiline: Option<Regex> },
    Http(Box<HttpSink>),
    Forward { client: Box<ForwardClient>, tag: Option<String> },
    CloudWatch(store::ByTag),
    Stdout(store::Stream),
    Null,
}

impl Sink {
    /// Opens a pipeline's place. Nothing is connected to yet.
    pub(crate) fn open(pipeline: &Pipeline, writer: Option<Arc<dyn LogWriter>>) -> io::Result<Self> {
        let stream = |group: &str, stream: &str, create_group: bool| store::Stream {
            writer: writer.clone().map(store::Store),
            group: group.to_owned(),
            stream: stream.to_owned(),
            create_group,
        };
        Ok(match &pipeline.place {
            Place::Lines { group, stream: name, create_group, multiline } => {
                Self::Lines { place: stream(group, name, *create_group), multiline: multiline.clone() }
            }
            Place::Stdout { group, stream: name, create_group } => {
                Self::Stdout(stream(group, name, *create_group))
            }
            Place::Http(http) => Self::Http(Box::new(HttpSink::new(http.clone())?)),
            Place::Forward(forward) => Self::Forward {
                client: Box::new(ForwardClient::new(
                    &forward.host,
                    forward.port,
                    forward.tls.as_ref(),
                    forward.acknowledged,
                    forward.whole_seconds,
                    forward.gzip,
                )?),
                tag: forward.tag.clone(),
            },
            Place::CloudWatch(output) => {
                Self::CloudWatch(store::ByTag { writer: writer.map(store::Store), output: output.clone() })
            }
            Place::Null => Self::Null,
        })
    }

    /// Whether what it delivers to is not here at all.
    pub(crate) fn is_nowhere(&self) -> bool {
        match self {
            Self::Lines { place, .. } | Self::Stdout(place) => place.writer.is_none(),
            Self::CloudWatch(by_tag) => by_tag.writer.is_none(),
            _ => false,
        }
    }

    /// Makes of a batch what can be delivered. `hold`: lines may follow that belong to the last event.
    pub(crate) fn shape(&self, batch: &Batch, shape: &Shape, matches: Option<&str>, hold: bool) -> Shaped {
        if let Self::Lines { multiline, .. } = self {
            return events(batch, multiline.as_ref(), hold);
        }
        let (mut entries, mut filtered) = (Vec::new(), 0);
        let mut lines = 0;
        for (_, record) in &batch.records {
            if matches.is_some_and(|pattern| !matches_tag(pattern, shape.tag(record))) {
                continue;
            }
            match shape.entry(record) {
                Some(entry) => {
                    lines += 1;
                    entries.push(entry);
                }
                None => filtered += 1,
            }
        }
        Shaped { payload: Payload::Entries(entries), next: batch.next, lines, filtered }
    }

    /// Delivers.
    pub(crate) async fn deliver(&mut self, payload: &Payload) -> Result<(), DeliveryError> {
        match (self, payload) {
            (Self::Lines { place, .. }, Payload::Events(events)) => place.put(events.clone()).await,
            (Self::Http(http), Payload::Entries(entries)) => http.deliver(entries).await,
            (Self::Forward { client, tag }, Payload::Entries(entries)) => {
                for (entry_tag, events) in runs(entries) {
                    client.send(tag.as_deref().unwrap_or(entry_tag), &events).await?;
                }
                Ok(())
            }
            (Self::CloudWatch(by_tag), Payload::Entries(entries)) => by_tag.put(entries).await,
            (Self::Stdout(place), Payload::Entries(entries)) => {
                let line = |(number, entry): (usize, &Entry)| LogEvent {
                    at: entry.at,
                    message: format!(
                        "[{number}] {}: [{:.3}, {}]",
                        entry.tag,
                        entry.at.as_secs_f64(),
                        serde_json::Value::Object(entry.record.clone())
                    ),
                };
                place.put(entries.iter().enumerate().map(line).collect()).await
            }
            (Self::Null, _) => Ok(()),
            // A sink is given what it shaped.
            (Self::Lines { .. }, Payload::Entries(_)) | (_, Payload::Events(_)) => {
                Err(DeliveryError::Never("records of another shape".into()))
            }
        }
    }
}

/// Events of one tag, as a client of the forward protocol sends them.
type Run<'a> = (&'a str, Vec<(Timestamp, &'a Map<String, serde_json::Value>)>);

/// Entries one after the other that have the same tag.
fn runs(entries: &[Entry]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some((tag, events)) if *tag == entry.tag => events.push((entry.at, &entry.record)),
            _ => runs.push((&entry.tag, vec![(entry.at, &entry.record)])),
        }
    }
    runs
}

fn events(batch: &Batch, multiline: Option<&Regex>, hold: bool) -> Shaped {
    let line = |record: &Record| LogEvent {
        at: record.at,
        message: String::from_utf8_lossy(&record.body).into_owned(),
    };
    let lines = batch.records.iter().map(|(number, record)| (*number, line(record)));
    let Some(pattern) = multiline else {
        // CloudWatch Logs takes no empty event; Docker's driver drops empty lines, too.
        let events: Vec<_> =
            lines.map(|(_, event)| event).filter(|event| !event.message.is_empty()).collect();
        let count = events.len() as u64;
        let filtered = batch.records.len() as u64 - count;
        return Shaped { payload: Payload::Events(events), next: batch.next, lines: count, filtered };
    };
    let mut joined = multiline::join(pattern, lines).events;
    let mut next = batch.next;
    // One alone that fills a batch is delivered as it is.
    if hold && joined.len() > 1 {
        joined.pop();
        next = joined.last().map_or(next, |(after, _)| *after);
    } else if hold {
        joined.clear();
        next = batch.records.first().map_or(next, |(number, _)| *number);
    }
    let count = batch.records.iter().filter(|(number, _)| *number < next).count() as u64;
    let events = joined.into_iter().map(|(_, event)| event).filter(|event| !event.message.is_empty());
    Shaped { payload: Payload::Events(events.collect()), next, lines: count, filtered: 0 }
}

#[cfg(test)]
mod tests;

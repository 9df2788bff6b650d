//! The log store of this machine.

use std::{fmt, sync::Arc};

use bowline_model::{
    log::{LogEvent, LogWriter, MESSAGE_BYTES_MAX},
    log_driver::CloudWatchOutput,
};
use serde_json::Value;

use super::DeliveryError;
use crate::shape::Entry;

/// What takes events.
#[derive(Clone)]
pub(crate) struct Store(pub(crate) Arc<dyn LogWriter>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// A stream of a group.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) writer: Option<Store>,
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) create_group: bool,
}

impl Stream {
    pub(super) async fn put(&self, events: Vec<LogEvent>) -> Result<(), DeliveryError> {
        put(self.writer.as_ref(), &self.group, &self.stream, events, self.create_group).await
    }
}

/// `cloudwatch_logs`: a stream for each tag.
#[derive(Debug)]
pub(crate) struct ByTag {
    pub(crate) writer: Option<Store>,
    pub(crate) output: CloudWatchOutput,
}

impl ByTag {
    pub(super) async fn put(&self, entries: &[Entry]) -> Result<(), DeliveryError> {
        let Self { output, writer } = self;
        for run in entries.chunk_by(|one, other| one.tag == other.tag) {
            let tag = run.first().map(|entry| entry.tag.as_str()).unwrap_or_default();
            let stream = output.stream.clone().unwrap_or_else(|| format!("{}{tag}", output.stream_prefix));
            let message = |entry: &Entry| match output.key.as_ref().and_then(|key| entry.record.get(key)) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => Value::Object(entry.record.clone()).to_string(),
            };
            let events = run.iter().map(|entry| LogEvent { at: entry.at, message: message(entry) });
            let events: Vec<_> = events.filter(|event| !event.message.is_empty()).collect();
            put(writer.as_ref(), &output.group, &stream, events, output.create_group).await?;
        }
        Ok(())
    }
}

async fn put(
    writer: Option<&Store>,
    group: &str,
    stream: &str,
    events: Vec<LogEvent>,
    create_group: bool,
) -> Result<(), DeliveryError> {
    let Some(Store(writer)) = writer else {
        return Err(DeliveryError::Never("there is no log store here".into()));
    };
    let mut events = events;
    for event in &mut events {
        // What else is said of a line must not make it too long to be kept.
        let end = event.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        event.message.truncate(end);
    }
    let (writer, group, stream) = (Arc::clone(writer), group.to_owned(), stream.to_owned());
    let put = move || writer.put(&group, &stream, events, create_group);
    match tokio::task::spawn_blocking(put).await {
        Ok(put) => Ok(put?),
        Err(_) => Err(DeliveryError::Later("the log store failed".into())),
    }
}

//! Records as outputs see them: what FireLens makes of a line.

use std::sync::Arc;

use bowline_model::clock::Timestamp;
use serde_json::{Map, Value};

use crate::{
    fluent_bit::FilterRule,
    spool::{Record, RecordKind},
};

/// How a source's lines become records.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The tag of lines.
    pub(crate) tag: String,
    pub(crate) container_id: String,
    pub(crate) container: String,
    /// What is added of the task.
    pub(crate) metadata: Option<[(&'static str, String); 3]>,
    pub(crate) filters: Arc<Vec<FilterRule>>,
}

/// A record with its tag and time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) tag: String,
    pub(crate) record: Map<String, Value>,
}

impl Shape {
    /// The record of a line, or of an object that an input took; `None` where a filter drops it.
    pub(crate) fn entry(&self, record: &Record) -> Option<Entry> {
        let text = || Value::String(String::from_utf8_lossy(&record.body).into_owned());
        let line = |source: &str| {
            // In FireLens' order: Docker's driver made it, and the router appended what it knows of the task.
            let pairs = [
                ("source", Value::String(source.to_owned())),
                ("log", text()),
                ("container_id", Value::String(self.container_id.clone())),
                ("container_name", Value::String(self.container.clone())),
            ];
            pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()
        };
        let mut object = match record.kind {
            RecordKind::Stdout => line("stdout"),
            RecordKind::Stderr => line("stderr"),
            RecordKind::Object => match serde_json::from_slice(&record.body) {
                Ok(Value::Object(object)) => object,
                // It was cut for its length.
                _ => Map::from_iter([("log".to_owned(), text())]),
            },
        };
        for (key, value) in self.metadata.iter().flatten() {
            object.insert((*key).to_owned(), Value::String(value.clone()));
        }
        let tag = if record.tag.is_empty() { &self.tag } else { &record.tag };
        let kept = self.filters.iter().all(|filter| filter.apply(tag, &mut object));
        kept.then(|| Entry { at: record.at, tag: tag.clone(), record: object })
    }

    /// A record's tag.
    pub(crate) fn tag<'a>(&'a self, record: &'a Record) -> &'a str {
        if record.tag.is_empty() { &self.tag } else { &record.tag }
    }
}

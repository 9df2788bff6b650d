//! Segment documents: an application's, or a proxy's, part of a trace.

use std::collections::BTreeMap;

use bowline_model::trace::{SpanId, TraceId};
use bowline_observe::traces::{DOCUMENT_BYTES_MAX, TraceDocument};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest name of a segment. Source: "X-Ray segment documents".
const NAME_MAX: usize = 200;

/// A segment or a subsegment. What nothing here looks at is kept as it was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) start_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<f64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) in_progress: bool,
    /// `subsegment` of one that was sent on its own.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) error: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) throttle: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) fault: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<SegmentHttp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subsegments: Vec<Segment>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// A segment's `http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentHttp {
    #[serde(default)]
    pub(crate) request: HttpRequest,
    #[serde(default)]
    pub(crate) response: HttpResponse,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HttpRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ip: Option<String>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HttpResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<i64>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Segment {
    /// How long it took, in seconds; 0 where it goes on.
    pub(crate) fn duration(&self) -> f64 {
        self.end_time.map_or(0.0, |end| (end - self.start_time).max(0.0))
    }

    /// When it ended, or began where it goes on.
    pub(crate) fn end(&self) -> f64 {
        self.end_time.unwrap_or(self.start_time)
    }

    /// Whether it is a call of something else: its other side is a service of its own in graphs.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.namespace.as_deref(), Some("remote" | "aws"))
    }

    /// Itself and all of its subsegments.
    pub(crate) fn walk(&self) -> impl Iterator<Item = &Segment> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let next = waiting.pop()?;
            waiting.extend(next.subsegments.iter().rev());
            Some(next)
        })
    }
}

/// A document that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid segment. ErrorCode: {code}")]
pub(crate) struct Refused {
    /// Its id, where it has one.
    pub(crate) id: Option<String>,
    /// AWS's word for why.
    pub(crate) code: &'static str,
}

/// Reads a trace's id as X-Ray writes it, or as W3C does.
pub(crate) fn trace_id(text: &str) -> Option<TraceId> {
    TraceId::parse_x_ray(text).or_else(|| TraceId::parse(text.as_bytes()))
}

/// Checks a document that was sent.
pub(crate) fn check(document: &str) -> Result<TraceDocument, Refused> {
    let refused = |id: Option<&str>, code| Refused { id: id.map(str::to_owned), code };
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(refused(None, "DocumentTooLarge"));
    }
    let value: Value = serde_json::from_str(document).map_err(|_| refused(None, "ParseError"))?;
    if !value.is_object() {
        return Err(refused(None, "ParseError"));
    }
    let id = value.get("id").and_then(Value::as_str);
    for (member, code) in [
        ("id", "MissingId"),
        ("name", "MissingName"),
        ("trace_id", "MissingTraceId"),
        ("start_time", "MissingStartTime"),
    ] {
        if value.get(member).is_none_or(Value::is_null) {
            return Err(refused(id, code));
        }
    }
    let segment = Segment::deserialize(&value).map_err(|_| refused(id, "ParseError"))?;
    let is_id = |id: &str| SpanId::parse(id.as_bytes()).is_some();
    let refused = |code| Err(refused(Some(&segment.id), code));
    if !is_id(&segment.id) {
        return refused("InvalidId");
    }
    if segment.name.is_empty() || segment.name.chars().count() > NAME_MAX {
        return refused("InvalidName");
    }
    let Some(trace) = segment.trace_id.as_deref().and_then(trace_id) else {
        return refused("InvalidTraceId");
    };
    if segment.parent_id.as_deref().is_some_and(|parent| !is_id(parent)) {
        return refused("InvalidParentId");
    }
    if segment.kind.as_deref().is_some_and(|kind| kind != "subsegment") {
        return refused("InvalidType");
    }
    if segment.kind.is_some() && segment.parent_id.is_none() {
        return refused("MissingParentId");
    }
    let start_us = microseconds(segment.start_time);
    let is_time = |seconds: f64| seconds.is_finite() && (0.0..1e11).contains(&seconds);
    if !is_time(segment.start_time) {
        return refused("InvalidStartTime");
    }
    let duration_us = match segment.end_time {
        Some(end) if !is_time(end) || end < segment.start_time => return refused("InvalidEndTime"),
        Some(end) => microseconds(end) - start_us,
        None if segment.in_progress => 0,
        None => return refused("MissingEndTime"),
    };
    Ok(TraceDocument {
        trace,
        start_us,
        duration_us,
        is_fault: segment.walk().any(|part| part.fault),
        bytes: document.as_bytes().to_vec(),
    })
}

/// Seconds as whole microseconds.
pub(crate) fn microseconds(seconds: f64) -> u64 {
    // Saturates, and makes 0 of what is no number.
    (seconds * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "id": "53995c3f42cd8ad8", "name": "app", "trace_id": "1-58406520-a006649127e371903a2de979",
            "start_time": 1478293361.271, "end_time": 1478293361.449,
        })
    }

    #[test]
    fn a_document_is_taken() {
        let mut given = document();
        given["subsegments"] =
            json!([{"id": "53995c3f42cd8ad9", "name": "db", "start_time": 1.0, "fault": true}]);
        let taken = check(&given.to_string()).expect("taken");
        assert_eq!(taken.trace.x_ray(), "1-58406520-a006649127e371903a2de979");
        assert_eq!((taken.duration_us, taken.is_fault), (178_000, true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |member: &str, value: Value| {
            let mut given = document();
            given[member] = value;
            check(&given.to_string()).expect_err(member).code
        };
        for (member, value, code) in [
            ("id", Value::Null, "MissingId"),
            ("id", json!("53995c3f42cd8ad"), "InvalidId"),
            ("id", json!(5), "ParseError"),
            ("name", json!(""), "InvalidName"),
            ("trace_id", Value::Null, "MissingTraceId"),
            ("trace_id", json!("1-2-3"), "InvalidTraceId"),
            ("parent_id", json!("x"), "InvalidParentId"),
            ("type", json!("subsegment"), "MissingParentId"),
            ("type", json!("span"), "InvalidType"),
            ("start_time", json!(-1.0), "InvalidStartTime"),
            ("end_time", json!(1.0), "InvalidEndTime"),
            ("end_time", Value::Null, "MissingEndTime"),
        ] {
            assert_eq!(with(member, value.clone()), code, "{member} {value}");
        }
        assert_eq!(check("[]").expect_err("no object").code, "ParseError");
        assert_eq!(check("{").expect_err("no JSON").code, "ParseError");
        let long = json!({"name": "x".repeat(DOCUMENT_BYTES_MAX)}).to_string();
        assert_eq!(check(&long).expect_err("too long").code, "DocumentTooLarge");
        let deep = format!("{}{}", "{\"subsegments\":[".repeat(3_000), "]}".repeat(3_000));
        assert_eq!(check(&deep).expect_err("too deep").code, "ParseError");
    }

    #[test]
    fn what_nothing_looks_at_is_kept() {
        let mut given = document();
        given["metadata"] = json!({"debug": {"x": [1, 2.5, null]}});
        given["http"] = json!({"request": {"method": "GET", "traced": true}, "response": {"status": 200}});
        let segment: Segment = serde_json::from_value(given.clone()).expect("reads");
        assert_eq!(serde_json::to_value(&segment).expect("writes"), given);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = check(&text);
        }
    }
}

//! Filter expressions: which traces are asked for.
//!
//! Source: X-Ray's developer guide, "Use filter expressions". Groups, root causes and insights are not kept here: an
//! expression that names them is refused.

mod parse;

use serde_json::Value;

use super::{
    segment::Segment,
    view::{Edge, TraceView},
};

/// Longest expression. Source: `FilterExpression`'s quota.
pub(crate) const LENGTH_MAX: usize = 2_000;

/// Why an expression is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter expression: {what} at character {at}.")]
pub(crate) struct FilterError {
    /// For people.
    what: String,
    /// Counted from 1.
    at: usize,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// One or the other.
    Or(Box<Filter>, Box<Filter>),
    /// Not so.
    Not(Box<Filter>),
    /// A keyword that is so or not.
    Flag(Flag),
    /// A number compared.
    Number(NumberKey, Comparison, f64),
    /// A text compared.
    Text(TextKey, TextComparison, String),
    /// An annotation; with nothing to compare it with: that there is one.
    Annotation(String, Option<(Comparison, Operand)>, Option<(TextComparison, String)>),
    /// A service takes part, of which the rest is so.
    Service(ServiceName, Option<Box<Filter>>),
    /// One service calls another, and the rest is so of the call.
    Edge(ServiceName, ServiceName, Option<Box<Filter>>),
}

/// What a service must be called, and be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceName {
    name: Option<String>,
    kind: Option<String>,
}

/// What an annotation is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Number(f64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Ok,
    Error,
    Throttle,
    Fault,
    Partial,
    Inferred,
    Remote,
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKey {
    ResponseTime,
    Duration,
    HttpStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKey {
    HttpUrl,
    HttpMethod,
    HttpUserAgent,
    HttpClientIp,
    User,
    Name,
    Type,
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextComparison {
    Equal,
    NotEqual,
    Contains,
    BeginsWith,
    EndsWith,
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl TextComparison {
    fn holds(self, left: &str, right: &str) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Contains => left.contains(right),
            Self::BeginsWith => left.starts_with(right),
            Self::EndsWith => left.ends_with(right),
        }
    }
}

/// What an expression is asked of.
#[derive(Clone, Copy)]
enum Of<'a> {
    /// The trace as a whole.
    Trace,
    /// A service's part.
    Segment(usize),
    /// A call.
    Edge(&'a Edge),
}

impl Filter {
    /// Reads an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text)
    }

    /// Whether a trace is asked for.
    pub(crate) fn takes(&self, trace: &TraceView) -> bool {
        self.holds(trace, Of::Trace)
    }

    fn holds(&self, trace: &TraceView, of: Of<'_>) -> bool {
        match self {
            Self::And(a, b) => a.holds(trace, of) && b.holds(trace, of),
            Self::Or(a, b) => a.holds(trace, of) || b.holds(trace, of),
            Self::Not(inner) => !inner.holds(trace, of),
            Self::Flag(flag) => flag.holds(trace, of),
            Self::Number(key, comparison, wanted) => {
                key.value(trace, of).is_some_and(|value| comparison.holds(value, *wanted))
            }
            Self::Text(key, comparison, wanted) => {
                key.values(trace, of).iter().any(|value| comparison.holds(value, wanted))
            }
            Self::Annotation(key, value, text) => segments(trace, of)
                .flat_map(Segment::walk)
                .any(|part| part.annotations.get(key).is_some_and(|there| annotated(there, value, text))),
            Self::Service(name, inner) => {
                (0..trace.segments.len()).any(|at| {
                    name.fits(&trace.segments[at].name, trace.segments[at].origin.as_deref())
                        && inner.as_ref().is_none_or(|inner| inner.holds(trace, Of::Segment(at)))
                }) || trace.edges.iter().filter(|edge| edge.to.is_none()).any(|edge| {
                    name.fits(&edge.remote, Some("remote"))
                        && inner.as_ref().is_none_or(|inner| inner.holds(trace, Of::Edge(edge)))
                })
            }
            Self::Edge(from, to, inner) => trace.edges.iter().any(|edge| {
                let caller = &trace.segments[edge.from];
                let kind = edge.to.map_or(Some("remote"), |at| trace.segments[at].origin.as_deref());
                from.fits(&caller.name, caller.origin.as_deref())
                    && to.fits(trace.called(edge), kind)
                    && inner.as_ref().is_none_or(|inner| inner.holds(trace, Of::Edge(edge)))
            }),
        }
    }
}

fn annotated(
    there: &Value,
    value: &Option<(Comparison, Operand)>,
    text: &Option<(TextComparison, String)>,
) -> bool {
    if let Some((comparison, wanted)) = text {
        return there.as_str().is_some_and(|there| comparison.holds(there, wanted));
    }
    match value {
        None => true,
        Some((comparison, Operand::Number(wanted))) => {
            there.as_f64().is_some_and(|there| comparison.holds(there, *wanted))
        }
        Some((comparison, Operand::Bool(wanted))) => {
            there.as_bool().is_some_and(|there| (there == *wanted) == (*comparison != Comparison::NotEqual))
        }
    }
}

impl ServiceName {
    fn fits(&self, name: &str, kind: Option<&str>) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.kind.as_deref().is_none_or(|wanted| Some(wanted) == kind)
    }
}

/// The segments that an expression is about: all of a trace, a service's own, or those of a call as far as it is known.
fn segments<'a>(trace: &'a TraceView, of: Of<'a>) -> impl Iterator<Item = &'a Segment> {
    let whole: &[Segment] = match of {
        Of::Trace => &trace.segments,
        Of::Segment(at) => std::slice::from_ref(&trace.segments[at]),
        Of::Edge(_) => &[],
    };
    let of_edge = match of {
        Of::Edge(edge) => called_side(trace, edge),
        _ => None,
    };
    whole.iter().chain(of_edge)
}

/// A call as the called side tells it, else as the caller does.
fn called_side<'a>(trace: &'a TraceView, edge: &'a Edge) -> Option<&'a Segment> {
    edge.to.map(|at| &trace.segments[at]).or_else(|| trace.call_of(edge))
}

impl Flag {
    fn holds(self, trace: &TraceView, of: Of<'_>) -> bool {
        let any = |test: fn(&Segment) -> bool| segments(trace, of).any(test);
        match self {
            Self::Ok => !any(|part| part.error || part.fault || part.throttle),
            Self::Error => any(|part| part.error),
            Self::Throttle => any(|part| part.throttle),
            Self::Fault => any(|part| part.fault),
            Self::Partial => any(|part| part.walk().any(|part| part.in_progress)),
            Self::Inferred | Self::Remote => match of {
                Of::Edge(edge) => edge.to.is_none(),
                Of::Trace => trace.edges.iter().any(|edge| edge.to.is_none()),
                Of::Segment(_) => false,
            },
            Self::Root => match of {
                Of::Segment(at) => trace.roots().any(|(root, _)| root == at),
                Of::Trace => true,
                Of::Edge(_) => false,
            },
        }
    }
}

impl NumberKey {
    fn value(self, trace: &TraceView, of: Of<'_>) -> Option<f64> {
        let part = match of {
            Of::Trace => trace.entry(),
            Of::Segment(at) => trace.segments.get(at),
            Of::Edge(edge) => trace.call_of(edge).or_else(|| called_side(trace, edge)),
        };
        match (self, of) {
            (Self::Duration, Of::Trace) => Some(trace.duration()),
            (Self::Duration | Self::ResponseTime, _) => part.map(Segment::duration),
            (Self::HttpStatus, _) => Some(part?.http.as_ref()?.response.status? as f64),
        }
    }
}

impl TextKey {
    fn values<'a>(self, trace: &'a TraceView, of: Of<'a>) -> Vec<&'a str> {
        // A user may be told by any part, a URL of the trace is that of its entry.
        let parts: Vec<&Segment> = match (self, of) {
            (Self::User | Self::Name | Self::Type | Self::Message, _) => segments(trace, of).collect(),
            (_, Of::Trace) => trace.entry().into_iter().collect(),
            _ => segments(trace, of).collect(),
        };
        let value = |part: &'a Segment| -> Option<&'a str> {
            let request = part.http.as_ref().map(|http| &http.request);
            match self {
                Self::HttpUrl => request?.url.as_deref(),
                Self::HttpMethod => request?.method.as_deref(),
                Self::HttpUserAgent => request?.user_agent.as_deref(),
                Self::HttpClientIp => request?.client_ip.as_deref(),
                Self::User => part.user.as_deref(),
                Self::Name => Some(&part.name),
                Self::Type => part.origin.as_deref(),
                Self::Message => None,
            }
        };
        match self {
            Self::Message => parts.into_iter().flat_map(Segment::walk).flat_map(messages).collect(),
            _ => parts.into_iter().filter_map(value).collect(),
        }
    }
}

/// What exceptions said.
fn messages(part: &Segment) -> impl Iterator<Item = &str> {
    let exceptions = part.rest.get("cause").and_then(|cause| cause.get("exceptions"));
    exceptions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|exception| exception.get("message")?.as_str())
}

#[cfg(test)]
mod tests;

//! restJson1: the method and the path name the operation, and what is asked is spread over the
//! path, the query, the headers and a JSON body.
//!
//! A service of this protocol is declared by a [`Rest`] beside its shapes: its [`Route`]s, and for
//! each of them where the members of its request and of its response are. Members that no
//! [`Binding`] names are members of the body. All of them meet in one
//! [`Document`], so typed shapes are the same as in every other protocol.
//!
//! ```
//! use bowline_aws::protocol::rest::{Binding, Kind, Rest, Route, Scalar};
//!
//! static ROUTES: &[Route] = &[
//!     Route::new("GetExperiment", "GET", "/experiments/{id}").request(&[Binding::label("id")]),
//!     Route::new("ListExperiments", "GET", "/experiments").request(&[
//!         Binding::query("maxResults", "maxResults", Kind::One(Scalar::Integer)),
//!         Binding::query("nextToken", "nextToken", Kind::One(Scalar::Text)),
//!     ]),
//! ];
//! static REST: Rest = Rest { routes: ROUTES, ..Rest::EMPTY };
//! assert_eq!(REST.check(), Ok(()));
//! ```
//!
//! Sources: Smithy 2.0, "AWS restJson1 protocol" and "HTTP bindings".

mod pattern;
mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

use self::pattern::Pattern;
pub(super) use self::{
    read::read,
    write::{write, write_fault},
};
use super::Document;

/// What a service of restJson1 is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Its operations.
    pub routes: &'static [Route],
    /// How its errors call their sentence: `message` (FIS) or `Message` (X-Ray). An error whose
    /// members hold either already is left as it is.
    pub message_member: &'static str,
    /// Errors with members in headers, by their code; [`Fault::retry_after`](super::Fault) needs
    /// none.
    pub errors: &'static [(&'static str, &'static [Binding])],
}

impl Rest {
    /// No operations; errors with `message` and all members in the body.
    pub const EMPTY: Self = Self { routes: &[], message_member: "message", errors: &[] };

    /// The operation with this name.
    pub fn route(&self, operation: &str) -> Option<&'static Route> {
        self.routes.iter().find(|route| route.operation == operation)
    }

    /// The operation that a request is for. Of several that match, the most specific counts:
    /// segment by segment from the left a literal is more so than a label, and a label more than
    /// a greedy one; then the longer path; then more literals in the query.
    ///
    /// # Errors
    /// There is none, or none with this method.
    pub fn find(&self, method: &str, path: &str, query: &str) -> Result<&'static Route, NoRoute> {
        let matching: Vec<_> =
            self.routes.iter().filter(|route| route.pattern().matches(path, query)).collect();
        let best =
            matching.iter().copied().filter(|route| route.method == method).reduce(|best, route| match route
                .pattern()
                .specificity(&best.pattern())
            {
                std::cmp::Ordering::Greater => route,
                _ => best,
            });
        best.ok_or_else(|| {
            let mut allowed: Vec<_> = matching.iter().map(|route| route.method).collect();
            allowed.sort_unstable();
            allowed.dedup();
            NoRoute { allowed }
        })
    }

    /// Whether the declaration holds together; for a test over every service.
    ///
    /// # Errors
    /// What does not, for people: a pattern that is none, a label that is not bound or bound
    /// twice, operations that cannot be told apart, two payloads.
    pub fn check(&self) -> Result<(), String> {
        for (at, route) in self.routes.iter().enumerate() {
            let fault = |what: String| Err(format!("{}: {what}", route.operation));
            if let Err(what) = route.pattern().check() {
                return fault(what);
            }
            let bound: Vec<&str> = route
                .request
                .iter()
                .filter_map(|binding| match binding {
                    Binding::Label { member, .. } => Some(*member),
                    _ => None,
                })
                .collect();
            let mut labels: Vec<&str> = route.pattern().labels().collect();
            let mut sorted = bound.clone();
            sorted.sort_unstable();
            labels.sort_unstable();
            if sorted != labels {
                return fault(format!("its labels are {labels:?}, and {bound:?} are bound"));
            }
            for bindings in [route.request, route.response] {
                for (at, binding) in bindings.iter().enumerate() {
                    let same =
                        |other: &Binding| other.member().is_some() && other.member() == binding.member();
                    if bindings[at + 1..].iter().any(same) {
                        return fault(format!("{:?} is bound twice", binding.member()));
                    }
                }
                let payloads = bindings.iter().filter(|it| matches!(it, Binding::Payload { .. })).count();
                if payloads > 1 {
                    return fault("it has two payloads".to_owned());
                }
            }
            if route.request.iter().any(|it| matches!(it, Binding::Status { .. })) {
                return fault("a request has no status".to_owned());
            }
            let of_request = |it: &Binding| {
                matches!(it, Binding::Label { .. } | Binding::Query { .. } | Binding::QueryParams { .. })
            };
            if route.response.iter().any(of_request) {
                return fault("a response has neither labels nor a query".to_owned());
            }
            for other in &self.routes[at + 1..] {
                if other.operation == route.operation
                    || (other.method == route.method && other.pattern().is_same(&route.pattern()))
                {
                    return fault(format!("it cannot be told from {}", other.operation));
                }
            }
        }
        Ok(())
    }
}

/// Why a request is for no operation of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoute {
    /// The methods that there are for this path: empty for an unknown path.
    pub allowed: Vec<&'static str>,
}

impl NoRoute {
    /// 404, or 405 where only the method is another.
    pub fn status(&self) -> u16 {
        if self.allowed.is_empty() { 404 } else { 405 }
    }
}

/// An operation: Smithy's `http` trait, and the bindings of its input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub operation: &'static str,
    /// The method, in upper case.
    pub method: &'static str,
    /// The pattern: `/experiments/{id}/actions`, `/{key+}` over several segments, `/tags?untag`
    /// with literals of the query.
    pub uri: &'static str,
    /// The status of its success.
    pub status: u16,
    /// Where the members of the request are that are not in the body.
    pub request: &'static [Binding],
    /// Where the members of the response are that are not in the body.
    pub response: &'static [Binding],
}

impl Route {
    /// An operation whose members are all in bodies, and whose success has the status 200.
    pub const fn new(operation: &'static str, method: &'static str, uri: &'static str) -> Self {
        Self { operation, method, uri, status: 200, request: &[], response: &[] }
    }

    /// The same with another status of its success.
    #[must_use]
    pub const fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same with these members of the request elsewhere than in the body.
    #[must_use]
    pub const fn request(self, request: &'static [Binding]) -> Self {
        Self { request, ..self }
    }

    /// The same with these members of the response elsewhere than in the body.
    #[must_use]
    pub const fn response(self, response: &'static [Binding]) -> Self {
        Self { response, ..self }
    }

    fn pattern(&self) -> Pattern {
        Pattern::new(self.uri)
    }
}

/// Where a member is that is not in the body. Names of members are those of the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `httpLabel`: a segment of the path, or several (`{name+}`). The label has the member's name.
    Label {
        /// The member.
        member: &'static str,
        /// Its notation; moments are `date-time`.
        scalar: Scalar,
    },
    /// `httpQuery`: a parameter of the query; lists repeat it. Of a scalar that is given twice the
    /// first counts.
    Query {
        /// The parameter.
        name: &'static str,
        /// The member.
        member: &'static str,
        /// Its notation; moments are `date-time`.
        kind: Kind,
    },
    /// `httpQueryParams`: a map of all parameters of the query, those of [`Binding::Query`] and of
    /// the pattern among them (as Smithy asks of servers).
    QueryParams {
        /// The member.
        member: &'static str,
        /// Its values are lists of texts; otherwise texts, of which the first counts.
        lists: bool,
    },
    /// `httpHeader`.
    Header {
        /// The header, in lower case.
        name: &'static str,
        /// The member.
        member: &'static str,
        /// Its notation; moments are `http-date`.
        kind: Kind,
    },
    /// `httpPrefixHeaders`: a map of the headers that begin so. Its keys are in lower case, as
    /// HTTP/2 has them.
    PrefixHeaders {
        /// What they begin with, in lower case.
        prefix: &'static str,
        /// The member.
        member: &'static str,
    },
    /// `httpPayload`: the body is this member alone.
    Payload {
        /// The member.
        member: &'static str,
        /// What the body is.
        payload: Payload,
    },
    /// `httpResponseCode`: the status of the response. The route's own where it is absent.
    Status {
        /// The member.
        member: &'static str,
    },
    /// `timestampFormat` of a moment in the body, where it is not `epoch-seconds`.
    BodyTimestamp {
        /// Where: members joined by `.`, through lists; `*` is every value of a map.
        path: &'static str,
        /// Its notation.
        format: TimestampFormat,
    },
}

impl Binding {
    /// A label whose member is a text.
    pub const fn label(member: &'static str) -> Self {
        Self::Label { member, scalar: Scalar::Text }
    }

    /// A parameter of the query.
    pub const fn query(name: &'static str, member: &'static str, kind: Kind) -> Self {
        Self::Query { name, member, kind }
    }

    /// A header, by its name in lower case.
    pub const fn header(name: &'static str, member: &'static str, kind: Kind) -> Self {
        Self::Header { name, member, kind }
    }

    /// The member, unless it stays in the body.
    fn member(&self) -> Option<&'static str> {
        match self {
            Self::Label { member, .. }
            | Self::Query { member, .. }
            | Self::QueryParams { member, .. }
            | Self::Header { member, .. }
            | Self::PrefixHeaders { member, .. }
            | Self::Payload { member, .. }
            | Self::Status { member } => Some(member),
            Self::BodyTimestamp { .. } => None,
        }
    }
}

/// One value or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One.
    One(Scalar),
    /// A list or a set.
    Many(Scalar),
}

/// How a value is written outside of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text, or one of an enum.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number, or `NaN`, `Infinity`, `-Infinity`.
    Float,
    /// A moment in the notation that is usual at its place.
    Timestamp,
    /// A moment in another (`timestampFormat`).
    TimestampAs(TimestampFormat),
    /// A text with a `mediaType`, such as JSON in a header: base64.
    MediaType,
}

/// Smithy's `timestampFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `2026-11-21T07:01:19.250Z`.
    DateTime,
    /// `Sat, 21 Nov 2026 07:01:19 GMT`.
    HttpDate,
    /// `1795244479.25`.
    EpochSeconds,
}

/// What a body is that is one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A structure, a union, a list or a document, in JSON.
    Json,
    /// Bytes, with their media type (`application/octet-stream` where the model has none).
    Blob(&'static str),
    /// A text or one of an enum, with its media type (`text/plain` where the model has none).
    Text(&'static str),
}

/// Visits every value at a path of a body: members joined by `.`, through lists; `*` is every value
/// of a map.
fn at_path(
    document: &mut Document,
    path: &str,
    visit: &mut dyn FnMut(&mut Document) -> Result<(), String>,
) -> Result<(), String> {
    if let Document::List(items) = document {
        return items.iter_mut().try_for_each(|item| at_path(item, path, visit));
    }
    if path.is_empty() {
        return visit(document);
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match document {
        Document::Map(members) => members
            .iter_mut()
            .filter(|(name, _)| first == "*" || name == first)
            .try_for_each(|(_, value)| at_path(value, rest, visit)),
        _ => Ok(()),
    }
}

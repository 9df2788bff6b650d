//! restJson1, for a service with a member at every place that the protocol has.

use bowline_aws::protocol::{
    Document, Fault, Protocol, RequestHead, Response, ServiceProtocol, UnreadableRequest, identify_among,
    read,
    rest::{Binding, Kind, Payload, Rest, Route, Scalar, TimestampFormat},
    write, write_fault_of, write_unreadable,
};

use crate::request::HttpRequest;

/// Where they are in requests and in responses.
const HEADERS: &[Binding] = &[
    Binding::header("x-name", "name", Kind::One(Scalar::Text)),
    Binding::header("x-names", "names", Kind::Many(Scalar::Text)),
    Binding::header("x-flag", "flag", Kind::One(Scalar::Boolean)),
    Binding::header("x-count", "count", Kind::One(Scalar::Integer)),
    Binding::header("x-weights", "weights", Kind::Many(Scalar::Float)),
    Binding::header("x-at", "at", Kind::One(Scalar::Timestamp)),
    Binding::header("x-dates", "dates", Kind::Many(Scalar::Timestamp)),
    Binding::header("x-since", "since", Kind::One(Scalar::TimestampAs(TimestampFormat::EpochSeconds))),
    Binding::header("x-json", "json", Kind::One(Scalar::MediaType)),
    Binding::PrefixHeaders { prefix: "x-meta-", member: "meta" },
    Binding::BodyTimestamp { path: "parts.*.made", format: TimestampFormat::HttpDate },
];

static ROUTES: &[Route] = &[
    Route::new("Echo", "PUT", "/echo").request(HEADERS).response(HEADERS),
    Route::new("Get", "GET", "/things/{id}").request(&[
        Binding::label("id"),
        Binding::query("max", "max", Kind::One(Scalar::Integer)),
        Binding::query("since", "since", Kind::One(Scalar::Timestamp)),
        Binding::query("name", "names", Kind::Many(Scalar::Text)),
        Binding::QueryParams { member: "all", lists: true },
    ]),
    Route::new("GetAt", "GET", "/things/{id}/at/{at}").request(&[
        Binding::label("id"),
        Binding::Label { member: "at", scalar: Scalar::Timestamp },
        Binding::QueryParams { member: "all", lists: false },
    ]),
    Route::new("GetFile", "GET", "/things/{path+}").request(&[Binding::label("path")]),
    Route::new("Stop", "POST", "/things/{id}?op=stop").request(&[Binding::label("id")]).status(204),
    Route::new("Change", "POST", "/things/{id}")
        .request(&[Binding::label("id")])
        .response(&[Binding::Status { member: "code" }]),
    Route::new("PutBlob", "PUT", "/blobs")
        .request(&[Binding::Payload { member: "content", payload: Payload::Blob("image/png") }])
        .response(&[Binding::Payload { member: "content", payload: Payload::Blob("image/png") }]),
    Route::new("PutText", "PUT", "/texts")
        .request(&[Binding::Payload { member: "content", payload: Payload::Text("text/plain") }])
        .response(&[Binding::Payload { member: "content", payload: Payload::Text("text/plain") }]),
    Route::new("PutThing", "PUT", "/")
        .request(&[Binding::Payload { member: "content", payload: Payload::Json }])
        .response(&[Binding::Payload { member: "content", payload: Payload::Json }]),
];

static REST: Rest = Rest { routes: ROUTES, ..Rest::EMPTY };

static SERVICES: &[ServiceProtocol] = &[ServiceProtocol {
    name: "things",
    endpoint_prefix: "things",
    target_prefix: None,
    version: "2026-01-01",
    xml_namespace: "",
    protocol: Protocol::RestJson,
    validation_code: "ValidationException",
    rest: Some(&REST),
}];

/// A request in HTTP's notation, to a service of restJson1.
///
/// No member has two values, what a body says stands for no label, what answers can be sent, and
/// headers that are written are read again.
pub fn rest_json(input: &[u8]) {
    assert_eq!(REST.check(), Ok(()));
    let Some(request) = HttpRequest::parse(input) else { return };
    let headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let head = RequestHead {
        method: request.method,
        path: request.path,
        query: request.query.unwrap_or_default(),
        target: None,
        content_type: None,
        smithy_protocol: None,
        headers: &headers,
        signed_for: Some("things"),
    };
    let name = match identify_among(SERVICES, &head, request.body) {
        Ok(name) => name,
        Err(error @ UnreadableRequest::NoRoute { .. }) => {
            let response = write_unreadable(Protocol::Query, "id", &error);
            assert!(matches!(response.status, 404 | 405), "{}", response.status);
            return sendable(&response);
        }
        Err(error) => panic!("the service is known: {error}"),
    };
    let document = match read(&name, &head, request.body) {
        Ok(document) => document,
        Err(error) => {
            assert!(matches!(error, UnreadableRequest::Body(_)), "{error}");
            return;
        }
    };
    let Document::Map(members) = &document else { panic!("a request is a structure") };
    let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), members.len(), "a member has two values");
    if let Some(id) = document.get("id").filter(|_| request.path.starts_with("/things/")) {
        let id = id.as_text().expect("a label that is a text");
        assert!(request.path.contains('%') || request.path.contains(id), "{id:?} is not of the path");
    }
    let response = write(&name, "id", &document);
    sendable(&response);
    let fault = Fault::new("Busy", "no").with("resource", document);
    sendable(&write_fault_of(&name, "id", &fault));
    if name.operation == "Echo" {
        // What a header cannot carry is lost in the first answer; then nothing is.
        let (first, answer) = echo(&response);
        let (second, _) = echo(&answer);
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

/// Sends the headers of an answer as a request: what is understood, and what is answered.
fn echo(response: &Response) -> (Document, Response) {
    let headers: Vec<(&str, &[u8])> =
        response.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
    let head = RequestHead {
        method: "PUT",
        path: "/echo",
        query: "",
        target: None,
        content_type: None,
        smithy_protocol: None,
        headers: &headers,
        signed_for: Some("things"),
    };
    let name = identify_among(SERVICES, &head, b"").expect("an operation");
    let document = read(&name, &head, b"").expect("what was written can be read");
    let answer = write(&name, "id", &document);
    (document, answer)
}

/// No status, name or value of an answer is one that HTTP has not.
fn sendable(response: &Response) {
    assert!((200..600).contains(&response.status));
    for (name, value) in &response.headers {
        assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'),
            "{name:?}"
        );
        assert!(!value.chars().any(char::is_control), "{value:?}");
    }
}

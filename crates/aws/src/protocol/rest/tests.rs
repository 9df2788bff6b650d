//! A service that no one has, with a member at every place.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::protocol::{
    Blob, Fault, FaultBlame, OperationName, Protocol, RequestHead, Response, SERVICES, ServiceProtocol,
    Timestamp, UnreadableRequest, from_document, identify_among, read, to_document, write, write_fault_of,
    write_unreadable,
};

static ROUTES: &[Route] = &[
    Route::new("Get", "GET", "/things/{id}").request(&[
        Binding::label("id"),
        Binding::query("max", "maxResults", Kind::One(Scalar::Integer)),
        Binding::query("deep", "deep", Kind::One(Scalar::Boolean)),
        Binding::query("weight", "weight", Kind::One(Scalar::Float)),
        Binding::query("since", "since", Kind::One(Scalar::Timestamp)),
        Binding::query("until", "until", Kind::One(Scalar::TimestampAs(TimestampFormat::EpochSeconds))),
        Binding::query("name", "names", Kind::Many(Scalar::Text)),
        Binding::query("number", "numbers", Kind::Many(Scalar::Integer)),
        Binding::QueryParams { member: "all", lists: true },
    ]),
    Route::new("GetParts", "GET", "/things/{id}/parts/{at}").request(&[
        Binding::label("id"),
        Binding::Label { member: "at", scalar: Scalar::Timestamp },
        Binding::QueryParams { member: "all", lists: false },
    ]),
    Route::new("GetSpecial", "GET", "/things/special"),
    Route::new("GetFile", "GET", "/things/{path+}").request(&[Binding::label("path")]),
    Route::new("Stop", "POST", "/things/{id}?op=stop").request(&[Binding::label("id")]).status(202),
    Route::new("Change", "POST", "/things/{id}").request(&[Binding::label("id")]),
    Route::new("Put", "PUT", "/things/{id}")
        .request(&[
            Binding::label("id"),
            Binding::header("x-name", "name", Kind::One(Scalar::Text)),
            Binding::header("x-count", "count", Kind::One(Scalar::Integer)),
            Binding::header("x-names", "names", Kind::Many(Scalar::Text)),
            Binding::header("x-at", "at", Kind::One(Scalar::Timestamp)),
            Binding::header("x-dates", "dates", Kind::Many(Scalar::Timestamp)),
            Binding::header("x-json", "json", Kind::One(Scalar::MediaType)),
            Binding::PrefixHeaders { prefix: "x-meta-", member: "meta" },
            Binding::BodyTimestamp { path: "parts.made", format: TimestampFormat::HttpDate },
        ])
        .response(&[
            Binding::Status { member: "code" },
            Binding::header("x-name", "name", Kind::One(Scalar::Text)),
            Binding::header("x-names", "names", Kind::Many(Scalar::Text)),
            Binding::header("x-at", "at", Kind::One(Scalar::Timestamp)),
            Binding::header("x-json", "json", Kind::One(Scalar::MediaType)),
            Binding::PrefixHeaders { prefix: "x-meta-", member: "meta" },
            Binding::BodyTimestamp { path: "parts.made", format: TimestampFormat::DateTime },
        ]),
    Route::new("PutBlob", "PUT", "/blobs/{id}")
        .request(&[
            Binding::label("id"),
            Binding::Payload { member: "content", payload: Payload::Blob("application/octet-stream") },
        ])
        .response(&[
            Binding::header("content-type", "type", Kind::One(Scalar::Text)),
            Binding::Payload { member: "content", payload: Payload::Blob("image/png") },
        ]),
    Route::new("PutText", "PUT", "/texts")
        .request(&[Binding::Payload { member: "content", payload: Payload::Text("text/plain") }])
        .response(&[Binding::Payload { member: "content", payload: Payload::Text("text/plain") }]),
    Route::new("PutThing", "PUT", "/")
        .request(&[Binding::Payload { member: "thing", payload: Payload::Json }])
        .response(&[Binding::Payload { member: "thing", payload: Payload::Json }]),
    Route::new("Delete", "DELETE", "/things/{id}").request(&[Binding::label("id")]).status(204),
];

static REST: Rest = Rest {
    routes: ROUTES,
    message_member: "Message",
    errors: &[("Busy", &[Binding::header("x-left", "left", Kind::One(Scalar::Integer))])],
};

static SERVICE: ServiceProtocol = ServiceProtocol {
    name: "things",
    endpoint_prefix: "api.things",
    target_prefix: None,
    version: "2026-01-01",
    xml_namespace: "",
    protocol: Protocol::RestJson,
    validation_code: "ValidationException",
    rest: Some(&REST),
};

static AMONG: &[ServiceProtocol] = &[SERVICE];

type Headers<'a> = &'a [(&'a str, &'a [u8])];

fn head<'a>(method: &'a str, target: &'a str, headers: Headers<'a>) -> RequestHead<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    RequestHead {
        method,
        path,
        query,
        target: None,
        content_type: None,
        smithy_protocol: None,
        headers,
        signed_for: Some("api.things"),
    }
}

fn identified(method: &str, target: &str) -> Result<&'static str, (u16, String)> {
    match identify_among(AMONG, &head(method, target, &[]), b"Action=No") {
        Ok(name) => Ok(REST.route(&name.operation).expect("one of them").operation),
        Err(error @ UnreadableRequest::NoRoute { .. }) => {
            let response = write_unreadable(Protocol::Query, "id", &error);
            assert_eq!(sent(&response, "x-amzn-errortype"), Some("UnknownOperationException"));
            Err((response.status, sent(&response, "allow").unwrap_or_default().to_owned()))
        }
        Err(other) => panic!("{other}"),
    }
}

fn document(method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Result<Document, String> {
    let head = head(method, target, headers);
    let name = identify_among(AMONG, &head, body).expect("an operation");
    read(&name, &head, body).map_err(|error| match error {
        UnreadableRequest::Body(what) => what,
        other => panic!("{other}"),
    })
}

/// What is read, as JSON.
fn json(method: &str, target: &str, headers: Headers<'_>, body: &str) -> serde_json::Value {
    (&document(method, target, headers, body.as_bytes()).expect("reads")).into()
}

fn named(operation: &str) -> OperationName {
    OperationName { service: &AMONG[0], operation: operation.to_owned(), protocol: Protocol::RestJson }
}

fn sent<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn written(operation: &str, value: serde_json::Value) -> Response {
    let document = crate::protocol::json::parse(value.to_string().as_bytes()).expect("a document");
    write(&named(operation), "id", &document)
}

#[test]
fn every_declaration_holds_together() {
    assert_eq!(REST.check(), Ok(()));
    for service in SERVICES {
        assert_eq!(service.rest.is_some(), service.protocol == Protocol::RestJson, "{}", service.name);
        if let Some(rest) = service.rest {
            assert_eq!(rest.check(), Ok(()), "{}", service.name);
        }
    }
}

#[test]
fn a_declaration_that_does_not_hold_together_is_found() {
    const ID: &[Binding] = &[Binding::label("id")];
    const PAYLOADS: &[Binding] = &[
        Binding::Payload { member: "a", payload: Payload::Json },
        Binding::Payload { member: "b", payload: Payload::Json },
    ];
    static TABLES: [&[Route]; 9] = [
        &[Route::new("A", "GET", "a")],
        &[Route::new("A", "GET", "/{id}")],
        &[Route::new("A", "GET", "/a").request(ID)],
        &[Route::new("A", "GET", "/a//b")],
        &[Route::new("A", "GET", "/{id+}/{other}").request(&[Binding::label("id"), Binding::label("other")])],
        &[Route::new("A", "GET", "/{id}").request(ID), Route::new("B", "GET", "/{id}").request(ID)],
        &[Route::new("A", "GET", "/a"), Route::new("A", "GET", "/b")],
        &[Route::new("A", "PUT", "/a").request(PAYLOADS)],
        &[Route::new("A", "PUT", "/a").response(ID)],
    ];
    for routes in TABLES {
        assert!(Rest { routes, ..Rest::EMPTY }.check().is_err(), "{routes:?}");
    }
}

#[test]
fn the_most_specific_pattern_names_the_operation() {
    for (method, target, operation) in [
        ("GET", "/things/1", "Get"),
        ("GET", "/things/arn%3Aaws%3Athings%3A%2Fa", "Get"),
        ("GET", "/things/special", "GetSpecial"),
        ("GET", "/things/specia%6c?x=1", "GetSpecial"),
        ("GET", "/things/1/parts/2", "GetParts"),
        ("GET", "/things/1/parts", "GetFile"),
        ("GET", "/things/1/", "GetFile"),
        ("POST", "/things/1", "Change"),
        ("POST", "/things/1?op=go", "Change"),
        ("POST", "/things/1?a=b&op=stop", "Stop"),
        ("PUT", "/", "PutThing"),
    ] {
        assert_eq!(identified(method, target), Ok(operation), "{method} {target}");
    }
    assert_eq!(identified("GET", "/other"), Err((404, String::new())));
    assert_eq!(identified("GET", "/things"), Err((404, String::new())));
    assert_eq!(identified("GET", "/things/"), Err((404, String::new())));
    assert_eq!(identified("PATCH", "/things/1?op=stop"), Err((405, "DELETE, GET, POST, PUT".to_owned())));
    assert_eq!(identified("get", "/texts"), Err((405, "PUT".to_owned())));
}

#[test]
fn the_host_names_the_service_of_what_is_not_signed() {
    let unsigned = |host: &'static [u8]| {
        let headers: [(&str, &[u8]); 1] = [("Host", host)];
        let head = RequestHead { signed_for: None, headers: &headers, ..head("GET", "/things/1", &[]) };
        identify_among(AMONG, &head, b"").map(|name| name.operation)
    };
    assert_eq!(unsigned(b"API.things.us-east-1.amazonaws.com").as_deref(), Ok("Get"));
    for other in [&b"localhost:1"[..], b"things.us-east-1.amazonaws.com", b"api.things", b""] {
        assert!(matches!(unsigned(other), Err(UnreadableRequest::UnknownService(_))));
    }
}

#[test]
fn services_may_share_the_name_in_the_signature() {
    static OTHER: Rest = Rest { routes: &[Route::new("Other", "GET", "/texts")], ..Rest::EMPTY };
    static BOTH: &[ServiceProtocol] = &[SERVICE, ServiceProtocol { rest: Some(&OTHER), ..SERVICE }];
    let find = |method, path| identify_among(BOTH, &head(method, path, &[]), b"").map(|name| name.operation);
    assert_eq!(find("GET", "/texts").as_deref(), Ok("Other"));
    assert_eq!(find("PUT", "/texts").as_deref(), Ok("PutText"));
    let Err(UnreadableRequest::NoRoute { no_route, .. }) = find("POST", "/blobs/x") else {
        panic!("it is known")
    };
    assert_eq!(no_route.allowed, ["PUT"], "the path is known to one of them");
}

#[test]
fn labels_are_read_without_their_escapes() {
    let at = "2026-11-21T07%3A01%3A19Z";
    assert_eq!(
        json("GET", &format!("/things/a%2Fb+%20%C3%BC/parts/{at}"), &[], ""),
        serde_json::json!({"id": "a/b+ ü", "at": 1_795_244_479.0})
    );
    assert_eq!(json("GET", "/things/a/b%2Fc", &[], ""), serde_json::json!({"path": "a/b/c"}));
    for malformed in ["/things/%zz", "/things/%ff", "/things/x/parts/yesterday", "/things/x?name=%f"] {
        assert!(document("GET", malformed, &[], b"").is_err(), "{malformed}");
    }
    let error = document("GET", "/things/x?max=many", &[], b"").expect_err("no number");
    assert_eq!(error, "STRING_VALUE can not be converted to Integer at 'maxResults'");
}

#[test]
fn queries_are_read_as_their_types() {
    let target = "/things/x?max=5&max=6&deep=true&weight=-Infinity&since=2026-11-21T07%3A01%3A19Z&until=1.5\
                  &name=a+b&name=%26&number=1&number=-2&other";
    let Document::Map(mut members) = document("GET", target, &[], b"").expect("reads") else { panic!() };
    let (_, all) = members.pop().expect("a map of all");
    assert_eq!(
        members,
        [
            ("id".to_owned(), Document::Text("x".to_owned())),
            ("maxResults".to_owned(), Document::Integer(5)),
            ("deep".to_owned(), Document::Bool(true)),
            ("weight".to_owned(), Document::Double(f64::NEG_INFINITY)),
            ("since".to_owned(), Document::Timestamp(Timestamp::from_milliseconds(1_795_244_479_000))),
            ("until".to_owned(), Document::Timestamp(Timestamp::from_milliseconds(1500))),
            (
                "names".to_owned(),
                Document::List(vec![Document::Text("a b".into()), Document::Text("&".into())])
            ),
            ("numbers".to_owned(), Document::List(vec![Document::Integer(1), Document::Integer(-2)])),
        ]
    );
    let text = |text: &str| Document::List(vec![Document::Text(text.into())]);
    assert_eq!(all.get("other"), Some(&text("")));
    assert_eq!(all.get("deep"), Some(&text("true")), "those that are bound are in the map too");
    assert_eq!(
        json("GET", "/things/x/parts/2026-11-21T07:01:19Z?a=1&a=2&b=", &[], "")["all"],
        serde_json::json!({"a": "1", "b": ""})
    );
    assert_eq!(
        json("GET", "/things/x?a=1&X-Amz-Security-Token=secret&X-Amz-Signature=secret", &[], "")["all"],
        serde_json::json!({"a": ["1"]}),
        "a signature is no member"
    );
    let many = format!("/things/x?{}", "a&".repeat(2_000));
    assert!(document("GET", &many, &[], b"").is_err());
}

#[test]
fn headers_are_read_as_their_types() {
    let headers: Headers<'_> = &[
        ("x-name", b" a, b "),
        ("X-Count", b"3"),
        ("x-names", b"a, \"b, \\\"c\\\"\""),
        ("x-names", b"d"),
        ("x-at", b"Sat, 21 Nov 2026 07:01:19 GMT"),
        ("x-dates", b"Thu, 01 Jan 1970 00:00:01 GMT, Thu, 01 Jan 1970 00:00:02 GMT"),
        ("x-json", b"eyJhIjoxfQ=="),
        ("X-Meta-One", b"1"),
        ("x-meta-two", b""),
        ("x-other", b"\xff"),
    ];
    assert_eq!(
        json("PUT", "/things/x", headers, ""),
        serde_json::json!({
            "id": "x", "name": "a, b", "count": 3, "names": ["a", "b, \"c\"", "d"], "at": 1_795_244_479.0,
            "dates": [1.0, 2.0], "json": "{\"a\":1}", "meta": {"one": "1", "two": ""},
        })
    );
    let empty: Headers<'_> = &[("x-name", b""), ("x-count", b""), ("x-names", b"")];
    assert_eq!(
        json("PUT", "/things/x", empty, "{}"),
        serde_json::json!({"id": "x", "name": "", "names": []})
    );
    let wrong: [(&str, &[u8]); 5] = [
        ("x-count", b"3.0"),
        ("x-at", b"2026-11-21T07:01:19Z"),
        ("x-json", b"{}"),
        ("x-name", b"\xff"),
        ("x-names", b"\""),
    ];
    for header in wrong {
        let error = document("PUT", "/things/x", &[header], b"").expect_err("another type");
        assert!(error.contains(" at '"), "{error}");
    }
}

#[test]
fn what_is_not_bound_is_the_body_and_only_that() {
    let body = r#"{"id":"other","color":"red","meta":{"a":"b"},"parts":[{"made":"Thu, 01 Jan 1970 00:00:02 GMT"},{}]}"#;
    assert_eq!(
        json("PUT", "/things/x", &[], body),
        serde_json::json!({"id": "x", "color": "red", "parts": [{"made": 2.0}, {}]}),
        "the body does not stand for the path"
    );
    assert_eq!(json("PUT", "/things/x", &[], "null"), serde_json::json!({"id": "x"}));
    for malformed in
        ["[]", "{", "1", r#"{"parts":[{"made":2}]}"#, r#"{"parts":[{"made":"1970-01-01T00:00:00Z"}]}"#]
    {
        assert!(document("PUT", "/things/x", &[], malformed.as_bytes()).is_err(), "{malformed}");
    }
}

#[test]
fn a_payload_is_the_whole_body() {
    let blob = document("PUT", "/blobs/x", &[], b"\xff{").expect("any bytes");
    assert_eq!(blob.get("content"), Some(&Document::Blob(b"\xff{".to_vec())));
    assert_eq!(json("PUT", "/blobs/x", &[], ""), serde_json::json!({"id": "x"}));
    assert_eq!(json("PUT", "/texts", &[], "a\n"), serde_json::json!({"content": "a\n"}));
    assert!(document("PUT", "/texts", &[], b"\xff").is_err());
    assert_eq!(json("PUT", "/", &[], r#"{"a":[1]}"#), serde_json::json!({"thing": {"a": [1]}}));
}

#[test]
fn members_reach_typed_shapes() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct GetRequest {
        id: String,
        max_results: Option<u8>,
        since: Option<Timestamp>,
        #[serde(default)]
        numbers: Vec<i32>,
    }
    let read = |target| document("GET", target, &[], b"").expect("reads");
    let request: GetRequest =
        from_document(&read("/things/5?max=5&since=1970-01-01T00:00:01Z&number=1")).expect("fits");
    let since = Some(Timestamp::from_milliseconds(1000));
    assert_eq!(request, GetRequest { id: "5".to_owned(), max_results: Some(5), since, numbers: vec![1] });
    let violation = from_document::<GetRequest>(&read("/things/5?max=256")).expect_err("too many");
    assert_eq!(violation.path, "maxResults");

    #[derive(Deserialize, Serialize)]
    struct PutBlob {
        content: Blob,
    }
    let blob: PutBlob =
        from_document(&document("PUT", "/blobs/x", &[], b"\0\x01").expect("reads")).expect("fits");
    assert_eq!(blob.content.0, b"\0\x01");
    let response = write(&named("PutBlob"), "id", &to_document(&blob).expect("a shape"));
    assert_eq!(
        (response.body.as_slice(), sent(&response, "content-type")),
        (&b"\0\x01"[..], Some("image/png"))
    );
}

#[test]
fn responses_are_spread_over_their_places() {
    let at = Document::Timestamp(Timestamp::from_milliseconds(1_795_244_479_000));
    let text = |text: &str| Document::Text(text.into());
    let map = |members: Vec<(&str, Document)>| {
        Document::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let document = map(vec![
        ("code", Document::Integer(201)),
        ("name", text("a\r\nx-evil: 1")),
        ("names", Document::List(vec![text("a,b"), text(""), text("c")])),
        ("at", at.clone()),
        ("json", text("{}")),
        ("meta", map(vec![("One", text("1")), ("no name", text("2"))])),
        ("parts", Document::List(vec![map(vec![("made", at.clone())])])),
        ("seen", at),
    ]);
    let response = write(&named("Put"), "id", &document);
    assert_eq!(response.status, 201);
    let headers: Vec<_> = response.headers.iter().map(|(name, value)| (&**name, value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("x-name", "a  x-evil: 1"),
            ("x-names", "\"a,b\", \"\", c"),
            ("x-at", "Sat, 21 Nov 2026 07:01:19 GMT"),
            ("x-json", "e30="),
            ("x-meta-one", "1"),
            ("content-type", "application/json"),
        ]
    );
    assert_eq!(
        String::from_utf8(response.body).as_deref(),
        Ok(r#"{"parts":[{"made":"2026-11-21T07:01:19.000Z"}],"seen":1795244479.0}"#)
    );
}

#[test]
fn statuses_and_bodies_are_those_of_the_operation() {
    let got = |operation, value| {
        let response = written(operation, value);
        let media_type = sent(&response, "content-type").map(str::to_owned);
        (response.status, String::from_utf8(response.body).expect("text"), media_type)
    };
    let json = || Some("application/json".to_owned());
    assert_eq!(got("Stop", serde_json::json!({})), (202, "{}".to_owned(), json()));
    assert_eq!(got("Delete", serde_json::json!({"ignored": 1})), (204, String::new(), None));
    for no_status in [0, 99, 100, 600, 70_000] {
        assert_eq!(got("Put", serde_json::json!({"code": no_status})).0, 200);
    }
    assert_eq!(
        got("PutThing", serde_json::json!({"thing": {"a": null}})),
        (200, r#"{"a":null}"#.to_owned(), json())
    );
    assert_eq!(got("PutThing", serde_json::json!({})), (200, String::new(), None));
    assert_eq!(
        got("PutText", serde_json::json!({"content": "x"})),
        (200, "x".to_owned(), Some("text/plain".to_owned()))
    );
    let own = written("PutBlob", serde_json::json!({"type": "image/webp", "content": "x"}));
    let types: Vec<_> = own.headers.iter().filter(|(name, _)| name == "content-type").collect();
    assert_eq!(types, [&("content-type".into(), "image/webp".to_owned())]);
}

#[test]
fn errors_have_their_code_in_a_header() {
    let fault =
        Fault::new("Busy", "Later.").with_status(429).with_retry_after(3).with("left", Document::Integer(7));
    assert_eq!(fault.blame(), FaultBlame::Sender);
    let response = write_fault_of(&named("Get"), "id", &fault);
    assert_eq!((response.status, response.body.as_slice()), (429, &br#"{"Message":"Later."}"#[..]));
    for (name, value) in [
        ("x-amzn-errortype", "Busy"),
        ("x-left", "7"),
        ("retry-after", "3"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(sent(&response, name), Some(value));
    }
    let other = Fault::new("Gone", "unused").with("message", Document::Text("Own.".into()));
    assert_eq!(write_fault_of(&named("Get"), "id", &other).body, br#"{"message":"Own."}"#);
}

/// As a client writes it: everything but what RFC 3986 §2.3 leaves alone is escaped.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_clients_write_is_read(
        id in "\\PC{1,12}",
        names in prop::collection::vec("[ -~ü]{0,8}", 0..4),
        max in any::<i32>(),
        deep in any::<bool>(),
    ) {
        prop_assume!(id != "special");
        let query: String = names.iter().map(|name| format!("&name={}", escaped(name))).collect();
        let target = format!("/things/{}?max={max}&deep={deep}{query}", escaped(&id));
        let mut expected = serde_json::json!({"id": id, "maxResults": max, "deep": deep});
        if !names.is_empty() {
            expected["names"] = names.into();
        }
        let mut found = json("GET", &target, &[], "");
        found.as_object_mut().expect("a structure").remove("all");
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn headers_that_are_written_are_read(
        names in prop::collection::vec("[ -~]{0,8}", 1..4),
        seconds in 0..4_000_000_000i64,
        text in "[!-~]{1,8}",
    ) {
        let document = Document::Map(vec![
            ("name".to_owned(), Document::Text(text.clone())),
            ("names".to_owned(), Document::List(names.into_iter().map(Document::Text).collect())),
            ("at".to_owned(), Document::Timestamp(Timestamp::from_milliseconds(seconds * 1000))),
            ("json".to_owned(), Document::Text(text)),
        ]);
        let response = write(&named("Put"), "id", &document);
        let headers: Vec<_> = response.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
        let Document::Map(mut found) = super::tests::document("PUT", "/things/x", &headers, b"").expect("reads") else {
            panic!("no structure")
        };
        found.remove(0);
        prop_assert_eq!(Document::Map(found), document);
    }

    #[test]
    fn any_request_is_survived(target in "/(things/)?[a-c%/+?&=2.]{0,24}", header in "\\PC{0,20}", body in "[\\[\\]{}:,\"a1]{0,12}") {
        for method in ["GET", "PUT", "POST"] {
            for name in ["x-names", "x-dates", "x-at"] {
                let headers = [(name, header.as_bytes())];
                let head = head(method, &target, &headers);
                if let Ok(name) = identify_among(AMONG, &head, b"") {
                    let _ = read(&name, &head, body.as_bytes());
                }
            }
        }
    }
}

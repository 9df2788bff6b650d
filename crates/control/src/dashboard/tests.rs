//! The dashboard as a client sees it.

use std::{net::SocketAddr, sync::Arc};

use bowline_plumbing::drain::{self, DrainTrigger};
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{Dashboard, answer, is_path};
use crate::{
    api::{
        authorization::AuthorizationMode,
        connection::Peer,
        testing::{Keys, TestApi},
    },
    audit::LookupQuery,
};

struct Fixture {
    api: TestApi,
    dashboard: Arc<Dashboard>,
    _drain: DrainTrigger,
}

/// What is sent.
struct Sent<'a> {
    method: Method,
    path: &'a str,
    peer: [u8; 4],
    headers: Vec<(&'a str, String)>,
    body: Value,
}

fn get(path: &str) -> Sent<'_> {
    let headers = vec![("host", "127.0.0.1:4566".to_owned())];
    Sent { method: Method::GET, path, peer: [127, 0, 0, 1], headers, body: Value::Null }
}

fn post(path: &str, body: Value) -> Sent<'_> {
    let mut sent = Sent { method: Method::POST, body, ..get(path) };
    sent.headers.push(("content-type", "application/json".to_owned()));
    sent
}

impl<'a> Sent<'a> {
    fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.into()));
        self
    }

    fn from(mut self, peer: [u8; 4]) -> Self {
        self.peer = peer;
        self
    }
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Fixture {
    fn new() -> Self {
        let (trigger, watch) = drain::channel();
        let api = TestApi::new(AuthorizationMode::Enforce);
        let dashboard = Dashboard::new(Arc::clone(&api.api.core), watch);
        Self { api, dashboard, _drain: trigger }
    }

    async fn respond(&self, sent: Sent<'_>) -> Response<crate::api::body::Body> {
        let mut request = http::Request::builder().method(sent.method).uri(sent.path);
        for (name, value) in &sent.headers {
            request = request.header(*name, value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let body = match sent.body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let peer = Peer { address: SocketAddr::from((sent.peer, 40_000)), tls: false };
        answer(&self.api.api, &self.dashboard, peer, &parts, Full::new(body), "id").await
    }

    async fn send(&self, sent: Sent<'_>) -> Answer {
        let (parts, body) = self.respond(sent).await.into_parts();
        let body = body.collect().await.expect("it has an end").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Signs in; the cookie and the token.
    async fn sign_in(&self, keys: &Keys) -> (String, String) {
        let body = json!({"accessKeyId": keys.id, "secretAccessKey": keys.secret});
        let answer = self.send(post("/dashboard/api/session", body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let cookie = answer.headers[header::SET_COOKIE].to_str().expect("text").to_owned();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/dashboard/", "Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        (cookie, answer.json()["csrfToken"].as_str().expect("a token").to_owned())
    }

    fn recorded(&self) -> Vec<Value> {
        let page = self.api.api.core.audit().lookup(&LookupQuery::default()).expect("is found");
        let read = |text: &String| serde_json::from_str(text).expect("JSON");
        page.events.iter().map(|event| read(&event.cloud_trail_event)).collect()
    }

    async fn put_alarm(&self) {
        let alarm = json!({
            "AlarmName": "a", "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60,
            "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
        });
        self.api.json(&Keys::root(), "cloudwatch", "PutMetricAlarm", alarm).await.ok();
    }
}

#[tokio::test]
async fn it_is_for_this_machine_and_its_own_pages() {
    let fixture = Fixture::new();
    let page = fixture.send(get("/dashboard/")).await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let tag = page.headers[header::ETAG].to_str().expect("text").to_owned();
    let again = fixture.send(get("/dashboard/").with("if-none-match", tag)).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(fixture.send(get("/dashboard")).await.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(fixture.send(get("/dashboard/../store.redb")).await.status, StatusCode::NOT_FOUND);
    assert!(!is_path("/dashboards") && !is_path("/"));
    for path in ["/dashboard/", "/dashboard/api/session", "/dashboard/api/stream"] {
        for sent in [
            get(path).from([192, 0, 2, 1]),
            get(path).with("host", "evil.example"),
            get(path).with("host", "localhost.evil.example"),
        ] {
            assert_eq!(fixture.respond(sent).await.status(), StatusCode::FORBIDDEN, "{path}");
        }
    }
    // A page of another site may be shown ours by a link, and is told nothing.
    let data = "/dashboard/api/session";
    for (name, value, status) in [
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:4566", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://127.0.0.1:4566", StatusCode::OK),
        ("sec-fetch-site", "same-origin", StatusCode::OK),
    ] {
        assert_eq!(fixture.send(get(data).with(name, value)).await.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn what_is_done_needs_a_session_and_the_pages_token_and_is_recorded() {
    let fixture = Fixture::new();
    fixture.put_alarm().await;
    let action =
        || post("/dashboard/api/action", json!({"action": "setAlarmState", "alarm": "a", "state": "ALARM"}));
    let state = || fixture.api.registry().alarms.get("a").expect("is there").state.state.as_str();
    assert_eq!(fixture.send(action()).await.status, StatusCode::UNAUTHORIZED);
    let (cookie, token) = fixture.sign_in(&Keys::root()).await;
    let signed = || action().with("cookie", cookie.as_str());
    assert_eq!(fixture.send(signed()).await.status, StatusCode::FORBIDDEN, "no token");
    let wrong = signed().with("x-bowline-csrf", "0".repeat(token.len()));
    assert_eq!(fixture.send(wrong).await.status, StatusCode::FORBIDDEN);
    let forged = action().with("cookie", "bowline_session=AAAA").with("x-bowline-csrf", token.as_str());
    assert_eq!(fixture.send(forged).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(state(), "INSUFFICIENT_DATA");
    let done = fixture.send(signed().with("x-bowline-csrf", token.as_str())).await;
    assert_eq!((done.status, state()), (StatusCode::OK, "ALARM"), "{done:?}");
    let recorded = fixture.recorded();
    let set = recorded.iter().find(|event| event["eventName"] == "SetAlarmState").expect("it is recorded");
    assert_eq!(
        (&set["userIdentity"]["type"], &set["eventSource"]),
        (&json!("Root"), &json!("monitoring.amazonaws.com"))
    );
    assert_eq!(set["awsRegion"], "us-east-1");
    assert_eq!(set["requestParameters"]["AlarmName"], "a", "{set}");
    let unknown = post("/dashboard/api/action", json!({"action": "deleteEverything"}));
    let unknown = unknown.with("cookie", cookie.as_str()).with("x-bowline-csrf", token.as_str());
    assert_eq!(fixture.send(unknown).await.status, StatusCode::BAD_REQUEST);

    let out = Sent { method: Method::DELETE, ..get("/dashboard/api/session") };
    let out = out.with("cookie", cookie.as_str()).with("x-bowline-csrf", token.as_str());
    assert_eq!(fixture.send(out).await.status, StatusCode::OK);
    let late = fixture.send(signed().with("x-bowline-csrf", token.as_str())).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_users_policies_are_asked_and_a_key_that_is_gone_is_nobodys() {
    let fixture = Fixture::new();
    fixture.put_alarm().await;
    let allow = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "cloudwatch:DisableAlarmActions", "Resource": "*"}}"#;
    let keys = fixture.api.user("ops", &[allow]).await;
    let (cookie, token) = fixture.sign_in(&keys).await;
    let act = |body: Value| {
        post("/dashboard/api/action", body)
            .with("cookie", cookie.as_str())
            .with("x-bowline-csrf", token.as_str())
    };
    let off = || act(json!({"action": "disableAlarmActions", "alarm": "a"}));
    assert_eq!(fixture.send(off()).await.status, StatusCode::OK);
    assert!(!fixture.api.registry().alarms.get("a").expect("is there").actions_enabled);
    let refused = fixture.send(act(json!({"action": "enableAlarmActions", "alarm": "a"}))).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::FORBIDDEN, &json!("AccessDeniedException"))
    );
    let refused = fixture.recorded().into_iter().find(|event| event["eventName"] == "EnableAlarmActions");
    assert_eq!(refused.expect("is recorded too")["userIdentity"]["userName"], "ops");
    let who = fixture.send(get("/dashboard/api/session").with("cookie", cookie.as_str())).await.json();
    assert!(who["arn"].as_str().is_some_and(|arn| arn.ends_with(":user/ops")), "{who}");
    assert!(who.to_string().find(&keys.secret).is_none());

    let parameters = [("UserName", "ops"), ("AccessKeyId", keys.id.as_str()), ("Status", "Inactive")];
    fixture.api.query(&Keys::root(), "iam", "UpdateAccessKey", &parameters).await.ok();
    assert_eq!(fixture.send(off()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn failures_to_sign_in_are_recorded_and_limited() {
    let fixture = Fixture::new();
    let wrong =
        || post("/dashboard/api/session", json!({"accessKeyId": "test", "secretAccessKey": "swordfish"}));
    for _ in 0..10 {
        assert_eq!(fixture.send(wrong()).await.status, StatusCode::UNAUTHORIZED);
    }
    let right = post("/dashboard/api/session", json!({"accessKeyId": "test", "secretAccessKey": "test"}));
    let limited = fixture.send(right).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    let recorded = fixture.recorded();
    assert_eq!(recorded.len(), 10);
    assert_eq!(recorded[0]["eventName"], "ConsoleLogin");
    assert_eq!(recorded[0]["responseElements"]["ConsoleLogin"], "Failure");
    assert!(!recorded.iter().any(|event| event.to_string().contains("swordfish")));
    let form = post("/dashboard/api/session", json!({"accessKeyId": "a", "secretAccessKey": "b"}));
    let form = form.with("content-type", "text/plain");
    assert_eq!(
        fixture.send(form).await.status,
        StatusCode::BAD_REQUEST,
        "what a form of another site could send"
    );
    let long = post("/dashboard/api/session", json!({"accessKeyId": "a".repeat(9_000)}));
    assert_eq!(fixture.send(long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn pages_are_told_all_that_there_is() {
    let fixture = Fixture::new();
    fixture.put_alarm().await;
    let response = fixture.respond(get("/dashboard/api/stream?of=service%2Fc%2Fweb")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    let first = body.frame().await.expect("a first message").expect("bytes").into_data().expect("data");
    let text = std::str::from_utf8(&first).expect("text").strip_prefix("data: ").expect("an event");
    let told: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(
        (&told["reset"], &told["set"]["alarm/a"]["state"]),
        (&json!(true), &json!("INSUFFICIENT_DATA"))
    );
    assert_eq!(told["set"]["alarm/a"]["rule"], "Sum m > 1 for 1 of 1 × 60 s");
    let history = fixture.send(get("/dashboard/api/alarm?name=a")).await.json();
    assert_eq!(history[0]["summary"], "Alarm \"a\" created");
    let plots = fixture.send(get("/dashboard/api/plots?of=service/c/web&range=1h")).await;
    assert_eq!(plots.status, StatusCode::NOT_FOUND, "there is no such service");
    let invalid = fixture.send(get("/dashboard/api/plots?of=gateway/x&range=%ff")).await;
    assert_eq!(invalid.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        fixture.send(post("/dashboard/api/plots", json!({}))).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

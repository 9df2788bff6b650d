use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::xray::segment::SegmentHttp;

fn segment(id: &str, name: &str, parent: Option<&str>, status: i64, seconds: f64) -> Segment {
    let mut http = SegmentHttp::default();
    http.request.url = Some(format!("http://{name}/items"));
    http.request.method = Some("GET".into());
    http.response.status = Some(status);
    Segment {
        id: id.into(),
        name: name.into(),
        parent_id: parent.map(str::to_owned),
        start_time: 100.0,
        end_time: Some(100.0 + seconds),
        origin: Some("AWS::ECS::Container".into()),
        error: (400..500).contains(&status),
        throttle: status == 429,
        fault: status >= 500,
        http: Some(http),
        ..Segment::default()
    }
}

/// `web` calls `cart`, which fails, and `pay`, which tells nothing of itself.
fn trace() -> TraceView {
    let mut web = segment("a1", "web", None, 429, 0.5);
    let call = |id: &str, name: &str| Segment {
        namespace: Some("remote".into()),
        ..segment(id, name, None, 200, 0.2)
    };
    web.subsegments = vec![call("a2", "cart"), call("a3", "pay")];
    web.annotations = BTreeMap::from([
        ("color".to_owned(), json!("red")),
        ("size".to_owned(), json!(7)),
        ("new".to_owned(), json!(true)),
    ]);
    web.user = Some("ann".into());
    let mut cart = segment("b1", "cart", Some("a2"), 503, 0.15);
    cart.rest.insert("cause".into(), json!({"exceptions": [{"message": "out of stock"}]}));
    let edge =
        |to, call: &str, remote: &str| Edge { from: 0, to, call: Some(call.into()), remote: remote.into() };
    TraceView { segments: vec![web, cart], edges: vec![edge(Some(1), "a2", ""), edge(None, "a3", "pay")] }
}

fn takes(expression: &str) -> bool {
    Filter::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}")).takes(&trace())
}

#[test]
fn traces_are_taken_and_left() {
    for expression in [
        "fault",
        "error AND throttle",
        "!ok",
        "ok = false",
        "fault != false",
        "responsetime >= 0.5 AND duration < 1",
        "http.status = 429",
        "http.url CONTAINS \"/items\" and http.method = \"GET\"",
        "http.url BEGINSWITH 'http://web' AND http.url ENDSWITH \"items\"",
        "service(\"cart\")",
        "service(\"cart\") { fault = true }",
        "service(\"web\") { http.status != 503 }",
        "service() { http.status = 503 }",
        "service(id(name: \"cart\", type: \"AWS::ECS::Container\"))",
        "service(id(type: \"remote\", account.id: \"1\"))",
        "service(\"pay\") { inferred }",
        "edge(\"web\", \"cart\")",
        "edge(\"web\", \"cart\") { fault }",
        "edge(\"web\", id(name: \"pay\")) { remote AND responsetime < 0.3 }",
        "annotation.color = \"red\"",
        "annotation[\"color\"] BEGINSWITH \"r\"",
        "annotation.size > 6.5",
        "annotation.new = true",
        "annotation.color",
        "user = \"ann\"",
        "message CONTAINS \"stock\"",
        "name = \"cart\"",
        "(ok OR fault) AND !(service(\"nobody\"))",
        "ok AND ok OR fault",
        "service(\"web\") { root }",
    ] {
        assert!(takes(expression), "{expression}");
    }
    for expression in [
        "ok",
        "fault AND ok",
        "partial",
        "responsetime > 0.5",
        "http.status = 503",
        "http.url CONTAINS \"cart\"",
        "service(\"web\") { fault }",
        "service(\"nobody\")",
        "service(\"cart\") { root }",
        "edge(\"cart\", \"web\")",
        "edge(\"web\", \"pay\") { fault }",
        "annotation.color = \"blue\"",
        "annotation.color = 5",
        "annotation.new = false",
        "annotation.old",
        "user = \"bob\"",
        "ok AND (ok OR fault)",
    ] {
        assert!(!takes(expression), "{expression}");
    }
}

#[test]
fn what_is_no_expression_is_refused() {
    for (expression, what) in [
        ("", "expected a keyword, found the end at character 1"),
        ("fault AND", "expected a keyword, found the end at character 10"),
        ("fault fault", "expected AND or OR, found \"fault\" at character 7"),
        ("responsetime > \"1\"", "expected a number, found \"1\" at character 16"),
        ("http.url > 5", "expected =, !=, CONTAINS, BEGINSWITH or ENDSWITH"),
        ("service(\"a\"", "expected \")\""),
        ("service(\"a\") { fault", "expected \"}\""),
        ("name = \"a", "a quote is not closed at character 8"),
        ("group.name = \"a\"", "expected a keyword"),
        ("fault ; ok", "unexpected ';' at character 7"),
        ("annotation.new > true", "a number before this"),
        ("fault = 1", "expected true or false"),
    ] {
        let error = Filter::parse(expression).expect_err(expression).to_string();
        assert!(
            error.starts_with("Invalid filter expression: ") && error.contains(what),
            "{expression}: {error}"
        );
    }
    let deep = format!("{}fault{}", "(".repeat(40), ")".repeat(40));
    assert!(Filter::parse(&deep).is_err(), "too deep");
    assert!(Filter::parse(&" ".repeat(LENGTH_MAX + 1)).is_err(), "too long");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,80}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn any_words_are_survived(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "{", "}", "!", "=", "fault", "AND", "OR", "service", "edge", "\"a\"", ",", "annotation.x", "5", ">",
        "id", "name", ":", "[", "]", "http.url", "CONTAINS",
    ]), 0..12)) {
        if let Ok(filter) = Filter::parse(&words.join(" ")) {
            let _ = filter.takes(&trace());
        }
    }
}

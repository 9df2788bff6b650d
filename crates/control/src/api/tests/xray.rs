//! X-Ray: segments taken, traces told, rules kept.

use bowline_model::trace::{Span, SpanId, SpanKind, SpanOrigin, SpanProtocol, SpanWriter, TraceId};
use serde_json::json;

use super::*;

const TRACE: &str = "1-58406520-a006649127e371903a2de979";

fn origin(service: &str) -> SpanOrigin {
    SpanOrigin {
        cluster: "c".into(),
        service: service.into(),
        task: format!("{service}-1"),
        is_gateway: false,
    }
}

/// A span of a trace; its id is `[id; 8]`.
fn span(trace: TraceId, id: u8, parent: Option<u8>, kind: SpanKind, at_ms: u64) -> Span {
    let id_of = |id: u8| SpanId::new([id; 8]).expect("an id");
    Span {
        trace,
        id: id_of(id),
        parent: parent.map(id_of),
        kind,
        start_us: at_ms * 1000,
        duration_us: 20_000,
        protocol: SpanProtocol::Http1,
        discovery_name: "cart".into(),
        peer: String::new(),
        method: "GET".into(),
        path: "/items".into(),
        authority: "cart:80".into(),
        status: 200,
        grpc_status: None,
        flags: "-".into(),
        bytes_received: 0,
        bytes_sent: 5,
        upstream: None,
        events: Vec::new(),
        events_dropped: 0,
    }
}

/// `web` calls `cart`, whose sidecar answers 503.
fn put_call(endpoint: &Endpoint, trace: TraceId, at_ms: u64) {
    let traces = endpoint.core.traces();
    traces.put(&origin("web"), vec![Span { status: 503, ..span(trace, 1, None, SpanKind::Client, at_ms) }]);
    traces.put(
        &origin("cart"),
        vec![Span { status: 503, ..span(trace, 2, Some(1), SpanKind::Server, at_ms + 5) }],
    );
}

fn range(endpoint: &Endpoint) -> Value {
    let now = endpoint.now().as_secs();
    json!({"StartTime": now - 600, "EndTime": now + 60})
}

fn summaries(endpoint: &Endpoint, filter: Option<&str>) -> Value {
    let mut request = range(endpoint);
    if let Some(filter) = filter {
        request["FilterExpression"] = filter.into();
    }
    endpoint.ok("xray", "GetTraceSummaries", request)
}

#[test]
fn a_call_of_the_mesh_is_a_trace() {
    let endpoint = Endpoint::new();
    let trace = TraceId::parse_x_ray(TRACE).expect("an id");
    let now = endpoint.now().as_millis();
    put_call(&endpoint, trace, now - 1000);
    let told = summaries(&endpoint, Some("service(\"cart\") { fault } AND edge(\"web\", \"cart\")"));
    let summary = &told["TraceSummaries"][0];
    assert_eq!(summary["Id"], TRACE);
    assert_eq!((&summary["HasFault"], &summary["Http"]["HttpStatus"]), (&json!(true), &json!(503)));
    assert_eq!(summary["EntryPoint"]["Name"], "web");
    assert_eq!(summaries(&endpoint, Some("ok"))["TraceSummaries"], json!([]));

    let traces =
        endpoint.ok("xray", "BatchGetTraces", json!({"TraceIds": ["58406520a006649127e371903a2de979"]}));
    let segments = traces["Traces"][0]["Segments"].as_array().expect("segments");
    let documents: Vec<Value> = segments
        .iter()
        .map(|segment| serde_json::from_str(segment["Document"].as_str().expect("text")).expect("JSON"))
        .collect();
    assert_eq!((&documents[0]["name"], &documents[1]["name"]), (&json!("web"), &json!("cart")));
    assert_eq!(documents[0]["subsegments"][0]["id"], "0101010101010101");
    assert_eq!(documents[1]["parent_id"], "0101010101010101");
    assert_eq!(documents[1]["http"]["request"]["url"], "http://cart:80/items");

    let graph = endpoint.ok("xray", "GetServiceGraph", range(&endpoint));
    let services = graph["Services"].as_array().expect("services");
    let named = |name: &str, kind: &str| {
        services.iter().find(|service| service["Name"] == name && service["Type"] == kind).expect(name)
    };
    let (web, cart) = (named("web", "AWS::ECS::Container"), named("cart", "AWS::ECS::Container"));
    assert_eq!(web["Root"], true);
    assert_eq!(web["Edges"][0]["ReferenceId"], cart["ReferenceId"]);
    assert_eq!(web["Edges"][0]["SummaryStatistics"]["FaultStatistics"]["TotalCount"], 1);
    assert_eq!(named("web", "client")["Edges"][0]["ReferenceId"], web["ReferenceId"]);
}

#[test]
fn documents_of_applications_are_part_of_the_trace() {
    let endpoint = Endpoint::new();
    let trace = TraceId::parse_x_ray(TRACE).expect("an id");
    let now = endpoint.now().as_millis();
    put_call(&endpoint, trace, now - 1000);
    let start = (now - 990) as f64 / 1000.0;
    let app = json!({
        "id": "aaaaaaaaaaaaaaaa", "name": "cart", "trace_id": TRACE, "parent_id": "0202020202020202",
        "start_time": start, "in_progress": true, "annotations": {"item": "rope"},
    });
    let ended = {
        let mut ended = app.clone();
        ended["end_time"] = (start + 0.01).into();
        ended.as_object_mut().expect("an object").remove("in_progress");
        ended
    };
    let database = json!({
        "id": "bbbbbbbbbbbbbbbb", "name": "db", "trace_id": TRACE, "parent_id": "aaaaaaaaaaaaaaaa",
        "type": "subsegment", "namespace": "remote", "start_time": start, "end_time": start + 0.004,
    });
    let documents = [database, ended, app].map(|document| document.to_string());
    let put = json!({"TraceSegmentDocuments": [documents[0], documents[1], documents[2], "{", "{\"id\":\"aaaaaaaaaaaaaaaa\"}"]});
    let answer = endpoint.ok("xray", "PutTraceSegments", put);
    assert_eq!(
        answer["UnprocessedTraceSegments"],
        json!([
            {"ErrorCode": "ParseError", "Message": "Invalid segment. ErrorCode: ParseError"},
            {"Id": "aaaaaaaaaaaaaaaa", "ErrorCode": "MissingName", "Message": "Invalid segment. ErrorCode: MissingName"},
        ])
    );
    let told =
        summaries(&endpoint, Some("annotation.item = \"rope\" AND !partial AND edge(\"cart\", \"db\")"));
    assert_eq!(told["TraceSummaries"][0]["Annotations"]["item"][0]["AnnotationValue"]["StringValue"], "rope");
    let graph = endpoint.ok("xray", "GetTraceGraph", json!({"TraceIds": [TRACE]}));
    let names: Vec<_> =
        graph["Services"].as_array().expect("services").iter().map(|it| it["Name"].clone()).collect();
    assert!(names.contains(&json!("db")), "{names:?}");
}

#[test]
fn summaries_come_in_pages() {
    let endpoint = Endpoint::new();
    let now = endpoint.now().as_millis();
    for number in 0..1_203_u128 {
        let trace = TraceId::new((number + 1).to_be_bytes()).expect("an id");
        put_call(&endpoint, trace, now - 2000 + number as u64);
    }
    let mut request = range(&endpoint);
    let (mut ids, mut pages) = (std::collections::BTreeSet::new(), 0);
    loop {
        let page = endpoint.ok("xray", "GetTraceSummaries", request.clone());
        pages += 1;
        for summary in page["TraceSummaries"].as_array().expect("summaries") {
            assert!(ids.insert(summary["Id"].to_string()), "{summary} is told twice");
        }
        let Some(token) = page.get("NextToken") else { break };
        request["NextToken"] = token.clone();
    }
    assert_eq!((ids.len(), pages), (1_203, 3));
    request["NextToken"] = "x".into();
    assert_eq!(endpoint.fault("xray", "GetTraceSummaries", request).code, "InvalidRequestException");
}

#[test]
fn rules_are_kept_and_checked() {
    let endpoint = Endpoint::new();
    let rule = |name: &str| {
        json!({
            "RuleName": name, "ResourceARN": "*", "Priority": 10, "FixedRate": 0.5, "ReservoirSize": 2,
            "ServiceName": "*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "/pay", "Version": 1,
        })
    };
    let made = endpoint.ok(
        "xray",
        "CreateSamplingRule",
        json!({"SamplingRule": rule("pay"), "Tags": [{"Key": "a", "Value": "b"}]}),
    );
    let arn = made["SamplingRuleRecord"]["SamplingRule"]["RuleARN"].clone();
    assert_eq!(arn, "arn:aws:xray:us-east-1:000000000000:sampling-rule/pay");
    let told = endpoint.ok("xray", "GetSamplingRules", json!({}));
    let names: Vec<_> = told["SamplingRuleRecords"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|it| it["SamplingRule"]["RuleName"].clone())
        .collect();
    assert_eq!(names, ["pay", "Default"]);
    assert_eq!(
        endpoint.ok("xray", "ListTagsForResource", json!({"ResourceARN": arn}))["Tags"],
        json!([{"Key": "a", "Value": "b"}])
    );

    let update = json!({"SamplingRuleUpdate": {"RuleARN": arn, "FixedRate": 0.75}});
    let changed = endpoint.ok("xray", "UpdateSamplingRule", update);
    assert_eq!(changed["SamplingRuleRecord"]["SamplingRule"]["FixedRate"], 0.75);
    let default =
        json!({"SamplingRuleUpdate": {"RuleName": "Default", "FixedRate": 1.0, "ReservoirSize": 0}});
    endpoint.ok("xray", "UpdateSamplingRule", default);
    let client = "0123456789abcdef01234567";
    let report = json!({"SamplingStatisticsDocuments": [
        {"RuleName": "pay", "ClientID": client, "Timestamp": endpoint.now().as_secs(), "RequestCount": 9, "SampledCount": 3, "BorrowCount": 1},
        {"RuleName": "gone", "ClientID": client, "Timestamp": endpoint.now().as_secs(), "RequestCount": 9, "SampledCount": 3},
    ]});
    let targets = endpoint.ok("xray", "GetSamplingTargets", report);
    let target = &targets["SamplingTargetDocuments"][0];
    assert_eq!(
        (&target["FixedRate"], &target["ReservoirQuota"], &target["Interval"]),
        (&json!(0.75), &json!(2), &json!(10))
    );
    assert_eq!(targets["UnprocessedStatistics"][0]["RuleName"], "gone");
    let summaries = endpoint.ok("xray", "GetSamplingStatisticSummaries", json!({}));
    assert_eq!(summaries["SamplingStatisticSummaries"][0]["RequestCount"], 9);

    let with = |member: &str, value: Value| {
        let mut rule = rule("other");
        rule[member] = value;
        json!({"SamplingRule": rule})
    };
    for request in [
        with("RuleName", json!("pay")),
        with("RuleName", json!("Default")),
        with("RuleName", Value::Null),
        with("Priority", json!(0)),
        with("FixedRate", json!(1.5)),
        with("ReservoirSize", json!(-1)),
        with("Version", json!(2)),
        with("Host", json!("x".repeat(65))),
        with("HTTPMethod", Value::Null),
    ] {
        let fault = endpoint.fault("xray", "CreateSamplingRule", request.clone());
        assert_eq!(fault.code, "InvalidRequestException", "{request}");
    }
    for name in ["Default", "gone"] {
        let fault = endpoint.fault("xray", "DeleteSamplingRule", json!({"RuleName": name}));
        assert_eq!(fault.code, "InvalidRequestException", "{name}");
    }
    let unchangeable = json!({"SamplingRuleUpdate": {"RuleName": "Default", "Priority": 1}});
    assert_eq!(endpoint.fault("xray", "UpdateSamplingRule", unchangeable).code, "InvalidRequestException");
    for number in 0..24 {
        endpoint.ok("xray", "CreateSamplingRule", json!({"SamplingRule": rule(&format!("rule-{number}"))}));
    }
    let full = endpoint.fault("xray", "CreateSamplingRule", json!({"SamplingRule": rule("one-more")}));
    assert_eq!(full.code, "RuleLimitExceededException");
    endpoint.ok("xray", "DeleteSamplingRule", json!({"RuleName": "pay"}));
    let gone = json!({"ResourceARN": arn, "Tags": []});
    assert_eq!(endpoint.fault("xray", "TagResource", gone).code, "ResourceNotFoundException");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let endpoint = Endpoint::new();
    let now = endpoint.now().as_secs();
    for (operation, request) in [
        ("GetTraceSummaries", json!({"StartTime": now, "EndTime": now - 1})),
        ("GetTraceSummaries", json!({"StartTime": now - 90_000, "EndTime": now})),
        ("GetTraceSummaries", json!({"StartTime": now, "EndTime": now, "FilterExpression": "fault fault"})),
        ("GetTraceSummaries", json!({"StartTime": now, "EndTime": now, "TimeRangeType": "x"})),
        (
            "GetTraceSummaries",
            json!({"StartTime": now, "EndTime": now, "Sampling": true, "SamplingStrategy": {"Name": "x"}}),
        ),
        ("GetTraceSummaries", json!({"EndTime": now})),
        ("GetServiceGraph", json!({"StartTime": now - 30_000, "EndTime": now})),
        ("GetServiceGraph", json!({"StartTime": now, "EndTime": now, "GroupName": "mine"})),
        ("BatchGetTraces", json!({"TraceIds": ["x"]})),
        ("BatchGetTraces", json!({"TraceIds": [TRACE, TRACE, TRACE, TRACE, TRACE, TRACE]})),
        ("GetSamplingRules", json!({"NextToken": "x"})),
    ] {
        let fault = endpoint.fault("xray", operation, request.clone());
        assert_eq!(fault.code, "InvalidRequestException", "{operation} {request}");
    }
    let unknown = endpoint.ok("xray", "BatchGetTraces", json!({"TraceIds": [TRACE]}));
    assert_eq!(unknown["UnprocessedTraceIds"], json!([TRACE]));
    let record =
        json!({"TelemetryRecords": [{"Timestamp": now, "SegmentsReceivedCount": 3}], "Hostname": "h"});
    endpoint.ok("xray", "PutTelemetryRecords", record);
    let listed = endpoint.ok("cloudwatch", "ListMetrics", json!({"Namespace": "Bowline/XRayDaemon"}));
    assert_eq!(listed["Metrics"][0]["MetricName"], "SegmentsReceivedCount");
}

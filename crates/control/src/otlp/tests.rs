use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_discovery::{
    opentelemetry::proto::{
        collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
        metrics::v1::metric::Data,
        trace::v1::{span::SpanKind as WireKind, status::StatusCode as WireCode},
    },
    prost::Message as _,
};
use bowline_model::{
    clock::Timestamp,
    metric::Distribution,
    trace::{Span, SpanId, SpanKind, SpanOrigin, SpanProtocol, SpanWriter, TraceId},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{
    config::*,
    export::{Otlp, OtlpCounts},
    json as as_json, metrics, spans,
};
use crate::{
    api::{authorization::AuthorizationMode, testing::core_in_memory},
    telemetry::{Counts, ProxyTotals, RowKey, Security, Side, Workload},
};

fn config(variables: &[(&str, &str)], endpoint: Option<&str>) -> Result<OtlpConfig, OtlpConfigError> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    OtlpConfig::read(endpoint, |name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn variables_say_where_to() {
    assert_eq!(config(&[], None), Ok(OtlpConfig::default()), "nowhere");
    let read = config(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x-tenant=7"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics:4317"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ],
        None,
    )
    .expect("is read");
    let (traces, metrics) = (read.traces.expect("traces"), read.metrics.expect("metrics"));
    assert_eq!(traces.url, "http://collector:4318/base/v1/traces");
    assert_eq!(
        (traces.protocol, traces.gzip, traces.timeout.as_millis()),
        (OtlpProtocol::HttpProtobuf, false, 250)
    );
    let headers: Vec<_> =
        traces.headers.iter().map(|header| (header.name.as_str(), header.value.as_bytes())).collect();
    assert_eq!(headers, [("api-key", &b"a b"[..]), ("x-tenant", b"7")]);
    assert!(!format!("{traces:?}").contains("a b"), "values are not shown");
    assert_eq!(
        (&metrics.url.to_string()[..], metrics.protocol, metrics.gzip),
        ("https://metrics:4317/", OtlpProtocol::Grpc, true)
    );

    let given = config(
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other"), ("OTEL_METRICS_EXPORTER", "none")],
        Some("http://[::1]:4318"),
    );
    let given = given.expect("is read");
    assert_eq!(given.traces.expect("traces").url, "http://[::1]:4318/v1/traces");
    assert_eq!(given.metrics, None);
}

#[test]
fn what_cannot_be_is_said() {
    let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    for (variable, said) in [
        (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
            "OTEL_EXPORTER_OTLP_ENDPOINT must be http:// or https:// with a host",
        ),
        (
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"),
            "OTEL_EXPORTER_OTLP_PROTOCOL must be grpc, http/protobuf or http/json, not thrift",
        ),
        (
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            "OTEL_EXPORTER_OTLP_HEADERS must be a list as name=value,name=value",
        ),
        (
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%4"),
            "OTEL_EXPORTER_OTLP_HEADERS must be a list as name=value,name=value",
        ),
        (
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "br"),
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION must be gzip or none, not br",
        ),
        (("OTEL_EXPORTER_OTLP_TIMEOUT", "0"), "OTEL_EXPORTER_OTLP_TIMEOUT must be a number of milliseconds"),
    ] {
        assert_eq!(config(&[on, variable], None).expect_err("cannot be").to_string(), said);
    }
}

fn span() -> Span {
    Span {
        trace: TraceId::new([7; 16]).expect("an id"),
        id: SpanId::new([1; 8]).expect("an id"),
        parent: SpanId::new([2; 8]),
        kind: SpanKind::Client,
        start_us: 1_700_000_000_000_000,
        duration_us: 1_500,
        protocol: SpanProtocol::Http1,
        discovery_name: "cart".into(),
        peer: String::new(),
        method: "GET".into(),
        path: "/items".into(),
        authority: "cart:80".into(),
        status: 404,
        grpc_status: None,
        flags: "-".into(),
        bytes_received: 0,
        bytes_sent: 5,
        upstream: "10.0.0.1:8443".parse().ok(),
        events: Vec::new(),
        events_dropped: 0,
    }
}

fn origin() -> SpanOrigin {
    SpanOrigin { cluster: "c".into(), service: "web".into(), task: "t1".into(), is_gateway: false }
}

#[test]
fn a_span_has_the_conventions_attributes() {
    let request = spans::request(&[(origin(), span())], &bowline_model::arn::Scope::default());
    let told = as_json::traces(&request);
    let of_resource = &told["resourceSpans"][0];
    let value = |attributes: &Value, key: &str| {
        let found = attributes.as_array().expect("a list").iter().find(|it| it["key"] == key);
        found.map(|it| it["value"].clone()).unwrap_or_default()
    };
    let resource = &of_resource["resource"]["attributes"];
    assert_eq!(value(resource, "service.name"), json!({"stringValue": "web"}));
    assert_eq!(
        value(resource, "aws.ecs.task.arn")["stringValue"],
        "arn:aws:ecs:us-east-1:000000000000:task/c/t1"
    );
    let span = &of_resource["scopeSpans"][0]["spans"][0];
    assert_eq!(
        (&span["traceId"], &span["spanId"], &span["parentSpanId"]),
        (&json!("07".repeat(16)), &json!("01".repeat(8)), &json!("02".repeat(8)))
    );
    assert_eq!((&span["name"], &span["kind"]), (&json!("GET"), &json!(WireKind::Client as i32)));
    assert_eq!(span["endTimeUnixNano"], "1700000000001500000");
    assert_eq!(span["status"]["code"], WireCode::Error as i32, "a client's 404 is an error");
    let attributes = &span["attributes"];
    for (key, expected) in [
        ("http.request.method", json!({"stringValue": "GET"})),
        ("http.response.status_code", json!({"intValue": "404"})),
        ("url.full", json!({"stringValue": "http://cart:80/items"})),
        ("server.address", json!({"stringValue": "cart"})),
        ("server.port", json!({"intValue": "80"})),
        ("network.peer.address", json!({"stringValue": "10.0.0.1"})),
        ("network.protocol.version", json!({"stringValue": "1.1"})),
        ("error.type", json!({"stringValue": "404"})),
        ("bowline.discovery_name", json!({"stringValue": "cart"})),
    ] {
        assert_eq!(value(attributes, key), expected, "{key}");
    }
}

fn totals() -> Vec<ProxyTotals> {
    let mut response_time = Distribution::default();
    [0.0, 1.0, 1.0, 250.0].into_iter().for_each(|value| response_time.record(value, 1.0));
    let counts = Counts { responses: [0, 0, 3, 0, 0, 1], bytes_sent: 9, response_time, ..Counts::default() };
    let key = RowKey {
        side: Side::Inbound,
        discovery_name: "cart".into(),
        cluster: String::new(),
        peer: "spiffe://x".into(),
        security: Security::MutualTls,
    };
    let proxy = |task: &str, rows| ProxyTotals {
        workload: Workload { cluster: "c".into(), name: "cart".into(), is_gateway: false },
        task: task.parse().expect("a task's id"),
        since: Timestamp::from_secs(100),
        rows,
    };
    vec![proxy("0123456789abcdef0123456789abcdef", vec![(key, counts)])]
}

#[test]
fn what_was_counted_is_told_as_sums_and_histograms() {
    let requests =
        metrics::requests(&totals(), &bowline_model::arn::Scope::default(), Timestamp::from_secs(160));
    assert_eq!(requests.len(), 1);
    let told = &requests[0].resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| {
        told.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.as_ref()).expect(name)
    };
    let Data::Sum(sum) = named("bowline.requests") else { panic!("a sum") };
    assert_eq!((sum.data_points.len(), sum.is_monotonic), (2, true));
    assert_eq!(sum.data_points[0].start_time_unix_nano, 100_000_000_000);
    let Data::ExponentialHistogram(histogram) = named("bowline.response.time") else { panic!("a histogram") };
    let point = &histogram.data_points[0];
    let buckets = point.positive.as_ref().expect("buckets");
    assert_eq!((point.count, point.zero_count, point.scale, point.sum), (4, 1, 4, Some(252.0)));
    assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), 3);
    // Bucket i holds (2^(i/16), 2^((i+1)/16)].
    let last = f64::from(buckets.offset + buckets.bucket_counts.len() as i32 - 1);
    assert!((last / 16.0).exp2() < 250.0 && ((last + 1.0) / 16.0).exp2() >= 250.0);
    let json = as_json::metrics(&requests[0]);
    assert!(json.to_string().contains("\"asInt\":\"9\""), "{json}");
}

/// A receiver that answers what it is told to, then that all is well.
struct Receiver {
    address: std::net::SocketAddr,
    received: mpsc::UnboundedReceiver<(http::request::Parts, Bytes)>,
}

type Answers = Arc<Mutex<Vec<Response<Full<Bytes>>>>>;

impl Receiver {
    async fn start(answers: Vec<Response<Full<Bytes>>>, is_http2: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let (sender, received) = mpsc::unbounded_channel();
        let answers: Answers = Arc::new(Mutex::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, sender) = (Arc::clone(&answers), sender.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, sender) = (Arc::clone(&answers), sender.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let _ = sender.send((head, body));
                        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                        let answer = if answers.is_empty() { None } else { Some(answers.remove(0)) };
                        Ok::<_, hyper::Error>(answer.unwrap_or_else(well))
                    }
                });
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    match is_http2 {
                        true => {
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(io, service)
                                .await
                        }
                        false => {
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    async fn next(&mut self) -> (http::request::Parts, Bytes) {
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, self.received.recv()).await.expect("in time").expect("a message")
    }
}

fn well() -> Response<Full<Bytes>> {
    // Of gRPC, an answer without a message; of HTTP the header means nothing.
    Response::builder().header("grpc-status", "0").body(Full::default()).expect("an answer")
}

fn answer(status: StatusCode, header: (&str, &str)) -> Response<Full<Bytes>> {
    Response::builder().status(status).header(header.0, header.1).body(Full::default()).expect("an answer")
}

/// Sends a span by what variables say, and ends when `until` messages have come.
async fn sent(
    receiver: &mut Receiver,
    variables: &[(&str, &str)],
    until: usize,
) -> (Vec<(http::request::Parts, Bytes)>, OtlpCounts) {
    let (core, _directory) = core_in_memory(AuthorizationMode::Enforce);
    let endpoint = format!("http://{}", receiver.address);
    let config = config(variables, Some(&endpoint)).expect("a configuration");
    let otlp = Arc::new(Otlp::new(config));
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&otlp).run(core, stopping));
    otlp.spans().expect("a queue").put(&origin(), vec![span()]);
    let mut received = Vec::new();
    while received.len() < until {
        received.push(receiver.next().await);
    }
    stop.send_replace(true);
    running.await.expect("ends");
    (received, otlp.counts())
}

const NO_METRICS: (&str, &str) = ("OTEL_METRICS_EXPORTER", "none");

#[tokio::test]
async fn http_tries_again_what_may_be_tried_again() {
    let busy = answer(StatusCode::SERVICE_UNAVAILABLE, ("retry-after", "1"));
    let mut receiver = Receiver::start(vec![busy], false).await;
    let (received, counts) =
        sent(&mut receiver, &[NO_METRICS, ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k")], 2).await;
    assert_eq!(received[0].1, received[1].1, "the same message");
    let (head, body) = &received[1];
    assert_eq!(
        (head.uri.path(), &head.headers["content-type"], &head.headers["api-key"]),
        ("/v1/traces", &"application/x-protobuf".parse().expect("a value"), &"k".parse().expect("a value"))
    );
    let request = ExportTraceServiceRequest::decode(&body[..]).expect("a message");
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].trace_id, [7; 16]);
    assert_eq!((counts.spans_sent, counts.spans_dropped), (1, 0));
}

#[tokio::test]
async fn what_is_refused_is_dropped_and_counted() {
    let mut receiver = Receiver::start(vec![answer(StatusCode::BAD_REQUEST, ("x", "y"))], false).await;
    let (_, counts) = sent(&mut receiver, &[NO_METRICS], 1).await;
    assert_eq!((counts.spans_sent, counts.spans_dropped), (0, 1));
    let part = json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}).to_string();
    let part = Response::new(Full::new(part.into()));
    let mut receiver = Receiver::start(vec![part], false).await;
    let (received, counts) =
        sent(&mut receiver, &[NO_METRICS, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], 1).await;
    let told: Value = serde_json::from_slice(&received[0].1).expect("JSON");
    assert_eq!(told["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"], "bowline");
    assert_eq!((counts.spans_sent, counts.spans_dropped), (0, 1));
}

#[tokio::test]
async fn grpc_is_spoken_and_tried_again() {
    let unavailable = answer(StatusCode::OK, ("grpc-status", "14"));
    let mut receiver = Receiver::start(vec![unavailable], true).await;
    let variables =
        [NO_METRICS, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let (received, counts) = sent(&mut receiver, &variables, 2).await;
    let (head, body) = &received[1];
    assert_eq!(head.uri.path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(
        (&head.headers["te"], &head.headers["grpc-encoding"]),
        (&"trailers".parse::<http::HeaderValue>().expect("a value"), &"gzip".parse().expect("a value"))
    );
    let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes")) as usize;
    assert_eq!((body[0], length), (1, body.len() - 5));
    let mut message = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&body[5..]), &mut message).expect("gzip");
    assert_eq!(ExportTraceServiceRequest::decode(&message[..]).expect("a message").resource_spans.len(), 1);
    assert_eq!((counts.spans_sent, counts.spans_dropped), (1, 0));
}

#[tokio::test]
async fn the_last_metrics_are_sent_at_the_end() {
    let mut receiver = Receiver::start(Vec::new(), false).await;
    let (_, counts) = sent(&mut receiver, &[], 1).await;
    // No proxy has told anything in this test.
    assert_eq!((counts.spans_sent, counts.metrics_sent, counts.metrics_dropped), (1, 0, 0));
    let request =
        metrics::requests(&totals(), &bowline_model::arn::Scope::default(), Timestamp::from_secs(160));
    let bytes = request[0].encode_to_vec();
    assert_eq!(ExportMetricsServiceRequest::decode(&bytes[..]).as_ref(), Ok(&request[0]));
}

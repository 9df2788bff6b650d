//! Traces: what a task's proxy tells of requests, and what contexts it hands on.

use std::collections::{BTreeMap, BTreeSet};

use bowline_discovery::telemetry::{Span, SpanEvent, SpanKind, SpanProtocol};
use bowline_proxy::AccessLogTarget;
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::backend::{Answer, Backend, Client};

/// Requests under way at once.
const AT_ONCE: usize = 25;

/// Which requests are sampled, and whether failed ones are told of.
fn tracing(per_million: u32, failures: bool) -> Value {
    let rules = json!([{"name": "all", "perMillion": per_million}]);
    json!({"tracing": {"name": "tracing", "rules": rules, "failures": failures}})
}

async fn start(application: SocketAddr, sampling: Value, log: Option<PathBuf>) -> Task {
    let access_log = log.map(AccessLogTarget::File);
    let options = ProxyOptions { workers: 2, access_log, ..options() };
    let starting = move || Task::start_with(application, 3600, vec![sampling], &options);
    tokio::task::spawn_blocking(starting).await.expect("started")
}

/// Ends the task's proxy, and returns all spans that it told of, each once.
async fn end(task: Task) -> Vec<Span> {
    let stopping = move || {
        let seen = Arc::clone(&task.control_plane.seen);
        task.proxy.stop();
        task.control_plane.stop();
        let batches = seen.lock().expect("not poisoned").spans.clone();
        let numbers: Vec<_> = batches.iter().map(|batch| batch.sequence).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(batches.iter().map(|batch| batch.dropped).sum::<u64>(), 0);
        let once: BTreeMap<_, _> = batches.into_iter().map(|batch| (batch.sequence, batch.spans)).collect();
        once.into_values().flatten().collect::<Vec<_>>()
    };
    let spans: Vec<Span> = tokio::task::spawn_blocking(stopping).await.expect("stopped");
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    spans
}

/// The task's own calls go there from now on.
async fn calls_go_to(task: Task, endpoints: &[SocketAddr], nonce: &'static str) -> Task {
    let resource = crate::harness::endpoints_of(endpoints);
    let pushing = move || {
        let endpoints = [(nonce.to_owned(), resource)];
        task.control_plane.push(response(ResourceType::Endpoints, &endpoints, nonce));
        eventually("the answer came", || task.control_plane.answer_to(nonce).is_some());
        task
    };
    tokio::task::spawn_blocking(pushing).await.expect("pushed")
}

async fn call(client: &Client, count: usize, expected: u16) {
    let got = stream::iter(0..count).map(|_| async { client.get("/x?secret=1").await.status });
    let got: Vec<_> = got.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(got, vec![expected; count]);
}

fn of_kind(spans: &[Span], kind: SpanKind) -> BTreeMap<u32, usize> {
    let mut statuses = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind == i32::from(kind)) {
        *statuses.entry(span.status).or_default() += 1;
    }
    statuses
}

/// What the access log has of a direction, by status; and its traces.
fn logged(log: &std::path::Path, direction: &str) -> (BTreeMap<u32, usize>, BTreeSet<String>) {
    let text = std::fs::read_to_string(log).expect("there is a log");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let (mut statuses, mut traces) = (BTreeMap::new(), BTreeSet::new());
    for line in lines.filter(|line| line["direction"] == direction) {
        let status = line["response_code"].as_u64().and_then(|status| u32::try_from(status).ok());
        *statuses.entry(status.expect("a status")).or_default() += 1;
        traces.insert(line["trace_id"].as_str().expect("a trace").to_owned());
    }
    (statuses, traces)
}

/// Requests that ended, of one side, by hundreds of the status.
fn counted(proxy: &ProxyHandle, side: &str) -> BTreeMap<String, usize> {
    let text = proxy.metrics().render();
    let mut classes = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("bowline_service_requests_total{")) {
        if line.contains(&format!("side=\"{side}\"")) {
            let class =
                line.split("code=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a class");
            let value: usize =
                line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number");
            *classes.entry(class.to_owned()).or_default() += value;
        }
    }
    classes
}

fn classes(statuses: &BTreeMap<u32, usize>) -> BTreeMap<String, usize> {
    let mut classes = BTreeMap::new();
    for (status, count) in statuses {
        *classes.entry(format!("{}xx", status / 100)).or_default() += count;
    }
    classes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_counters_and_the_log_agree_on_three_thousand_requests() {
    let (backend, called) =
        (Backend::start(Answer::status(200)).await, Backend::start(Answer::status(200)).await);
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log");
    let task = start(backend.address, tracing(1_000_000, true), Some(log.clone())).await;
    let c = task.ca.issue("c", &Leaf::of(&id("c")));
    let mut resources = vec![task.ca.trust(), identity("mesh", &c)];
    resources.extend(inbound("HTTP", called.address, &[&id("b")]));
    let server = Proxy::start(&resources);
    let mut resources = vec![task.ca.trust(), identity("mesh", &c)];
    resources.extend(outbound("HTTP", &id("b"), &[task.proxy.address("in").expect("open")]));
    let stranger = Proxy::start(&resources);
    let caller = task.caller();
    let task = calls_go_to(task, &[server.address("in")], "first-endpoints").await;

    let (client, refused) = (Client::of(&caller).await, Client::of(&stranger).await);
    let own = Client::at(task.proxy.address("out").expect("open")).await;
    for (status, count) in [(200, 900), (404, 400), (500, 300)] {
        backend.answers(Answer::status(status));
        call(&client, count, status).await;
    }
    call(&refused, 300, 403).await;
    for (status, count) in [(200, 700), (503, 300)] {
        called.answers(Answer::status(status));
        call(&own, count, status).await;
    }
    let task = calls_go_to(task, &[], "no-endpoints").await;
    call(&own, 100, 503).await;

    let (inbound, outbound) = (
        BTreeMap::from([(200, 900), (403, 300), (404, 400), (500, 300)]),
        BTreeMap::from([(200, 700), (503, 400)]),
    );
    eventually("all are counted", || {
        counted(&task.proxy, "inbound").values().sum::<usize>() == 1_900
            && counted(&task.proxy, "outbound").values().sum::<usize>() == 1_100
    });
    assert_eq!(counted(&task.proxy, "inbound"), classes(&inbound));
    assert_eq!(counted(&task.proxy, "outbound"), classes(&outbound));
    let metrics = task.proxy.metrics();
    let spans = end(task).await;
    eventually("the log is written", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 3_000)
    });
    assert_eq!(of_kind(&spans, SpanKind::Server), inbound);
    assert_eq!(of_kind(&spans, SpanKind::Client), outbound);
    let (of_log, mut traces) = logged(&log, "inbound");
    assert_eq!(of_log, inbound);
    let (of_log, more) = logged(&log, "outbound");
    assert_eq!(of_log, outbound);
    traces.extend(more);
    assert_eq!(
        traces,
        spans.iter().map(|span| hex(&span.trace_id)).collect(),
        "one trace each, and the log has it"
    );
    assert_eq!(traces.len(), 3_000);

    let span = |status: u32, kind: SpanKind| {
        let of = |span: &&Span| span.status == status && span.kind == i32::from(kind);
        spans.iter().find(of).expect("there is one")
    };
    let answered = span(404, SpanKind::Server);
    assert_eq!(
        (answered.peer.as_str(), answered.path.as_str(), answered.method.as_str()),
        (&*id("a"), "/x", "GET")
    );
    assert_eq!((answered.upstream.as_str(), answered.flags.as_str()), (&*backend.address.to_string(), "-"));
    let denied = span(403, SpanKind::Server);
    assert_eq!(
        (denied.peer.as_str(), denied.flags.as_str(), denied.upstream.as_str()),
        (&*id("c"), "UAEX", "")
    );
    assert_eq!(span(200, SpanKind::Client).peer, id("c"));
    let nowhere = spans.iter().find(|span| span.flags == "UH").expect("there is one");
    assert!(nowhere.peer.is_empty() && nowhere.upstream.is_empty(), "{nowhere:?}");
    let exposed = metrics.render_as(bowline_plumbing::exposition::Format::OpenMetrics);
    let exposed = String::from_utf8(exposed).expect("it is text");
    let exemplar = exposed.lines().find(|line| line.contains("trace_id=")).expect("durations have exemplars");
    let trace = exemplar.split("trace_id=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    assert!(traces.contains(trace), "{exemplar}");
    for proxy in [caller, stranger, server] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_goes_through_both_sidecars_to_the_application() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let backend = Backend::start(Answer::status(200)).await;
    let task = start(backend.address, tracing(0, false), None).await;
    let a = task.ca.issue("a", &Leaf::of(&id("a")));
    let mut resources = vec![task.ca.trust(), identity("mesh", &a), tracing(0, false)];
    resources.extend(outbound("HTTP", &id("b"), &[task.proxy.address("in").expect("open")]));
    let caller = Proxy::start(&resources);
    let client = Client::of(&caller).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let amzn = "Root=1-67891233-abcdef012345678912345678;Self=1-67891234-1;Sampled=0";
    let send = async |headers: &[(&str, &str)]| {
        assert_eq!(client.send("GET", "/x", headers).await.status, 200);
        backend.last.lock().expect("no panic").clone()
    };
    let at_application =
        send(&[("traceparent", &parent), ("tracestate", "a=b"), ("x-amzn-trace-id", amzn)]).await;
    let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let as_it_came = send(&[("traceparent", &unsampled)]).await;
    assert_eq!(as_it_came["traceparent"], unsampled, "spans that nobody is told of have no children");
    let made = send(&[]).await;
    assert!(made["traceparent"].to_str().expect("text").ends_with("-00"), "{made:?}");
    assert!(!made.contains_key("x-amzn-trace-id") && !made.contains_key("b3"), "{made:?}");

    let spans = end(task).await;
    let [span] = spans.as_slice() else { panic!("the one that its caller samples: {spans:?}") };
    assert_eq!(hex(&span.trace_id), TRACE);
    assert!(
        hex(&span.parent_id) != "00f067aa0ba902b7" && span.parent_id.len() == 8,
        "it is the caller's sidecar's"
    );
    let id = hex(&span.span_id);
    assert_eq!(at_application["traceparent"], format!("00-{TRACE}-{id}-01"));
    assert_eq!(at_application["tracestate"], "a=b");
    let root = format!("Root=1-{}-{};Parent={id};Sampled=1;Self=1-67891234-1", &TRACE[..8], &TRACE[8..]);
    assert_eq!(at_application["x-amzn-trace-id"], root);
    caller.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_traces_that_are_not_sampled_failures_alone_are_told() {
    for failures in [true, false] {
        let backend = Backend::start(Answer::status(200)).await;
        let task = start(backend.address, tracing(0, failures), None).await;
        let caller = task.caller();
        let client = Client::of(&caller).await;
        call(&client, 50, 200).await;
        backend.answers(Answer::status(502));
        call(&client, 7, 502).await;
        backend.answers(Answer::status(404));
        call(&client, 20, 404).await;
        // gRPC has no status of HTTP's that fails: nobody is there to be called.
        let own = Client::at(task.proxy.address("out").expect("open")).await;
        let got = own.send("POST", "/a.B/C", &[("content-type", "application/grpc")]).await;
        assert_eq!((got.status, got.headers["grpc-status"].as_bytes()), (200, &b"14"[..]));
        let spans = end(task).await;
        let unavailable: Vec<_> = spans.iter().filter(|span| span.grpc_status == Some(14)).collect();
        assert_eq!(unavailable.len(), usize::from(failures));
        assert!(unavailable.iter().all(|span| span.protocol == i32::from(SpanProtocol::Grpc)));
        let expected = if failures { BTreeMap::from([(502, 7)]) } else { BTreeMap::new() };
        assert_eq!(of_kind(&spans, SpanKind::Server), expected);
        caller.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_told_once_though_the_stream_breaks_and_the_last_when_it_ends() {
    let backend = Backend::start(Answer::status(200)).await;
    let task = start(backend.address, tracing(1_000_000, false), None).await;
    let caller = task.caller();
    let client = Client::of(&caller).await;
    let seen = Arc::clone(&task.control_plane.seen);
    seen.lock().expect("not poisoned").unanswered_spans = 1;
    call(&client, 40, 200).await;
    let repeated = || {
        let seen = seen.lock().expect("not poisoned");
        seen.spans.windows(2).any(|pair| pair[0] == pair[1])
    };
    tokio::task::block_in_place(|| eventually("a batch is told again, as it was", repeated));
    call(&client, 30, 200).await;
    caller.handle.stop();
    assert_eq!(end(task).await.len(), 70);
}

fn names(events: &[SpanEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

fn attribute<'a>(event: &'a SpanEvent, key: &str) -> &'a str {
    let found = event.attributes.iter().find(|attribute| attribute.key == key);
    found.map_or("", |attribute| attribute.value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_a_request_stands_in_its_span() {
    let (backend, called) =
        (Backend::start(Answer::status(200)).await, Backend::start(Answer::status(200)).await);
    let task = start(backend.address, tracing(1_000_000, true), None).await;
    let c = task.ca.issue("c", &Leaf::of(&id("c")));
    let mut resources = vec![task.ca.trust(), identity("mesh", &c)];
    resources.extend(inbound("HTTP", called.address, &[&id("b")]));
    let server = Proxy::start(&resources);
    let closed = StdTcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let task = calls_go_to(task, &[closed, server.address("in")], "two-endpoints").await;
    let own = Client::at(task.proxy.address("out").expect("open")).await;
    for _ in 0..20 {
        assert_eq!(own.get("/x").await.status, 200, "whoever is closed is passed over");
    }
    let spans = end(task).await;
    assert_eq!(spans.len(), 20);
    let span = spans.iter().find(|span| names(&span.events).contains(&"retry")).expect("one was tried again");
    let [refused, retry, ..] = span.events.as_slice() else { panic!("{span:?}") };
    assert_eq!((refused.name.as_str(), attribute(refused, "failed")), ("connect", "true"));
    assert_eq!((retry.name.as_str(), attribute(retry, "endpoint")), ("retry", &*closed.to_string()));
    assert!(attribute(retry, "cause").contains("connection failure"), "{span:?}");
    assert_eq!((span.status, span.upstream.as_str()), (200, &*server.address("in").to_string()));
    let made = spans.iter().find(|span| names(&span.events).contains(&"tls.handshake"));
    let made = made.expect("somebody's connection was made");
    let handshake = made.events.iter().find(|event| event.name == "tls.handshake").expect("it is there");
    assert!(attribute(handshake, "duration_us").parse::<u64>().expect("a number") > 0);
    assert!(handshake.after_us <= made.duration_us);
    let ejected = spans.iter().flat_map(|span| &span.events).find(|event| event.name == "ejection");
    assert_eq!(ejected.map(|event| attribute(event, "endpoint")), Some(&*closed.to_string()));
    server.handle.stop();
}

/// Sends a line and its end, and returns what comes back.
async fn exchange(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let _ = stream.write_all(b"hello").await;
    let _ = stream.shutdown().await;
    let mut received = String::new();
    let _ = stream.read_to_string(&mut received).await;
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_connection_is_a_span_with_a_trace_of_its_own() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let application = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
    });
    let start = move || {
        let mut more = inbound("TCP", application, &[&id("a")]);
        more.push(tracing(1_000_000, false));
        Task::start_with(application, 3600, more, &options())
    };
    let task = tokio::task::spawn_blocking(start).await.expect("started");
    let sidecar = |name: &str| {
        let own = task.ca.issue(name, &Leaf::of(&id(name)));
        let mut resources = vec![task.ca.trust(), identity("mesh", &own)];
        resources.extend(outbound("TCP", &id("b"), &[task.proxy.address("in").expect("open")]));
        Proxy::start(&resources)
    };
    let (caller, stranger) = (sidecar("a"), sidecar("c"));
    for _ in 0..3 {
        assert_eq!(exchange(caller.address("out")).await, "hello");
    }
    assert_eq!(exchange(stranger.address("out")).await, "");
    let mut spans = end(task).await;
    spans.sort_by_key(|span| span.flags.clone());
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!((spans.len(), traces.len()), (4, 4), "{spans:?}");
    let (carried, refused) = (&spans[0], &spans[3]);
    assert_eq!((carried.protocol, carried.kind), (SpanProtocol::Tcp.into(), SpanKind::Server.into()));
    assert_eq!((carried.flags.as_str(), carried.peer.as_str()), ("-", &*id("a")));
    // What is sent includes the verdict, as in the log.
    assert_eq!((carried.bytes_received, carried.bytes_sent, carried.parent_id.len()), (5, 6, 0));
    assert_eq!(carried.upstream, application.to_string());
    assert_eq!(names(&carried.events), ["connect"]);
    assert_eq!(
        (refused.flags.as_str(), refused.peer.as_str(), refused.upstream.as_str()),
        ("UAEX", &*id("c"), "")
    );
    for proxy in [caller, stranger] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_carries_its_clients_trace_on_and_decides_by_itself() {
    const ROOT: &str = "1-67891233-abcdef012345678912345678";
    let backend = Backend::start(Answer::status(200)).await;
    let client = "x-amzn-trace-id: Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=";
    for (per_million, asked, decided) in [(0, "1", '0'), (1_000_000, "0", '1')] {
        let forward = json!({});
        let mut resources = crate::backend::resources(&[&backend], "HTTP", forward, json!({}), |_| json!({}));
        resources[1]["listener"]["bind"] = json!({"public": {"address": "127.0.0.1", "port": 0}});
        resources.push(tracing(per_million, false));
        let gateway = Proxy::start(&resources);
        let url = format!("http://127.0.0.1:{}/x", gateway.address("out").port());
        let text = curl(&["-H", &format!("{client}{asked}"), "-H", "b3: d", &url]).await;
        assert!(text.contains("200"), "{text}");
        let headers = backend.last.lock().expect("no panic").clone();
        let said = |name: &str| headers[name].to_str().expect("text").to_owned();
        let parent = said("traceparent");
        let (trace, span) = (ROOT.replace("1-", "").replace('-', ""), &parent[36..52]);
        assert_eq!(parent, format!("00-{trace}-{span}-0{decided}"));
        assert_ne!(span, "53995c3f42cd8ad8");
        assert_eq!(said("x-amzn-trace-id"), format!("Root={ROOT};Parent={span};Sampled={decided}"));
        assert_eq!(said("b3"), format!("{trace}-{span}-{decided}-53995c3f42cd8ad8"));
        // Where none came it makes one, in X-Ray's format, too.
        curl(&[&url]).await;
        let headers = backend.last.lock().expect("no panic").clone();
        let made = headers["x-amzn-trace-id"].to_str().expect("text");
        assert!(made.starts_with("Root=1-") && made.ends_with(&format!(";Sampled={decided}")), "{made}");
        gateway.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_outside_the_mesh_get_what_the_client_has_sent() {
    let backend = Backend::start(Answer::status(200)).await;
    let mut resources = crate::backend::resources(&[&backend], "HTTP1", json!({}), json!({}), |_| json!({}));
    resources.push(tracing(1_000_000, true));
    let proxy = Proxy::start(&resources);
    let client = Client::of(&proxy).await;
    assert_eq!(client.get("/x").await.status, 200);
    assert!(!backend.last.lock().expect("no panic").contains_key("traceparent"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(client.send("GET", "/x", &[("traceparent", parent)]).await.status, 200);
    assert_eq!(backend.last.lock().expect("no panic")["traceparent"], parent);
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_that_was_injected_and_a_time_that_was_over_are_events() {
    let (backend, called) =
        (Backend::start(Answer::status(200)).await, Backend::start(Answer::hanging()).await);
    let delay = json!({"fault": {"name": "out", "rules": [{"delayPerMillion": 1_000_000, "delayMs": 20}]}});
    let (application, more) = (backend.address, vec![tracing(0, true), delay]);
    let start = move || Task::start_with(application, 3600, more, &options());
    let task = tokio::task::spawn_blocking(start).await.expect("started");
    let c = task.ca.issue("c", &Leaf::of(&id("c")));
    let mut resources = vec![task.ca.trust(), identity("mesh", &c)];
    resources.extend(inbound("HTTP", called.address, &[&id("b")]));
    let server = Proxy::start(&resources);
    let task = calls_go_to(task, &[server.address("in")], "endpoints").await;
    let own = Client::at(task.proxy.address("out").expect("open")).await;
    let got = own.send("GET", "/x", &[("x-envoy-expected-rq-timeout-ms", "300")]).await;
    assert_eq!(got.status, 504);
    called.answers(Answer::status(200));
    let spans = end(task).await;
    let [span] = spans.as_slice() else { panic!("the one that failed: {spans:?}") };
    let events = &span.events;
    assert_eq!((names(events)[0], names(events).last()), ("fault", Some(&"timeout")), "{span:?}");
    assert!(attribute(&events[0], "duration_us").parse::<u64>().expect("a number") >= 20_000);
    let over = events.last().expect("there is one");
    assert_eq!(
        (attribute(over, "of"), attribute(over, "limit_us")),
        ("request", ""),
        "the client's own limit"
    );
    assert!(over.after_us >= 300_000 && span.duration_us >= over.after_us, "{span:?}");
    assert_eq!((span.flags.as_str(), span.status), ("UT", 504));
    server.handle.stop();
}

//! What is counted agrees: counters, access log, and what the clients saw.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bowline_proxy::{AccessLogTarget, AdminAddress, ProxyOptions};
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::{
    backend::{Answer, Backend, Client},
    harness::{Ca, Leaf, Proxy, eventually, id, identity, inbound, outbound},
};

/// Requests under way at once.
const AT_ONCE: usize = 25;

/// A sidecar, and its access log.
struct Sidecar {
    proxy: Proxy,
    log: PathBuf,
}

impl Sidecar {
    fn start(ca: &Ca, name: &str, mut resources: Vec<Value>) -> Self {
        resources.extend([ca.trust(), identity("mesh", &ca.issue(name, &Leaf::of(&id(name))))]);
        let log = ca.directory.path().join(format!("{name}.log"));
        let access_log = Some(AccessLogTarget::File(log.clone()));
        let options = ProxyOptions { workers: 2, access_log, ..ProxyOptions::default() };
        Self { proxy: Proxy::start_with(&resources, &options), log }
    }
}

fn samples(proxy: &Proxy, family: &str) -> Vec<(String, f64)> {
    let text = proxy.handle.metrics().render();
    let of_family = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
    of_family
        .map(|line| {
            let (labels, value) = line.rsplit_once("} ").expect("a sample");
            (labels.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The sum of a family's samples that have all these labels.
fn sum(proxy: &Proxy, family: &str, labels: &[String]) -> f64 {
    let has = |(of, _): &&(String, f64)| labels.iter().all(|label| of.contains(label.as_str()));
    samples(proxy, family).iter().filter(has).map(|(_, value)| value).sum()
}

/// The log's lines, by status; and their bytes received and sent.
fn logged(log: &Path) -> (BTreeMap<u64, usize>, f64, f64) {
    let text = std::fs::read_to_string(log).expect("there is a log");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let (mut statuses, mut received, mut sent) = (BTreeMap::new(), 0.0, 0.0);
    for line in lines {
        *statuses.entry(line["response_code"].as_u64().expect("a status")).or_default() += 1;
        received += line["bytes_received"].as_f64().expect("a number");
        sent += line["bytes_sent"].as_f64().expect("a number");
    }
    (statuses, received, sent)
}

/// So many requests, and how many of each status came back.
async fn call(client: &Client, count: usize) -> BTreeMap<u64, usize> {
    let got = stream::iter(0..count).map(|_| async { client.get("/x").await.status });
    let mut statuses = BTreeMap::new();
    for status in got.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        *statuses.entry(u64::from(status)).or_default() += 1;
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_the_log_and_clients_agree_on_two_thousand_requests() {
    let backend = Backend::start(Answer::status(200)).await;
    let ca = Ca::new();
    let server = Sidecar::start(&ca, "b", inbound("HTTP2", backend.address, &[&id("a")]));
    let endpoint = server.proxy.address("in");
    let caller = Sidecar::start(&ca, "a", outbound("HTTP2", &id("b"), &[endpoint]));
    let stranger = Sidecar::start(&ca, "c", outbound("HTTP2", &id("b"), &[endpoint]));
    let (client, refused) = (Client::of(&caller.proxy).await, Client::of(&stranger.proxy).await);

    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for (status, count) in [(200, 1_000), (404, 400), (500, 300)] {
        backend.answers(Answer::status(status));
        let got = call(&client, count).await;
        assert_eq!(got, BTreeMap::from([(u64::from(status), count)]));
        seen.extend(got);
    }
    assert_eq!(call(&refused, 300).await, BTreeMap::from([(403, 300)]), "the rules refuse who is not named");

    // A request is counted, and logged, when its response has gone.
    eventually("the logs are written", || {
        let lines = |log: &Path| std::fs::read_to_string(log).map_or(0, |text| text.lines().count());
        lines(&caller.log) == 1_700 && lines(&stranger.log) == 300 && lines(&server.log) == 2_000
    });
    let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
    let (requests, sent_bytes) = ("bowline_service_requests_total", "bowline_service_sent_bytes_total");
    let outbound = [label("side", "outbound"), label("security", "mutual_tls"), label("peer", &id("b"))];
    let inbound =
        |peer: &str| [label("side", "inbound"), label("security", "mutual_tls"), label("peer", &id(peer))];
    for (proxy, labels, expected) in [
        (&caller.proxy, &outbound, [1_000.0, 400.0, 300.0]),
        (&stranger.proxy, &outbound, [0.0, 300.0, 0.0]),
        (&server.proxy, &inbound("a"), [1_000.0, 400.0, 300.0]),
        (&server.proxy, &inbound("c"), [0.0, 300.0, 0.0]),
    ] {
        for (class, expected) in ["2xx", "4xx", "5xx"].iter().zip(expected) {
            let labels = [labels.as_slice(), &[label("code", class)]].concat();
            assert_eq!(sum(proxy, requests, &labels), expected, "{labels:?}");
        }
    }
    for sidecar in [&caller, &stranger, &server] {
        let (statuses, received, sent) = logged(&sidecar.log);
        let all: usize = statuses.values().sum();
        assert_eq!(sum(&sidecar.proxy, requests, &[]), all as f64);
        assert_eq!(sum(&sidecar.proxy, "bowline_service_received_bytes_total", &[]), received);
        assert_eq!(sum(&sidecar.proxy, sent_bytes, &[]), sent);
        // What each direction counted by itself.
        assert_eq!(sum(&sidecar.proxy, "bowline_responses_total", &[]), all as f64);
    }
    assert_eq!(logged(&caller.log).0, seen);
    // Only what the called side answered has a time.
    let times = "bowline_service_response_time_seconds_count";
    assert_eq!(sum(&server.proxy, times, &inbound("a")), 1_700.0);
    assert_eq!(sum(&server.proxy, times, &inbound("c")), 0.0);
    assert_eq!(sum(&server.proxy, "bowline_service_failures_total", &inbound("a")), 300.0);
    assert_eq!(
        sum(&server.proxy, "bowline_service_failures_total", &inbound("c")),
        300.0,
        "they have a flag"
    );
    assert!(sum(&server.proxy, "bowline_service_handshakes_total", &inbound("a")) >= 1.0);
    assert!(sum(&caller.proxy, "bowline_service_connections_active", &outbound) >= 1.0);
    for sidecar in [caller, stranger, server] {
        sidecar.proxy.handle.stop();
    }
}

/// What promtool has to say of it: nothing, if all is well.
fn promtool(text: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().expect("promtool runs: install prometheus, or run scripts/install-components");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_no_fault_with_what_a_proxy_exposes() {
    let backend = Backend::start(Answer::status(200)).await;
    let ca = Ca::new();
    let server = Sidecar::start(&ca, "b", inbound("HTTP2", backend.address, &[&id("a")]));
    let resources = outbound("HTTP2", &id("b"), &[server.proxy.address("in")]);
    let directory = tempfile::tempdir().expect("a directory");
    let admin = directory.path().join("admin");
    let mut all = vec![ca.trust(), identity("mesh", &ca.issue("a", &Leaf::of(&id("a"))))];
    all.extend(resources);
    let options = ProxyOptions { admin: Some(AdminAddress::Unix(admin.clone())), ..ProxyOptions::default() };
    let caller = Proxy::start_with(&all, &options);
    call(&Client::of(&caller).await, 10).await;
    let scrape = |accept: &str| {
        let mut stream = UnixStream::connect(&admin).expect("the admin interface is there");
        let head =
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
        (head.to_owned(), body.to_owned())
    };
    eventually("they are counted", || scrape("*/*").1.contains("code=\"2xx\"} 10\n"));
    let (head, text) = scrape("text/plain");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(promtool(&text), "", "{text}");
    assert_ne!(promtool("# TYPE a counter\na 1\n"), "", "promtool finds faults where there are some");
    let (head, open) = scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(
        open.ends_with("\n# EOF\n") && open.contains("# TYPE bowline_service_requests counter\n"),
        "{open}"
    );
    caller.handle.stop();
    server.proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_an_error_of_connections() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let ca = Ca::new();
    let caller = Sidecar::start(&ca, "a", outbound("HTTP2", &id("b"), &[closed]));
    let client = Client::of(&caller.proxy).await;
    assert_eq!(call(&client, 10).await, BTreeMap::from([(503, 10)]));
    eventually("they are counted", || sum(&caller.proxy, "bowline_service_failures_total", &[]) == 10.0);
    assert!(sum(&caller.proxy, "bowline_service_connection_errors_total", &[]) >= 1.0);
    assert_eq!(sum(&caller.proxy, "bowline_service_response_time_seconds_count", &[]), 0.0);
    assert_eq!(sum(&caller.proxy, "bowline_service_connections_active", &[]), 0.0);
    caller.proxy.handle.stop();
}

use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::refusal::RefusalCause;

fn entry() -> HttpEntry {
    HttpEntry {
        start: Timestamp::from_millis(1_795_234_068_007),
        direction: Direction::Outbound,
        method: Method::GET,
        uri: Uri::from_static("/a/b?secret=1"),
        version: Version::HTTP_11,
        authority: Some(HeaderValue::from_static("service-b-sc:8202")),
        user_agent: Some(HeaderValue::from_static("curl/8.14")),
        request_id: Some(HeaderValue::from_static("0a1b")),
        forwarded_for: None,
        status: 503,
        flag: Flag::NoHealthyUpstream,
        refusal: None,
        bytes_received: 0,
        bytes_sent: 1_234_567,
        duration_ms: 19,
        upstream_time_ms: Some(7),
        upstream: Some("10.0.0.1:40001".parse().expect("an address")),
        discovery_name: Some("service-b".into()),
        is_grpc: false,
        grpc_status: None,
        trace_id: None,
        downstream_identity: None,
        upstream_identity: None,
    }
}

fn tcp() -> TcpEntry {
    TcpEntry {
        start: Timestamp::from_millis(1_795_234_068_999),
        direction: Direction::Inbound,
        peer: "[2001:db8::1]:50000".parse().expect("an address"),
        bytes_received: 10,
        bytes_sent: 20,
        duration_ms: 5,
        upstream: None,
        discovery_name: None,
        termination: "not authorized",
        flag: Flag::UnauthorizedExternalService,
        refusal: Some(Refusal::of_caller(RefusalCause::NotAuthorized)),
        connection_id: 99,
        downstream_identity: Some(HeaderValue::from_static("spiffe://td/a")),
        upstream_identity: None,
    }
}

fn line(format: AccessLogFormat, query: bool, line: LogLine<'_>) -> String {
    let mut out = Vec::new();
    Lines::new(format, query).write(&mut out, line);
    String::from_utf8(out).expect("UTF-8")
}

fn json_line(query: bool, of: LogLine<'_>) -> Value {
    serde_json::from_str(&line(AccessLogFormat::Json, query, of)).expect("JSON")
}

fn ids(all: &[&str]) -> Option<ExpectedServers> {
    Some(ExpectedServers::new(all.iter().map(|id| id.parse().expect("an id"))))
}

#[test]
fn json_has_service_connects_fields_in_its_order() {
    let written = line(AccessLogFormat::Json, false, LogLine::Http(&entry()));
    assert_eq!(
        written,
        "{\"start_time\":\"2026-11-21T04:07:48.007Z\",\"method\":\"GET\",\"path\":\"/a/b\",\"protocol\":\"HTTP/1.1\",\
         \"response_code\":503,\"response_flags\":\"UH\",\"bytes_received\":0,\"bytes_sent\":1234567,\"duration_ms\":19,\
         \"upstream_service_time\":7,\"forwarded_for\":\"-\",\"user_agent\":\"curl/8.14\",\"request_id\":\"0a1b\",\
         \"authority\":\"service-b-sc:8202\",\"upstream_host\":\"10.0.0.1:40001\",\"direction\":\"outbound\",\
         \"discovery_name\":\"service-b\"}\n"
    );
    let grpc = HttpEntry {
        version: Version::HTTP_2,
        is_grpc: true,
        grpc_status: Some(HeaderValue::from_static("14")),
        upstream_time_ms: None,
        trace_id: TraceId::parse(b"58406520a006649127e371903a2de979"),
        downstream_identity: Some(HeaderValue::from_static("spiffe://td/a")),
        upstream_identity: ids(&["spiffe://td/b"]),
        ..entry()
    };
    let told = json_line(true, LogLine::Http(&grpc));
    assert_eq!(told["path"], "/a/b?secret=1");
    assert_eq!((&told["duration"], &told["grpc_status"]), (&json!(19), &json!("14")));
    assert_eq!(told["upstream_service_time"], "-");
    assert_eq!(told["trace_id"], "58406520a006649127e371903a2de979");
    assert_eq!(told["downstream_identity"], "spiffe://td/a");
    assert_eq!(told["upstream_identity"], "spiffe://td/b");
    // Which of two it was is not known.
    let two = HttpEntry { upstream_identity: ids(&["spiffe://td/b", "spiffe://td/c"]), ..entry() };
    assert_eq!(json_line(false, LogLine::Http(&two)).get("upstream_identity"), None);
}

#[test]
fn connections_have_their_own_fields() {
    assert_eq!(
        json_line(false, LogLine::Tcp(&tcp())),
        json!({
            "start_time": "2026-11-21T04:07:48.999Z", "downstream_remote_address": "2001:db8::1",
            "downstream_remote_port": 50000, "bytes_received": 10, "bytes_sent": 20, "duration": 5,
            "connection_termination_details": "not authorized", "response_flags": "UAEX", "connection_id": 99,
            "upstream_host": "-", "identity_refused": "caller:not_authorized", "direction": "inbound",
            "discovery_name": "-", "downstream_identity": "spiffe://td/a",
        })
    );
}

#[test]
fn text_is_envoys() {
    let written = line(AccessLogFormat::Text, false, LogLine::Http(&entry()));
    assert_eq!(
        written,
        "[2026-11-21T04:07:48.007Z] \"GET /a/b HTTP/1.1\" 503 UH 0 1234567 19 7 \"-\" \"curl/8.14\" \"0a1b\" \
         \"service-b-sc:8202\" \"10.0.0.1:40001\" direction=outbound discovery_name=\"service-b\"\n"
    );
    let forged = HttpEntry {
        user_agent: Some(HeaderValue::from_bytes(b"a\" 200 \xff\\").expect("a value")),
        ..entry()
    };
    let written = line(AccessLogFormat::Text, false, LogLine::Http(&forged));
    assert!(written.contains("\"a\\\" 200 \u{fffd}\\\\\""), "{written}");
    assert_eq!(
        line(AccessLogFormat::Text, false, LogLine::Tcp(&tcp())),
        "[2026-11-21T04:07:48.999Z] \"- - -\" 0 UAEX 10 20 5 - \"-\" \"-\" \"-\" \"-\" \"-\" \
         downstream=[2001:db8::1]:50000 termination=\"not authorized\" identity_refused=\"caller:not_authorized\" \
         direction=inbound downstream_identity=\"spiffe://td/a\"\n"
    );
}

#[test]
fn what_was_handed_over_is_written_when_it_is_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let metrics = Arc::new(Metrics::default());
    let target = AccessLogTarget::File(path.clone());
    let log = AccessLog::start(&target, AccessLogFormat::Json, false, &metrics).expect("opens");
    for round in 1..=3 {
        (0..500).for_each(|_| log.write(LogLine::Http(&entry())));
        log.flush();
        assert_eq!(std::fs::read_to_string(&path).expect("reads").lines().count(), round * 500);
    }
    assert_eq!(metrics.access_log_dropped.get(), 0);
}

/// Takes nothing until it is told to, as a pipe that nobody reads.
struct Blocked(Arc<(Mutex<bool>, Condvar)>, Arc<Mutex<Vec<u8>>>);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (is_open, changed) = &*self.0;
        drop(changed.wait_while(lock(is_open), |is_open| !*is_open));
        lock(&self.1).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_takes_nothing_costs_lines_and_holds_up_nobody() {
    let (gate, written) = (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(Mutex::new(Vec::new())));
    let out = Box::new(Blocked(Arc::clone(&gate), Arc::clone(&written)));
    let metrics = Arc::new(Metrics::default());
    let log = AccessLog::write_to(out, AccessLogFormat::Json, false, &metrics).expect("it starts");
    let length = line(AccessLogFormat::Json, false, LogLine::Http(&entry())).len();
    let added = 3 * BUFFER_BYTES_MAX / length;
    (0..added).for_each(|_| log.write(LogLine::Http(&entry())));
    let dropped = metrics.access_log_dropped.get();
    assert!(dropped > 0);
    log.flush();
    assert!(lock(&written).is_empty());
    *lock(&gate.0) = true;
    gate.1.notify_all();
    log.flush();
    let lines = lock(&written).iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines as u64 + dropped, added as u64);
}

#[test]
fn threads_lines_are_whole_and_each_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let metrics = Arc::new(Metrics::default());
    let target = AccessLogTarget::File(path.clone());
    let log = AccessLog::start(&target, AccessLogFormat::Json, false, &metrics).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..2 * BUFFERS as u64 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..200 {
                    let entry = HttpEntry { bytes_sent: 1_000 * thread + number, ..entry() };
                    log.write(LogLine::Http(&entry));
                    if number % 50 == 0 {
                        std::thread::sleep(GATHERING);
                    }
                }
            });
        }
    });
    log.flush();
    let text = std::fs::read_to_string(&path).expect("reads");
    let mut seen: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["bytes_sent"].as_u64().expect("a number")
        })
        .collect();
    seen.sort_unstable();
    let each: Vec<u64> =
        (0..2 * BUFFERS as u64).flat_map(|thread| (0..200).map(move |n| 1_000 * thread + n)).collect();
    assert_eq!(seen, each);
}

/// What a line costs: `cargo test --release -p bowline-proxy --lib -- --ignored --nocapture cost`.
#[test]
#[ignore = "measures"]
fn the_cost_of_a_line() {
    let entry = HttpEntry { upstream_identity: ids(&["spiffe://td/b"]), ..entry() };
    let mut lines = Lines::new(AccessLogFormat::Json, false);
    let mut out = Vec::with_capacity(1 << 20);
    let began = std::time::Instant::now();
    let count = 1_000_000;
    for _ in 0..count {
        lines.write(&mut out, LogLine::Http(&entry));
        if out.len() > BUFFER_BYTES_KEPT {
            out.clear();
        }
    }
    println!("{} ns a line", began.elapsed().as_nanos() / count);
}

proptest! {
    #[test]
    fn any_bytes_are_the_text_that_they_are(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut out = Vec::new();
        text::quoted(&mut out, &bytes);
        let read: String = serde_json::from_slice(&out).expect("JSON");
        prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        prop_assert!(!out.contains(&b'\n'));
    }

    #[test]
    fn any_text_is_kept(text in any::<String>()) {
        let mut out = Vec::new();
        text::quoted(&mut out, text.as_bytes());
        prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
    }

    #[test]
    fn numbers_addresses_and_times_are_as_displayed(
        number: u64,
        small in 0..20_000u64,
        ip in any::<[u8; 4]>(),
        port: u16,
        millis in prop::collection::vec(0..300_000_000_000_000u64, 1..4),
    ) {
        for number in [number, small] {
            let mut out = Vec::new();
            text::number(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), number.to_string());
        }
        let address = SocketAddr::from((ip, port));
        let mut out = Vec::new();
        text::address(&mut out, address);
        prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), address.to_string());
        let mut times = text::Times::default();
        for at in millis.into_iter().chain([small, small + 1]).map(Timestamp::from_millis) {
            let mut out = Vec::new();
            times.write(&mut out, at);
            prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), at.to_string());
        }
    }
}

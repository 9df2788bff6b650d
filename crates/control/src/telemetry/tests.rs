use std::sync::Mutex;

use bowline_discovery::telemetry::{self as wire, SeriesIncrement};
use bowline_model::metric::{Datum, Statistic};
use bowline_observe::metrics::{MetricLimits, MetricStore};
use bowline_plumbing::exposition::Format;

use super::*;

#[derive(Default)]
struct Kept(Mutex<Vec<Datum>>);

impl MetricWriter for Kept {
    fn put(&self, data: Vec<Datum>) {
        self.0.lock().expect("nothing panicked").extend(data);
    }
}

impl Kept {
    fn sum(&self, name: &str, dimension: &str) -> f64 {
        let data = self.0.lock().expect("nothing panicked");
        let of = |datum: &&Datum| {
            datum.metric.name == name
                && datum.metric.dimensions.len() == 1
                && datum.metric.dimensions.contains_key(dimension)
        };
        data.iter().filter(of).map(|datum| datum.values.sum()).sum()
    }
}

fn telemetry() -> (Arc<Kept>, Telemetry) {
    let kept = Arc::new(Kept::default());
    (Arc::clone(&kept), Telemetry::new(kept, Arc::new(recent_spans::RecentSpans::default())))
}

fn task(number: u8) -> TaskId {
    TaskId::from_random([number; 16])
}

fn origin() -> Origin {
    Origin::Service { cluster: "c".into(), service: "web".into() }
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// What a proxy tells of `ok` calls that went well, and of as many others that failed.
fn report(process: u8, sequence: u64, until: Timestamp, ok: u64, failed: u64) -> MetricReport {
    let row = SeriesIncrement {
        side: wire::Side::Outbound.into(),
        security: wire::Security::MutualTls.into(),
        discovery_name: "cart".into(),
        cluster: "cart.shop".into(),
        peer: "spiffe://d/ns/shop/cluster/c/svc/cart".into(),
        responses: vec![0, 0, ok, 0, 0, failed],
        failures: failed,
        connections_active: 2,
        targets: 2,
        response_time: Some(wire::Durations {
            index_deltas: vec![31],
            counts: vec![ok],
            sum: 4.0 * ok as f64,
            minimum: 4.0,
            maximum: 4.0,
        }),
        ..SeriesIncrement::default()
    };
    let until_ms = until.as_millis();
    let (process, from_ms) = (vec![process], until_ms - 10_000);
    MetricReport { process, sequence, from_ms, until_ms, series: vec![row], access_log_dropped: 0 }
}

#[test]
fn what_is_told_twice_counts_once() {
    let (kept, telemetry) = telemetry();
    let tell = |task: TaskId, report: MetricReport| {
        telemetry.take_of(&task, origin(), report, NOW).expect("it is a report").sequence
    };
    assert_eq!(tell(task(1), report(1, 1, NOW, 5, 0)), 1);
    assert_eq!(
        tell(task(1), report(1, 1, NOW, 5, 0)),
        1,
        "it is acknowledged again, or it would come for ever"
    );
    assert_eq!(kept.sum("HTTPCode_Target_2XX_Count", "TargetDiscoveryName"), 5.0);
    tell(task(1), report(1, 2, NOW, 7, 0));
    // The same numbers of another process, and of another task, are others.
    tell(task(1), report(2, 1, NOW, 11, 0));
    tell(task(2), report(1, 1, NOW, 13, 0));
    assert_eq!(kept.sum("HTTPCode_Target_2XX_Count", "TargetDiscoveryName"), 36.0);
    let dir = tempfile::tempdir().expect("a directory");
    let store = MetricStore::open(dir.path(), MetricLimits::default(), Arc::new(|| NOW)).expect("opens");
    let text = String::from_utf8(telemetry.render(Format::Text, 0, &store, |_| {})).expect("it is text");
    assert!(text.contains("bowline_metrics_dropped_values_total{reason=\"beyond_series\"} 0\n"), "{text}");
    let of_first = text.lines().find(|line| line.contains(task(1).as_str()) && line.contains("code=\"2xx\""));
    assert!(of_first.is_some_and(|line| line.ends_with(" 23")), "{text}");
    assert!(text.contains("bowline_telemetry_reports_repeated_total 1\n"), "{text}");
}

#[test]
fn a_view_tells_rates_success_and_times_of_each_edge() {
    let (_, telemetry) = telemetry();
    for number in [1, 2] {
        telemetry
            .take_of(&task(number), origin(), report(1, 1, NOW - Duration::from_secs(20), 400, 0), NOW)
            .expect("taken");
        telemetry.take_of(&task(number), origin(), report(1, 2, NOW, 90, 10), NOW).expect("taken");
    }
    let view = telemetry.view(Duration::from_secs(10), NOW);
    let [edge] = view.edges.as_slice() else { panic!("{view:?}") };
    assert_eq!((edge.edge.workload.name.as_str(), edge.edge.discovery_name.as_str()), ("web", "cart"));
    assert_eq!((edge.edge.side, edge.edge.security), (Side::Outbound, Security::MutualTls));
    assert_eq!((edge.proxies, edge.requests_per_second, edge.success_rate), (2, 20.0, Some(0.9)));
    assert_eq!(edge.connections_active, 4);
    let median = edge.response_time.statistic(Statistic::Percentile(50.0)).expect("there are some");
    assert!((median - 4.0).abs() < 0.1, "{median}");
    let minute = telemetry.view(Duration::from_secs(60), NOW);
    // Told: 30 s before now until now, of each proxy 500 requests.
    assert!((minute.edges[0].requests_per_second - 2.0 * 500.0 / 30.0).abs() < 1e-9);
    // Later nothing is going on, and the edge is still there.
    // The last report is told until the next one is due, though it is a moment older than was asked for.
    let moment_later = telemetry.view(Duration::from_secs(10), NOW + Duration::from_secs(11));
    assert_eq!((moment_later.edges[0].requests_per_second, moment_later.edges[0].failures), (20.0, 20));
    let by_task = telemetry.view_by_task(Duration::from_secs(10), NOW);
    assert_eq!(by_task.keys().cloned().collect::<Vec<_>>(), [task(1), task(2)]);
    assert!(by_task.values().all(|view| view.edges[0].requests_per_second == 10.0), "{by_task:?}");
    let later = telemetry.view(Duration::from_secs(10), NOW + Duration::from_secs(30));
    assert_eq!(
        (later.edges.len(), later.edges[0].requests_per_second, later.edges[0].success_rate),
        (1, 0.0, None)
    );
}

#[test]
fn while_somebody_looks_proxies_are_asked_to_report_every_second() {
    let (_, telemetry) = telemetry();
    let interval = |sequence, now| {
        telemetry.take_of(&task(1), origin(), report(1, sequence, now, 1, 0), now).expect("taken").interval
    };
    assert_eq!(interval(1, NOW), None);
    telemetry.view(Duration::from_secs(10), NOW);
    assert_eq!(interval(2, NOW + Duration::from_secs(10)), Some(LIVE_INTERVAL));
    assert_eq!(interval(3, NOW + Duration::from_secs(16)), None);
}

#[test]
fn a_minute_tells_gauges_together_and_forgets_who_is_gone() {
    let (kept, telemetry) = telemetry();
    for number in [1, 2] {
        telemetry.take_of(&task(number), origin(), report(1, 1, NOW, 30, 0), NOW).expect("taken");
    }
    telemetry.end_minute(|_| true, NOW);
    // 60 requests of both callers on 2 targets.
    let per_target: Vec<_> = {
        let data = kept.0.lock().expect("nothing panicked");
        let found = data.iter().filter(|datum| datum.metric.name == "RequestCountPerTarget");
        found.map(|datum| datum.values.statistic(Statistic::Average)).collect()
    };
    assert_eq!(per_target, [Some(30.0), Some(30.0)], "one for each set of dimensions");
    telemetry.end_minute(|id| *id == task(2), NOW);
    assert_eq!(telemetry.proxies.lock().expect("nothing panicked").len(), 1);
    // Nothing has come since: a minute without requests has no value.
    let count = kept.0.lock().expect("nothing panicked").len();
    telemetry.end_minute(|_| true, NOW);
    assert_eq!(kept.0.lock().expect("nothing panicked").len(), count);
}

#[test]
fn what_is_kept_of_a_proxy_is_bounded() {
    let (_, telemetry) = telemetry();
    for sequence in 1..500 {
        let at = NOW + Duration::from_millis(sequence);
        telemetry.take_of(&task(1), origin(), report(1, sequence, at, 1, 0), at).expect("taken");
    }
    let proxies = telemetry.proxies.lock().expect("nothing panicked");
    assert_eq!(proxies[&task(1)].recent.len(), RECENT_MAX);
}

#[test]
fn a_clock_that_is_wrong_does_not_put_metrics_elsewhere() {
    let (kept, telemetry) = telemetry();
    for (sequence, until) in [(1, NOW + Duration::from_secs(86_400)), (2, NOW - Duration::from_secs(86_400))]
    {
        telemetry.take_of(&task(1), origin(), report(1, sequence, until, 1, 0), NOW).expect("taken");
    }
    assert!(kept.0.lock().expect("nothing panicked").iter().all(|datum| datum.at == NOW));
}

/// What promtool has to say of it: nothing, if all is well.
fn promtool(text: &str) -> String {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().expect("promtool runs: install prometheus, or run scripts/install-components");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn prometheus_finds_no_fault_with_the_text() {
    let (_, telemetry) = telemetry();
    for number in [1, 2] {
        telemetry.take_of(&task(number), origin(), report(1, 1, NOW, 30, 4), NOW).expect("taken");
    }
    telemetry.own.passed(Duration::from_millis(3), false);
    let dir = tempfile::tempdir().expect("a directory");
    let store = MetricStore::open(dir.path(), MetricLimits::default(), Arc::new(|| NOW)).expect("opens");
    let text = String::from_utf8(telemetry.render(Format::Text, 2, &store, |_| {})).expect("it is text");
    assert_eq!(promtool(&text), "", "{text}");
    for labels in ["cluster=\"c\",service=\"web\",task=", "security=\"mutual_tls\",code=\"5xx\"} 4"] {
        assert!(text.contains(labels), "{labels}: {text}");
    }
    assert!(text.contains("bowline_control_reconcile_seconds_bucket{le=\"0.004\"} 1\n"), "{text}");
}

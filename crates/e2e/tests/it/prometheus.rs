//! A real Prometheus scrapes the endpoint and a sidecar, and knows all that they tell; another one, with native
//! histograms on, asks for protobuf and has the durations as finely as they are counted.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_e2e::{
    command::{curl, eventually, free_port, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const REQUESTS: usize = 60;

/// A process that is ended by its id when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus with data of its own in `directory`.
struct Prometheus {
    _process: Running,
    url: String,
}

impl Prometheus {
    /// With features that are off by default.
    fn start(directory: &Path, jobs: &[(&str, &str)], features: &[&str]) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let configs: String = jobs
            .iter()
            .map(|(job, target)| {
                format!("  - job_name: {job}\n    static_configs: [{{targets: ['{target}']}}]\n")
            })
            .collect();
        let config = directory.join("prometheus.yml");
        let text = format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{configs}");
        std::fs::write(&config, text).expect("a file");
        let port = free_port();
        let log = File::create(directory.join("prometheus.log")).expect("a log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(features.iter().map(|feature| format!("--enable-feature={feature}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        Self { _process: Running(child), url: format!("http://127.0.0.1:{port}") }
    }

    /// What it answers; `None` while it is not up.
    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut arguments = vec!["-G".to_owned()];
        for (name, value) in query {
            arguments.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        arguments.push(format!("{}{path}", self.url));
        let answer = curl(&arguments);
        let answer: Value = serde_json::from_str(&answer.stdout).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The one value of a query's result.
    fn value(&self, query: &str) -> Option<f64> {
        let data = self.get("/api/v1/query", &[("query", query)])?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn names(&self, job: &str) -> BTreeSet<String> {
        let selector = format!("{{job=\"{job}\"}}");
        let names = self.get("/api/v1/label/__name__/values", &[("match[]", &selector)]);
        let names = names.as_ref().and_then(Value::as_array).into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

/// The names of a page's samples.
fn sample_names(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect()
}

fn page(url: &str) -> String {
    let answer = curl([url]);
    assert!(answer.success(), "{answer:?}");
    answer.stdout
}

/// What `promtool` says of a page; empty where there is no fault.
fn lint(page: &str, directory: &Path) -> String {
    let path = directory.join("page.txt");
    std::fs::write(&path, page).expect("a file");
    let mut promtool = Command::new("sh");
    promtool.args(["-c", "promtool check metrics < \"$0\""]).arg(&path);
    let outcome = run_limited(&mut promtool, LIMIT);
    if outcome.success() { String::new() } else { format!("{}{}", outcome.stdout, outcome.stderr) }
}

/// Of the times of the requests that the gateway was sent, native buckets tell what classic ones do.
fn natively_told_the_same(native: &Prometheus, classic: &Prometheus) {
    const FAMILY: &str = "bowline_service_response_time_seconds";
    const LABELS: &str = "{job=\"mesh\",side=\"outbound\",service=\"ecs-alb\"}";
    let of_native = |function: &str| native.value(&format!("{function}sum({FAMILY}{LABELS}))"));
    eventually("all times are in native buckets", LIMIT, || {
        (of_native("histogram_count(") == Some(REQUESTS as f64)).then_some(())
    });
    // It counts them within the buckets too: all lie in this range.
    assert_eq!(of_native("histogram_fraction(0, +Inf, "), Some(1.0));
    let sum = eventually("all times are in classic buckets", LIMIT, || {
        let count = classic.value(&format!("sum({FAMILY}_count{LABELS})"));
        classic.value(&format!("sum({FAMILY}_sum{LABELS})")).filter(|_| count == Some(REQUESTS as f64))
    });
    let told = of_native("histogram_sum(").expect("a sum");
    assert!((told - sum).abs() <= sum * 1e-9, "{told} for {sum}");

    // The classic bucket that a quantile is in has the native quantile too, but for the move by 2.0 % and for how
    // each spreads values over a bucket (4.4 %).
    for quantile in [0.5, 0.99] {
        let fine = of_native(&format!("histogram_quantile({quantile}, ")).expect("a quantile");
        let coarse =
            classic.value(&format!("histogram_quantile({quantile}, sum by (le) ({FAMILY}_bucket{LABELS}))"));
        let coarse = coarse.expect("a quantile");
        // An upper bound is in its bucket, even if it was computed a bit too high; all that is quickest is in one.
        let above = ((coarse * 1e3 * (1.0 - 1e-9)).log2().ceil().exp2() / 1e3).max(0.000_25);
        let below = if above == 0.000_25 { 0.0 } else { above / 2.0 };
        assert!(fine > below * 0.93 && fine < above * 1.07, "{quantile}: {fine} beside {coarse}");
    }
    assert!(!native.names("mesh").contains(&format!("{FAMILY}_bucket")), "what it scraped was protobuf");
}

#[test]
fn prometheus_scrapes_everything_and_counts_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let endpoint = mesh.topology["endpoint"].as_str().expect("the endpoint").to_owned();
    let ca = mesh.topology["gatewayCa"].as_str().expect("the CA's file").to_owned();

    // A proxy of its own, whose admin interface can be scraped.
    let admin = format!("127.0.0.1:{}", free_port());
    let config = directory.path().join("proxy.yaml");
    std::fs::write(&config, "node: alone\nresources: []\n").expect("a file");
    let mut alone = Command::new(bowline());
    alone.args(["proxy", "--admin", &admin, "--config"]).arg(&config);
    let _alone = Running(alone.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("a proxy"));

    let target = endpoint.strip_prefix("http://").expect("an http endpoint");
    let jobs = [("mesh", target), ("proxy", admin.as_str())];
    let prometheus = Prometheus::start(&directory.path().join("classic"), &jobs, &[]);
    // It has no classic buckets of what has native ones.
    let native = Prometheus::start(&directory.path().join("native"), &jobs, &["native-histograms"]);
    let url = mesh.url("/service-a/status");
    let call = || {
        let answer = curl(["--cacert", &ca, "-o", "/dev/null", "-w", "%{http_code}", &url]);
        assert_eq!(answer.stdout, "200", "{answer:?}");
    };
    (0..REQUESTS).for_each(|_| call());

    for job in ["mesh", "proxy"] {
        let query = format!("up{{job=\"{job}\"}}");
        eventually(&format!("the scrape of {job}"), LIMIT, || {
            let is_up = |prometheus: &Prometheus| prometheus.value(&query) == Some(1.0);
            (is_up(&prometheus) && is_up(&native)).then_some(())
        });
    }
    let of_gateway = "sum(bowline_service_requests_total{job=\"mesh\",side=\"outbound\",code=\"2xx\",service=\"ecs-alb\"})";
    let counted = eventually("all requests are counted", LIMIT, || {
        prometheus.value(of_gateway).filter(|counted| *counted >= REQUESTS as f64)
    });
    // The gateway's health checks are counted by those that it checks, not as requests of its own: exactly what
    // was sent.
    assert_eq!(counted, REQUESTS as f64, "{}", page(&format!("{endpoint}/metrics")));
    let rate = prometheus.value(
        "histogram_quantile(0.99, sum by (le) (bowline_service_response_time_seconds_bucket{job=\"mesh\"}))",
    );
    assert!(rate.is_some_and(|p99| p99 > 0.0 && p99 < 10.0), "{rate:?}");
    natively_told_the_same(&native, &prometheus);
    // A rate is of what comes after a first scrape.
    call();
    eventually("a quantile of the last minute", LIMIT, || {
        let query =
            "histogram_quantile(0.99, sum(rate(bowline_service_response_time_seconds{job=\"mesh\"}[1m])))";
        native.value(query).filter(|p99| *p99 > 0.0 && *p99 < 10.0)
    });

    for (job, url) in [("mesh", format!("{endpoint}/metrics")), ("proxy", format!("http://{admin}/metrics"))]
    {
        let told = page(&url);
        assert_eq!(lint(&told, directory.path()), "", "{job}");
        let told = sample_names(&told);
        assert!(told.len() > 20, "{job}: {told:?}");
        eventually(&format!("every series of {job}"), LIMIT, || {
            let known = prometheus.names(job);
            told.is_subset(&known).then_some(())
        });
    }
    // The check of names can fail.
    assert_ne!(lint("# TYPE requests counter\nrequests 1\n", directory.path()), "");
}

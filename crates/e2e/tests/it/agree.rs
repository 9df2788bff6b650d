//! Metrics, the access log and traces count the same, of a load whose outcomes are known.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use bowline_e2e::{
    command::{curl, eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// Path, status, and how many: service-b answers the first two, its caller's sidecar the last.
const LOAD: [(&str, u16, u64); 3] = [
    ("/service-b/status", 200, 90_000),
    ("/service-b/nothing", 404, 6_000),
    ("/service-b/broken", 503, 4_000),
];

/// The example with access logs, and every request traced.
fn with_access_log(directory: &Path) -> MeshOptions {
    let options = MeshOptions::example("two-services").argument("--trace-sampling").argument("100");
    let text = std::fs::read_to_string(&options.template).expect("the template");
    let before = "      ServiceConnectConfiguration:\n        Enabled: true\n";
    assert_eq!(text.matches(before).count(), 2, "both services have Service Connect");
    let after = format!("{before}        AccessLogConfiguration:\n          Format: JSON\n");
    let template = directory.join("template.yaml");
    std::fs::write(&template, text.replace(before, &after)).expect("a file");
    let overlay = options.template.with_file_name("template.bowline.yaml");
    let mut options = options.argument("--overlay").argument(overlay.display().to_string());
    options.template = template;
    options
}

/// Calls from service-a's task, and what the client has seen.
fn load(mesh: &TestMesh, path: &str, status: u16, count: u64) {
    let mut command = Command::new(bowline());
    command.args(["exec", "--state-dir"]).arg(mesh.state_dir()).args(["service-a", "--"]);
    let url = format!("http://service-b-sc:8202{path}");
    command.args(["h2load", "--h1", "-t", "1", "-c", "20", "-n", &count.to_string(), &url]);
    let outcome = run_limited(&mut command, LIMIT);
    assert!(outcome.success(), "{outcome:?}");
    let seen = format!("{count} {}xx", status / 100);
    assert!(outcome.stdout.contains(&seen), "{seen}: {outcome:?}");
}

/// Calls until the fault is there, and by status how often that was.
fn await_fault(mesh: &TestMesh) -> BTreeMap<u64, u64> {
    let mut answers = BTreeMap::new();
    eventually("the fault", LIMIT, || {
        let mut command = Command::new(bowline());
        command.args(["exec", "--state-dir"]).arg(mesh.state_dir()).args(["service-a", "--"]);
        command.args(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
        command.arg("http://service-b-sc:8202/service-b/broken");
        let status = run_limited(&mut command, LIMIT).stdout.trim().parse().expect("a status");
        *answers.entry(status).or_default() += 1;
        (status == 503).then_some(())
    });
    answers
}

/// What Prometheus would read.
fn metrics(mesh: &TestMesh) -> String {
    let endpoint = mesh.topology["endpoint"].as_str().expect("the AWS endpoint");
    curl([format!("{endpoint}/metrics")]).stdout
}

/// A line's number.
fn value(line: &str) -> u64 {
    let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number");
    value as u64
}

/// By hundreds of the status, the requests of series with all these labels.
fn counted(mesh: &TestMesh, labels: &[&str]) -> BTreeMap<u64, u64> {
    let page = metrics(mesh);
    let mut counts = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("bowline_service_requests_total{")) {
        if !labels.iter().all(|label| line.contains(label)) {
            continue;
        }
        let code = line.split("code=\"").nth(1).and_then(|rest| rest[..1].parse().ok()).expect("a code");
        *counts.entry(code).or_default() += value(line);
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// By status, lines of access logs that a condition takes.
fn logged(mesh: &TestMesh, condition: &str) -> BTreeMap<u64, u64> {
    let query = format!("filter {condition} | stats count(*) as lines by response_code");
    let outcome = mesh.run(&["logs", "--since", "1h", "--query", &query, "-o", "json"]);
    assert!(outcome.success(), "{outcome:?}");
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("rows");
    let number = |row: &Value, name: &str| row[name].as_str().and_then(|text| text.parse().ok());
    rows.iter().filter_map(|row| Some((number(row, "response_code")?, number(row, "lines")?))).collect()
}

/// Lines of logs that are told to have been dropped, which is what happens while the disk stands still.
fn dropped(mesh: &TestMesh) -> u64 {
    let is_drop = |line: &&str| {
        ["bowline_access_log_dropped_total{", "bowline_logs_dropped_lines_total{"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    metrics(mesh).lines().filter(is_drop).map(value).sum()
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

#[test]
fn metrics_access_log_and_traces_count_the_same() {
    let began = now();
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = TestMesh::up(&with_access_log(directory.path()));
    let policy = json!({
        "DiscoveryName": "service-b-sc",
        "Fault": [{"Match": {"Path": {"Exact": "/service-b/broken"}}, "Abort": {"Percent": 100, "HttpStatus": 503}}],
    });
    let template = json!({"Resources": {"Broken": {
        "Type": "Bowline::ServiceConnect::TrafficPolicy", "Properties": policy,
    }}});
    mesh.aws(&[
        "cloudformation",
        "create-stack",
        "--stack-name",
        "broken",
        "--template-body",
        &template.to_string(),
    ]);
    let ca = mesh.topology["gatewayCa"].as_str().expect("the CA's file").to_owned();
    let answered = curl(["--cacert", &ca, &mesh.url("/service-a/status")]);
    assert!(answered.success(), "{answered:?}");
    let mut all = await_fault(&mesh);
    // What a build before has left for the disk to write would hold the logs up.
    assert!(run_limited(&mut Command::new("sync"), LIMIT).success());
    for (path, status, count) in LOAD {
        *all.entry(status.into()).or_default() += count;
        load(&mesh, path, status, count);
    }

    let came: BTreeMap<u64, u64> =
        all.iter().filter(|(status, _)| **status != 503).map(|(s, n)| (*s, *n)).collect();
    let hundreds = |by_status: &BTreeMap<u64, u64>| -> BTreeMap<u64, u64> {
        by_status.iter().map(|(status, count)| (status / 100, *count)).collect()
    };

    let caller = ["side=\"outbound\"", "service=\"service-a\"", "discovery_name=\"service-b-sc\""];
    let called = ["side=\"inbound\"", "service=\"service-b\"", "/svc/service-a\""];
    let mut seen = BTreeMap::new();
    eventually("counters have it all", LIMIT, || {
        seen = counted(&mesh, &caller);
        (seen.values().sum::<u64>() >= all.values().sum()).then_some(())
    });
    assert_eq!(seen, hundreds(&all), "what the caller's sidecar has counted");
    let inbound = eventually("the called side has told", LIMIT, || {
        let counted = counted(&mesh, &called);
        (counted.values().sum::<u64>() >= came.values().sum()).then_some(counted)
    });
    assert_eq!(inbound, hundreds(&came), "what the called sidecar has counted");

    // CloudWatch's are of the called side's answers.
    let sum = |name: &str| {
        let cluster = mesh.service("service-a")["cluster"].as_str().expect("a cluster");
        let dimensions = format!(
            "[{{\"Name\":\"TargetDiscoveryName\",\"Value\":\"service-b-sc\"}},{{\"Name\":\"ServiceName\",\"Value\":\"service-a\"}},\
             {{\"Name\":\"ClusterName\",\"Value\":\"{cluster}\"}}]"
        );
        let (from, until) =
            ((began / 3_600 * 3_600).to_string(), (now() / 3_600 * 3_600 + 3_600).to_string());
        let told = mesh.aws(&[
            "cloudwatch",
            "get-metric-statistics",
            "--namespace",
            "AWS/ECS",
            "--metric-name",
            name,
            "--period",
            "3600",
            "--statistics",
            "Sum",
            "--start-time",
            &from,
            "--end-time",
            &until,
            "--dimensions",
            &dimensions,
        ]);
        let points = told["Datapoints"].as_array().expect("datapoints");
        points.iter().filter_map(|point| point["Sum"].as_f64()).sum::<f64>() as u64
    };
    for (name, status) in [("HTTPCode_Target_2XX_Count", 200), ("HTTPCode_Target_4XX_Count", 404)] {
        eventually(name, LIMIT, || (sum(name) == came[&status]).then_some(()));
    }
    assert_eq!(sum("HTTPCode_Target_5XX_Count"), 0, "its own sidecar's answers are not the target's");

    let sides = [
        (r#"direction = "outbound" and discovery_name = "service-b-sc" and path like "/service-b/""#, &all),
        (r#"direction = "inbound" and downstream_identity like /service-a$/"#, &came),
    ];
    let expected: u64 = sides.iter().flat_map(|(_, of_side)| of_side.values()).sum();
    let (mut lines, mut lost) = (Vec::new(), 0);
    eventually("access logs have it all, but for what is told to be dropped", LIMIT, || {
        lines = sides.iter().map(|(condition, _)| logged(&mesh, condition)).collect();
        lost = dropped(&mesh);
        (lines.iter().flat_map(BTreeMap::values).sum::<u64>() + lost >= expected).then_some(())
    });
    if lost == 0 {
        assert_eq!(lines, [all.clone(), came.clone()], "what access logs have");
    }
    // Other lines, as those of health checks, are few.
    let here: u64 = lines.iter().flat_map(BTreeMap::values).sum();
    assert!(
        here <= expected && here + lost <= expected + 200,
        "{here} lines and {lost} dropped of {expected}"
    );
    assert!(here > expected / 2, "{lines:?}, and {lost} dropped");

    // A span at either side; the gateway's and its checks' are few beside them, the more the longer it takes.
    let both_sides: u64 = all.values().chain(came.values()).sum();
    let numbers = eventually("traces have it all", LIMIT, || {
        let outcome = mesh.run(&["trace", "--count", "-o", "json"]);
        let numbers: Value = serde_json::from_str(&outcome.stdout).expect("numbers");
        (numbers["spans"].as_u64() >= Some(both_sides)).then_some(numbers)
    });
    assert_eq!((&numbers["dropped"], &numbers["givenUp"]), (&0.into(), &0.into()), "{numbers}");
    let others = numbers["spans"].as_u64().map(|spans| spans - both_sides);
    assert!(others <= Some(both_sides / 100), "{others:?} more: {numbers}");
}

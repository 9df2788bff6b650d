//! Metrics on the disk, over the life of a real server.

use std::time::Duration;

use bowline_e2e::{command::eventually, server::TestServer};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn metrics_are_there_after_the_server_was_killed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let arguments = ["--launcher", "record", "--state-dir", state.to_str().expect("UTF-8")];
    let at = "2020-01-01T00:00:00Z";
    let named = ["--namespace", "App", "--metric-name", "Orders"];

    let server = TestServer::start(arguments);
    let put = [&["cloudwatch", "put-metric-data"][..], &named, &["--value", "3"]].concat();
    for _ in 0..2 {
        let outcome = server.aws(&put, LIMIT);
        assert!(outcome.success(), "{outcome:?}\n{}", server.log());
    }
    // It is written within a second or so; what was not written yet is lost with the process.
    let journal = || {
        let files = std::fs::read_dir(state.join("metrics")).ok()?;
        let written = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.ok()?;
            let is_journal = entry.file_name().to_string_lossy().ends_with(".journal");
            (is_journal && entry.metadata().ok()?.len() > 0).then(|| entry.path())
        };
        files.filter_map(written).next()
    };
    // Both values: together they take 28 bytes, or more in two frames.
    eventually("both values are in the journal", LIMIT, || {
        let path = journal()?;
        (std::fs::metadata(&path).ok()?.len() >= 28).then_some(())
    });
    server.kill();

    // Half an entry, as one leaves who is killed while it writes.
    let path = journal().expect("there is a journal");
    let mut kept = std::fs::read(&path).expect("reads");
    kept.extend_from_slice(&kept.clone()[..10]);
    std::fs::write(&path, kept).expect("writes");

    let server = TestServer::start(arguments);
    let period = (100 * 24 * 3600).to_string();
    let read = [
        &["cloudwatch", "get-metric-statistics"][..],
        &named,
        &[
            "--start-time",
            at,
            "--end-time",
            "2100-01-01T00:00:00Z",
            "--period",
            &period,
            "--statistics",
            "Sum",
        ],
    ]
    .concat();
    let outcome = server.aws(&read, LIMIT);
    assert!(outcome.success(), "{outcome:?}\n{}", server.log());
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let points = told["Datapoints"].as_array().expect("datapoints");
    let sum: f64 = points.iter().filter_map(|point| point["Sum"].as_f64()).sum();
    assert!((sum - 6.0).abs() < f64::EPSILON, "{told}");
    assert_eq!(server.interrupt(), Some(0));
}

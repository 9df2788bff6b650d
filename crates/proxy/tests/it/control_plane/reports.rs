//! What a task's proxy tells the control plane of what it has counted.

use std::collections::BTreeMap;

use bowline_discovery::telemetry::Side;

use super::*;

/// Requests of calls to the task, each report counted once, as the control plane does.
fn told(reports: &[MetricReport]) -> u64 {
    let once: BTreeMap<_, _> =
        reports.iter().map(|report| ((report.process.clone(), report.sequence), report)).collect();
    once.values()
        .flat_map(|report| &report.series)
        .filter(|series| series.side == i32::from(Side::Inbound) && series.peer == id("a"))
        .flat_map(|series| &series.responses)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_tell_each_request_once_though_the_stream_breaks_and_the_last_when_it_ends() {
    const CALLS: u64 = 40;
    let application = application().await;
    let task =
        tokio::task::spawn_blocking(move || Task::start(application, 3600, vec![])).await.expect("started");
    let seen = Arc::clone(&task.control_plane.seen);
    let count = || seen.lock().expect("not poisoned").reports.len();
    // The first report has been taken: the next one that is taken is not answered.
    eventually("a first report", || count() > 0);
    seen.lock().expect("not poisoned").unanswered_reports = 1;
    let caller = task.caller();
    for _ in 0..CALLS / 2 {
        assert_eq!(get(caller.address("out"), "/headers").await.0, 200);
    }
    // Told, not answered, and told again as it was over another stream.
    let repeated = || {
        let seen = seen.lock().expect("not poisoned");
        seen.reports.windows(2).any(|pair| pair[0] == pair[1])
    };
    eventually("a report is told again", repeated);
    for _ in 0..CALLS / 2 {
        assert_eq!(get(caller.address("out"), "/headers").await.0, 200);
    }
    caller.handle.stop();
    task.proxy.stop();
    let reports = seen.lock().expect("not poisoned").reports.clone();
    assert_eq!(told(&reports), CALLS, "{reports:#?}");
    let row = reports.iter().rev().flat_map(|report| &report.series).find(|series| series.peer == id("a"));
    let row = row.expect("the caller has a row");
    assert_eq!(row.security, i32::from(bowline_discovery::telemetry::Security::MutualTls));
    assert_eq!(row.connections_active, 0, "all have ended");
    task.control_plane.stop();
}

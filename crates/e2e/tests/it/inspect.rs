//! `bowline check`, `tap`, `diagnostics` and `log-level`, on a mesh that runs.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use bowline_e2e::{
    command::{eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const SECRET: &str = "S3CRET-of-the-test";

/// The requests of a tap that is open while `during` runs again and again.
fn tapped(mesh: &TestMesh, arguments: &[&str], during: impl Fn()) -> Vec<Value> {
    let child = Command::new(bowline())
        .args(["tap", "-o", "json", "--for", "30s"])
        .args(arguments)
        .arg("--state-dir")
        .arg(mesh.state_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it starts");
    eventually("the tap has what it waits for", LIMIT, || {
        during();
        child.try_wait().expect("it can be waited for")
    });
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn checks(mesh: &TestMesh, arguments: &[&str]) -> (bool, Value) {
    let outcome = mesh.run(&[&["check", "-o", "json"], arguments].concat());
    let report = serde_json::from_str(&outcome.stdout);
    (outcome.success(), report.unwrap_or_else(|error| panic!("{error}: {outcome:?}")))
}

/// The checks that went so, by id.
fn ids<'a>(report: &'a Value, outcome: &str) -> Vec<&'a str> {
    let groups = report["groups"].as_array().expect("groups").iter();
    let checks = groups.flat_map(|group| group["checks"].as_array().expect("checks"));
    checks.filter(|check| check["outcome"] == outcome).filter_map(|check| check["id"].as_str()).collect()
}

fn header<'a>(row: &'a Value, name: &str) -> &'a Value {
    let headers = row["requestHeaders"].as_array().unwrap_or_else(|| panic!("headers: {row}"));
    let found = headers.iter().find(|header| header["name"] == name);
    &found.unwrap_or_else(|| panic!("no {name}: {row}"))["value"]
}

#[test]
fn what_passes_what_proxies_go_by_and_whether_all_is_well_is_told() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));

    // All is well.
    let (success, report) = checks(&mesh, &["--wait", "1m"]);
    assert!(success && report["failures"] == 0 && report["running"] == true, "{report}");
    assert_eq!(ids(&report, "failure"), [""; 0], "{report}");
    for id in
        ["control-store", "proxies-connected", "proxies-in-step", "services-running", "services-mutual-tls"]
    {
        assert!(ids(&report, "ok").contains(&id), "{id}: {report}");
    }

    // A request, without its secret.
    let secret = format!("authorization: Bearer {SECRET}");
    let call = || {
        let path = format!("/service-b/hello?token={SECRET}");
        mesh.curl(&path, &["-H", &secret, "-H", "x-plain: shown"]);
    };
    let rows = tapped(&mesh, &["service-b", "--headers", "--query", "--count", "1"], call);
    let row = &rows[0];
    assert_eq!(
        (&row["service"], &row["side"], &row["to"]),
        (&"service-b".into(), &"inbound".into(), &"service-b".into()),
        "{row}"
    );
    assert_eq!((&row["method"], &row["security"]), (&"GET".into(), &"MUTUAL_TLS".into()), "{row}");
    assert!(row["caller"].as_str().is_some_and(|id| id.starts_with("spiffe://")), "{row}");
    assert!(!row.to_string().contains(SECRET), "{row}");
    assert_eq!(
        (header(row, "authorization"), header(row, "x-plain")),
        (&Value::Null, &"shown".into()),
        "{row}"
    );
    assert!(row["path"].as_str().is_some_and(|path| path.ends_with("?token=REDACTED")), "{row}");
    // With it, where it was asked for by name; the twin of what is above.
    let rows = tapped(&mesh, &["service-b", "--show-header", "Authorization", "--count", "1"], call);
    assert_eq!(header(&rows[0], "authorization"), &format!("Bearer {SECRET}"), "{}", rows[0]);
    // A filter that takes nothing: the command ends with its time.
    let none = mesh.run(&["tap", "service-b", "--method", "DELETE", "--for", "1s", "-o", "json"]);
    assert!(none.success() && none.stdout.is_empty(), "{none:?}");

    // What a proxy goes by.
    let outcome = mesh.run(&["diagnostics", "service-b", "-o", "json"]);
    assert!(outcome.success(), "{outcome:?}");
    let views: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert!(!views.is_empty() && views.iter().all(|view| view["inStep"] == true), "{views:?}");
    let proxy = &views[0]["proxy"];
    assert!(proxy["process"]["identity"].as_str().is_some_and(|id| id.ends_with("/service-b")), "{proxy}");
    assert_eq!(proxy["certificates"][0]["name"], "mesh", "{proxy}");
    assert!(!outcome.stdout.contains("PRIVATE KEY"), "no key");
    let text = mesh.run(&["diagnostics", "service-b"]).stdout;
    assert!(text.contains("√ in step with the control plane") && text.contains("CLUSTER"), "{text}");

    // The log's level, which returns by itself.
    let own = proxy["log"]["filter"].clone();
    let task = views[0]["task"].as_str().expect("an id");
    let changed = mesh.run(&["log-level", task, "debug", "--for", "3s"]);
    assert!(changed.success() && changed.stdout.contains("bowline=debug"), "{changed:?}");
    let log = |mesh: &TestMesh| -> Value {
        let outcome = mesh.run(&["diagnostics", task, "-o", "json"]);
        let views: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
        views[0]["proxy"]["log"].clone()
    };
    eventually("the level is the proxy's own again", LIMIT, || {
        let log = log(&mesh);
        (log["filter"] == own && log["until"].is_null()).then_some(())
    });
    let refused = mesh.run(&["log-level", task, "loud"]);
    assert!(!refused.success() && refused.stdout.contains("is no level"), "{refused:?}");

    // A shim that is killed takes its task with it: that is told, until there is another one.
    eventually("a check fails", LIMIT, || {
        let status = mesh.status();
        let services = status["services"].as_array().expect("services");
        let service = services.iter().find(|service| service["name"] == "service-b").expect("the service");
        for pid in service["tasks"].as_array()?.iter().filter_map(|task| task["shimPid"].as_u64()) {
            // It may have ended by itself meanwhile.
            run_limited(Command::new("kill").args(["-9", &pid.to_string()]), LIMIT);
        }
        let (success, report) = checks(&mesh, &[]);
        let failed = ids(&report, "failure");
        let is_of_it = |id: &&str| id.starts_with("services-") || id.starts_with("proxies-");
        (!success && failed.iter().any(is_of_it)).then_some(())
    });
    let (success, report) = checks(&mesh, &["--wait", "100s"]);
    assert!(success, "the task is there again: {report}");
}

#[test]
fn where_nothing_runs_the_machine_is_checked_and_that_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |arguments: &[&str]| {
        let mut command = Command::new(bowline());
        command.arg("check").args(arguments).arg("--state-dir").arg(directory.path().join("state"));
        run_limited(&mut command, LIMIT)
    };
    let before = check(&["--pre"]);
    assert!(before.success() && before.stdout.starts_with("machine\n"), "{before:?}");
    assert!(!before.stdout.contains('\u{1b}'), "no colours where it is piped: {before:?}");
    let without = check(&[]);
    assert!(!without.success() && without.stdout.contains("× no Bowline runs"), "{without:?}");
    assert!(!directory.path().join("state").exists(), "nothing is made by looking");
}

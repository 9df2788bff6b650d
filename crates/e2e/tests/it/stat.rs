//! `bowline stat`, `edges` and `top` tell what goes on, of a load that is known.

use std::{collections::BTreeSet, time::Duration};

use bowline_e2e::{
    command::eventually,
    load::Load,
    mesh::{MeshOptions, TestMesh},
};
use serde_json::Value;

/// Proxies tell within ten seconds, and every second once somebody has looked.
const LIMIT: Duration = Duration::from_secs(120);

fn rows(mesh: &TestMesh, arguments: &[&str]) -> Vec<Value> {
    let outcome = mesh.run(arguments);
    assert!(outcome.success(), "{arguments:?}: {outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
}

fn named<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

fn rate(row: &Value) -> f64 {
    row["requestsPerSecond"].as_f64().expect("a rate")
}

#[test]
fn what_goes_on_is_told_by_service_task_caller_and_edge() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let ca = mesh.topology["gatewayCa"].as_str().expect("the CA's file");
    // Each of these calls the other service, too.
    let urls = [mesh.url("/service-a/other-status"), mesh.url("/service-b/other-status")];
    let loads: Vec<_> = urls.iter().map(|url| Load::start(ca, url, 1, 2 * LIMIT)).collect();
    let both = ["service-a", "service-b"];
    let is_task = |id: &Value, service: &str| {
        let tasks = mesh.service(service)["tasks"].as_array().expect("tasks");
        tasks.iter().any(|task| task["id"] == *id)
    };

    let stat = eventually("both services have rates", LIMIT, || {
        let stat = rows(&mesh, &["stat", "-o", "json"]);
        both.iter().all(|name| rate(named(&stat, name)) > 0.0).then_some(stat)
    });
    for name in both {
        let row = named(&stat, name);
        assert_eq!((&row["kind"], &row["successRate"]), (&"service".into(), &1.0.into()), "{row}");
        assert!(row["responses"]["2xx"].as_u64() > Some(0) && row["responses"]["5xx"] == 0, "{row}");
        let [p50, p99] = ["p50Ms", "p99Ms"].map(|key| row[key].as_f64().expect("there were responses"));
        assert!(0.0 < p50 && p50 <= p99, "{row}");
    }
    let balancer = stat.iter().find(|row| row["kind"] == "loadBalancer").expect("the load balancer");
    assert_eq!(balancer["successRate"], 1.0, "{balancer}");

    let edges = eventually("all edges have rates", LIMIT, || {
        let edges = rows(&mesh, &["edges", "-o", "json"]);
        let name = |party: &Value| party["name"].as_str().unwrap_or("-").to_owned();
        let live = edges.iter().filter(|edge| rate(edge) > 0.0 && edge["toldBy"] == "caller");
        let pairs: BTreeSet<_> = live.map(|edge| (name(&edge["from"]), name(&edge["to"]))).collect();
        let is_there = |from: &str, to: &str| pairs.contains(&(from.to_owned(), to.to_owned()));
        let balancer = balancer["name"].as_str().expect("a name");
        let are_there = is_there("service-a", "service-b")
            && is_there("service-b", "service-a")
            && both.iter().all(|name| is_there(balancer, name));
        are_there.then_some(edges)
    });
    for edge in edges.iter().filter(|edge| rate(edge) > 0.0) {
        assert_eq!((&edge["mode"], &edge["successRate"]), (&"MUTUAL_TLS".into(), &1.0.into()), "{edge}");
        assert_eq!(edge["toldBy"], "caller", "told once, not by both sides: {edge}");
        for side in ["from", "to"] {
            let name = edge[side]["name"].as_str().expect("a name");
            let identity = edge[format!("{side}Identity")].as_str().expect("an identity");
            assert!(identity.starts_with("spiffe://") && identity.ends_with(&format!("/{name}")), "{edge}");
        }
    }
    let of_one = rows(&mesh, &["stat", "service-b", "--by", "caller", "--window", "60s", "-o", "json"]);
    let callers: BTreeSet<_> =
        of_one.iter().map(|row| row["caller"]["party"]["name"].as_str().expect("a caller")).collect();
    assert!(of_one.iter().all(|row| row["name"] == "service-b"), "{of_one:?}");
    assert_eq!(callers, BTreeSet::from(["service-a", balancer["name"].as_str().expect("a name")]));
    let of_task = rows(&mesh, &["stat", "service-a", "--by", "task", "-o", "json"]);
    assert!(is_task(&of_task[0]["task"], "service-a"), "{of_task:?}");

    let top = mesh.run(&["top", "--count", "2"]);
    assert!(top.success() && !top.stdout.contains('\u{1b}'), "nothing of a terminal: {top:?}");
    assert_eq!(top.stdout.matches("SERVICE").count(), 2, "{top:?}");
    let table = mesh.run(&["edges", "service-a"]).stdout;
    assert!(table.starts_with("FROM") && table.contains("√ mutual TLS"), "{table}");

    let routes = rows(&mesh, &["routes", "service-a", "-o", "json"]);
    let to_b = routes
        .iter()
        .find(|row| row["names"][0].as_str().is_some_and(|name| name.starts_with("service-b-sc")));
    let to = &to_b.unwrap_or_else(|| panic!("a route to service-b: {routes:?}"))["to"][0];
    assert_eq!((&to["share"], &to["targets"][0]["draining"]), (&1.0.into(), &false.into()), "{to}");
    assert!(is_task(&to["targets"][0]["task"], "service-b"), "{to}");
    let events = rows(&mesh, &["events", "service-b", "-o", "json"]);
    assert!(!events.is_empty() && events.iter().all(|event| event["subject"] == "service-b"), "{events:?}");

    for result in loads.into_iter().map(Load::stop) {
        assert!(result.succeeded > 0 && result.failures.is_empty(), "{result:?}");
    }
    let unknown = mesh.run(&["stat", "service-c"]);
    assert!(
        !unknown.success() && unknown.stderr.contains("there are") && unknown.stderr.contains("service-a")
    );
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut nobody = std::process::Command::new(bowline_e2e::mesh::bowline());
    nobody.arg("top").arg("--state-dir").arg(elsewhere.path());
    let nobody = bowline_e2e::command::run_limited(&mut nobody, LIMIT);
    assert!(!nobody.success() && nobody.stderr.contains("bowline up TEMPLATE"), "{nobody:?}");
}

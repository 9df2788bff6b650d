//! `bowline certs` and `bowline identity` on the TLS demo: a service is revoked while it serves, and
//! allowed again.

use std::time::Duration;

use bowline_e2e::{
    command::eventually,
    mesh::{MeshOptions, TestMesh},
};
use serde_json::Value;

/// Proxies that were refused ask again after 30 s at the latest.
const LIMIT: Duration = Duration::from_secs(120);

fn run(mesh: &TestMesh, arguments: &[&str]) -> String {
    let outcome = mesh.run(arguments);
    assert!(outcome.success(), "{arguments:?}: {outcome:?}");
    outcome.stdout
}

fn certificates(mesh: &TestMesh) -> Vec<Value> {
    serde_json::from_str(&run(mesh, &["certs", "-o", "json"])).expect("JSON")
}

fn status(mesh: &TestMesh, path: &str) -> String {
    mesh.curl(path, &["-s", "-o", "/dev/null", "-w", "%{http_code}"]).stdout
}

#[test]
fn a_service_is_revoked_while_it_serves_and_comes_back_when_it_is_allowed() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let before = certificates(&mesh);
    let of_service = |rows: &[Value], name: &str| -> Vec<Value> {
        rows.iter().filter(|row| row["owner"] == name).cloned().collect()
    };
    assert_eq!(of_service(&before, "service-b").len(), 2, "{before:?}");
    assert!(before.iter().all(|row| row["status"] == "inUse" && row["warnings"] == serde_json::json!([])));
    let table = run(&mesh, &["certs"]);
    assert!(table.starts_with("OWNER") && !table.contains('‼'), "{table}");

    let task = of_service(&before, "service-b")[0]["task"].as_str().expect("an id").to_owned();
    let text = run(&mesh, &["identity", &task[..12]]);
    let serial = of_service(&before, "service-b")[0]["serial"].as_str().expect("a serial").to_owned();
    for expected in ["/svc/service-b", &serial, "-----BEGIN CERTIFICATE-----", "roots that members believe"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }

    assert_eq!(status(&mesh, "/service-b/healthcheck"), "200");
    let text = run(&mesh, &["certs", "revoke", "--service", "service-b", "--reason", "key-compromise"]);
    assert!(text.contains(&format!("revoked {serial}")) && text.contains("certs allow"), "{text}");
    // Not a moment later: every proxy has said that it refuses.
    assert_eq!(status(&mesh, "/service-b/healthcheck"), "503");
    assert_ne!(status(&mesh, "/service-a/other-status"), "200", "its sidecar refuses, too");
    assert_eq!(status(&mesh, "/service-a/healthcheck"), "200", "the other service goes on");
    let after = certificates(&mesh);
    for row in of_service(&after, "service-b") {
        assert_eq!((&row["status"], &row["revocationReason"]), (&"revoked".into(), &"KEY_COMPROMISE".into()));
    }

    run(&mesh, &["certs", "allow", "--service", "service-b"]);
    // By service-a: the gateway waits for its next health checks besides.
    eventually("service-b has other certificates", LIMIT, || {
        (status(&mesh, "/service-a/other-status") == "200").then_some(())
    });
    let again = mesh.run(&["certs", "allow", "--service", "service-b"]);
    assert!(!again.success() && again.stderr.contains("is not revoked"), "{again:?}");
    assert!(run(&mesh, &["audit", "lookup"]).contains("RevokeCertificates"));
}

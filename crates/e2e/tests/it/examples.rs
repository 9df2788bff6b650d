//! The other examples, each with its README's requests.

use bowline_e2e::mesh::{MeshOptions, TestMesh};
use serde_json::json;

const JSON: [&str; 2] = ["-H", "Content-Type: application/json"];

fn post(mesh: &TestMesh, path: &str, body: &str, more: &[&str]) -> serde_json::Value {
    let arguments: Vec<&str> = JSON.iter().copied().chain(["-d", body]).chain(more.iter().copied()).collect();
    let outcome = mesh.curl(path, &arguments);
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{path}: {outcome:?}\n{}", mesh.log()))
}

#[test]
fn unmodified_python_applications() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services-python"));
    for path in ["healthcheck", "status", "other-status"] {
        for service in ["service-a", "service-b"] {
            let body = mesh.get_json(&format!("/{service}/{path}"));
            assert_eq!(body["service"], service, "{body}");
        }
    }
    let outcome = mesh.run(&["verify"]);
    assert!(outcome.success(), "{outcome:?}");
}

#[test]
fn caller_and_responder_share_a_port() {
    let mesh = TestMesh::up(&MeshOptions::example("caller-responder"));
    let alice = json!({"user": "Alice", "message": "Hello from Caller Service!"});
    let bob = json!({"user": "Bob", "message": "Hello from Responder Service!"});
    assert_eq!(
        post(&mesh, "/data", &alice.to_string(), &[]),
        json!({"message": "Data stored successfully in Service A", "stored_data": alice})
    );
    assert_eq!(
        post(&mesh, "/data", &bob.to_string(), &["-H", "Host: responder.example.com"]),
        json!({"message": "Data stored successfully in Service B", "stored_data": bob})
    );
    assert_eq!(mesh.get_json("/"), json!({"caller_service_data": [alice], "responder_service_data": [bob]}));
}

#[test]
fn redis_by_tcp_over_mutual_tls() {
    let mesh = TestMesh::up(&MeshOptions::example("cache"));
    let set = post(&mesh, "/set-cache", r#"{"key": "message", "value": "Hello from ECS!"}"#, &[]);
    assert_eq!(set, json!({"message": "Cached key: message with value: Hello from ECS!"}));
    assert_eq!(mesh.get_json("/get-cache/message"), json!({"message": "Hello from ECS!"}));
    assert_eq!(mesh.get_json("/list-keys"), json!({"keys": ["message"]}));
    let deleted = mesh.curl("/delete-cache/message", &["-X", "DELETE"]);
    assert!(deleted.stdout.contains("Deleted key"), "{deleted:?}");
    let missing = mesh.curl("/get-cache/message", &["-o", "/dev/null", "-w", "%{http_code}"]);
    assert_eq!(missing.stdout, "404");
    let outcome = mesh.run(&["verify"]);
    assert!(outcome.success(), "{outcome:?}");
}

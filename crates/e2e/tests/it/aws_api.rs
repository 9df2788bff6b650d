//! The AWS endpoint, as boto3 and the aws CLI see it. What is asked of it stands in `tests/aws`.

use std::{process::Command, time::Duration};

use bowline_e2e::{
    command::run_limited,
    leftovers,
    mesh::bowline,
    server::{TestServer, pytest},
};
use serde_json::Value;

#[test]
fn boto3_and_the_cli_find_all_that_is_served() {
    let server = TestServer::start(["--ephemeral"]);
    let outcome = pytest(
        &["--ignore", "test_reference.py", "--ignore", "test_xray_daemon.py"],
        // Of the coverage page, every operation and every error that it may have.
        &[("BOWLINE_ENDPOINT", &server.endpoint), ("BOWLINE_COVERAGE", "1")],
        Duration::from_secs(900),
    );
    assert!(outcome.success(), "{}{}\n{}", outcome.stdout, outcome.stderr, server.log());
    assert_eq!(server.interrupt(), Some(0));
}

#[test]
fn x_rays_sdk_speaks_with_the_daemon() {
    // Free a moment ago, by UDP and TCP.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let daemon = port.expect("a free port").to_string();
    let server = TestServer::start(["--ephemeral", "--xray-daemon", &daemon]);
    let outcome = pytest(
        &["test_xray_daemon.py"],
        &[("BOWLINE_ENDPOINT", &server.endpoint), ("BOWLINE_XRAY_DAEMON", &daemon)],
        Duration::from_secs(300),
    );
    assert!(outcome.success(), "{}{}\n{}", outcome.stdout, outcome.stderr, server.log());
    assert_eq!(server.interrupt(), Some(0));
}

#[test]
fn the_reference_documents_commands_make_services_that_answer_over_mutual_tls() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let state_dir = state.to_str().expect("UTF-8");
    // What runs in place of the notes' image.
    let server = TestServer::start(["--state-dir", state_dir, "--exec", "python-container=sleep 1000"]);
    let outcome = pytest(
        &["test_reference.py"],
        &[("BOWLINE_ENDPOINT", &server.endpoint), ("BOWLINE_KEEP", "1")],
        Duration::from_secs(600),
    );
    assert!(outcome.success(), "{}{}\n{}", outcome.stdout, outcome.stderr, server.log());

    let mut verify = Command::new(bowline());
    verify.args(["verify", "-o", "json", "--state-dir", state_dir]);
    let outcome = run_limited(&mut verify, Duration::from_secs(120));
    assert!(outcome.success(), "{outcome:?}\n{}", server.log());
    let evidence: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let pairs = evidence["pairs"].as_array().expect("pairs");
    let called = |pair: &&Value| {
        (&pair["caller"], &pair["callee"]) == (&"frontend-service".into(), &"backend-service".into())
    };
    let pair = pairs.iter().find(called).unwrap_or_else(|| panic!("no such pair: {evidence:#}"));
    assert_eq!(pair["tlsVersion"], "TLSv1.3", "{pair:#}");
    assert_eq!(pair["markOccurrences"], 0, "{pair:#}");
    assert_eq!((&pair["plaintext"], &pair["withoutCertificate"]), (&"refused".into(), &"refused".into()));

    assert_eq!(server.interrupt(), Some(0));
    assert_eq!(leftovers::processes_of(&state), Vec::<u32>::new());
}

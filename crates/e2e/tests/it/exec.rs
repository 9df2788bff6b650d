//! A command within a task; what it sees of `https://` on an alias of an http service.

use std::{process::Command, time::Duration};

use bowline_e2e::{
    command::{Outcome, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
};

const HTTPS: &str = "https://service-b-sc:8202/service-b/healthcheck";

fn exec(mesh: &TestMesh, task: &str, command: &[&str]) -> Outcome {
    let mut bowline = Command::new(bowline());
    bowline.args(["exec", "--state-dir"]).arg(mesh.state_dir()).args([task, "--"]).args(command);
    run_limited(&mut bowline, Duration::from_secs(60))
}

#[test]
fn a_command_in_a_task_calls_https_on_an_alias_of_an_http_service() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    assert_eq!(exec(&mesh, "service-a", &["sh", "-c", "echo here; exit 7"]).code, Some(7));

    // The trust store that the task was given, by its variables and by the system's own file.
    let plain = "env -u SSL_CERT_FILE -u CURL_CA_BUNDLE curl -sS ";
    for command in [vec!["curl", "-sS", HTTPS], vec!["sh", "-c", &format!("{plain}{HTTPS}")]] {
        let answer = exec(&mesh, "service-a", &command);
        assert!(answer.success() && answer.stdout.contains("healthy"), "{command:?}: {answer:?}");
    }
    // Not without it, and not for a name that is no alias.
    let task = &mesh.service("service-a")["tasks"][0]["id"];
    let task = task.as_str().expect("an id");
    let untrusting =
        exec(&mesh, task, &["curl", "-sS", "--capath", "/proc", "--cacert", "/etc/hostname", HTTPS]);
    assert!(!untrusting.success(), "{untrusting:?}");
    let other = ["curl", "-sSk", "--connect-to", "other:8202:service-b-sc:8202", "https://other:8202/"];
    let other = exec(&mesh, task, &other);
    assert!(!other.success() && other.stderr.contains("unrecognized name"), "{other:?}");

    let missing = exec(&mesh, "nobody", &["true"]);
    assert!(missing.stderr.contains("services: service-a, service-b"), "{missing:?}");
}

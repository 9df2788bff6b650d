//! The CA by which a task's application believes its own sidecar.

use std::{path::Path, time::Duration};

use bowline_agent::NetworkMode;

use crate::machine::*;

const BUNDLE_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO"];
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

async fn kill_sidecar(control: std::net::SocketAddr) {
    let sidecar: i32 = ask(control, "pid").parse().expect("a process id");
    let sidecar = nix::unistd::Pid::from_raw(sidecar);
    nix::sys::signal::kill(sidecar, nix::sys::signal::Signal::SIGKILL).expect("kills");
    let process = std::path::PathBuf::from(format!("/proc/{sidecar}"));
    eventually("the sidecar is gone", || !process.exists()).await;
}

#[tokio::test]
async fn containers_trust_the_ca_that_every_sidecar_of_the_task_has() {
    let mut machine = Machine::new();
    let mut spec = app_task("0.0.0.0", 8201, &[], &[]);
    spec.containers[0].environment.insert("CURL_CA_BUNDLE".to_owned(), "/own".to_owned());
    let other = app_task("0.0.0.0", 8201, &[], &[]);
    let hosts: Vec<_> = SYSTEM_BUNDLES.map(|path| std::fs::read_to_string(path).ok()).into();
    machine.desire(&[spec.clone(), other.clone()]);
    let report = machine.serving(&spec.id).await;
    assert_eq!(report.warnings, [""; 0]);
    let [http, control] = [0, 1].map(|index| report.inbound[index].address);
    let ca = ask(control, "authority");
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
    for variable in BUNDLE_VARIABLES {
        let own = variable == "CURL_CA_BUNDLE";
        let path = if own { "/own" } else { "/run/bowline/ca-bundle.pem" };
        assert_eq!(ask(http, &format!("env {variable}")), path);
    }
    assert_eq!(ask(http, "env NODE_EXTRA_CA_CERTS"), "/run/bowline/ca.pem");
    assert_eq!(ask(http, "read /run/bowline/ca.pem"), ca);
    let bundle = ask(http, "read /run/bowline/ca-bundle.pem");
    assert!(bundle.ends_with(&ca));
    for (path, before) in SYSTEM_BUNDLES.iter().zip(&hosts) {
        let Some(before) = before else { continue };
        assert_eq!(ask(http, &format!("read {path}")), bundle);
        assert!(bundle.len() >= before.len() + ca.len());
        assert!(ask(http, &format!("write {path}")).contains("Read-only"));
        assert_eq!(std::fs::read_to_string(path).ok().as_ref(), Some(before), "the host is not touched");
    }
    assert!(ask(http, "write /run/bowline/ca.pem").contains("Read-only"));
    assert!(!Path::new("/run/bowline").exists(), "the host is not touched");

    kill_sidecar(control).await;
    assert_eq!(ask(control, "authority"), ca, "the application's trust still holds");
    let report = machine.serving(&other.id).await;
    assert_ne!(ask(report.inbound[1].address, "authority"), ca, "each task has its own");
    tokio::time::timeout(Duration::from_secs(30), machine.agent.stop_all()).await.expect("in time");
}

#[tokio::test]
async fn on_the_hosts_network_the_environment_says_where_the_ca_is() {
    let mut machine = Machine::with(tempfile::tempdir().expect("a directory"), NetworkMode::Host);
    let mut spec = app_task("$BIND_ADDRESS", 8201, &[], &[]);
    spec.containers[0].command =
        vec!["sh".to_owned(), "-c".to_owned(), format!("exec {} app $BIND_ADDRESS:8201", program())];
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let [http, control] = [0, 1].map(|index| report.inbound[index].address);
    let ca = ask(control, "authority");
    let bundle = ask(http, "env SSL_CERT_FILE");
    assert!(Path::new(&bundle).starts_with(machine.state.path()), "{bundle}");
    assert!(ask(http, &format!("read {bundle}")).ends_with(&ca));
    let alone = ask(http, "env NODE_EXTRA_CA_CERTS");
    assert_eq!(ask(http, &format!("read {alone}")), ca);
    machine.agent.stop_all().await;
    assert!(!Path::new(&bundle).exists());
}

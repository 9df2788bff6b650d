//! Tasks without a network of their own.

use bowline_agent::NetworkMode;
use bowline_model::task::Alias;

use crate::machine::*;

fn machine() -> Machine {
    Machine::with(tempfile::tempdir().expect("a directory"), NetworkMode::Host)
}

#[tokio::test]
async fn each_task_has_its_own_address_and_its_aliases_in_its_environment() {
    let mut machine = machine();
    let specs = [0, 1].map(|_| {
        let mut spec = app_task("$BIND_ADDRESS", 8201, &["198.18.1.1:8201"], &[]);
        let app = &mut spec.containers[0];
        app.command =
            vec!["sh".to_owned(), "-c".to_owned(), format!("exec {} app $BIND_ADDRESS:8201", program())];
        app.environment.insert("SERVICE_B".to_owned(), "http://service-b-sc:8201/x".to_owned());
        let proxy = spec.proxy.as_mut().expect("a proxy");
        proxy.aliases = vec![Alias {
            names: vec!["service-b-sc".to_owned()],
            address: [198, 18, 1, 1].into(),
            port: 8201,
        }];
        spec
    });
    machine.desire(&specs);
    let mut pids = Vec::new();
    for spec in &specs {
        let report = machine.serving(&spec.id).await;
        assert!(report.warnings[0].contains("network host"), "{:?}", report.warnings);
        let http = report.inbound[0].address;
        let url = ask(http, "env SERVICE_B");
        let alias = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/x")).expect("an address");
        assert!(alias.starts_with("127."), "{url}");
        let pid = ask(http, "pid");
        assert_eq!(ask(http, &format!("ask {alias} pid")), pid, "its own sidecar's alias");
        pids.push(pid.parse::<u32>().expect("a process id"));
    }
    assert_ne!(pids[0], pids[1]);
    machine.agent.stop_all().await;
    assert!(!pids.into_iter().any(lives));
}

#[tokio::test]
async fn an_app_whose_bind_address_cannot_be_set_is_told_so() {
    let mut machine = machine();
    let free = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = free.local_addr().expect("its address").port();
    let spec = app_task("0.0.0.0", port, &[], &[]);
    machine.desire(std::slice::from_ref(&spec));
    let reason = machine.stopped(&spec.id).await.stopped_reason.expect("a reason");
    assert!(reason.contains(&format!("could not bind port {port}")), "{reason}");
    assert!(reason.contains("bind address cannot be set"), "{reason}");
}

#[tokio::test]
async fn nothing_of_a_killed_task_is_left_without_a_process_namespace() {
    let mut machine = machine();
    let mut spec = task(vec![container("deep", &["sh", "-c", "setsid sh -c 'echo up; sleep 1000' & wait"])]);
    let marker = spec.id.to_string();
    spec.containers[0].environment.insert("MARKER".to_owned(), marker.clone());
    machine.desire(std::slice::from_ref(&spec));
    machine.line("up").await;
    let report = machine.running(&spec.id).await;
    let shim = i32::try_from(report.shim_pid.expect("a process id")).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL)
        .expect("kills");
    machine.stopped(&spec.id).await;
    eventually("all of the task is gone", || processes_of(&marker).is_empty()).await;
}

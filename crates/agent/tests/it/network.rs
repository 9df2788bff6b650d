//! What a task's networks promise.

use std::net::{SocketAddr, TcpListener};

use bowline_model::task::{Egress, HealthStatus, ProxyRole, PublishedPort};

use crate::machine::*;

#[tokio::test]
async fn an_app_on_all_addresses_and_an_alias_have_the_same_port() {
    let mut machine = Machine::new();
    let spec = app_task("0.0.0.0", 8201, &["198.18.1.1:8201"], &[("198.18.1.1", "service-b-sc")]);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    assert_eq!(report.warnings, [""; 0]);
    let inbound = report.inbound[0].address;
    let own = ask(inbound, "pid");
    assert_eq!(ask(inbound, "ask service-b-sc:8201 pid"), own, "the alias leads through the sidecar");
    assert_eq!(own, "2", "a process namespace of its own, with an init");
    assert!(ask(inbound, "read /etc/hosts").contains("198.18.1.1\tservice-b-sc"));
    assert_eq!(ask(inbound, "read /etc/resolv.conf").lines().next(), Some("nameserver 198.18.0.2"));
    machine.desire(&[]);
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.stopped_reason, None);
}

#[tokio::test]
async fn two_tasks_have_one_port_and_an_app_on_its_loopback_is_reached() {
    let mut machine = Machine::new();
    let specs = [app_task("127.0.0.1", 5000, &[], &[]), app_task("0.0.0.0", 5000, &[], &[])];
    machine.desire(&specs);
    for spec in &specs {
        let report = machine.serving(&spec.id).await;
        let hostname = ask(report.inbound[0].address, "read /proc/sys/kernel/hostname");
        assert_eq!(hostname.trim_end(), &spec.id.as_str()[..12]);
    }
    machine.agent.stop_all().await;
}

// The agent answers while the test waits for the sidecar.
#[tokio::test(flavor = "multi_thread")]
async fn names_appear_in_a_running_task() {
    let mut machine = Machine::new();
    let spec = app_task("0.0.0.0", 80, &["198.18.1.7:80"], &[]);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let [http, control] = [0, 1].map(|index| report.inbound[index].address);
    assert!(!ask(http, "read /etc/hosts").contains("late"));
    assert_eq!(ask(control, "hosts 198.18.1.7 late.internal"), "Ok(())");
    assert_eq!(ask(http, "ask late.internal:80 pid"), "2");
    assert_eq!(ask(control, "token"), "token-1", "a fresh one, from the agent");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn what_a_task_tries_to_reach_is_refused_at_once_and_logged() {
    let mut machine = Machine::new();
    let host = TcpListener::bind("127.0.0.1:0").expect("a listener on the host");
    let host_port = host.local_addr().expect("its address").port();
    let spec = app_task("0.0.0.0", 80, &[], &[]);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let http = report.inbound[0].address;
    assert_eq!(ask(http, "ask 192.0.2.1:443 pid"), "error: ConnectionRefused");
    assert_eq!(ask(http, &format!("ask 127.0.0.1:{host_port} pid")), "error: ConnectionRefused");
    let line = machine.line("denied").await;
    assert_eq!(line.line, "egress to 192.0.2.1:443 (tcp) denied");
    assert_eq!(ask(http, "read /proc/net/route").lines().count(), 3, "only the link and the way to B");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn with_egress_allowed_the_sidecar_gets_connections_to_elsewhere() {
    let mut machine = Machine::new();
    let host = TcpListener::bind("127.0.0.1:0").expect("a listener on the host");
    let host_port = host.local_addr().expect("its address").port();
    let mut spec = app_task("0.0.0.0", 80, &["198.18.1.1:8201"], &[("198.18.1.1", "service-b-sc")]);
    spec.egress = Egress::Allow;
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    assert_eq!(report.warnings, [""; 0]);
    let [http, control] = [0, 1].map(|index| report.inbound[index].address);

    // What is elsewhere: the sidecar is told where the task wanted to go.
    let sidecar = ask(control, "pid");
    for elsewhere in ["192.0.2.1:443", "10.1.2.3:1", "198.17.255.255:8201", "198.20.0.1:65535"] {
        assert_eq!(
            ask(http, &format!("ask {elsewhere} hello")),
            format!("sidecar {sidecar} has {elsewhere}")
        );
    }
    // What is the task's own goes as before.
    assert_eq!(ask(http, "ask service-b-sc:8201 pid"), "2");
    // What no task reaches is refused at once; it is not even redirected.
    for never in ["169.254.169.254:80", "0.1.2.3:80", "168.63.129.16:80", "198.18.1.1:9", "198.18.0.2:9"] {
        assert_eq!(ask(http, &format!("ask {never} hello")), "error: ConnectionRefused", "{never}");
    }
    assert_eq!(ask(http, &format!("ask 127.0.0.1:{host_port} pid")), "error: ConnectionRefused");
    machine.line("egress to 169.254.169.254:80 (tcp) denied").await;
    // Datagrams are denied still.
    ask(http, "datagram 192.0.2.1:443");
    machine.line("egress to 192.0.2.1:443 (udp) denied").await;
    let lines = machine.lines.lock().expect("not poisoned").clone();
    assert!(!lines.iter().any(|line| line.line.contains("192.0.2.1:443 (tcp) denied")), "{lines:?}");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn the_next_sidecar_gets_connections_to_elsewhere() {
    let mut machine = Machine::new();
    let mut spec = app_task("0.0.0.0", 80, &[], &[]);
    spec.egress = Egress::Allow;
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let [http, control] = [0, 1].map(|index| report.inbound[index].address);
    let first = ask(control, "pid");
    let pid = nix::unistd::Pid::from_raw(first.parse().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kills");
    // Not only dead but gone: until then it may take connections with it.
    eventually("the sidecar is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    // Through the inbound port and to elsewhere: both listeners are the shim's, and both wait.
    let answer = ask(http, "ask 192.0.2.1:443 hello");
    assert!(answer.ends_with("has 192.0.2.1:443"), "{answer}");
    assert_ne!(answer, format!("sidecar {first} has 192.0.2.1:443"));
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn ports_are_published_and_a_sidecar_opens_no_other_on_the_host() {
    let mut machine = Machine::new();
    let mut spec = app_task("0.0.0.0", 80, &[], &[]);
    spec.published = vec![PublishedPort { container_port: 80, host_port: 0 }];
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    assert_eq!(report.published[0].container_port, 80);
    assert_eq!(ask(report.published[0].address, "pid"), "2");
    let refused = ask(report.inbound[1].address, "listen-host 127.0.0.1:0");
    assert!(refused.contains("may not listen"), "{refused}");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn a_published_port_that_is_taken_fails_the_task() {
    let mut machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address: SocketAddr = taken.local_addr().expect("its address");
    let mut spec = app_task("0.0.0.0", 80, &[], &[]);
    spec.published = vec![PublishedPort { container_port: 80, host_port: address.port() }];
    machine.desire(std::slice::from_ref(&spec));
    let reason = machine.stopped(&spec.id).await.stopped_reason.expect("a reason");
    assert!(reason.contains(&format!("port {}", address.port())), "{reason}");
}

#[tokio::test]
async fn a_gateway_listens_on_the_host_without_containers() {
    let mut machine = Machine::new();
    let mut spec = app_task("unused", 80, &[], &[]);
    spec.containers.clear();
    spec.group = "gateway:web".to_owned();
    spec.proxy.as_mut().expect("a proxy").role = ProxyRole::Gateway;
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.running(&spec.id).await;
    assert_eq!(report.health, HealthStatus::Healthy);
    let control = report.inbound[1].address;
    let opened = ask(control, "listen-host 127.0.0.1:0");
    assert!(opened.starts_with("Ok("), "{opened}");
    machine.agent.stop_all().await;
    assert!(std::net::TcpStream::connect(control).is_err());
}

//! The TLS demo: README's commands, the six URLs, what holds around them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::{eventually, run_limited},
    leftovers,
    load::Load,
    mesh::{MeshOptions, TestMesh, bowline},
};
use serde_json::Value;

const DEMO_PATHS: [&str; 6] = [
    "/service-a/healthcheck",
    "/service-b/healthcheck",
    "/service-a/status",
    "/service-b/status",
    "/service-a/other-status",
    "/service-b/other-status",
];

fn assert_demo_works(mesh: &TestMesh) {
    for path in DEMO_PATHS {
        let body = mesh.get_json(path);
        let own = if path.starts_with("/service-a") { "service-a" } else { "service-b" };
        assert_eq!(body["service"], own, "{path}: {body}");
        if path.ends_with("/status") {
            assert!(body["cpu_percent"].is_number() && body["memory_percent"].is_number(), "{body}");
        }
        if path.ends_with("/other-status") {
            let other = if own == "service-a" { "service-b" } else { "service-a" };
            assert!(body.to_string().contains(other), "{path} does not speak of {other}: {body}");
        }
    }
}

fn inbound_of(mesh: &TestMesh, service: &str) -> SocketAddr {
    let task = &mesh.service(service)["tasks"][0];
    task["inbound"][0]["address"].as_str().expect("an inbound address").parse().expect("an address")
}

#[test]
fn the_demo_works_is_encrypted_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let state = temporary.path().join("state");
    let mesh = TestMesh::up(&MeshOptions::example("two-services").state_dir(&state));
    let begin = Instant::now();
    assert_demo_works(&mesh);
    println!("up took {:?}; six requests {:?}", mesh.took, begin.elapsed());
    for service in ["service-a", "service-b"] {
        assert_eq!(mesh.service(service)["tasks"].as_array().map(Vec::len), Some(2), "{:?}", mesh.topology);
    }

    // An answer of the gateway's own to a request with a body must survive HTTP/2's stream reset.
    for _ in 0..5 {
        let outcome = mesh.curl("/nothing", &["-d", "hello=world", "-w", "%{http_code}"]);
        assert!(outcome.stdout.ends_with("404"), "{outcome:?}");
    }
    refuses_outsiders(inbound_of(&mesh, "service-b"));
    verify_passes(&mesh, temporary.path());
    no_request_fails_while_it_is_verified(&mesh, temporary.path());

    let namespaces = leftovers::network_namespaces();
    assert!(namespaces.len() >= 5, "four tasks have namespaces of their own: {namespaces:?}");
    let inbound = inbound_of(&mesh, "service-b").port();
    assert!(leftovers::listening_ports().contains(&inbound));
    assert_eq!(mesh.interrupt(), Some(0));
    assert_eq!(leftovers::processes_of(&state), Vec::<u32>::new());
    assert_eq!(leftovers::mounts_of(&state), Vec::<String>::new());
    assert!(!leftovers::listening_ports().contains(&inbound));
}

/// `openssl s_client` without a certificate, with TLS 1.2, and plain HTTP.
fn refuses_outsiders(inbound: SocketAddr) {
    let request = |arguments: &[&str]| {
        let script = format!(
            "(printf 'GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n'; sleep 1) | \
             openssl s_client -connect {inbound} -quiet -no_ign_eof {} 2>&1",
            arguments.join(" ")
        );
        run_limited(Command::new("sh").args(["-c", &script]), Duration::from_secs(60)).stdout
    };
    let anonymous = request(&["-tls1_3"]);
    assert!(anonymous.contains("certificate required"), "no client certificate: {anonymous}");
    assert!(!anonymous.contains("HTTP/1.1"), "{anonymous}");
    let old = request(&["-tls1_2"]);
    assert!(old.contains("protocol version") || old.contains("alert"), "TLS 1.2: {old}");
    let plain = bowline_e2e::command::curl(["--http1.1", &format!("http://{inbound}/")]);
    assert!(!plain.success(), "plaintext was served: {plain:?}");
}

/// By packets where that is permitted, as it is here as root, and by a relay.
fn verify_passes(mesh: &TestMesh, directory: &Path) {
    let pcap = directory.join("evidence.pcap");
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root {
        let evidence = verify_passes_with(mesh, directory, &["--pcap", pcap.to_str().expect("UTF-8")]);
        assert!(
            evidence["method"].as_str().expect("method").contains("captured by the kernel"),
            "{evidence:#}"
        );
        assert!(std::fs::metadata(&pcap).expect("the packets").len() > 4_000);
    }
    let evidence = verify_passes_with(mesh, directory, &["--capture", "relay"]);
    assert!(evidence["method"].as_str().expect("method").contains("through a relay"), "{evidence:#}");
}

/// The calling sidecar is led through a relay and back each time, with requests under way.
fn no_request_fails_while_it_is_verified(mesh: &TestMesh, directory: &Path) {
    let ca = mesh.topology["gatewayCa"].as_str().expect("a path").to_owned();
    let load = Load::start(&ca, &mesh.url("/service-a/other-status"), 4, Duration::from_secs(120));
    eventually("requests are under way", Duration::from_secs(30), || (load.answered() > 20).then_some(()));
    for _ in 0..8 {
        verify_passes_with(mesh, directory, &["--capture", "relay"]);
    }
    let result = load.stop();
    println!("{} requests succeeded while it was verified", result.succeeded);
    assert_eq!(result.failures, Vec::<String>::new(), "of {} requests\n{}", result.succeeded, mesh.log());
}

fn verify_passes_with(mesh: &TestMesh, directory: &Path, arguments: &[&str]) -> Value {
    let page = directory.join("evidence.html");
    let mut command = vec!["verify", "-o", "json", "--html", page.to_str().expect("UTF-8")];
    command.extend(arguments);
    let outcome = mesh.run(&command);
    assert!(outcome.success(), "{outcome:?}\n{}", mesh.log());
    let evidence: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let pairs = evidence["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 2, "{evidence:#}");
    for pair in pairs {
        assert_eq!(pair["tlsVersion"], "TLSv1.3", "{pair:#}");
        assert_eq!(pair["markOccurrences"], 0);
        assert_eq!((&pair["plaintext"], &pair["withoutCertificate"]), (&"refused".into(), &"refused".into()));
        for side in ["callerCertificate", "calleeCertificate"] {
            assert!(
                pair[side]["identity"].as_str().is_some_and(|id| id.starts_with("spiffe://")),
                "{pair:#}"
            );
        }
    }
    assert!(std::fs::read_to_string(&page).expect("the page").contains("passed"));
    evidence
}

#[test]
fn verify_fails_when_encryption_is_off() {
    let mesh =
        TestMesh::up(&MeshOptions::example("two-services").argument("--aws-plaintext").argument("service-b"));
    assert_demo_works(&mesh);
    for capture in ["auto", "relay"] {
        let outcome = mesh.run(&["verify", "-o", "json", "--capture", capture]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let evidence: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let to_b = |pair: &&Value| pair["callee"] == "service-b";
        let pair = evidence["pairs"].as_array().expect("pairs").iter().find(to_b).expect("the pair");
        assert!(pair["markOccurrences"].as_u64() > Some(0), "{pair:#}");
        assert_eq!(pair["plaintext"], "served", "{pair:#}");
    }
}

#[test]
fn tasks_outlive_a_killed_control_plane_and_are_adopted() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let options = MeshOptions::example("two-services").state_dir(&temporary.path().join("state"));
    let mesh = TestMesh::up(&options);
    let (url, ca) = (mesh.url("/service-a/other-status"), mesh.topology["gatewayCa"].clone());
    let pids = |mesh: &TestMesh| -> Vec<u64> {
        let services = mesh.topology["services"].as_array().expect("services").clone();
        let tasks =
            services.iter().flat_map(|service| service["tasks"].as_array().cloned().unwrap_or_default());
        let mut pids: Vec<u64> = tasks.map(|task| task["shimPid"].as_u64().expect("a process id")).collect();
        pids.sort_unstable();
        pids
    };
    let before = pids(&mesh);
    let ca_before = std::fs::read_to_string(ca.as_str().expect("a path")).expect("the CA's file");
    mesh.kill();
    let left = leftovers::processes_of(&temporary.path().join("state"));
    assert!(
        before.iter().all(|pid| left.iter().any(|one| u64::from(*one) == *pid)),
        "{before:?} of {left:?}"
    );

    let answer = bowline_e2e::command::curl(["--cacert", ca.as_str().expect("a path"), "-f", &url]);
    assert!(answer.success(), "traffic stopped with the control plane: {answer:?}");

    let mesh = TestMesh::up(&options);
    assert_eq!(pids(&mesh), before, "the same shims");
    assert_eq!(mesh.url("/service-a/other-status"), url, "the same address");
    let ca_after = std::fs::read_to_string(ca.as_str().expect("a path")).expect("the CA's file");
    assert_eq!(ca_after, ca_before, "the same CA");
    assert_demo_works(&mesh);
    assert_eq!(mesh.interrupt(), Some(0));
    assert_eq!(leftovers::processes_of(&temporary.path().join("state")), Vec::<u32>::new());
}

#[test]
fn no_request_fails_while_tasks_are_killed() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let ca = mesh.topology["gatewayCa"].as_str().expect("a path").to_owned();
    let seconds = 30;
    let load = Load::start(&ca, &mesh.url("/service-a/other-status"), 4, Duration::from_secs(seconds));
    let begin = Instant::now();
    let (mut killed, mut known) = (Vec::new(), Vec::new());
    while begin.elapsed() < Duration::from_secs(seconds) {
        std::thread::park_timeout(Duration::from_millis(700));
        let status = mesh.status();
        let services = status["services"].as_array().expect("services");
        let b = services.iter().find(|service| service["name"] == "service-b").expect("service-b");
        let tasks = b["tasks"].as_array().expect("tasks").iter();
        let serves = |task: &&Value| task["serving"] == true && !killed.contains(&task["id"]);
        let serving: Vec<Value> = tasks.filter(serves).cloned().collect();
        // With one task left there would be nobody to turn to; of one that serves, callers know a moment later.
        let of_both: Vec<&Value> = serving
            .iter()
            .filter(|task| known.iter().any(|known: &Value| known["id"] == task["id"]))
            .collect();
        if let [first, _, ..] = of_both.as_slice() {
            let pid = first["shimPid"].as_u64().expect("a process id");
            run_limited(Command::new("kill").args(["-9", &pid.to_string()]), Duration::from_secs(30));
            killed.push(first["id"].clone());
            known.clear();
        } else {
            known = serving;
        }
    }
    let result = load.stop();
    let kills = killed.len();
    println!("{} requests succeeded, {kills} tasks killed", result.succeeded);
    assert!(kills >= 5, "only {kills} tasks were killed in {seconds} s: {}", mesh.log());
    let mut failures = BTreeMap::new();
    for failure in &result.failures {
        *failures.entry(failure.as_str()).or_insert(0) += 1;
    }
    assert_eq!(failures, BTreeMap::new(), "of {} requests\n{}", result.succeeded, mesh.log());
}

#[test]
fn a_killed_sidecar_comes_back_while_its_application_keeps_running() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let pid = mesh.service("service-b")["tasks"][0]["shimPid"].as_u64().expect("a process id");
    let children = || {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let with_name = |child: &str| {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            (child.to_owned(), String::from_utf8_lossy(&command).replace('\0', " "))
        };
        list.split_whitespace().map(with_name).collect::<Vec<_>>()
    };
    let sidecar = || children().into_iter().find(|(_, command)| command.contains(" proxy "));
    let (first, _) = sidecar().unwrap_or_else(|| panic!("the shim has a sidecar: {:?}", children()));
    let others =
        || children().into_iter().filter(|(_, command)| !command.contains(" proxy ")).collect::<Vec<_>>();
    let before = others();
    run_limited(Command::new("kill").args(["-9", &first]), Duration::from_secs(30));
    eventually("a new sidecar", Duration::from_secs(60), || sidecar().filter(|(pid, _)| *pid != first));
    assert_eq!(others(), before, "the application was touched");
    for _ in 0..20 {
        mesh.get_json("/service-a/other-status");
    }
}

#[test]
fn a_second_one_on_the_same_directory_is_refused_and_another_runs_beside() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let refused = TestMesh::try_up(&MeshOptions::example("two-services").state_dir(mesh.state_dir()));
    let message = refused.expect_err("refused");
    assert!(message.contains(&mesh.pid().to_string()), "it does not name the first: {message}");
    let beside = TestMesh::up(&MeshOptions::example("two-services"));
    assert_demo_works(&beside);
    assert_demo_works(&mesh);
}

#[test]
fn an_ordinary_user_can_run_it() {
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        return; // the other tests are that run
    }
    let binary = tempfile::tempdir().expect("a temporary directory");
    let mut options = MeshOptions::example("two-services");
    options.user = Some(65_534);
    options = options.argument("--no-build");
    std::fs::set_permissions(binary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("permissions");
    let mesh = TestMesh::up(&options);
    assert_demo_works(&mesh);
    assert!(mesh.url("/").contains(":8443") || !mesh.url("/").ends_with(":443/"), "{}", mesh.url("/"));
    assert_eq!(mesh.interrupt(), Some(0));
}

#[test]
fn on_request_it_runs_on_the_hosts_network() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services").argument("--network").argument("host"));
    assert_demo_works(&mesh);
    assert!(mesh.log().contains("host network"), "{}", mesh.log());
}

/// As in a container that is not allowed to make user namespaces: nobody asks for the host's network.
#[test]
fn where_user_namespaces_are_forbidden_it_falls_back_to_the_hosts_network() {
    let mut options = MeshOptions::example("two-services");
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    options.through =
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"].map(Into::into).into();
    let mesh = TestMesh::up(&options);
    assert_demo_works(&mesh);
    let log = mesh.log();
    assert!(log.contains("host network") && log.contains("in plaintext reach of other processes"), "{log}");
    assert!(log.contains("sysctl user.max_user_namespaces"), "how to enable more is not said: {log}");
    assert_eq!(mesh.interrupt(), Some(0));
}

#[test]
fn a_container_without_a_command_stops_with_awss_error_and_a_hint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let template = directory.path().join("template.yaml");
    std::fs::write(
        &template,
        "Resources:\n  Cluster:\n    Type: AWS::ECS::Cluster\n  Definition:\n    Type: AWS::ECS::TaskDefinition\n    \
         Properties:\n      Family: web\n      ContainerDefinitions:\n        - Name: web\n          Image: nginx\n  \
         Service:\n    Type: AWS::ECS::Service\n    Properties:\n      Cluster: !Ref Cluster\n      \
         ServiceName: web\n      TaskDefinition: !Ref Definition\n      DesiredCount: 1\n",
    )
    .expect("the template is written");
    let outcome = run_limited(
        Command::new(bowline())
            .arg("up")
            .arg(&template)
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .args(["--wait-timeout", "3"]),
        Duration::from_secs(120),
    );
    assert!(!outcome.success(), "{outcome:?}");
    assert!(outcome.stderr.contains("CannotPullContainerError"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--exec web="), "{}", outcome.stderr);
}

//! What ECS's fields of a container mean.

use std::{os::fd::OwnedFd, path::PathBuf, time::Duration};

use bowline_model::task::{
    BindMount, ContainerDependency, DependencyCondition, HealthCheckSpec, HealthStatus, Secret, StopCode,
    Ulimit,
};

use crate::machine::*;

#[tokio::test]
async fn an_image_without_a_command_cannot_be_pulled() {
    let mut machine = Machine::new();
    let spec = task(vec![container("web", &[])]);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.stopped(&spec.id).await;
    let reason = report.stopped_reason.expect("a reason");
    assert!(reason.starts_with("CannotPullContainerError: image example/image:1"), "{reason}");
    assert!(reason.contains("--exec web=COMMAND"), "{reason}");
    assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_be_started() {
    let mut machine = Machine::new();
    let mut no_directory = task(vec![container("web", &["true"])]);
    no_directory.containers[0].working_directory = Some(PathBuf::from("/no/such/place"));
    let specs = [task(vec![container("web", &["no-such-program"])]), no_directory];
    machine.desire(&specs);
    let expected = [
        "CannotStartContainerError: exec: \"no-such-program\": executable file not found in $PATH",
        "CannotStartContainerError: the working directory /no/such/place does not exist",
    ];
    for (spec, expected) in specs.iter().zip(expected) {
        let report = machine.stopped(&spec.id).await;
        assert_eq!(report.stopped_reason.as_deref(), Some(expected));
        assert_eq!(report.containers[0].reason.as_deref(), Some(expected));
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
    }
}

#[tokio::test]
async fn an_essential_container_takes_the_others_with_it() {
    let mut machine = Machine::new();
    let mut spec = task(vec![
        container("short", &["sh", "-c", "echo out; echo err >&2; exit 7"]),
        container("long", &["sleep", "1000"]),
        container("stubborn", &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]),
    ]);
    spec.containers[2].stop_timeout = Duration::from_secs(1);
    let ready =
        ContainerDependency { container: "stubborn".to_owned(), condition: DependencyCondition::Start };
    spec.containers[0].depends_on.push(ready);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.stopped_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    let codes: Vec<_> = report.containers.iter().map(|container| container.exit_code).collect();
    assert_eq!(codes[..2], [Some(7), Some(143)]);
    // It may have been asked to end before it could refuse.
    assert!(matches!(codes[2], Some(137 | 143)), "{codes:?}");
    machine.line("out").await;
    machine.line("err").await;
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_after_its_stop_timeout() {
    let mut machine = Machine::new();
    let mut spec =
        task(vec![container("stubborn", &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"])]);
    spec.containers[0].stop_timeout = Duration::from_secs(1);
    machine.desire(std::slice::from_ref(&spec));
    machine.line("up").await;
    let asked = std::time::Instant::now();
    machine.desire(&[]);
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert!((1..5).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}

fn health_check(command: &[&str], seconds: u64) -> HealthCheckSpec {
    HealthCheckSpec {
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        interval: Duration::from_millis(100) * u32::try_from(seconds).expect("small"),
        timeout: Duration::from_secs(2),
        retries: 2,
        start_period: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_container_waits_for_another_to_be_healthy() {
    let mut machine = Machine::new();
    let mut spec = task(vec![
        container("db", &["sh", "-c", "touch healthy; exec sleep 1000"]),
        container("app", &["sh", "-c", "echo started; exec sleep 1000"]),
    ]);
    spec.containers[0].health_check = Some(health_check(&["CMD-SHELL", "test -e healthy"], 1));
    let healthy = ContainerDependency { container: "db".to_owned(), condition: DependencyCondition::Healthy };
    spec.containers[1].depends_on.push(healthy);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.running(&spec.id).await;
    assert_eq!(report.health, HealthStatus::Healthy);
    assert_eq!(report.containers[0].health, HealthStatus::Healthy);
    machine.line("started").await;
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn a_service_s_task_that_fails_its_health_checks_stops() {
    let mut machine = Machine::new();
    let mut spec = task(vec![container("app", &["sleep", "1000"])]);
    spec.containers[0].health_check = Some(health_check(&["CMD", "false"], 1));
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.stopped_reason.as_deref(), Some("Task failed container health checks"));
    assert_eq!(report.containers[0].health, HealthStatus::Unhealthy);
}

#[tokio::test]
async fn environment_secrets_limits_mounts_and_a_read_only_root() {
    let mut machine = Machine::new();
    let volume = tempfile::tempdir().expect("a directory");
    let mut spec = app_task("0.0.0.0", 80, &[], &[]);
    let app = &mut spec.containers[0];
    app.environment.insert("PLAIN".to_owned(), "plain".to_owned());
    app.secrets.insert("SECRET".to_owned(), Secret::new("hidden".to_owned()));
    app.ulimits.push(Ulimit { name: "nofile".to_owned(), soft: 321, hard: 654 });
    app.readonly_root = true;
    let mount = |target: &str, read_only| BindMount {
        source: volume.path().join("made"),
        target: PathBuf::from(target),
        read_only,
    };
    app.mounts = vec![mount("/no-such-place-here/data", false), mount("/var/no-such-place/too", true)];
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let http = report.inbound[0].address;
    assert_eq!(ask(http, "env PLAIN"), "plain");
    assert_eq!(ask(http, "env SECRET"), "hidden");
    assert_eq!(ask(http, "env CARGO_MANIFEST_DIR"), "unset", "nothing of ours");
    assert!(
        ask(http, "read /proc/self/limits").contains("Max open files            321                  654")
    );
    assert_eq!(ask(http, "write /no-such-place-here/data/file"), "written");
    assert_eq!(std::fs::read_to_string(volume.path().join("made/file")).expect("on the host"), "x");
    assert_eq!(ask(http, "read /var/no-such-place/too/file"), "x");
    assert!(ask(http, "write /var/no-such-place/too/file").contains("Read-only"));
    let read_only = ask(http, &format!("write {}/no", volume.path().display()));
    assert!(read_only.contains("Read-only"), "{read_only}");
    assert!(!std::path::Path::new("/no-such-place-here").exists(), "the host is not touched");
    // CAP_SYS_ADMIN (21) and CAP_NET_ADMIN (12) are gone: neither mounts nor networks can be changed.
    let status = ask(http, "status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a line");
    let bits = u64::from_str_radix(bounding, 16).expect("hexadecimal");
    assert_eq!(bits & (1 << 21 | 1 << 12), 0, "{bounding}");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn a_command_runs_in_a_container() {
    let mut machine = Machine::new();
    let spec = task(vec![container("app", &["sleep", "1000"])]);
    machine.desire(std::slice::from_ref(&spec));
    machine.running(&spec.id).await;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let null = || -> OwnedFd { std::fs::File::open("/dev/null").expect("opens").into() };
    let command = ["sh", "-c", "hostname; exit 5"].map(str::to_owned).to_vec();
    let code = machine.agent.exec(&spec.id, "app", command, [null(), writer.into(), null()]).await;
    assert_eq!(code, Ok(5));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("reads");
    assert_eq!(text.trim_end(), &spec.id.as_str()[..12]);
    let missing =
        machine.agent.exec(&spec.id, "web", vec!["true".to_owned()], [null(), null(), null()]).await;
    assert_eq!(missing, Err("no container named web runs in the task".to_owned()));
    machine.agent.stop_all().await;
}

//! `bowline chaos` on two services: experiments hold, tell what they saw, and leave nothing; killed runs, too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_e2e::{
    command::{Outcome, eventually},
    experiments::of_report,
    leftovers,
    mesh::{MeshOptions, TestMesh, bowline},
    standstill::until_good,
};
use serde_json::Value;

fn faults(mesh: &TestMesh) -> usize {
    let outcome = mesh.run(&["chaos", "faults", "-o", "json"]);
    assert!(outcome.success(), "{outcome:?}");
    serde_json::from_str::<Vec<Value>>(&outcome.stdout).expect("faults").len()
}

#[test]
fn experiments_hold_on_two_services_and_leave_nothing() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (junit, html) = (file("chaos.xml"), file("chaos.html"));
    let experiments = ["chaos", "run", "certificate-expiry", "backend-unavailable", "-o", "json"];
    let files = ["--junit", &junit, "--html", &html];
    let outcome = until_good(|| mesh.run(&[&experiments[..], &files].concat()), Outcome::success);
    let report: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {outcome:?}\n{}", mesh.log()));
    let fallen = of_report(&report).into_iter().filter(|ran| ran.verdict != "held");
    let fallen: Vec<_> = fallen.map(|ran| (ran.name.clone(), ran.fallen())).collect();
    assert_eq!((outcome.code, fallen), (Some(0), vec![]), "{outcome:?}\n{}", mesh.log());
    let records = report["records"].as_array().expect("records");
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record["verdict"], "held", "{record:#}");
        assert!(record["judgement"]["before"]["requests"].as_u64() >= Some(80), "{record:#}");
    }
    let during = &records[0]["judgement"]["during"]["outcomes"];
    assert!(during["403 expired"].as_u64() >= Some(100), "{during}");
    assert!(std::fs::read_to_string(&junit).expect("JUnit").contains("tests=\"2\" failures=\"0\""));
    assert!(std::fs::read_to_string(&html).expect("a page").contains("<svg"));
    assert_eq!(faults(&mesh), 0);

    // The run was kept: its report can be had again.
    let again = mesh.run(&["chaos", "report", "-o", "junit"]);
    assert_eq!(again.stdout, std::fs::read_to_string(&junit).expect("JUnit"));

    // Of whom there is none there is nothing to learn.
    let refused = mesh.run(&["chaos", "run", "certificate-expiry", "--caller", "service-z"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let unknown = mesh.run(&["chaos", "run", "nonsense"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");

    // A runner that is killed leaves its fault, which ends by itself.
    let mut runner = Command::new(bowline())
        .args(["chaos", "run", "certificate-expiry", "--duration", "2s", "--state-dir"])
        .arg(mesh.state_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    eventually("the fault is in force", Duration::from_secs(20), || (faults(&mesh) == 1).then_some(()));
    runner.kill().expect("it can be killed");
    runner.wait().expect("it can be waited for");
    eventually("the fault ends by itself", Duration::from_secs(20), || (faults(&mesh) == 0).then_some(()));

    // Ctrl-C ends the fault at once.
    let mut runner = Command::new(bowline())
        .args(["chaos", "run", "certificate-expiry", "--duration", "1m", "--state-dir"])
        .arg(mesh.state_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    eventually("the fault is in force", Duration::from_secs(20), || (faults(&mesh) == 1).then_some(()));
    let interrupted = Command::new("kill").args(["-INT", &runner.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
    let ended =
        eventually("it ends", Duration::from_secs(20), || runner.try_wait().expect("it can be waited for"));
    assert_eq!((ended.code(), faults(&mesh)), (Some(130), 0));
    let again = ["chaos", "run", "certificate-expiry", "-o", "json"];
    let after = until_good(|| mesh.run(&again), Outcome::success);
    assert_eq!(after.code, Some(0), "{after:?}");
    assert_eq!(mesh.interrupt(), Some(0));
}

#[test]
fn a_template_is_brought_up_for_experiments_and_taken_down() {
    let template = MeshOptions::example("two-services").template;
    let mut run = Command::new(bowline());
    run.args(["chaos", "run", "certificate-expiry", "-o", "json", "--template"]).arg(template);
    let limit = Duration::from_secs(400);
    let outcome = until_good(|| bowline_e2e::command::run_limited(&mut run, limit), Outcome::success);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("a report");
    assert_eq!(report["records"][0]["verdict"], "held", "{report:#}");
}

/// Begins a run on a template, whose state directories are in this one; what it says goes to a file there.
fn begin_on_template(directory: &Path) -> (Child, PathBuf) {
    let temporary = directory.join("tmp");
    fs::create_dir(&temporary).expect("a directory");
    let told = fs::File::create(directory.join("told")).expect("a file");
    let runner = Command::new(bowline())
        .args(["chaos", "run", "certificate-expiry", "-o", "json", "--template"])
        .arg(MeshOptions::example("two-services").template)
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(told)
        .spawn()
        .expect("it starts");
    (runner, temporary)
}

fn left_in(temporary: &Path) -> Vec<PathBuf> {
    fs::read_dir(temporary).expect("it is there").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn nothing_is_left_of_a_template_whose_runner_was_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut runner, temporary) = begin_on_template(directory.path());
    eventually("it runs on what is up", Duration::from_secs(300), || {
        let told = fs::read_to_string(directory.path().join("told")).expect("reads");
        told.contains("injecting the fault").then_some(())
    });
    assert_eq!(left_in(&temporary).len(), 1);
    runner.kill().expect("it can be killed");
    runner.wait().expect("it can be waited for");
    // Who took it down ends when it is done.
    eventually("all of it is gone", Duration::from_secs(120), || {
        let is_gone = left_in(&temporary).is_empty() && leftovers::processes_of(&temporary).is_empty();
        is_gone.then_some(())
    });
}

#[test]
fn broken_off_while_a_template_comes_up_it_is_taken_down_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut runner, temporary) = begin_on_template(directory.path());
    eventually("it comes up", Duration::from_secs(60), || {
        left_in(&temporary).first().is_some_and(|it| it.join("up.log").exists()).then_some(())
    });
    let interrupted = Command::new("kill").args(["-INT", &runner.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
    let ended =
        eventually("it ends", Duration::from_secs(200), || runner.try_wait().expect("it can be waited for"));
    let told = fs::read_to_string(directory.path().join("told")).expect("reads");
    assert_eq!(ended.code(), Some(130), "{told}");
    assert_eq!(left_in(&temporary), Vec::<PathBuf>::new(), "{told}");
    assert_eq!(leftovers::processes_of(&temporary), [0; 0], "{told}");
}

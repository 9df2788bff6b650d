//! `cpu` and `memory` of tasks and containers.

use std::path::PathBuf;

use bowline_model::task::{TaskId, TaskStatus};

use crate::machine::{Machine, container, eventually, lives, program, task};

/// Control groups named after the task, in any hierarchy.
fn groups_of(task: &TaskId) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name() == task.as_str() {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_container_that_exceeds_its_memory_is_killed_and_others_live() {
    let mut machine = Machine::new();
    let mut eater = container("eater", &[&program(), "eat"]);
    eater.limits.memory_mib = Some(64);
    let mut eaten = task(vec![eater]);
    eaten.limits.cpu_units = Some(512);
    let mut sibling = task(vec![container("app", &["sleep", "1000"])]);
    sibling.limits.memory_mib = Some(64);
    machine.desire(&[eaten.clone(), sibling.clone()]);
    let report = machine.running(&sibling.id).await;
    if !report.warnings.is_empty() {
        let warning = report.warnings.join("; ");
        assert!(warning.contains("limits of the task are not enforced: memory ("), "{warning}");
        assert!(!nix::unistd::Uid::effective().is_root() || groups_of(&sibling.id).is_empty(), "{warning}");
        machine.agent.stop_all().await;
        return;
    }
    assert!(!groups_of(&sibling.id).is_empty());
    let ended = machine.stopped(&eaten.id).await;
    assert_eq!(ended.containers[0].exit_code, Some(137));
    let reason = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(ended.containers[0].reason.as_deref(), Some(reason));
    assert_eq!(groups_of(&eaten.id), [] as [PathBuf; 0]);
    let sleeper = report.containers[0].pid.expect("runs");
    assert_eq!(report.status, TaskStatus::Running);
    assert!(lives(sleeper));
    // What a killed shim leaves is removed too.
    let shim = i32::try_from(report.shim_pid.expect("a shim")).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL)
        .expect("kills");
    machine.stopped(&sibling.id).await;
    eventually("the groups are gone", || groups_of(&sibling.id).is_empty()).await;
    machine.agent.stop_all().await;
}

//! Ending every descendant of this process where no process namespace does it.

use std::fs;

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

/// Rounds of killing: each finds what was forked during the one before.
const ROUNDS_MAX: usize = 100;

/// Kills all descendants, which as this process is their subreaper cannot
/// leave its tree, until none is left.
pub(crate) fn kill_all() {
    let own = Pid::this().as_raw();
    for _ in 0..ROUNDS_MAX {
        let table = processes();
        let mut family = vec![own];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            family.extend(table.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        if family.len() == 1 {
            return;
        }
        for pid in family.into_iter().skip(1) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status.pid().is_none() {
                std::thread::yield_now();
                break;
            }
        }
    }
}

/// Every process with its parent.
fn processes() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in parentheses, may hold anything: the fields begin after the last one.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

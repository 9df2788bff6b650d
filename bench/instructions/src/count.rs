//! Counting, by valgrind: each instruction of the process, in user space.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::paths::HotPath;

/// Instructions of one turn: what more turns take more, for the start is the same.
pub(crate) fn per_turn(path: &HotPath) -> anyhow::Result<u64> {
    let few = whole(path.name, path.times)?;
    let many = whole(path.name, 3 * path.times)?;
    Ok(many.saturating_sub(few) / (2 * path.times))
}

/// Instructions of a process that runs a path so many times.
fn whole(name: &str, times: u64) -> anyhow::Result<u64> {
    let own = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["run", name, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("valgrind cannot be run: scripts/install-components installs it")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name}: {text}");
    }
    collected(&text).with_context(|| format!("{name}: valgrind did not say how many: {text}"))
}

/// Of valgrind's report: `==4711== Collected : 123456`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_the_report() {
        let report = "==1== Callgrind, a call-graph generating cache profiler\n==1==\n\
            ==1== Events    : Ir\n==1== Collected : 2213432\n==1==\n==1== I   refs:      2,213,432\n";
        assert_eq!(collected(report), Some(2_213_432));
        assert_eq!(collected("==1== I   refs: 7\n"), None);
    }
}

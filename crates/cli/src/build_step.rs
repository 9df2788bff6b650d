//! The `Build` commands of local commands: run once, before the first task.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// A shell command and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BuildStep {
    /// For `sh -c`.
    pub(crate) command: String,
    /// Absolute.
    pub(crate) directory: PathBuf,
}

/// Runs each distinct step, in order; stops at the first that fails. Their
/// output goes to standard error.
pub(crate) fn run_all(steps: impl IntoIterator<Item = (String, BuildStep)>) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    for (container, step) in steps {
        if done.contains(&step) {
            continue;
        }
        eprintln!("building {container}: {}", shortened(&step.command));
        run(&container, &step)?;
        done.insert(step);
    }
    Ok(())
}

fn run(container: &str, step: &BuildStep) -> anyhow::Result<()> {
    let status = Command::new("sh")
        .args(["-c", &step.command])
        .current_dir(&step.directory)
        .stdout(std::io::stderr())
        .status()
        .with_context(|| {
            format!("cannot run the Build command of {container} in {}", display(&step.directory))
        })?;
    if !status.success() {
        bail!(
            "the Build command of {container} failed ({status}): {}. Mend it in the template's LocalCommand, or pass \
             --no-build to start what is there",
            shortened(&step.command)
        );
    }
    Ok(())
}

fn display(directory: &Path) -> std::path::Display<'_> {
    directory.display()
}

fn shortened(command: &str) -> String {
    let line = command.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str, directory: &Path) -> (String, BuildStep) {
        ("web".into(), BuildStep { command: command.into(), directory: directory.to_owned() })
    }

    #[test]
    fn a_step_runs_once_and_a_failure_names_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let count = step("echo x >> count", directory.path());
        run_all([count.clone(), count]).expect("builds");
        assert_eq!(std::fs::read_to_string(directory.path().join("count")).expect("written"), "x\n");
        let error = run_all([step("exit 3", directory.path())]).expect_err("fails");
        assert!(error.to_string().contains("web") && error.to_string().contains("exit 3"), "{error}");
    }
}

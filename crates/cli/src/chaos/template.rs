//! A template that is brought up for experiments, and taken down after them.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    time,
};

use crate::local_api::Client;

/// Longest time that everything may take to come up. `up` gives up by itself before, but for what it builds first.
const UP_LIMIT: Duration = Duration::from_secs(900);
/// Longest time that everything may take to end; ECS's longest `stopTimeout` and a little more.
const DOWN_LIMIT: Duration = Duration::from_secs(150);
/// How often is looked whether somebody is there.
const LOOK: Duration = Duration::from_millis(100);
const SIGKILL: i32 = 9;
/// How much of what `up` logged is shown when it does not come up, bytes.
const LOG_SHOWN: usize = 8 * 1024;

/// A `bowline up` in a state directory of its own. It ends with this process, however that ends: its standard input is
/// this process's.
#[derive(Debug)]
pub(crate) struct TemplateRun {
    child: Child,
    stdin: Option<ChildStdin>,
    directory: tempfile::TempDir,
}

impl TemplateRun {
    /// Brings a template up, with these arguments beside; returns when everything is.
    pub(crate) async fn up(template: &Path, arguments: &[OsString]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bowline-").tempdir()?;
        let log = std::fs::File::create(directory.path().join("up.log"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("up")
            .arg(template)
            .args(["--while-stdin", "-o", "json", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(directory.path().join("state"))
            .args(arguments)
            // Ctrl-C is for who runs experiments; this one is told afterwards.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
            .context("`bowline up` does not start")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("it was piped")?;
        let run = Self { child, stdin, directory };
        let mut line = String::new();
        let is_up = time::timeout(UP_LIMIT, BufReader::new(stdout).read_line(&mut line)).await;
        if !matches!(is_up, Ok(Ok(1..))) {
            let log = run.log();
            run.down().await?;
            bail!("{} did not come up:\n{log}", template.display());
        }
        Ok(run)
    }

    /// Where its state is.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("up.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }

    async fn successor_ended(&self) -> anyhow::Result<()> {
        let begin = time::Instant::now();
        while Client::connect(&self.state_dir()).await.is_ok() {
            if begin.elapsed() >= DOWN_LIMIT {
                bail!("`bowline up` did not end within {} s:\n{}", DOWN_LIMIT.as_secs(), self.log());
            }
            time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Takes everything down; its state directory is removed.
    pub(crate) async fn down(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        match time::timeout(DOWN_LIMIT, self.child.wait()).await {
            Ok(ended) => match ended?.signal() {
                // Killed on purpose, it has been started again, and reads the same standard input.
                Some(SIGKILL) => self.successor_ended().await,
                _ => Ok(()),
            },
            Err(_) => {
                self.child.kill().await?;
                bail!("`bowline up` did not end within {} s:\n{}", DOWN_LIMIT.as_secs(), self.log());
            }
        }
    }
}

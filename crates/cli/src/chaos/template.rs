//! A template that is brought up for experiments, and taken down after them.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::{fs::FileExt, process::ExitStatusExt},
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

/// A `bowline up` in a state directory of its own. It ends with this process, however that ends, and removes the directory
/// then: its standard input is this process's.
#[derive(Debug)]
pub(crate) struct TemplateRun {
    child: Child,
    stdin: Option<ChildStdin>,
    directory: tempfile::TempDir,
    log: File,
}

impl TemplateRun {
    /// Brings a template up, with these arguments beside; returns when everything is. `None`: it was to stop before, and
    /// everything is down.
    pub(crate) async fn up(
        template: &Path,
        arguments: &[OsString],
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::Builder::new().prefix("bowline-").tempdir()?;
        let log =
            File::options().read(true).append(true).create(true).open(directory.path().join("up.log"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("up")
            .arg(template)
            .args(["--while-stdin", "-o", "json", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(directory.path().join("state"))
            .arg("--remove-at-end")
            .arg(directory.path())
            .args(arguments)
            // Ctrl-C is for who runs experiments; this one is told afterwards.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(false)
            .spawn()
            .context("`bowline up` does not start")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("it was piped")?;
        let run = Self { child, stdin, directory, log };
        let (mut line, mut stdout) = (String::new(), BufReader::new(stdout));
        let is_up = tokio::select! {
            read = time::timeout(UP_LIMIT, stdout.read_line(&mut line)) => read,
            () = stop => {
                run.down().await?;
                return Ok(None);
            }
        };
        if !matches!(is_up, Ok(Ok(1..))) {
            let log = run.log();
            run.down().await?;
            bail!("{} did not come up:\n{log}", template.display());
        }
        Ok(Some(run))
    }

    /// Where its state is.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The end of what it logged: also when its directory is gone.
    fn log(&self) -> String {
        let size = self.log.metadata().map_or(0, |log| log.len());
        let mut end = vec![0; LOG_SHOWN];
        let count = self.log.read_at(&mut end, size.saturating_sub(LOG_SHOWN as u64)).unwrap_or_default();
        String::from_utf8_lossy(&end[..count]).into_owned()
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

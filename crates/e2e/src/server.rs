//! A `bowline server` under test, and the clients of AWS that call it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;

use crate::{
    command::{Outcome, eventually, run_limited},
    mesh::{bowline, repository},
};

/// Longest that a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Longest that a server may take to end.
const END_LIMIT: Duration = Duration::from_secs(120);

/// Longest that the installation of the clients may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);

/// A running `bowline server` on a free port. Dropping it interrupts it as Ctrl-C does.
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// What it printed when it listened.
    pub printed: Value,
    log: tempfile::NamedTempFile,
}

impl TestServer {
    /// Starts one with more arguments, and waits until it listens.
    pub fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut child = Command::new(bowline())
            .args(["server", "-o", "json", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("BOWLINE_STATE_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the log can be written"))
            .spawn()
            .expect("bowline starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The receiver is gone once the first line is there.
                let _ = sender.send(line);
            }
        });
        let first = receiver.recv_timeout(START_LIMIT).unwrap_or_default();
        let printed: Value = serde_json::from_str(&first).unwrap_or_default();
        let endpoint = printed["endpoint"].as_str().unwrap_or_default().to_owned();
        let server = Self { child, endpoint, printed, log };
        assert!(!server.endpoint.is_empty(), "it does not listen: {first}\n{}", server.log());
        server
    }

    /// The aws CLI, told of this server and of nothing else.
    pub fn aws(&self, arguments: &[&str], limit: Duration) -> Outcome {
        let aws = aws_clients().join("bin/aws");
        let mut command = Command::new(&aws);
        command.args(arguments);
        client_environment(&mut command, aws.parent().unwrap_or(Path::new("/")));
        run_limited(command.env("AWS_ENDPOINT_URL", &self.endpoint), limit)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Ctrl-C; waits for the end and gives the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        self.end()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn end(&mut self) -> Option<i32> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.code();
        }
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let child = &mut self.child;
        let status = eventually("`bowline server` ends after Ctrl-C", END_LIMIT, || {
            child.try_wait().expect("it can be waited for")
        });
        status.code()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
            return;
        }
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let deadline = std::time::Instant::now() + END_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        eprintln!("log of `bowline server`:\n{}", self.log());
    }
}

/// The virtual environment with boto3, the aws CLI and pytest, made when it is first wanted.
pub fn aws_clients() -> PathBuf {
    let outcome = run_limited(&mut Command::new(aws_tests().join("install-clients")), INSTALL_LIMIT);
    assert!(outcome.success(), "the clients cannot be installed: {outcome:?}");
    PathBuf::from(outcome.stdout.trim_end())
}

/// Where the Python tests are.
pub fn aws_tests() -> PathBuf {
    repository().join("crates/e2e/tests/aws")
}

/// Runs pytest over some of the Python tests, for `limit` at most.
pub fn pytest(arguments: &[&str], environment: &[(&str, &str)], limit: Duration) -> Outcome {
    let python = aws_clients().join("bin/python");
    let mut command = Command::new(&python);
    command
        .args(["-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"])
        .args(arguments)
        .current_dir(aws_tests());
    client_environment(&mut command, python.parent().unwrap_or(Path::new("/")));
    run_limited(command.envs(environment.iter().copied()), limit)
}

/// Only what the clients are told here: nothing of the user's own account.
pub(crate) fn client_environment(command: &mut Command, bin: &Path) {
    let variables = std::env::vars_os().map(|(name, _)| name);
    for name in variables.filter(|name| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(path).expect("the path has no colon in a part"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1");
}

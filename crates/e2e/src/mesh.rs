//! A `bowline up` under test.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    command::{Outcome, curl, eventually, run_limited},
    server::{aws_clients, client_environment},
};

/// Longest that `up` may take: the first one of an example also builds it.
const UP_LIMIT: Duration = Duration::from_secs(300);

/// Longest that a command of the aws CLI may take.
const AWS_LIMIT: Duration = Duration::from_secs(300);

/// The repository's root.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository is there")
}

/// The `bowline` under test: `$BOWLINE_BIN`, else the release build.
pub fn bowline() -> PathBuf {
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let path = std::env::var_os("BOWLINE_BIN").map_or_else(|| built.join("release/bowline"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build --release -p bowline", path.display());
    path
}

/// How a mesh is started.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// The template.
    pub template: PathBuf,
    /// More arguments of `up`.
    pub arguments: Vec<String>,
    /// Keeps the state; a fresh temporary directory if `None`.
    pub state_dir: Option<PathBuf>,
    /// Run as this user and group.
    pub user: Option<u32>,
    /// A program and its arguments that becomes the command it is given; none
    /// if empty.
    pub through: Vec<String>,
    /// The program; [`bowline`] if `None`.
    pub program: Option<PathBuf>,
}

impl MeshOptions {
    /// The example with this name.
    pub fn example(name: &str) -> Self {
        Self {
            template: repository().join("examples").join(name).join("template.yaml"),
            arguments: Vec::new(),
            state_dir: None,
            user: None,
            through: Vec::new(),
            program: None,
        }
    }

    /// With one more argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With this state directory.
    pub fn state_dir(mut self, directory: &Path) -> Self {
        self.state_dir = Some(directory.to_owned());
        self
    }
}

/// A running `bowline up`. Dropping it interrupts it as Ctrl-C does.
#[derive(Debug)]
pub struct TestMesh {
    child: Child,
    state_dir: PathBuf,
    temporary: Option<tempfile::TempDir>,
    /// What `up -o json` printed.
    pub topology: Value,
    /// From the start of the process to the printed topology.
    pub took: Duration,
    log: PathBuf,
    /// A test has killed it, and goes on with its state directory.
    is_given_away: bool,
}

impl TestMesh {
    /// Starts one and waits until it says that everything is up.
    pub fn up(options: &MeshOptions) -> Self {
        Self::try_up(options).unwrap_or_else(|log| panic!("`bowline up` did not come up:\n{log}"))
    }

    /// Like [`TestMesh::up`], with what it logged as the error.
    pub fn try_up(options: &MeshOptions) -> Result<Self, String> {
        let temporary =
            options.state_dir.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
        let state_dir = match (&options.state_dir, &temporary) {
            (Some(directory), _) => directory.clone(),
            (None, Some(directory)) => directory.path().join("state"),
            (None, None) => unreachable!("one of the two is there"),
        };
        let log = state_dir.with_extension(format!("log-{}", std::process::id()));
        let program_path = options.program.clone().unwrap_or_else(bowline);
        let mut command = match options.through.split_first() {
            None => command_as(options.user, &program_path),
            Some((program, arguments)) => {
                let mut command = command_as(options.user, Path::new(program));
                command.args(arguments).arg(&program_path);
                command
            }
        };
        command
            .arg("up")
            .arg(&options.template)
            .args(["-o", "json", "--state-dir"])
            .arg(&state_dir)
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("the log can be written"));
        if let (Some(user), Some(directory)) = (options.user, &temporary) {
            std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).expect("chown");
            command.env("HOME", directory.path());
        }
        let begin = Instant::now();
        let mut child = command.spawn().expect("bowline starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The receiver is gone once the first line is there.
                let _ = sender.send(line);
            }
        });
        let first = receiver.recv_timeout(UP_LIMIT);
        let took = begin.elapsed();
        let read_log = || std::fs::read_to_string(&log).unwrap_or_default();
        match first.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(topology) => {
                Ok(Self { child, state_dir, temporary, topology, took, log, is_given_away: false })
            }
            None => {
                interrupt(child.id());
                let _ = child.wait();
                Err(read_log())
            }
        }
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Process id of `bowline up`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// URL of the first load balancer's first HTTPS listener.
    pub fn url(&self, path: &str) -> String {
        let gateway = &self.topology["gateways"][0];
        let listeners = gateway["listeners"].as_array().expect("the gateway has listeners");
        let listener = listeners.iter().find(|listener| listener["tls"] == true).expect("an HTTPS listener");
        let address: std::net::SocketAddr =
            listener["address"].as_str().expect("an address").parse().expect("an address");
        format!("https://{}:{}{path}", gateway["dnsName"].as_str().expect("a name"), address.port())
    }

    /// `curl` of a path through the gateway, its CA believed.
    pub fn curl(&self, path: &str, arguments: &[&str]) -> Outcome {
        let ca = self.topology["gatewayCa"].as_str().expect("the CA's file").to_owned();
        let url = self.url(path);
        curl(["--cacert", &ca].into_iter().chain(arguments.iter().copied()).chain([url.as_str()]))
    }

    /// Body of a path through the gateway as JSON; the status must be 200.
    pub fn get_json(&self, path: &str) -> Value {
        let outcome = self.curl(path, &["-w", "\n%{http_code}"]);
        let (body, status) = outcome.stdout.rsplit_once('\n').unwrap_or(("", ""));
        assert_eq!(status, "200", "{path}: {outcome:?}\n{}", self.log());
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path} is no JSON ({error}): {body}"))
    }

    /// The view of a service.
    pub fn service(&self, name: &str) -> &Value {
        let services = self.topology["services"].as_array().expect("services");
        services.iter().find(|service| service["name"] == name).unwrap_or_else(|| panic!("no service {name}"))
    }

    /// The topology as it is now.
    pub fn status(&self) -> Value {
        let outcome = self.run(&["status", "-o", "json"]);
        assert!(outcome.success(), "{outcome:?}");
        serde_json::from_str(&outcome.stdout).expect("status prints JSON")
    }

    /// The aws CLI, told of this mesh and of nothing else; what it printed. It must succeed.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let endpoint = self.topology["endpoint"].as_str().expect("the AWS endpoint");
        let aws = aws_clients().join("bin/aws");
        let mut command = Command::new(&aws);
        command.args(arguments).args(["--endpoint-url", endpoint, "--output", "json"]);
        client_environment(&mut command, aws.parent().unwrap_or(Path::new("/")));
        let outcome = run_limited(&mut command, AWS_LIMIT);
        assert!(outcome.success(), "{arguments:?}: {outcome:?}\n{}", self.log());
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    }

    /// Runs another `bowline` command on the same state directory.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        run_limited(
            Command::new(bowline()).args(arguments).arg("--state-dir").arg(&self.state_dir),
            Duration::from_secs(400),
        )
    }

    /// `kill -9` of `bowline up` alone; tasks live on. Gives the state
    /// directory's owner back so that it outlives this value.
    pub fn kill(mut self) -> (PathBuf, Option<tempfile::TempDir>) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.is_given_away = true;
        (self.state_dir.clone(), self.temporary.take())
    }

    /// Ctrl-C; waits for the end and gives the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        let killed = self.child.try_wait().ok().flatten().is_some_and(|status| status.signal() == Some(9));
        if killed {
            // An experiment has had it start again, as no child of this process.
            let down = self.run(&["down"]);
            return down.success().then_some(0);
        }
        interrupt(self.child.id());
        let child = &mut self.child;
        let status = eventually("`bowline up` ends after Ctrl-C", Duration::from_secs(120), || {
            child.try_wait().expect("it can be waited for")
        });
        status.code()
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && !std::thread::panicking() {
            self.end();
        } else if !self.is_given_away
            && matches!(self.child.try_wait(), Ok(Some(status)) if status.signal() == Some(9))
        {
            let _ = self.run(&["down"]);
        } else if matches!(self.child.try_wait(), Ok(None)) {
            interrupt(self.child.id());
            let deadline = Instant::now() + Duration::from_secs(60);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            eprintln!("log of `bowline up`:\n{}", self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A command that runs as `user` where one is given.
pub fn command_as(user: Option<u32>, program: &Path) -> Command {
    match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={user}"))
                .arg(format!("--regid={user}"))
                .args(["--clear-groups", "--inh-caps=-all", "--"])
                .arg(program);
            command
        }
    }
}

fn interrupt(pid: u32) {
    let _ = Command::new("kill").args(["-INT", &pid.to_string()]).status();
}

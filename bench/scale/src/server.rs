//! The `bowline server` that is measured: its process, its local API, its AWS endpoint.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bowline_aws::sigv4::{self, AmzDate, Credentials, Received, SecretKey, Signing};
use bowline_model::task::{ControlPlaneAddress, TaskId};
use bowline_plumbing::wall_clock;
use serde_json::{Value, json};

/// How long it may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a call may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// `sysconf(_SC_CLK_TCK)` of Linux on every architecture that Bowline runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server.
pub(crate) struct Server {
    binary: PathBuf,
    state: PathBuf,
    log: PathBuf,
    child: Child,
    endpoint: SocketAddr,
}

impl Server {
    /// Starts it on `directory`, and returns when it listens.
    pub(crate) fn start(binary: &Path, directory: &Path) -> anyhow::Result<Self> {
        let (state, log) = (directory.join("state"), directory.join("server.log"));
        let (child, endpoint) = launch(binary, &state, &log)?;
        Ok(Self { binary: binary.to_owned(), state, log, child, endpoint })
    }

    /// Kills it, and starts it anew on what it has left; returns when it listens.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        (self.child, self.endpoint) = launch(&self.binary, &self.state, &self.log)?;
        Ok(())
    }

    /// Processor time that it has used, all threads, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold anything; the fields after it are numbers.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat is not as it should be")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / TICKS_PER_SECOND))
    }

    /// Its resident memory now, and the most that it ever was, MiB.
    pub(crate) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib / 1024).with_context(|| format!("/proc/PID/status has no {name}"))
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// The end of what it said on its standard error.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A client of the AWS endpoint.
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        let stream = TcpStream::connect(self.endpoint)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Api { endpoint: self.endpoint, stream: BufReader::new(stream) })
    }

    /// A client of the local API.
    pub(crate) fn local(&self) -> anyhow::Result<Local> {
        let stream = UnixStream::connect(self.state.join("bowline.sock"))?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Local { stream: BufReader::new(stream) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(binary: &Path, state: &Path, log: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut child = Command::new(binary)
        .args(["server", "--launcher", "record", "--listen", "127.0.0.1:0", "--dns-listen", "off"])
        .args(["--output", "json", "--state-dir"])
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("{} cannot be started", binary.display()))?;
    let mut output = BufReader::new(child.stdout.take().context("it has a standard output")?);
    let began = Instant::now();
    while began.elapsed() < STARTS_WITHIN {
        let mut line = String::new();
        if output.read_line(&mut line)? == 0 {
            break;
        }
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(endpoint) = told["endpoint"].as_str() {
            let endpoint = endpoint.trim_start_matches("http://").parse()?;
            // What it says later is read, so that it never waits.
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            return Ok((child, endpoint));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("the server does not listen: see {}", log.display())
}

/// A client of the AWS endpoint, over one connection.
pub(crate) struct Api {
    endpoint: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Api {
    /// Calls an operation of ECS.
    pub(crate) fn ecs(&mut self, operation: &str, request: &Value) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(request)?;
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let host = self.endpoint.to_string();
        let headers: [(&str, &[u8]); 3] = [
            ("content-type", b"application/x-amz-json-1.1"),
            ("host", host.as_bytes()),
            ("x-amz-target", target.as_bytes()),
        ];
        let received = Received { method: "POST", path: "/", query: None, headers: &headers, body: &body };
        let credentials =
            Credentials { access_key_id: "test".into(), secret: SecretKey::new("test"), session_token: None };
        let at = AmzDate::from_secs(wall_clock::now().as_secs());
        let signing = Signing { region: "us-east-1", service: "ecs", at, unsigned_payload: false };
        let mut head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value)));
        }
        for (name, value) in sigv4::sign(&received, &credentials, &signing)? {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&body);
        self.stream.get_mut().write_all(&whole)?;
        let (status, answer) = self.read()?;
        if status != 200 {
            bail!("{operation}: {status} {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    fn read(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP answer")?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}

/// A client of the local API: JSON lines.
pub(crate) struct Local {
    stream: BufReader<UnixStream>,
}

/// What a sidecar is told when it starts.
pub(crate) struct Start {
    pub(crate) task: TaskId,
    pub(crate) control_plane: ControlPlaneAddress,
    pub(crate) token: String,
}

impl Local {
    /// What sidecars of these tasks are told.
    pub(crate) fn start(&mut self, tasks: &[TaskId]) -> anyhow::Result<Vec<Start>> {
        let answer = self.call(&json!({ "standIn": { "start": { "tasks": tasks } } }))?;
        let starts = answer["sidecarStarts"].as_array().context("no starts were answered")?;
        let read = |start: &Value| {
            Ok(Start {
                task: serde_json::from_value(start["task"].clone())?,
                control_plane: serde_json::from_value(start["controlPlane"].clone())?,
                token: start["token"].as_str().context("no token")?.to_owned(),
            })
        };
        starts.iter().map(read).collect()
    }

    /// Says where tasks' sidecars accept calls.
    pub(crate) fn listen(
        &mut self,
        sockets: &BTreeMap<TaskId, SocketAddr>,
        port: &str,
    ) -> anyhow::Result<()> {
        let of =
            |address: &SocketAddr| json!([{ "port_name": port, "container_port": 8080, "address": address }]);
        let sockets: BTreeMap<&str, Value> =
            sockets.iter().map(|(task, address)| (task.as_str(), of(address))).collect();
        self.call(&json!({ "standIn": { "listen": { "sockets": sockets } } }))?;
        Ok(())
    }

    fn call(&mut self, request: &Value) -> anyhow::Result<Value> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer).context("the server has closed its local API")?;
        match answer["error"]["message"].as_str() {
            Some(message) => bail!("{message}"),
            None => Ok(answer),
        }
    }
}

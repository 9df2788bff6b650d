//! Running real programs with a limit on their time.

use std::{
    ffi::OsStr,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a program did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; `None`: a signal, or it was ended for taking too long.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs `command` to its end, or for `limit` at most.
pub fn run_limited(command: &mut Command, limit: Duration) -> Outcome {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let reader = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // A broken pipe ends the output like its end does.
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(Box::new(child.stdout.take().expect("piped")));
    let stderr = reader(Box::new(child.stderr.take().expect("piped")));
    let deadline = Instant::now() + limit;
    let code = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status.code(),
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    Outcome {
        code,
        stdout: stdout.join().expect("the reader ends"),
        stderr: stderr.join().expect("the reader ends"),
    }
}

/// `curl` with these arguments, 20 s at most.
pub fn curl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Outcome {
    run_limited(
        Command::new("curl").args(["-sS", "--max-time", "15"]).args(arguments),
        Duration::from_secs(20),
    )
}

/// A port of 127.0.0.1 that was free a moment ago, by TCP and UDP.
pub fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        if std::net::UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

/// Calls `attempt` until it gives something, for `limit` at most.
pub fn eventually<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

//! A bounded load of GET requests by several curl processes, each keeping one
//! connection, with every answer looked at.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<String>>>,
    answered: Arc<AtomicU64>,
}

/// What a load saw.
#[derive(Clone, Debug)]
pub struct LoadResult {
    /// Requests answered 200.
    pub succeeded: u64,
    /// Everything else, a line each (the first hundred of each worker).
    pub failures: Vec<String>,
}

/// Requests that one curl process sends on its connection.
const BATCH: usize = 50;

impl Load {
    /// `connections` curl processes at a time ask for `url` until stopped, or
    /// for `limit` at most.
    pub fn start(ca: &str, url: &str, connections: usize, limit: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let deadline = Instant::now() + limit;
        let workers = (0..connections)
            .map(|_| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                let (ca, url) = (ca.to_owned(), url.to_owned());
                std::thread::spawn(move || {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
                        batch(&ca, &url, &answered, &mut failures);
                    }
                    failures
                })
            })
            .collect();
        Self { stop, workers, answered }
    }

    /// Requests answered 200 so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it and says what it saw.
    pub fn stop(self) -> LoadResult {
        self.stop.store(true, Ordering::Relaxed);
        let failures =
            self.workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect();
        LoadResult { succeeded: self.answered.load(Ordering::Relaxed), failures }
    }
}

fn batch(ca: &str, url: &str, answered: &AtomicU64, failures: &mut Vec<String>) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--cacert", ca, "-w", "%{http_code} %{errormsg}\\n"]);
    for _ in 0..BATCH {
        command.args(["-o", "/dev/null", url]);
    }
    let output = command.stdin(Stdio::null()).output().expect("curl runs");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if line.starts_with("200") {
            answered.fetch_add(1, Ordering::Relaxed);
        } else if failures.len() < 100 {
            failures.push(line.to_owned());
        }
    }
}

//! The access log: Service Connect's fields, one line an exchange, as JSON or in Envoy's text format.
//!
//! Who ends an exchange writes its line into a buffer of its thread's own; one thread writes the buffers out, many
//! lines in one call. What the buffers do not hold is dropped and counted.
//!
//! - `line` is what a line says, in both formats.
//! - `text` writes texts, numbers and times into a buffer, without allocating.

use std::{
    cell::Cell,
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use bowline_model::{clock::Timestamp, trace::TraceId};
use http::{HeaderValue, Method, Uri, Version};

use crate::{
    metrics::{Direction, Flag, Metrics},
    refusal::Refusal,
    tls::verify::ExpectedServers,
};

mod line;
mod text;

pub(crate) use line::Lines;

/// How many buffers there are: more threads than that share them.
const BUFFERS: usize = 8;

/// Bytes of lines that may wait in a buffer.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// A buffer that has grown beyond this is given back once it is written.
const BUFFER_BYTES_KEPT: usize = 128 * 1024;

/// How long lines are let come together before they are written. While it lasts, who adds one wakes nobody.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the end of a proxy waits for its lines, where they cannot be written.
const FLUSHING_MAX: Duration = Duration::from_secs(1);

/// The longest that the writing thread sleeps with nothing to do: then it looks whether it is still needed.
const IDLE: Duration = Duration::from_secs(60);

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Envoy's default format string, with what else is known behind it.
    Text,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output, with the application's own lines as on AWS.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// The end that the request's path holds.
#[derive(Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Buffers>,
    writer: Thread,
    metrics: Arc<Metrics>,
}

/// What is logged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogLine<'a> {
    Http(&'a HttpEntry),
    Tcp(&'a TcpEntry),
}

/// Lines that wait to be written.
#[derive(Debug)]
struct Buffers {
    all: [Mutex<Buffer>; BUFFERS],
    /// The writing thread sleeps until it is woken.
    is_idle: AtomicBool,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

#[derive(Debug)]
struct Buffer {
    lines: Lines,
    bytes: Vec<u8>,
}

/// How often it was asked that all be written, and how many of those times it is.
#[derive(Debug, Default)]
struct Flushes {
    asked: u64,
    done: u64,
}

#[derive(Debug)]
pub(crate) struct HttpEntry {
    pub(crate) start: Timestamp,
    pub(crate) direction: Direction,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) authority: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) forwarded_for: Option<HeaderValue>,
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) duration_ms: u64,
    pub(crate) upstream_time_ms: Option<u64>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) discovery_name: Option<Arc<str>>,
    pub(crate) is_grpc: bool,
    pub(crate) grpc_status: Option<HeaderValue>,
    /// Of the trace that it is part of, sampled or not.
    pub(crate) trace_id: Option<TraceId>,
    /// Who called, as the hop proved it: a SPIFFE id.
    pub(crate) downstream_identity: Option<HeaderValue>,
    /// Who the other proxy had to be.
    pub(crate) upstream_identity: Option<ExpectedServers>,
}

#[derive(Debug)]
pub(crate) struct TcpEntry {
    pub(crate) start: Timestamp,
    pub(crate) direction: Direction,
    pub(crate) peer: SocketAddr,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) duration_ms: u64,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) discovery_name: Option<Arc<str>>,
    pub(crate) termination: &'static str,
    pub(crate) flag: Flag,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) connection_id: u64,
    pub(crate) downstream_identity: Option<HeaderValue>,
    pub(crate) upstream_identity: Option<ExpectedServers>,
}

impl AccessLog {
    /// Opens the log and starts its thread. `query` includes query parameters
    /// (AWS's `includeQueryParameters`, off by default).
    pub(crate) fn start(
        target: &AccessLogTarget,
        format: AccessLogFormat,
        query: bool,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match target {
            AccessLogTarget::Stdout => Box::new(io::stdout()),
            AccessLogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        Self::write_to(out, format, query, metrics)
    }

    fn write_to(
        out: Box<dyn Write + Send>,
        format: AccessLogFormat,
        query: bool,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let buffer = || Mutex::new(Buffer { lines: Lines::new(format, query), bytes: Vec::new() });
        let shared = Arc::new(Buffers {
            all: std::array::from_fn(|_| buffer()),
            is_idle: AtomicBool::new(false),
            flushes: Mutex::default(),
            flushed: Condvar::new(),
        });
        let written = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_buffers(&written, out))?;
        Ok(Self { shared, writer: thread.thread().clone(), metrics: Arc::clone(metrics) })
    }

    /// Adds a line; never waits for the file.
    pub(crate) fn write(&self, line: LogLine<'_>) {
        let mut buffer = lock(&self.shared.all[buffer_of_thread()]);
        let Buffer { lines, bytes } = &mut *buffer;
        if bytes.len() >= BUFFER_BYTES_MAX {
            self.metrics.access_log_dropped.increment();
            return;
        }
        lines.write(bytes, line);
        drop(buffer);
        if self.shared.is_idle.load(Ordering::Relaxed) && self.shared.is_idle.swap(false, Ordering::AcqRel) {
            self.writer.unpark();
        }
    }

    /// Returns when what was added before is written, or after [`FLUSHING_MAX`]: before the process ends.
    pub(crate) fn flush(&self) {
        let mut flushes = lock(&self.shared.flushes);
        flushes.asked += 1;
        let wanted = flushes.asked;
        self.writer.unpark();
        let _ =
            self.shared.flushed.wait_timeout_while(flushes, FLUSHING_MAX, |flushes| flushes.done < wanted);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which buffer this thread writes into.
fn buffer_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % BUFFERS;
        OWN.set(Some(own));
        own
    })
}

fn write_buffers(shared: &Arc<Buffers>, mut out: impl Write) {
    let mut taken = Vec::new();
    loop {
        let asked = lock(&shared.flushes).asked;
        let mut wrote = false;
        for buffer in &shared.all {
            std::mem::swap(&mut lock(buffer).bytes, &mut taken);
            wrote |= !taken.is_empty();
            write_out(&mut out, &mut taken);
        }
        let is_asked_again = {
            let mut flushes = lock(&shared.flushes);
            flushes.done = asked;
            shared.flushed.notify_all();
            flushes.asked != asked
        };
        if is_asked_again {
            continue;
        }
        if wrote {
            std::thread::park_timeout(GATHERING);
            continue;
        }
        // Nobody is left who could add a line.
        if Arc::strong_count(shared) == 1 {
            return;
        }
        shared.is_idle.store(true, Ordering::SeqCst);
        // A line that was added before that woke nobody; one that is added later does.
        if shared.all.iter().all(|buffer| lock(buffer).bytes.is_empty()) {
            std::thread::park_timeout(IDLE);
        }
        shared.is_idle.store(false, Ordering::SeqCst);
    }
}

/// A full disk must not stop the traffic.
fn write_out(out: &mut impl Write, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    if bytes.capacity() > BUFFER_BYTES_KEPT {
        *bytes = Vec::new();
    } else {
        bytes.clear();
    }
}

#[cfg(test)]
mod tests;

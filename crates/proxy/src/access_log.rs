//! The access log: Service Connect's fields, one line an exchange, as JSON or in Envoy's text format.
//!
//! The request's path only hands a record over; a thread formats and writes, many lines in one call.
//! What does not fit into the channel is dropped and counted.
//!
//! - `line` is what a line says, in both formats.
//! - `text` writes texts, numbers and times into a buffer, without allocating.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
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

use line::Lines;

/// Records that may wait to be written.
const QUEUE_MAX: usize = 8_192;

/// Bytes from which on lines are written, even while there are more to come.
const WRITTEN_BYTES: usize = 64 * 1024;

/// How long lines are let come together before they are written. While it lasts, who hands one over wakes nobody.
const GATHERING: Duration = Duration::from_millis(2);

/// How long the end of a proxy waits for its lines, where they cannot be written.
const FLUSHING_MAX: Duration = Duration::from_secs(1);

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
    sender: SyncSender<LogLine>,
    metrics: Arc<Metrics>,
}

/// What is logged.
#[derive(Debug)]
pub(crate) enum LogLine {
    Http(Box<HttpEntry>),
    Tcp(Box<TcpEntry>),
    /// No line: tells when all before it are written.
    Flush(SyncSender<()>),
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
        let writer: Box<dyn Write + Send> = match target {
            AccessLogTarget::Stdout => Box::new(io::stdout()),
            AccessLogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&receiver, writer, Lines::new(format, query)))?;
        Ok(Self { sender, metrics: Arc::clone(metrics) })
    }

    /// Hands a record over; never waits.
    pub(crate) fn write(&self, line: LogLine) {
        if self.sender.try_send(line).is_err() {
            self.metrics.access_log_dropped.increment();
        }
    }
}

impl AccessLog {
    /// Returns when what was handed over is written, or after [`FLUSHING_MAX`]: before the process ends.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        // A full queue is being written: there is place soon.
        let began = Instant::now();
        let mut flush = LogLine::Flush(done);
        while let Err(TrySendError::Full(again)) = self.sender.try_send(flush) {
            if began.elapsed() >= FLUSHING_MAX {
                return;
            }
            flush = again;
            std::thread::sleep(GATHERING);
        }
        let _ = written.recv_timeout(FLUSHING_MAX.saturating_sub(began.elapsed()));
    }
}

fn write_lines(receiver: &Receiver<LogLine>, mut out: impl Write, mut lines: Lines) {
    let mut buffer = Vec::with_capacity(WRITTEN_BYTES + 4_096);
    loop {
        let mut next = match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while let Some(line) = next {
            if let LogLine::Flush(done) = &line {
                write_out(&mut out, &mut buffer);
                let _ = done.try_send(());
            } else {
                lines.write(&mut buffer, &line);
            }
            if buffer.len() >= WRITTEN_BYTES {
                write_out(&mut out, &mut buffer);
            }
            next = receiver.try_recv().ok();
        }
        write_out(&mut out, &mut buffer);
        std::thread::sleep(GATHERING);
    }
}

/// A full disk must not stop the traffic.
fn write_out(out: &mut impl Write, buffer: &mut Vec<u8>) {
    let _ = out.write_all(buffer).and_then(|()| out.flush());
    buffer.clear();
}

#[cfg(test)]
mod tests;

//! The access log: Service Connect's fields as JSON, one line an exchange.
//!
//! The request's path only hands a record over; a thread formats and writes.
//! What does not fit into the channel is dropped and counted.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use bowline_model::{clock::Timestamp, trace::TraceId};
use http::{HeaderValue, Method, Uri, Version};
use serde_json::{Map, Value, json};

use crate::{
    metrics::{Direction, Flag, Metrics},
    refusal::Refusal,
};

/// Records that may wait to be written.
const QUEUE_MAX: usize = 8_192;

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
}

impl AccessLog {
    /// Opens the log and starts its thread. `query` includes query parameters
    /// (AWS's `includeQueryParameters`, off by default).
    pub(crate) fn start(target: &AccessLogTarget, query: bool, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let writer: Box<dyn Write + Send> = match target {
            AccessLogTarget::Stdout => Box::new(io::stdout()),
            AccessLogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(receiver, BufWriter::with_capacity(64 * 1024, writer), query))?;
        Ok(Self { sender, metrics: Arc::clone(metrics) })
    }

    /// Hands a record over; never waits.
    pub(crate) fn write(&self, line: LogLine) {
        if self.sender.try_send(line).is_err() {
            self.metrics.access_log_dropped.increment();
        }
    }
}

fn write_lines(receiver: Receiver<LogLine>, mut out: impl Write, query: bool) {
    loop {
        let mut next = match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // As many as are there go out in one write.
        while let Some(line) = next {
            let value = match line {
                LogLine::Http(entry) => http_line(&entry, query),
                LogLine::Tcp(entry) => tcp_line(&entry),
            };
            // A full disk must not stop the traffic.
            let _ = serde_json::to_writer(&mut out, &value).map(|()| out.write_all(b"\n"));
            next = receiver.try_recv().ok();
        }
        let _ = out.flush();
    }
}

fn text(value: &Option<HeaderValue>) -> Value {
    match value {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into(),
        None => "-".into(),
    }
}

fn http_line(entry: &HttpEntry, query: bool) -> Value {
    let path = match query {
        true => entry.uri.path_and_query().map_or("/", |path| path.as_str()),
        false => entry.uri.path(),
    };
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
    put("start_time", entry.start.to_string().into());
    put("method", entry.method.as_str().into());
    put("path", path.into());
    put("protocol", format!("{:?}", entry.version).into());
    put("response_code", entry.status.into());
    put("response_flags", entry.flag.as_str().into());
    put("bytes_received", entry.bytes_received.into());
    put("bytes_sent", entry.bytes_sent.into());
    // Service Connect names it differently for HTTP/1 and HTTP/2.
    let duration = if entry.version == Version::HTTP_2 { "duration" } else { "duration_ms" };
    put(duration, entry.duration_ms.into());
    put("upstream_service_time", entry.upstream_time_ms.map_or("-".into(), Value::from));
    put("forwarded_for", text(&entry.forwarded_for));
    put("user_agent", text(&entry.user_agent));
    put("request_id", text(&entry.request_id));
    if let Some(trace) = entry.trace_id {
        put("trace_id", trace.to_string().into());
    }
    let authority = match entry.uri.authority() {
        Some(authority) => authority.as_str().into(),
        None => text(&entry.authority),
    };
    put("authority", authority);
    put("upstream_host", entry.upstream.map_or("-".into(), |address| address.to_string().into()));
    if entry.is_grpc {
        put("grpc_status", text(&entry.grpc_status));
    }
    if let Some(refusal) = entry.refusal {
        put("identity_refused", refusal.text().into());
    }
    put("direction", entry.direction.as_str().into());
    put("discovery_name", entry.discovery_name.as_deref().map_or("-".into(), Value::from));
    Value::Object(line)
}

fn tcp_line(entry: &TcpEntry) -> Value {
    let mut line = json!({
        "start_time": entry.start.to_string(),
        "downstream_remote_address": entry.peer.ip().to_string(),
        "downstream_remote_port": entry.peer.port(),
        "bytes_received": entry.bytes_received,
        "bytes_sent": entry.bytes_sent,
        "duration": entry.duration_ms,
        "connection_termination_details": entry.termination,
        "response_flags": entry.flag.as_str(),
        "connection_id": entry.connection_id,
        "upstream_host": entry.upstream.map_or("-".to_owned(), |address| address.to_string()),
        "direction": entry.direction.as_str(),
        "discovery_name": entry.discovery_name.as_deref().unwrap_or("-"),
    });
    if let Some(refusal) = entry.refusal {
        line["identity_refused"] = refusal.text().into();
    }
    line
}

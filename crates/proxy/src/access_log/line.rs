//! What a line says.
//!
//! Source: Amazon ECS developer guide, "Access logs for Service Connect", and Envoy's default format string. What AWS
//! has no field for stands behind: where the call goes, by which discovery name, whose identities.

use bowline_model::identity::SpiffeId;
use http::{HeaderValue, Version};

use super::{
    AccessLogFormat, HttpEntry, LogLine, TcpEntry,
    text::{self, Times},
};
use crate::{metrics::Flag, refusal::Refusal, tls::verify::ExpectedServers};

/// Writes lines.
#[derive(Debug)]
pub(crate) struct Lines {
    format: AccessLogFormat,
    /// Query parameters are written.
    query: bool,
    times: Times,
}

fn header(value: &Option<HeaderValue>) -> &[u8] {
    value.as_ref().map_or(b"-", HeaderValue::as_bytes)
}

/// Who the other proxy had to be, where that is one.
fn only(expected: &Option<ExpectedServers>) -> Option<&SpiffeId> {
    let ids = &expected.as_ref()?.0;
    let mut ids = ids.iter();
    ids.next().filter(|_| ids.next().is_none())
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_2 => b"HTTP/2",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_3 => b"HTTP/3",
        _ => b"HTTP/1.1",
    }
}

fn authority(entry: &HttpEntry) -> &[u8] {
    match entry.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => header(&entry.authority),
    }
}

/// An object's members, each with a comma before it but the first.
struct Members<'a>(&'a mut Vec<u8>);

impl Members<'_> {
    /// A name, which needs no escaping, and what follows it.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        let out = &mut *self.0;
        out.extend_from_slice(if out.last() == Some(&b'{') { b"\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out
    }

    fn text(&mut self, name: &str, value: &[u8]) {
        text::quoted(self.name(name), value);
    }

    /// A text that needs no escaping.
    fn word(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    fn number(&mut self, name: &str, value: u64) {
        text::number(self.name(name), value);
    }

    fn identities(&mut self, down: &Option<HeaderValue>, up: &Option<ExpectedServers>) {
        if let Some(id) = down {
            self.text("downstream_identity", id.as_bytes());
        }
        if let Some(id) = only(up) {
            self.text("upstream_identity", id.as_str().as_bytes());
        }
    }

    fn upstream(&mut self, address: Option<std::net::SocketAddr>) {
        let out = self.name("upstream_host");
        out.push(b'"');
        match address {
            Some(address) => text::address(out, address),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }

    fn refusal(&mut self, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            self.text("identity_refused", refusal.text().as_bytes());
        }
    }
}

impl Lines {
    pub(crate) fn new(format: AccessLogFormat, query: bool) -> Self {
        Self { format, query, times: Times::default() }
    }

    /// Writes a line with its end.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, line: LogLine<'_>) {
        match (self.format, line) {
            (AccessLogFormat::Json, LogLine::Http(entry)) => self.http_json(out, entry),
            (AccessLogFormat::Json, LogLine::Tcp(entry)) => self.tcp_json(out, entry),
            (AccessLogFormat::Text, LogLine::Http(entry)) => self.http_text(out, entry),
            (AccessLogFormat::Text, LogLine::Tcp(entry)) => self.tcp_text(out, entry),
        }
        out.push(b'\n');
    }

    fn path<'a>(&self, entry: &'a HttpEntry) -> &'a str {
        match self.query {
            true => entry.uri.path_and_query().map_or("/", |path| path.as_str()),
            false => entry.uri.path(),
        }
    }

    fn start(&mut self, out: &mut Vec<u8>, at: bowline_model::clock::Timestamp) {
        out.extend_from_slice(b"{\"start_time\":\"");
        self.times.write(out, at);
        out.push(b'"');
    }

    fn http_json(&mut self, out: &mut Vec<u8>, entry: &HttpEntry) {
        self.start(out, entry.start);
        let path = self.path(entry);
        let mut members = Members(out);
        members.text("method", entry.method.as_str().as_bytes());
        members.text("path", path.as_bytes());
        members.text("protocol", protocol(entry.version));
        members.number("response_code", u64::from(entry.status));
        members.word("response_flags", entry.flag.as_str());
        members.number("bytes_received", entry.bytes_received);
        members.number("bytes_sent", entry.bytes_sent);
        // Service Connect names it differently for HTTP/1 and HTTP/2.
        let duration = if entry.version == Version::HTTP_2 { "duration" } else { "duration_ms" };
        members.number(duration, entry.duration_ms);
        match entry.upstream_time_ms {
            Some(time) => members.number("upstream_service_time", time),
            None => members.word("upstream_service_time", "-"),
        }
        members.text("forwarded_for", header(&entry.forwarded_for));
        members.text("user_agent", header(&entry.user_agent));
        members.text("request_id", header(&entry.request_id));
        members.text("authority", authority(entry));
        members.upstream(entry.upstream);
        if entry.is_grpc {
            members.text("grpc_status", header(&entry.grpc_status));
        }
        members.refusal(entry.refusal);
        members.word("direction", entry.direction.as_str());
        members.text("discovery_name", entry.discovery_name.as_deref().unwrap_or("-").as_bytes());
        members.identities(&entry.downstream_identity, &entry.upstream_identity);
        if let Some(id) = entry.trace_id {
            let out = members.name("trace_id");
            out.push(b'"');
            text::trace_id(out, id);
            out.push(b'"');
        }
        out.push(b'}');
    }

    fn tcp_json(&mut self, out: &mut Vec<u8>, entry: &TcpEntry) {
        self.start(out, entry.start);
        let mut members = Members(out);
        let peer = members.name("downstream_remote_address");
        peer.push(b'"');
        text::ip(peer, entry.peer.ip());
        peer.push(b'"');
        members.number("downstream_remote_port", u64::from(entry.peer.port()));
        members.number("bytes_received", entry.bytes_received);
        members.number("bytes_sent", entry.bytes_sent);
        members.number("duration", entry.duration_ms);
        members.text("connection_termination_details", entry.termination.as_bytes());
        members.word("response_flags", entry.flag.as_str());
        members.number("connection_id", entry.connection_id);
        members.upstream(entry.upstream);
        members.refusal(entry.refusal);
        members.word("direction", entry.direction.as_str());
        members.text("discovery_name", entry.discovery_name.as_deref().unwrap_or("-").as_bytes());
        members.identities(&entry.downstream_identity, &entry.upstream_identity);
        out.push(b'}');
    }

    /// `[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED%
    /// %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"
    /// "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`
    fn http_text(&mut self, out: &mut Vec<u8>, entry: &HttpEntry) {
        out.push(b'[');
        self.times.write(out, entry.start);
        out.extend_from_slice(b"] ");
        out.push(b'"');
        text::escaped(out, entry.method.as_str().as_bytes());
        out.push(b' ');
        text::escaped(out, self.path(entry).as_bytes());
        out.push(b' ');
        out.extend_from_slice(protocol(entry.version));
        out.extend_from_slice(b"\" ");
        counts(
            out,
            &[u64::from(entry.status)],
            entry.flag,
            &[entry.bytes_received, entry.bytes_sent, entry.duration_ms],
        );
        match entry.upstream_time_ms {
            Some(time) => text::number(out, time),
            None => out.push(b'-'),
        }
        for value in [&entry.forwarded_for, &entry.user_agent, &entry.request_id] {
            out.push(b' ');
            text::quoted(out, header(value));
        }
        out.push(b' ');
        text::quoted(out, authority(entry));
        upstream_text(out, entry.upstream);
        if entry.is_grpc {
            named(out, "grpc_status", header(&entry.grpc_status));
        }
        self.rest(
            out,
            entry.refusal,
            entry.direction.as_str(),
            entry.discovery_name.as_deref(),
            &entry.downstream_identity,
            &entry.upstream_identity,
        );
        if let Some(id) = entry.trace_id {
            out.extend_from_slice(b" trace_id=");
            text::trace_id(out, id);
        }
    }

    fn tcp_text(&mut self, out: &mut Vec<u8>, entry: &TcpEntry) {
        out.push(b'[');
        self.times.write(out, entry.start);
        out.extend_from_slice(b"] \"- - -\" ");
        counts(out, &[0], entry.flag, &[entry.bytes_received, entry.bytes_sent, entry.duration_ms]);
        out.extend_from_slice(b"- \"-\" \"-\" \"-\" \"-\"");
        upstream_text(out, entry.upstream);
        out.extend_from_slice(b" downstream=");
        text::address(out, entry.peer);
        if entry.termination != "-" {
            named(out, "termination", entry.termination.as_bytes());
        }
        self.rest(
            out,
            entry.refusal,
            entry.direction.as_str(),
            entry.discovery_name.as_deref(),
            &entry.downstream_identity,
            &entry.upstream_identity,
        );
    }

    /// What Envoy's string does not have: `name=value`, behind it.
    fn rest(
        &self,
        out: &mut Vec<u8>,
        refusal: Option<Refusal>,
        direction: &str,
        discovery_name: Option<&str>,
        down: &Option<HeaderValue>,
        up: &Option<ExpectedServers>,
    ) {
        if let Some(refusal) = refusal {
            named(out, "identity_refused", refusal.text().as_bytes());
        }
        out.extend_from_slice(b" direction=");
        out.extend_from_slice(direction.as_bytes());
        if let Some(name) = discovery_name {
            named(out, "discovery_name", name.as_bytes());
        }
        if let Some(id) = down {
            named(out, "downstream_identity", id.as_bytes());
        }
        if let Some(id) = only(up) {
            named(out, "upstream_identity", id.as_str().as_bytes());
        }
    }
}

fn counts(out: &mut Vec<u8>, before: &[u64], of: Flag, after: &[u64]) {
    for number in before {
        text::number(out, *number);
        out.push(b' ');
    }
    out.extend_from_slice(of.as_str().as_bytes());
    out.push(b' ');
    for number in after {
        text::number(out, *number);
        out.push(b' ');
    }
}

fn upstream_text(out: &mut Vec<u8>, address: Option<std::net::SocketAddr>) {
    out.extend_from_slice(b" \"");
    match address {
        Some(address) => text::address(out, address),
        None => out.push(b'-'),
    }
    out.push(b'"');
}

fn named(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    text::quoted(out, value);
}

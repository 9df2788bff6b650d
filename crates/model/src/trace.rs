//! Spans of distributed traces, as proxies make them.
//!
//! Source: W3C Trace Context (the ids), OpenTelemetry (spans, their kinds and events), AWS X-Ray (how its ids are written).

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Most events that a span has; later ones are counted.
pub const EVENTS_MAX: usize = 32;

/// Longest text of a span, in bytes: a path, an authority, an event's attribute. More is cut off where it is made.
pub const TEXT_MAX: usize = 1_024;

/// Most attributes that an event has.
pub const ATTRIBUTES_MAX: usize = 8;

/// Most spans that a batch has.
pub const BATCH_MAX: usize = 256;

/// Which trace: 16 bytes that are not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId([u8; 16]);

/// Which span of a trace: 8 bytes that are not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $length:literal) => {
        impl $name {
            /// `None` if all bytes are zero, which stands for no id.
            pub fn new(bytes: [u8; $length]) -> Option<Self> {
                (bytes != [0; $length]).then_some(Self(bytes))
            }

            /// As it stands in messages.
            pub fn bytes(&self) -> [u8; $length] {
                self.0
            }

            /// Reads hexadecimal digits, of either case, as many as the id has.
            pub fn parse(digits: &[u8]) -> Option<Self> {
                if digits.len() != 2 * $length {
                    return None;
                }
                let mut bytes = [0; $length];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let digit =
                        |at: u8| char::from(at).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Self::new(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }
    };
}

id!(TraceId, 16);
id!(SpanId, 8);

impl TraceId {
    /// As X-Ray writes it: `1-58406520-a006649127e371903a2de979`.
    pub fn x_ray(&self) -> String {
        let digits = self.to_string();
        format!("1-{}-{}", &digits[..8], &digits[8..])
    }

    /// Reads what [`x_ray`](Self::x_ray) writes.
    pub fn parse_x_ray(text: &str) -> Option<Self> {
        let (seconds, rest) = text.strip_prefix("1-")?.split_once('-')?;
        (seconds.len() == 8 && rest.len() == 24)
            .then(|| Self::parse(format!("{seconds}{rest}").as_bytes()))?
    }
}

/// Which side of a call a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SpanKind {
    /// The called service's sidecar: from the request's coming in to the response's end.
    Server,
    /// The caller's sidecar, or a gateway.
    Client,
}

/// What carried a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SpanProtocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 without gRPC.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes: a span is a connection.
    Tcp,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// Microseconds since the span's start.
    pub after_us: u64,
    /// What: `queue`, `connect`, `tls.handshake`, `retry`, `ejection`, `fault`, …
    pub name: String,
    /// What is known of it, as how long it took (`duration_us`) and where (`endpoint`).
    pub attributes: Vec<(String, String)>,
}

/// One proxy's part of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Of which trace.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that it is part of; none if the trace begins here.
    pub parent: Option<SpanId>,
    /// Which side of the call.
    pub kind: SpanKind,
    /// Microseconds since 1970.
    pub start_us: u64,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// What carried it.
    pub protocol: SpanProtocol,
    /// The called service's discovery name; empty where the request matched none.
    pub discovery_name: String,
    /// SPIFFE id of the other side; empty where it proved none.
    pub peer: String,
    /// As in the request; empty for TCP.
    pub method: String,
    /// Without the query; empty for TCP.
    pub path: String,
    /// The request's authority.
    pub authority: String,
    /// 0 where there was no response, and for TCP.
    pub status: u16,
    /// gRPC's, where it is gRPC and ended with one.
    pub grpc_status: Option<u32>,
    /// The access log's response flags; `-` for none.
    pub flags: String,
    /// Bytes of the request's body, or what came from downstream.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// Where it was sent to.
    pub upstream: Option<SocketAddr>,
    /// In the order in which they happened.
    pub events: Vec<SpanEvent>,
    /// Events beyond [`EVENTS_MAX`].
    pub events_dropped: u32,
}

impl Span {
    /// Whether the call failed: no response, 5xx, or gRPC's status of a server's fault.
    pub fn is_fault(&self) -> bool {
        match (self.protocol, self.grpc_status) {
            (SpanProtocol::Tcp, _) => self.flags != "-",
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS (OpenTelemetry's gRPC convention).
            (SpanProtocol::Grpc, Some(status)) => matches!(status, 2 | 4 | 12..=15),
            _ => self.status == 0 || self.status >= 500,
        }
    }

    /// When it ended, to the millisecond.
    pub fn ended(&self) -> Timestamp {
        Timestamp::from_millis(self.start_us.saturating_add(self.duration_us) / 1_000)
    }
}

/// Whose span it is: known of the certificate that it was told with, never of the span.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpanOrigin {
    /// The cluster's name.
    pub cluster: String,
    /// The ECS service's, or `family:FAMILY` of a standalone task, or the gateway's name.
    pub service: String,
    /// The task's id.
    pub task: String,
    /// Whether it is a gateway.
    pub is_gateway: bool,
}

/// Takes spans in.
pub trait SpanWriter: Send + Sync {
    /// Keeps these spans. What there is no room for is dropped and counted: this neither fails nor waits.
    fn put(&self, origin: &SpanOrigin, spans: Vec<Span>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let trace = TraceId::parse(b"58406520a006649127e371903a2de979").expect("an id");
        assert_eq!(trace.to_string(), "58406520a006649127e371903a2de979");
        assert_eq!(trace.x_ray(), "1-58406520-a006649127e371903a2de979");
        assert_eq!(TraceId::parse_x_ray(&trace.x_ray()), Some(trace));
        for text in [
            "",
            "1-58406520-a006649127e371903a2de97",
            "1-5840652-0a006649127e371903a2de979",
            "1-é8406520-a006649127e371903a2de979",
        ] {
            assert_eq!(TraceId::parse_x_ray(text), None, "{text}");
        }
        assert_eq!(SpanId::parse(b"0000000000000000"), None, "no id");
        assert_eq!(SpanId::parse(b"53995c3f42cd8ad8").map(|id| id.bytes()[0]), Some(0x53));
    }
}

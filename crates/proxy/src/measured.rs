//! Entries for counting instructions: what each request passes and is not public otherwise.
//! No part of its interface.

use std::{io, sync::Arc, time::Duration};

use bowline_model::clock::Timestamp;
use http::{HeaderValue, Method, Uri, Version};
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection, SideData};
use rustls_pki_types::ServerName;

use crate::{
    access_log::{AccessLogFormat, HttpEntry, Lines, LogLine},
    framing::Framing,
    metrics::{
        Direction, Flag,
        series::{Ended, Security, Series, SeriesKey, SeriesTable, Side},
    },
    tls::{
        self, ALPN_H2, Clock, TlsError,
        staged::Shown,
        trust::{Roots, TrustStore},
        verify::{ExpectedServers, peer_identity},
    },
};

/// What a client sends, as the guard before the HTTP/1.1 parser follows it; whether it may be read.
pub fn framing(bytes: &[u8]) -> bool {
    Framing::new().follow(bytes).is_ok()
}

/// The access log's writer, with the entry of a request.
#[derive(Debug)]
pub struct AccessLine {
    lines: Lines,
    entry: HttpEntry,
}

impl AccessLine {
    /// In JSON, of a request that went well.
    pub fn new() -> Self {
        let entry = HttpEntry {
            start: Timestamp::from_millis(1_795_234_068_007),
            direction: Direction::Outbound,
            method: Method::GET,
            uri: Uri::from_static("/v1/things/4711?of=mine"),
            version: Version::HTTP_11,
            authority: Some(HeaderValue::from_static("service-b-sc:8202")),
            user_agent: Some(HeaderValue::from_static("python-httpx/0.27.0")),
            request_id: Some(HeaderValue::from_static("4f0f9c0e-8a3c-4d5b-9a57-1f6f0a2b3c4d")),
            forwarded_for: None,
            status: 200,
            flag: Flag::None,
            refusal: None,
            bytes_received: 0,
            bytes_sent: 1_024,
            duration_ms: 19,
            upstream_time_ms: Some(7),
            upstream: Some(([10, 0, 0, 1], 40_001).into()),
            discovery_name: Some("service-b".into()),
            is_grpc: false,
            grpc_status: None,
            trace_id: None,
            downstream_identity: None,
            upstream_identity: None,
        };
        Self { lines: Lines::new(AccessLogFormat::Json, false), entry }
    }

    /// Writes it, so many milliseconds after the first.
    pub fn write(&mut self, milliseconds: u64, out: &mut Vec<u8>) {
        self.entry.start = Timestamp::from_millis(1_795_234_068_007 + milliseconds);
        self.lines.write(out, LogLine::Http(&self.entry));
    }
}

impl Default for AccessLine {
    fn default() -> Self {
        Self::new()
    }
}

/// A row of metrics.
#[derive(Debug)]
pub struct MetricRow(Arc<Series>);

impl MetricRow {
    /// Of a called service.
    pub fn new() -> Self {
        Self(SeriesTable::default().of(SeriesKey {
            side: Side::Outbound,
            discovery_name: "service-b".into(),
            cluster: "service-b".into(),
            peer: "spiffe://example/ns/n/cluster/c/svc/b".into(),
            security: Security::MutualTls,
        }))
    }

    /// A request ended, whose response began after so many microseconds.
    pub fn add(&self, micros: u64) {
        self.0.ended(&Ended {
            status: 200,
            flag: Flag::None,
            is_grpc: false,
            bytes_received: 0,
            bytes_sent: 1_024,
            response_time: Some(Duration::from_micros(micros)),
            trace: None,
        });
    }
}

impl Default for MetricRow {
    fn default() -> Self {
        Self::new()
    }
}

/// What two sidecars make their handshakes with.
#[derive(Debug)]
pub struct Handshakes {
    calling: Arc<ClientConfig>,
    called: Arc<ServerConfig>,
    /// What one side has written and the other has not read.
    bytes: Vec<u8>,
}

impl Handshakes {
    /// Of sidecars that show these certificates and have these keys, for all of which the same roots vouch. In PEM.
    ///
    /// # Errors
    /// Any of it cannot be used.
    pub fn new(roots: &str, calling: [&str; 2], called: [&str; 2]) -> Result<Self, TlsError> {
        let key = |[chain, key]: [&str; 2]| tls::certified_key_from_pem(chain.as_bytes(), key.as_bytes());
        let (calling, called) = (key(calling)?, key(called)?);
        let server =
            peer_identity(&called.cert[0]).map_err(|fault| TlsError::Identity(fault.to_string()))?.id;
        let roots = [(server.trust_domain().to_owned(), Arc::new(Roots::from_pem(roots)?))].into();
        let trust = Arc::new(TrustStore { roots, ..TrustStore::default() });
        let servers = ExpectedServers::new([server]);
        Ok(Self {
            calling: tls::hop_config(Some(&Shown::own(&calling)), &trust, servers, ALPN_H2, Clock::Process)?,
            called: tls::inbound_config(&Shown::own(&called), Some(&trust), &[ALPN_H2])?,
            bytes: Vec::new(),
        })
    }

    /// Makes one, both sides of it.
    ///
    /// # Errors
    /// One side refuses the other.
    pub fn make(&mut self) -> io::Result<()> {
        let name = ServerName::from(std::net::IpAddr::from([10, 0, 0, 1]));
        let mut calling = ClientConnection::new(Arc::clone(&self.calling), name).map_err(io::Error::other)?;
        let mut called = ServerConnection::new(Arc::clone(&self.called)).map_err(io::Error::other)?;
        while calling.is_handshaking() || called.is_handshaking() {
            carry(&mut calling, &mut called, &mut self.bytes)?;
            carry(&mut called, &mut calling, &mut self.bytes)?;
        }
        Ok(())
    }
}

/// Carries what one side has to say to the other.
fn carry<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    bytes.clear();
    while from.wants_write() {
        from.write_tls(bytes)?;
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest)?;
        to.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

//! One request and its response, as metrics and the access log see it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use crate::{
    access_log::{HttpEntry, LogLine},
    caller::Caller,
    config::{Cluster, Upstream},
    connections::Held,
    deadline::{self, Deadline},
    health::Busy,
    load::Counted,
    metrics::{
        Direction, Flag,
        series::{Ended, Series},
    },
    refusal::Refusal,
    shared::Shared,
    tap::{End, Watched},
    trace::{self, EndedSpan, Timeline, Traced, span},
    worker::Worker,
};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a span says of a request that no log has noted.
#[derive(Debug)]
struct RequestLine {
    method: Method,
    uri: Uri,
    version: Version,
    authority: Option<HeaderValue>,
}

/// Ends, wherever it is dropped, with counters and a line of the access log.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    direction: Direction,
    started: Instant,
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    /// Whose identity was refused, where that is why it failed.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) upstream: Option<SocketAddr>,
    upstream_time: Option<Duration>,
    /// The row that it is counted in.
    series: Option<Arc<Series>>,
    pub(crate) discovery_name: Option<Arc<str>>,
    pub(crate) is_grpc: bool,
    grpc_status: Option<HeaderValue>,
    /// The response got to its end.
    pub(crate) complete: bool,
    /// What the log will say; there only if there is a log. It is handed over as it is.
    logged: Option<Box<HttpEntry>>,
    /// What a span will say, where there is no log.
    line: Option<RequestLine>,
    body: Option<crate::body::Replay>,
    /// Counted among the cluster's and the endpoint's requests until the end.
    in_flight: Option<(Counted, Option<Busy>)>,
    /// Its `x-request-id` is this proxy's, not its client's.
    pub(crate) own_request_id: bool,
    /// Who called, where that is looked at.
    pub(crate) client: Option<IpAddr>,
    /// How long a fault has held it up: no time of its own.
    pub(crate) delayed: Duration,
    /// Judged again when what is allowed changes.
    held: Option<Held>,
    /// Its part of a trace, where there are traces.
    traced: Option<Traced>,
    pub(crate) timeline: Timeline,
    /// Kept where somebody looks at requests.
    watched: Option<Box<Watched>>,
}

impl Exchange {
    pub(crate) fn begin(worker: &Worker, direction: Direction, request: &http::request::Parts) -> Box<Self> {
        let shared = &worker.shared;
        let metrics = shared.metrics.of(direction);
        metrics.requests.increment();
        metrics.requests_active.increment();
        worker.pulse.has_work();
        let headers = &request.headers;
        let traced = Traced::begin(worker, direction, headers);
        let logged = shared.access_log.is_some().then(|| {
            Box::new(HttpEntry {
                start: bowline_plumbing::wall_clock::now(),
                direction,
                method: request.method.clone(),
                uri: request.uri.clone(),
                version: request.version,
                authority: headers.get(header::HOST).cloned(),
                user_agent: headers.get(header::USER_AGENT).cloned(),
                request_id: headers.get(&REQUEST_ID).cloned(),
                forwarded_for: headers.get(&FORWARDED_FOR).cloned(),
                status: 0,
                flag: Flag::None,
                refusal: None,
                bytes_received: 0,
                bytes_sent: 0,
                duration_ms: 0,
                upstream_time_ms: None,
                upstream: None,
                discovery_name: None,
                is_grpc: false,
                grpc_status: None,
                trace_id: None,
                downstream_identity: None,
                upstream_identity: None,
            })
        });
        let line = (traced.is_some() && logged.is_none()).then(|| RequestLine {
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: request.version,
            authority: headers.get(header::HOST).cloned(),
        });
        Box::new(Self {
            shared: Arc::clone(shared),
            direction,
            started: Instant::now(),
            status: 0,
            flag: Flag::None,
            refusal: None,
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            upstream_time: None,
            series: None,
            discovery_name: None,
            is_grpc: is_grpc(headers),
            grpc_status: None,
            complete: false,
            logged,
            line,
            body: None,
            in_flight: None,
            own_request_id: false,
            client: None,
            delayed: Duration::ZERO,
            held: None,
            timeline: Timeline::new(traced.is_some()),
            traced,
            watched: shared.taps.watch(request),
        })
    }

    /// The request goes on to the cluster: so does its context.
    pub(crate) fn carries_context(
        &mut self,
        worker: &Worker,
        cluster: &Cluster,
        request: &mut http::request::Parts,
    ) {
        if let Some(traced) = &mut self.traced {
            traced.goes_on(worker, cluster, request);
        }
    }

    /// Whether it is part of a trace.
    pub(crate) fn is_traced(&self) -> bool {
        self.traced.is_some()
    }

    /// What was asked for, where it was noted.
    fn line(&self) -> Option<(&Method, &Uri, Option<&HeaderValue>, Version)> {
        match (&self.logged, &self.line) {
            (Some(entry), _) => Some((&entry.method, &entry.uri, entry.authority.as_ref(), entry.version)),
            (None, Some(line)) => Some((&line.method, &line.uri, line.authority.as_ref(), line.version)),
            (None, None) => None,
        }
    }

    /// Whether its trace is sampled, and whether its span is told of: also that of a call that failed, where failures
    /// are.
    fn judge_trace(&mut self) -> (bool, bool) {
        let Some(mut traced) = self.traced else { return (false, false) };
        if traced.is_sampled() == Some(true) {
            return (true, true);
        }
        let failed = span::is_fault(self.is_grpc, self.status, self.grpc_status.as_ref());
        if traced.is_sampled().is_some() && !failed {
            return (false, false);
        }
        let snapshot = self.shared.snapshot.load();
        let (Some(sampler), Some((method, uri, authority, _))) = (snapshot.tracing.as_deref(), self.line())
        else {
            return (false, false);
        };
        // One that went nowhere is judged only now.
        let host = authority.and_then(|host| host.to_str().ok());
        let host = uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default();
        let name = self.discovery_name.as_deref().unwrap_or_default();
        let sampled = traced.decide(sampler, &trace::call_of(method.as_str(), uri, host, name));
        self.traced = Some(traced);
        (sampled, sampled || (sampler.failures && failed))
    }

    /// Hands its span over.
    fn tell_span(&mut self) {
        let (Some(traced), Some((method, uri, authority, version))) = (self.traced, self.line()) else {
            return;
        };
        if !self.shared.spans.is_open() {
            return;
        }
        let is_proved = self.direction == Direction::Inbound || self.upstream_time.is_some();
        let request = span::Request {
            method: method.clone(),
            uri: uri.clone(),
            host: authority.cloned(),
            is_http2: version == Version::HTTP_2,
            is_grpc: self.is_grpc,
            status: self.status,
            grpc_status: self.grpc_status.clone(),
        };
        let span = EndedSpan {
            traced,
            direction: self.direction,
            started: self.started,
            carried: span::Carried::Request(Box::new(request)),
            discovery_name: self.discovery_name.clone(),
            peer: self.series.clone().filter(|_| is_proved),
            flag: self.flag,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            upstream: self.upstream,
            timeline: std::mem::take(&mut self.timeline),
            ended: (Instant::now(), SystemTime::now()),
        };
        self.shared.spans.put(&self.shared.metrics, span);
    }

    /// The cluster is to answer. What comes in is counted by who calls, which was known before.
    pub(crate) fn goes_to(&mut self, cluster: &Cluster) {
        self.discovery_name = Some(Arc::clone(&cluster.discovery_name));
        if let Some(entry) = &mut self.logged {
            entry.upstream_identity = cluster.upstream.expected().cloned();
        }
        if self.series.is_none() || !matches!(cluster.upstream, Upstream::Application { .. }) {
            self.counts_in(cluster.series.row());
        }
    }

    /// Who calls, as the hop proved it: for the log.
    pub(crate) fn comes_from(&mut self, caller: &Caller) {
        if let Some(entry) = &mut self.logged {
            entry.downstream_identity = caller.shown_id().cloned();
        }
    }

    /// Counts it in this row.
    pub(crate) fn counts_in(&mut self, series: &Arc<Series>) {
        self.series = Some(Arc::clone(series));
    }

    /// The upstream's response has begun.
    pub(crate) fn answered(&mut self) {
        self.upstream_time = Some(self.started.elapsed());
    }

    /// The response's head, as it goes back.
    pub(crate) fn answers_with(&mut self, headers: &HeaderMap) {
        if let Some(watched) = &mut self.watched {
            watched.answered(headers);
        }
    }

    /// When the call is over: by this proxy's limit, or by what the client says.
    pub(crate) fn deadline(&self, own: Option<Duration>, headers: &HeaderMap) -> Deadline {
        let asked = deadline::asked(headers, self.is_grpc);
        Deadline::new(own, asked, self.started.into(), self.delayed)
    }

    /// The request's body, whose length is known at the end only.
    pub(crate) fn counts(&mut self, body: &crate::body::Replay) {
        self.body = Some(body.clone());
    }

    pub(crate) fn holds(&mut self, request: Counted, busy: Option<Busy>) {
        self.in_flight = Some((request, busy));
    }

    /// Which way the request goes.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The exchange ends when the caller may not make this call any more.
    pub(crate) fn ends_with(&mut self, held: Held) {
        self.held = Some(held);
    }

    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The proxy's own answer to a gRPC client.
    pub(crate) fn answers_grpc(&mut self, status: &HeaderValue) {
        self.grpc_status = Some(status.clone());
    }

    pub(crate) fn saw_trailers(&mut self, trailers: &HeaderMap) {
        if self.is_grpc && (self.logged.is_some() || self.traced.is_some() || self.watched.is_some()) {
            self.grpc_status = trailers.get(&GRPC_STATUS).cloned();
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a request is gRPC's, by its content type.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(body) = &self.body {
            self.bytes_received = body.received();
        }
        if let Some(cause) = self.held.as_ref().and_then(Held::cause).filter(|_| !self.complete) {
            self.flag = Flag::UnauthorizedExternalService;
            self.refusal = Some(Refusal::of_caller(cause));
            if self.status == 0 {
                self.status = http::StatusCode::FORBIDDEN.as_u16();
            }
        }
        if !self.complete && self.flag == Flag::None {
            self.flag = Flag::DownstreamConnectionTermination;
        }
        let metrics = self.shared.metrics.of(self.direction);
        if let Some(refusal) = self.refusal {
            metrics.refused(refusal);
        }
        metrics.requests_active.decrement();
        metrics.responded(self.status, self.flag);
        let (is_sampled, is_told) = self.judge_trace();
        let series = self.series.as_ref().unwrap_or_else(|| self.shared.metrics.nowhere());
        series.ended(&Ended {
            status: self.status,
            flag: self.flag,
            is_grpc: self.is_grpc,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            response_time: self.upstream_time,
            trace: self.traced.as_ref().filter(|_| is_sampled).map(Traced::trace),
        });
        if is_told {
            self.tell_span();
        }
        if let Some(watched) = self.watched.take() {
            watched.end(
                &self.shared,
                &End {
                    direction: self.direction,
                    series: self.series.as_deref(),
                    status: self.status,
                    flag: self.flag,
                    refusal: self.refusal,
                    is_grpc: self.is_grpc,
                    grpc_status: self.grpc_status.as_ref(),
                    bytes_received: self.bytes_received,
                    bytes_sent: self.bytes_sent,
                    duration: self.started.elapsed(),
                    response: self.upstream_time,
                    endpoint: self.upstream,
                    discovery_name: self.discovery_name.as_deref(),
                },
            );
        }
        let (Some(log), Some(mut entry)) = (&self.shared.access_log, self.logged.take()) else { return };
        entry.status = self.status;
        entry.flag = self.flag;
        entry.refusal = self.refusal;
        entry.bytes_received = self.bytes_received;
        entry.bytes_sent = self.bytes_sent;
        entry.duration_ms = milliseconds(self.started.elapsed());
        entry.upstream_time_ms = self.upstream_time.map(milliseconds);
        entry.upstream = self.upstream;
        entry.discovery_name = self.discovery_name.take();
        entry.is_grpc = self.is_grpc;
        entry.grpc_status = self.grpc_status.take();
        entry.trace_id = self.traced.as_ref().map(Traced::trace);
        log.write(LogLine::Http(&entry));
    }
}

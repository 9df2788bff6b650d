//! One request and its response, as metrics and the access log see it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bowline_model::clock::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use crate::{
    access_log::{HttpEntry, LogLine},
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

/// What the log, or a span, says of the request; taken only if there is one. The first and the last three are for the
/// log alone.
#[derive(Debug)]
pub(crate) struct Logged {
    start: Timestamp,
    method: Method,
    uri: Uri,
    version: Version,
    authority: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
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
    logged: Option<Logged>,
    body: Option<crate::body::Replay>,
    /// Counted among the cluster's and the endpoint's requests until the end.
    in_flight: Option<(Counted, Option<Busy>)>,
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
        let headers = &request.headers;
        let traced = Traced::begin(worker, direction, headers);
        let is_logged = shared.access_log.is_some();
        let of_log = |name: &HeaderName| headers.get(name).filter(|_| is_logged).cloned();
        let logged = (is_logged || traced.is_some()).then(|| Logged {
            start: if is_logged { bowline_plumbing::wall_clock::now() } else { Timestamp::default() },
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: request.version,
            authority: headers.get(header::HOST).cloned(),
            user_agent: of_log(&header::USER_AGENT),
            request_id: of_log(&REQUEST_ID),
            forwarded_for: of_log(&FORWARDED_FOR),
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
            body: None,
            in_flight: None,
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

    /// Whether its trace is sampled, and whether its span is told of: also that of a call that failed, where failures
    /// are.
    fn judge_trace(&mut self) -> (bool, bool) {
        let Some(traced) = &mut self.traced else { return (false, false) };
        if traced.is_sampled() == Some(true) {
            return (true, true);
        }
        let failed = span::is_fault(self.is_grpc, self.status, self.grpc_status.as_ref());
        if traced.is_sampled().is_some() && !failed {
            return (false, false);
        }
        let snapshot = self.shared.snapshot.load();
        let (Some(sampler), Some(logged)) = (snapshot.tracing.as_deref(), &self.logged) else {
            return (false, false);
        };
        // One that went nowhere is judged only now.
        let host = logged.authority.as_ref().and_then(|host| host.to_str().ok());
        let host = logged.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default();
        let name = self.discovery_name.as_deref().unwrap_or_default();
        let sampled =
            traced.decide(sampler, &trace::call_of(logged.method.as_str(), &logged.uri, host, name));
        (sampled, sampled || (sampler.failures && failed))
    }

    /// Hands its span over.
    fn tell_span(&mut self) {
        let (Some(traced), Some(logged)) = (self.traced, &self.logged) else { return };
        if !self.shared.spans.is_open() {
            return;
        }
        let is_proved = self.direction == Direction::Inbound || self.upstream_time.is_some();
        let request = span::Request {
            method: logged.method.clone(),
            uri: logged.uri.clone(),
            host: logged.authority.clone(),
            is_http2: logged.version == Version::HTTP_2,
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
        if self.series.is_none() || !matches!(cluster.upstream, Upstream::Application { .. }) {
            self.counts_in(cluster.series.row());
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
        let (Some(log), Some(logged)) = (&self.shared.access_log, self.logged.take()) else { return };
        log.write(LogLine::Http(Box::new(HttpEntry {
            start: logged.start,
            direction: self.direction,
            method: logged.method,
            uri: logged.uri,
            version: logged.version,
            authority: logged.authority,
            user_agent: logged.user_agent,
            request_id: logged.request_id,
            forwarded_for: logged.forwarded_for,
            status: self.status,
            flag: self.flag,
            refusal: self.refusal,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            duration_ms: milliseconds(self.started.elapsed()),
            upstream_time_ms: self.upstream_time.map(milliseconds),
            upstream: self.upstream,
            discovery_name: self.discovery_name.take(),
            is_grpc: self.is_grpc,
            grpc_status: self.grpc_status.take(),
            trace_id: self.traced.as_ref().map(Traced::trace),
        })));
    }
}

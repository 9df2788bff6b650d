//! Traces: what context a request came with, what goes on with it, and the proxy's own span of it.
//!
//! - [`Traced`]: the context of one request or connection, inline in its exchange.
//! - `headers`: contexts in requests' headers.
//! - `ids`: new ids.
//! - [`Timeline`]: what happened to a request meanwhile.
//! - `span`: a span that has ended, and how it is told.
//! - `queue`, `sender`: its way to the control plane.
//!
//! A request has a context as soon as the stream has said what to sample (the `Tracing` resource). Whether it is
//! sampled was decided where its trace began, or is here, by rules, once it is known where it goes. One that is not
//! costs a look through its headers, an id and one header written; nothing is allocated for it.

mod headers;
mod ids;
pub(crate) mod queue;
pub(crate) mod sender;
pub(crate) mod span;
mod timeline;

use std::{cell::RefCell, fmt};

use bowline_model::{
    clock::Timestamp,
    sampling::{SampledCall, Sampler},
    trace::{SpanId, TraceId},
    trace_context::{Formats, Incoming, Outgoing},
};
use bowline_plumbing::wall_clock;
use bytes::BytesMut;
use http::{HeaderMap, Uri, header, request::Parts};

use self::{headers::read, ids::Ids};
pub(crate) use self::{
    queue::SpanQueue,
    span::EndedSpan,
    timeline::{EventKind, Phase, Timeline, Timings},
};
use crate::{
    config::{Cluster, Upstream},
    metrics::Direction,
    worker::Worker,
};

/// What a worker makes contexts with.
pub(crate) struct Tracer {
    ids: Ids,
    /// Headers' values are cut from it: some seventy for one allocation.
    text: RefCell<BytesMut>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    pub(crate) fn new() -> Self {
        Self { ids: Ids::seeded(), text: RefCell::default() }
    }
}

/// The context of a request or a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traced {
    trace: TraceId,
    /// The proxy's own.
    span: SpanId,
    parent: Option<SpanId>,
    /// `None` until it is known where the request goes.
    sampled: Option<bool>,
    formats: Formats,
    /// The context came, with a span, and can go on as it is.
    whole: bool,
    /// When it began, in seconds since 1970, where that matters.
    second: u64,
}

impl Traced {
    /// The context of a request: what came with it, or a new one. `None` where nothing says what to sample.
    pub(crate) fn begin(worker: &Worker, direction: Direction, request: &HeaderMap) -> Option<Self> {
        worker.shared.snapshot.load().tracing.as_ref()?;
        let mut came = read(request);
        if direction == Direction::Public {
            // Whoever is outside may name a trace, and not decide what it costs. X-Ray's header is an ALB's, too.
            came.sampled = None;
            came.formats.b3_debug = false;
            came.formats.x_amzn = true;
        }
        Some(Self::of(&worker.tracer, &came))
    }

    /// A context of its own, for a connection. `None` where nothing says what to sample.
    pub(crate) fn of_connection(worker: &Worker) -> Option<Self> {
        worker.shared.snapshot.load().tracing.as_ref()?;
        Some(Self::of(&worker.tracer, &Incoming::default()))
    }

    fn of(tracer: &Tracer, came: &Incoming) -> Self {
        // Looking at the clock costs as much as all ids.
        let is_decided = came.trace.is_some() && came.sampled.is_some();
        let now = if is_decided { Timestamp::default() } else { wall_clock::now() };
        Self {
            trace: came.trace.unwrap_or_else(|| tracer.ids.trace(now)),
            span: tracer.ids.span(),
            parent: came.span,
            sampled: came.sampled,
            formats: came.formats,
            whole: is_decided && came.span.is_some(),
            second: now.as_secs(),
        }
    }

    /// Its trace.
    pub(crate) fn trace(&self) -> TraceId {
        self.trace
    }

    /// Whether the trace is sampled, if that is decided.
    pub(crate) fn is_sampled(&self) -> Option<bool> {
        self.sampled
    }

    /// Whether the trace is sampled; decides it by the rules where nobody has.
    pub(crate) fn decide(&mut self, sampler: &Sampler, call: &SampledCall<'_>) -> bool {
        *self.sampled.get_or_insert_with(|| {
            // The span's id is as random as another number.
            sampler.decide(call, self.second, u64::from_le_bytes(self.span.bytes()))
        })
    }

    /// Decides where `request` goes to `cluster`, and writes the context into it.
    pub(crate) fn goes_on(&mut self, worker: &Worker, cluster: &Cluster, request: &mut Parts) {
        let snapshot = worker.shared.snapshot.load();
        let Some(sampler) = snapshot.tracing.as_deref() else { return };
        let call = call_of(request.method.as_str(), &request.uri, host_of(request), &cluster.discovery_name);
        let sampled = self.decide(sampler, &call);
        // Servers outside the mesh get what the client has sent, and nothing of the mesh's.
        let outside = matches!(cluster.upstream, Upstream::External(_));
        // A span that nobody is told of needs no child.
        let unseen = !sampled && !sampler.failures && self.whole;
        if outside || unseen {
            return;
        }
        let Self { trace, span, parent, formats, .. } = *self;
        let outgoing = Outgoing { trace, span, parent, sampled, formats };
        headers::write(&worker.tracer, &outgoing, &mut request.headers);
    }
}

/// A request's authority, if it can be read.
fn host_of(request: &Parts) -> &str {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default()
}

/// What sampling rules see of a request.
pub(crate) fn call_of<'a>(
    method: &'a str,
    uri: &'a Uri,
    host: &'a str,
    discovery_name: &'a str,
) -> SampledCall<'a> {
    SampledCall { host, method, path: uri.path(), discovery_name }
}

#[cfg(test)]
mod tests;

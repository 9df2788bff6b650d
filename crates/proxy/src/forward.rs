//! From a routed request to an upstream's response: pick, connect, send, and
//! try again where that is safe.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bowline_discovery::v1::Protocol;
use bowline_model::{
    clock::Timestamp,
    outlier::Failure as OutlierFailure,
    retry::{self, Progress},
    sabotage::{Defence, sabotaged},
};
use bowline_plumbing::wall_clock;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts, uri::PathAndQuery,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    balance,
    body::{Received, Replay, ResponseBody},
    config::{Cluster, Endpoint, Forward, ForwardPolicy, Upstream},
    deadline::{self, Deadline},
    dial::{DialError, Target},
    exchange::Exchange,
    external_head,
    headers::{join_cookies, strip_hop_by_hop},
    health::Busy,
    load::{Counted, Live},
    metrics::{Direction, Flag},
    pool::{Lease, SendError},
    refusal::{REFUSAL, Refusal, RefusalCause},
    reply::{Failure, TIME_IS_OVER},
    route, tcp,
    trace::{EventKind, Timeline},
    worker::Worker,
};

/// Most races with a closing kept connection that one request may lose for
/// free: each time, the request has provably not been sent.
const RACES_MAX: u32 = 3;

/// Why one try gave no response.
#[derive(Debug)]
enum TryError {
    Dial(DialError),
    /// The request never left, on a connection that had been kept.
    StaleConnection,
    /// The server says that it has not begun with it.
    Refused,
    /// The connection or the stream broke; the server may have begun.
    Broken,
    /// The try's own time is over.
    TimedOut,
    /// The client's body broke off.
    Client,
}

/// Sends the request to the cluster, chosen by the rule, and returns the
/// response, hop-by-hop headers removed, its body wired to end the exchange.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    rule: &Forward,
    parts: &mut Parts,
    body: &Replay,
    mut exchange: Box<Exchange>,
) -> Result<Response<ResponseBody>, (Failure, Box<Exchange>)> {
    cluster.metrics.requests.increment();
    exchange.goes_to(cluster);
    let Some(request) = cluster.load.request(&cluster.breakers) else {
        cluster.metrics.overflows.increment();
        return Err((Failure::OVERFLOW, exchange));
    };
    let stickiness =
        balance::stickiness(&cluster.balancing.hash_on, &parts.headers, exchange.client, worker.random());
    let deadline = exchange.deadline(rule.policy.timeout, &parts.headers);
    let asked = Asked {
        rule,
        parts: RefCell::new(parts),
        body,
        hash: stickiness.hash,
        deadline,
        is_grpc: exchange.is_grpc,
        own_request_id: exchange.own_request_id,
        // Nobody outside can have tasks ejected by asking for more than can be done.
        blames: !(deadline.of_client && exchange.direction() == Direction::Public),
        trying: Cell::new(None),
    };
    let outcome = {
        let tries = pin!(try_upstreams(worker, cluster, request, &asked, &mut exchange));
        match deadline.at {
            Some(deadline) => timeout_at(deadline, tries).await.ok(),
            None => Some(tries.await),
        }
    };
    let outcome = outcome.unwrap_or_else(|| {
        let own = rule.policy.timeout.filter(|_| !asked.deadline.of_client);
        exchange.timeline.note(|| EventKind::Timeout { of: "request", limit: own });
        // Who was to answer in that time has not.
        if let Some((cluster, endpoint, began)) = asked.trying.take().filter(|_| asked.blames) {
            let is_ejected = tcp::failed(&cluster, &endpoint, OutlierFailure::Local, began.elapsed());
            note_ejection(&mut exchange.timeline, is_ejected.then_some(endpoint.address));
        }
        Err(Failure::TIMEOUT)
    });
    let Answered { answer: Answer { response, lease, busy }, cluster, request } = match outcome {
        Ok(found) => found,
        Err(failure) => return Err((failure, exchange)),
    };
    let (mut head, incoming) = response.into_parts();
    if let Some(refusal) = refusal_in(&cluster, &mut head.headers) {
        cluster.metrics.responded(head.status.as_u16());
        return Err((Failure::refused(refusal, ""), exchange));
    }
    exchange.status = head.status.as_u16();
    exchange.answered();
    cluster.metrics.responded(exchange.status);
    if lease.is_h1() {
        strip_hop_by_hop(&mut head.headers);
    }
    if exchange.is_grpc {
        exchange.saw_trailers(&head.headers);
    }
    if let Some(cookie) = stickiness.cookie {
        head.headers.append(header::SET_COOKIE, cookie);
    }
    exchange.answers_with(&head.headers);
    exchange.holds(request, busy);
    let body = ResponseBody::relayed(incoming, deadline.at, Some(lease), Some(exchange));
    head.version = Version::default();
    Ok(Response::from_parts(head, body))
}

/// Whose endpoint a try waits for, and since when.
type Trying = (Arc<Cluster>, Arc<Endpoint>, Instant);

/// What every try of a request has in common.
struct Asked<'a> {
    rule: &'a Forward,
    parts: RefCell<&'a mut Parts>,
    body: &'a Replay,
    hash: Option<u64>,
    deadline: Deadline,
    is_grpc: bool,
    /// Its `x-request-id` is this proxy's.
    own_request_id: bool,
    /// Whether it is held against an endpoint that the request's time is over.
    blames: bool,
    /// Who has a try under way, and since when.
    trying: Cell<Option<Trying>>,
}

/// An upstream's response, with what it occupies until its end.
struct Answer {
    response: Response<Received>,
    lease: Lease,
    busy: Option<Busy>,
}

/// The answer that is the client's.
struct Answered {
    answer: Answer,
    /// Whose endpoint answered.
    cluster: Arc<Cluster>,
    /// Its place among the requests of that cluster.
    request: Counted,
}

async fn try_upstreams(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    mut request: Counted,
    asked: &Asked<'_>,
    exchange: &mut Exchange,
) -> Result<Answered, Failure> {
    let Asked { rule, body, .. } = *asked;
    let policy = &rule.policy;
    // The task's one application is no other host to try.
    let is_application = matches!(cluster.upstream, Upstream::Application { .. });
    let max_retries = if is_application || sabotaged(Defence::Retries) { 0 } else { policy.max_retries };
    let idempotent = is_idempotent(&asked.parts.borrow());
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut retrying: Option<Counted> = None;
    let (mut retries, mut races) = (0, 0);
    let mut cluster = Arc::clone(cluster);
    loop {
        let aim = aim(worker, &cluster, asked, &tried).ok_or(Failure::NO_UPSTREAM)?;
        if let Some(elsewhere) = aim.request {
            request = elsewhere;
            aim.cluster.metrics.requests.increment();
            exchange.goes_to(&aim.cluster);
        }
        let target = aim.target;
        cluster = aim.cluster;
        let cluster = &cluster;
        exchange.upstream = Some(target.address());
        let began = Instant::now();
        if let Target::Endpoint(endpoint) = &target {
            asked.trying.set(Some((Arc::clone(cluster), Arc::clone(endpoint), began)));
        }
        let way = Way { cluster, target: &target, fresh: races > 0, is_last: retries >= max_retries };
        let result = {
            let attempt = pin!(one_try(worker, way, asked, &mut exchange.timeline));
            match policy.per_try_timeout {
                Some(limit) => timeout(limit, attempt).await.ok(),
                None => Some(attempt.await),
            }
        };
        let result = result.unwrap_or_else(|| {
            exchange.timeline.note(|| EventKind::Timeout { of: "try", limit: policy.per_try_timeout });
            Err(TryError::TimedOut)
        });
        if let Err(TryError::StaleConnection) = result
            && races < RACES_MAX
            && !sabotaged(Defence::Retries)
            && body.is_at_hand()
        {
            races += 1;
            continue;
        }
        asked.trying.set(None);
        // A try that its own time ends is its endpoint's fault, whoever set the request's.
        let own_time = policy.per_try_timeout.is_some_and(|limit| began.elapsed() >= limit);
        if asked.blames || own_time || !matches!(result, Err(TryError::TimedOut)) {
            let is_ejected = report(cluster, &target, &result, began.elapsed());
            note_ejection(&mut exchange.timeline, is_ejected.then(|| target.address()));
        }
        let progress = match &result {
            Err(TryError::Dial(_) | TryError::Refused | TryError::StaleConnection) => {
                Progress::NothingProcessed
            }
            Ok(answer) if retries_grpc(policy, &answer.response) => Progress::NotCommitted,
            _ => Progress::MayBeProcessed,
        };
        let wanted = match &result {
            Ok(answer) => {
                progress == Progress::NotCommitted || retries_status(policy, answer.response.status())
            }
            Err(error) => retries_error(policy, error),
        };
        if wanted
            && retries < max_retries
            && retry::is_safe(progress, idempotent, body.is_at_hand())
            && let Some(wait) = wait_before(worker, asked, retries + 1, &result)
        {
            drop(retrying.take());
            // Until its place is sure the answer at hand is kept: it may be the last.
            let patience = match asked.deadline.left() {
                Some(left) => policy.back_off.max.min(left.saturating_sub(wait) / 2),
                None => policy.back_off.max,
            };
            let mut queued = exchange.timeline.waiting("retry");
            queued.begin();
            // Boxed, as what waits below: seldom needed, and every request's future would have room for it.
            let asking = cluster.load.retry(Live::Requests, policy.budget, &cluster.breakers, patience);
            let place = Box::pin(asking).await;
            drop(queued);
            if let Some(place) = place {
                let (number, at) = (retries + 1, target.address());
                exchange.timeline.retries(number, || cause_of(&result), at, wait);
                drop(result);
                retrying = Some(place);
                retries += 1;
                cluster.metrics.retries.increment();
                tried.push(target.address());
                if !wait.is_zero() {
                    Box::pin(tokio::time::sleep(wait)).await;
                }
                continue;
            }
            cluster.metrics.retries_denied.increment();
        }
        return match result {
            Ok(answer) => Ok(Answered { answer, cluster: Arc::clone(cluster), request }),
            Err(error) => {
                if matches!(error, TryError::Dial(DialError::Overflow)) {
                    cluster.metrics.overflows.increment();
                }
                Err(failure_of(&error, retries >= max_retries && retries > 0))
            }
        };
    }
}

/// Where a try goes.
struct Aim {
    cluster: Arc<Cluster>,
    target: Target,
    /// Its place among the requests of another cluster than that of the try before.
    request: Option<Counted>,
}

/// Where the next try goes. A retry leaves the target that failed where the rule has another with
/// anybody in it, and room, so that a bad version that is given a share of the traffic costs its callers
/// nothing.
fn aim(worker: &Rc<Worker>, cluster: &Arc<Cluster>, asked: &Asked<'_>, tried: &[SocketAddr]) -> Option<Aim> {
    if let Upstream::Application { address, port } = cluster.upstream {
        let address = address.unwrap_or(worker.shared.application_address);
        let target = Target::Application(SocketAddr::new(address, port));
        return Some(Aim { cluster: Arc::clone(cluster), target, request: None });
    }
    // The newest endpoints: while tries fail the stream may have brought others.
    let newest = |cluster: &Arc<Cluster>| match tried {
        [] => Arc::clone(cluster),
        _ => worker.cluster(&cluster.name).unwrap_or_else(|| Arc::clone(cluster)),
    };
    let pick = |cluster: &Arc<Cluster>| worker.pick(cluster, tried, asked.hash).map(Target::Endpoint);
    let another = if tried.is_empty() { None } else { route::another(asked.rule, cluster, worker.random()) };
    let elsewhere = another.map(newest).and_then(|cluster| {
        let target = pick(&cluster)?;
        let request = Some(cluster.load.request(&cluster.breakers)?);
        Some(Aim { cluster, target, request })
    });
    elsewhere.or_else(|| {
        let cluster = newest(cluster);
        let target = pick(&cluster)?;
        Some(Aim { cluster, target, request: None })
    })
}

/// Whether the request may be made twice: its method says so, or its client does by a key that the
/// server knows it again by (draft-ietf-httpapi-idempotency-key-header).
fn is_idempotent(parts: &Parts) -> bool {
    retry::is_idempotent(parts.method.as_str()) || parts.headers.contains_key("idempotency-key")
}

/// How long to wait before a retry; `None`: the server asks for more than there is time.
fn wait_before(
    worker: &Worker,
    asked: &Asked<'_>,
    retry: u32,
    result: &Result<Answer, TryError>,
) -> Option<Duration> {
    let left = asked.deadline.left();
    let back_off = asked.rule.policy.back_off.wait(retry, worker.random());
    let Ok(answer) = result else { return Some(back_off) };
    // The answer at hand is worth more than a retry that there is no time for.
    let in_time = left.is_none_or(|left| back_off < left).then_some(back_off);
    let Some(value) = answer.response.headers().get(header::RETRY_AFTER) else { return in_time };
    let Some(asked_for) = retry_after(value, wall_clock::now()) else { return in_time };
    retry::waits_for(asked_for, asked.rule.policy.retry_after_max, left).then(|| asked_for.max(back_off))
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_millis(now.as_millis())))
}

/// One try's way.
struct Way<'a> {
    cluster: &'a Arc<Cluster>,
    target: &'a Target,
    /// Not over a connection that was kept.
    fresh: bool,
    /// No other try follows, but for one that a closing connection costs.
    is_last: bool,
}

async fn one_try(
    worker: &Rc<Worker>,
    way: Way<'_>,
    asked: &Asked<'_>,
    timeline: &mut Timeline,
) -> Result<Answer, TryError> {
    let Way { cluster, target, fresh, is_last } = way;
    let Asked { rule: Forward { policy, .. }, parts, body, .. } = asked;
    let began = Instant::now();
    let busy = match target {
        Target::Endpoint(endpoint) => Some(Busy::with(&endpoint.health)),
        Target::Application(_) => None,
    };
    let mut lease =
        worker.pools.lease(&worker.shared, cluster, target, fresh, timeline).await.map_err(TryError::Dial)?;
    // What is adapted to one server outside the mesh may be wrong for the next.
    let is_last = is_last && !matches!(cluster.upstream, Upstream::External(_));
    // What is made to be sent is gone before the answer is waited for.
    let sending = {
        let mut request = head_for(cluster, &mut parts.borrow_mut(), is_last, lease.is_h1());
        if let (Upstream::External(external), Target::Endpoint(endpoint)) = (&cluster.upstream, target) {
            external_head::adapt(&mut request, external, endpoint, lease.is_h1(), asked.own_request_id);
        }
        let of_try = policy.per_try_timeout.map(|limit| limit.saturating_sub(began.elapsed()));
        let left = [of_try, asked.deadline.left()].into_iter().flatten().min();
        let outside = matches!(cluster.upstream, Upstream::External(_));
        deadline::tell(request.headers_mut(), left, asked.is_grpc, outside);
        lease.send(request.map(|()| body.attempt()))
    };
    match sending.await {
        Ok(response) => Ok(Answer { response, lease, busy }),
        Err(SendError::NeverSent(request)) => {
            if is_last {
                // For the try after this one, which is adapted as it is.
                let (head, _) = request.into_parts();
                let mut parts = parts.borrow_mut();
                (parts.uri, parts.headers) = (head.uri, head.headers);
            }
            Err(TryError::StaleConnection)
        }
        Err(error) => Err(classify(cluster, &error)),
    }
}

/// What the other proxy says of why it refuses this one. What an application says of that is removed.
pub(crate) fn refusal_in(cluster: &Cluster, headers: &mut http::HeaderMap) -> Option<Refusal> {
    let cause = headers.remove(&REFUSAL)?;
    matches!(cluster.upstream, Upstream::Mesh(_))
        .then(|| RefusalCause::named(cause.as_bytes()).map(Refusal::of_caller))?
}

/// What became of a try whose request was not answered.
fn classify(cluster: &Cluster, error: &SendError) -> TryError {
    match error {
        SendError::NeverSent(_) => TryError::StaleConnection,
        SendError::Body => TryError::Client,
        SendError::NotBegun => TryError::Refused,
        // How the called side's proxy says that the time it was told is over.
        SendError::Reset(TIME_IS_OVER) if matches!(cluster.upstream, Upstream::Mesh(_)) => TryError::TimedOut,
        SendError::Reset(_) | SendError::Broken => TryError::Broken,
    }
}

/// The request's head as the next hop needs it; the headers of the last try are not copied but taken.
fn head_for(cluster: &Cluster, parts: &mut Parts, is_last: bool, h1: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    let headers = request.headers_mut();
    *headers = if is_last { std::mem::take(&mut parts.headers) } else { parts.headers.clone() };
    strip_hop_by_hop(headers);
    // The next hop's server asks for the body when it wants it.
    headers.remove(header::EXPECT);
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if h1 {
        join_cookies(headers);
        if let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(header::HOST, host);
        }
        if headers.contains_key(header::TE) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
    } else {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(parts.uri.scheme().cloned().unwrap_or(http::uri::Scheme::HTTP));
        uri.authority = parts
            .uri
            .authority()
            .cloned()
            .or_else(|| headers.get(header::HOST).and_then(|host| host.as_bytes().try_into().ok()))
            .or_else(|| cluster.discovery_name.parse().ok());
        headers.remove(header::HOST);
        uri.path_and_query = Some(path);
        if uri.authority.is_none() {
            uri.authority = Some(http::uri::Authority::from_static("upstream"));
        }
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
    }
    request
}

/// Tells outlier detection, and the balancer how long it took. Whether the endpoint is ejected by that.
fn report(cluster: &Cluster, target: &Target, result: &Result<Answer, TryError>, took: Duration) -> bool {
    let Target::Endpoint(endpoint) = target else { return false };
    if sabotaged(Defence::Retries) {
        return false;
    }
    let failure = match result {
        Ok(answer) => OutlierFailure::of_status(answer.response.status().as_u16()),
        Err(TryError::Dial(error)) if !error.blames_endpoint() => return false,
        Err(TryError::Client) => return false,
        Err(_) => Some(OutlierFailure::Local),
    };
    match failure {
        None => {
            endpoint.health.succeeded(took, wall_clock::now());
            false
        }
        Some(failure) => tcp::failed(cluster, endpoint, failure, took),
    }
}

fn note_ejection(timeline: &mut Timeline, ejected: Option<SocketAddr>) {
    if let Some(endpoint) = ejected {
        timeline.note(|| EventKind::Ejection { endpoint });
    }
}

/// Why another try is made, in words.
fn cause_of(result: &Result<Answer, TryError>) -> String {
    match result {
        Ok(answer) => match answer.response.headers().get("grpc-status") {
            Some(status) => format!("gRPC status {}", String::from_utf8_lossy(status.as_bytes())),
            None => answer.response.status().to_string(),
        },
        Err(TryError::Dial(error)) => error.to_string(),
        Err(TryError::StaleConnection) => "the kept connection had closed".to_owned(),
        Err(TryError::Refused) => "the server has not begun with it".to_owned(),
        Err(TryError::Broken) => "the connection broke".to_owned(),
        Err(TryError::TimedOut) => "the try's time was over".to_owned(),
        Err(TryError::Client) => "the client broke off".to_owned(),
    }
}

/// Whether a response is a gRPC status without a message, of those that are tried again.
fn retries_grpc(policy: &ForwardPolicy, response: &Response<Received>) -> bool {
    policy.retry_on.grpc != 0
        && response
            .headers()
            .get("grpc-status")
            .and_then(|status| status.to_str().ok()?.parse::<u32>().ok())
            .is_some_and(|status| 1u32.checked_shl(status).is_some_and(|bit| policy.retry_on.grpc & bit != 0))
}

fn retries_status(policy: &ForwardPolicy, status: StatusCode) -> bool {
    let on = &policy.retry_on;
    match status.as_u16() {
        409 => on.conflict,
        503 if on.unavailable => true,
        502..=504 => on.gateway_error || on.server_error,
        500.. => on.server_error,
        _ => false,
    }
}

fn retries_error(policy: &ForwardPolicy, error: &TryError) -> bool {
    let on = &policy.retry_on;
    match error {
        TryError::Dial(error) if error.refusal().is_some() => false,
        TryError::Dial(DialError::Overflow | DialError::Refused(_)) | TryError::Client => false,
        TryError::Dial(_) => on.connect_failure,
        TryError::Refused | TryError::StaleConnection => on.refused_stream,
        TryError::Broken => on.reset || on.server_error,
        TryError::TimedOut => on.reset || on.server_error || on.gateway_error,
    }
}

fn failure_of(error: &TryError, exhausted: bool) -> Failure {
    const PREFIX: &str = "upstream connect error or disconnect/reset before headers. ";
    let prefix = if exhausted { "retried and the latest reset reason: " } else { "reset reason: " };
    let unavailable = |flag, reason: &str, reset| Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag,
        text: format!("{PREFIX}{prefix}{reason}").into(),
        reset: Some(reset),
        refusal: None,
    };
    let limit = |flag| if exhausted { Flag::UpstreamRetryLimitExceeded } else { flag };
    match error {
        TryError::Dial(DialError::Identity { refusal, text, .. }) => Failure::refused(*refusal, text.clone()),
        TryError::Dial(DialError::Overflow) => Failure::OVERFLOW,
        TryError::Dial(DialError::Connect(_) | DialError::ApplicationUnreachable) => unavailable(
            limit(Flag::UpstreamConnectionFailure),
            "connection failure",
            h2::Reason::REFUSED_STREAM,
        ),
        TryError::Dial(error) => unavailable(
            limit(Flag::UpstreamConnectionFailure),
            &error.to_string(),
            h2::Reason::REFUSED_STREAM,
        ),
        TryError::Refused | TryError::StaleConnection => unavailable(
            limit(Flag::UpstreamConnectionTermination),
            "remote refused stream reset",
            h2::Reason::REFUSED_STREAM,
        ),
        TryError::Broken => unavailable(
            limit(Flag::UpstreamConnectionTermination),
            "connection termination",
            h2::Reason::INTERNAL_ERROR,
        ),
        TryError::TimedOut => Failure::TIMEOUT,
        TryError::Client => Failure { flag: Flag::DownstreamConnectionTermination, ..Failure::BAD_REQUEST },
    }
}

/// Whether the cluster's applications speak HTTP/1.1, over which connections
/// can be upgraded.
pub(crate) fn carries_upgrades(cluster: &Cluster) -> bool {
    cluster.protocol == Protocol::Http
}

//! HTTP in front of the operations.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_aws::{
    protocol::{
        self, Document, Fault, OperationName, Protocol, RECEIVED_BODY_BYTES_MAX, RequestHead, Response,
        SERVICES, UnreadableRequest, Violation,
    },
    sigv4::{ErrorFamily, Presented, Received, SignatureError},
};
use bowline_plumbing::wall_clock;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::{
    authentication::Authentication,
    authorization::{
        Denied, Origin,
        demand::{self, Asked},
    },
    body::{self, Body},
    call::{Call, Caller},
    connection::Peer,
    crl,
    limits::{Limits, Throttled},
    metrics,
    operation::{self, Operation, Outcome},
    recording::{self, Recording},
};
use crate::{
    core::Core,
    dashboard::{self, Dashboard},
    random,
    registry::Registry,
};

/// How long a client may take for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an ephemeral server is told to forget everything.
const RESET_PATH: &str = "/_bowline/reset";

/// How long tasks have to end when everything is forgotten.
const RESET_LIMIT: Duration = Duration::from_secs(30);

/// What the operations are carried out on.
pub(crate) struct Api {
    pub(crate) core: Arc<Core>,
    pub(crate) authentication: Authentication,
    /// `POST /_bowline/reset` is answered.
    pub(crate) resettable: bool,
    /// Data events are recorded in the audit trail.
    pub(crate) audit_data_events: bool,
    /// How much is answered.
    pub(crate) limits: Limits,
    /// The dashboard; `None` where those who connect are not this machine's users.
    pub(crate) dashboard: Option<Arc<Dashboard>>,
}

/// The answer to a request.
pub(super) async fn answer(api: &Arc<Api>, peer: Peer, request: Request<Incoming>) -> http::Response<Body> {
    let request_id = random::uuid();
    let (parts, body) = request.into_parts();
    if let Err(throttled) = api.limits.call_of(peer.address.ip(), Instant::now()) {
        let throttled = throttled_early(&parts.headers, throttled, &request_id);
        return body::whole(into_http(throttled, &request_id));
    }
    if let Some(dashboard) = &api.dashboard
        && dashboard::is_path(parts.uri.path())
    {
        return dashboard::answer(api, dashboard, peer, &parts, body, &request_id).await;
    }
    body::whole(answer_whole(api, peer, parts, body, &request_id).await)
}

async fn answer_whole(
    api: &Arc<Api>,
    peer: Peer,
    parts: http::request::Parts,
    body: Incoming,
    request_id: &str,
) -> http::Response<Full<Bytes>> {
    if parts.uri.path() == RESET_PATH {
        return reset(api, &parts).await;
    }
    if parts.uri.path() == metrics::PATH {
        return metrics::answer(&api.core, peer, &parts);
    }
    if parts.uri.path().starts_with(crl::PATH) {
        return crl::answer(&api.core, &parts).await;
    }
    let body = read_body(body).await;
    let response = respond(api, peer, &parts, body, request_id).await;
    into_http(response, request_id)
}

/// Forgets everything, where that was allowed when the server was started.
async fn reset(api: &Arc<Api>, parts: &http::request::Parts) -> http::Response<Full<Bytes>> {
    let status = match (api.resettable, &parts.method) {
        (false, _) => StatusCode::NOT_FOUND,
        // A page in a browser can send a POST anywhere, but not with this header unasked.
        (true, &http::Method::POST) if !parts.headers.contains_key(header::ORIGIN) => {
            match api.core.reset(RESET_LIMIT).await {
                Ok(true) => StatusCode::NO_CONTENT,
                Ok(false) => StatusCode::GATEWAY_TIMEOUT,
                Err(error) => {
                    tracing::error!(%error, "the registry could not be reset");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            }
        }
        (true, _) => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut response = http::Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn read_body(body: Incoming) -> Result<Bytes, Fault> {
    let limited = Limited::new(body, RECEIVED_BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            "RequestEntityTooLargeException",
            format!("the body is longer than {RECEIVED_BODY_BYTES_MAX} bytes"),
        )
        .with_status(413)),
        Ok(Err(_)) => Err(Fault::new("SerializationException", "the body ended early")),
        Err(_) => Err(Fault::new("RequestTimeout", "the body did not arrive in time").with_status(408)),
    }
}

fn into_http(response: Response, request_id: &str) -> http::Response<Full<Bytes>> {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = http::Response::builder().status(status).header("x-amzn-requestid", request_id);
    for (name, value) in &response.headers {
        builder = builder.header(&**name, value);
    }
    builder.body(Full::new(Bytes::from(response.body))).unwrap_or_else(|error| {
        // A header's value could not be sent: only an error's code can be such.
        tracing::error!(%error, "a response could not be built");
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// From a request to its answer: identify, authenticate, read, authorize, call, record, write.
///
/// A call that waits for the disk is carried out beside the runtime, to its end: a client that goes
/// away meanwhile must not leave it unrecorded.
pub(super) async fn respond(
    api: &Arc<Api>,
    peer: Peer,
    parts: &http::request::Parts,
    body: Result<Bytes, Fault>,
    request_id: &str,
) -> Response {
    let begun = catch_unwind(AssertUnwindSafe(|| begin(api, peer, parts, body, request_id)));
    let ended = match begun {
        Ok(Begun::Answered(response)) => Some(response),
        Ok(Begun::Waits(waiting)) => {
            let (api, request_id) = (Arc::clone(api), request_id.to_owned());
            tokio::task::spawn_blocking(move || waiting.carry_out(&api, &request_id)).await.ok()
        }
        Err(_) => None,
    };
    // The panic itself is in the log, and the trail says that the call ended early.
    ended.unwrap_or_else(|| {
        let fault = Fault::new("InternalFailure", "the call ended early").with_status(500);
        protocol::write_fault(Protocol::Json11, "", request_id, &fault)
    })
}

/// How far a request came without waiting.
enum Begun {
    Answered(Response),
    Waits(Box<Waiting>),
}

/// A call that may be carried out.
struct Waiting {
    operation: &'static Operation,
    name: OperationName,
    caller: Caller,
    origin: Origin,
    request: Document,
    recording: Recording,
}

impl Waiting {
    /// Carries it out, and records how it ended.
    fn carry_out(self, api: &Api, request_id: &str) -> Response {
        let Self { operation, name, caller, origin, request, recording } = self;
        let scope = api.core.registry().settings().scope.clone();
        let call = Call { core: &api.core, caller: &caller, scope, now: origin.now, origin: &origin };
        let outcome = (operation.call)(&call, &request).map_err(|outcome| match outcome {
            Outcome::Fault(fault) => fault,
            Outcome::Violation(violation) => violated(&name, &violation),
        });
        end(&name, request_id, recording, &outcome)
    }
}

/// Records how a call ended, and writes the answer.
fn end(
    name: &OperationName,
    request_id: &str,
    recording: Recording,
    outcome: &Result<Document, Fault>,
) -> Response {
    recording.end(outcome);
    match outcome {
        Ok(document) => protocol::write(name, request_id, document),
        Err(fault) => protocol::write_fault_of(name, request_id, fault),
    }
}

fn begin(
    api: &Arc<Api>,
    peer: Peer,
    parts: &http::request::Parts,
    body: Result<Bytes, Fault>,
    request_id: &str,
) -> Begun {
    let (body, unread) = match body {
        Ok(body) => (body, None),
        Err(fault) => (Bytes::new(), Some(fault)),
    };
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let headers = received_headers(parts);
    let received = Received {
        method: parts.method.as_str(),
        path,
        query: parts.uri.query(),
        headers: &headers,
        body: &body,
    };
    let presented = Presented::parse(&received);
    let head = RequestHead {
        method: parts.method.as_str(),
        path,
        query,
        target: text(&parts.headers, "x-amz-target"),
        content_type: text(&parts.headers, "content-type"),
        smithy_protocol: text(&parts.headers, "smithy-protocol"),
        headers: &headers,
        signed_for: presented.as_ref().ok().map(|presented| presented.scope.service.as_str()),
    };
    let name = match (protocol::identify(&head, &body), &unread) {
        (Ok(name), _) => name,
        (Err(_), Some(fault)) => {
            return Begun::Answered(protocol::write_fault(Protocol::Json11, "", request_id, fault));
        }
        (Err(error), None) => return Begun::Answered(unreadable(&head, &error, request_id)),
    };
    let mut recording = begin_recording(api, &name, peer.address, &parts.headers, request_id, &presented);
    let admit = || {
        if let Some(fault) = unread {
            return Err(fault);
        }
        let (now, registry) = (wall_clock::now(), api.core.registry());
        let authentic = api.authentication.authenticate(
            &registry,
            api.core.credentials(),
            &presented,
            &received,
            name.service,
            now,
        );
        let caller = authentic.map_err(|error| {
            // Nobody known may fill the disk with what was refused them.
            if let Err(throttled) = api.limits.refused(peer.address.ip(), Instant::now()) {
                recording.leave_out();
                return throttled_fault(&name, throttled);
            }
            let family = match name.protocol {
                Protocol::RestJson => ErrorFamily::RestJson,
                protocol if protocol.is_json_like() => ErrorFamily::AwsJson,
                _ => ErrorFamily::Query,
            };
            let (code, status) = error.code(family);
            Fault::new(code, error.to_string()).with_status(status)
        })?;
        if let Err(throttled) = api.limits.call_by(&caller.access_key_id, Instant::now()) {
            recording.leave_out();
            return Err(throttled_fault(&name, throttled));
        }
        recording.by(&caller);
        let operation = operation::find(name.service, &name.operation).ok_or_else(|| unknown(&name))?;
        let request = protocol::decoded(&head, &body)
            .and_then(|body| protocol::read(&name, &head, &body))
            .map_err(|error| Fault::new("SerializationException", error.to_string()))?;
        recording.asks(&request);
        tracing::debug!(
            peer = %peer.address, caller = %caller.arn, service = name.service.name, operation = operation.name
        );
        let origin = Origin {
            address: peer.address.ip().to_canonical(),
            secure: peer.tls,
            region: presented.as_ref().map(|it| it.scope.region.clone()).unwrap_or_default(),
            user_agent: text(&parts.headers, "user-agent").map(str::to_owned),
            now,
        };
        allow(api, &registry, &name, &caller, &request, &origin)?;
        recording.admit()?;
        Ok((operation, caller, origin, request))
    };
    match admit() {
        Ok((operation, caller, origin, request)) => {
            let waiting = Waiting { operation, name, caller, origin, request, recording };
            match operation.waits {
                false => Begun::Answered(waiting.carry_out(api, request_id)),
                true => Begun::Waits(Box::new(waiting)),
            }
        }
        Err(fault) => Begun::Answered(end(&name, request_id, recording, &Err(fault))),
    }
}

/// Asks the caller's policies.
fn allow(
    api: &Api,
    registry: &Registry,
    name: &OperationName,
    caller: &Caller,
    request: &Document,
    origin: &Origin,
) -> Result<(), Fault> {
    if !api.core.authorizer().asks_of(caller) {
        return Ok(());
    }
    let scope = registry.settings().scope.clone();
    let asked = Asked { registry, scope: &scope, caller, operation: &name.operation, request };
    let demands = demand::of(name.service.name, &asked);
    let allowed = api.core.authorizer().authorize(registry, caller, &demands, origin);
    allowed.map_err(|denied| access_denied(name, denied))
}

/// A call of somebody who is known otherwise than by a signature.
pub(crate) struct Performed<'a> {
    pub(crate) caller: Caller,
    pub(crate) service: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) request: Document,
    pub(crate) peer: Peer,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) request_id: &'a str,
}

/// Carries it out as if it were signed: the caller's policies are asked, and the trail has it. Blocks.
///
/// # Errors
/// What the API would answer.
pub(crate) fn perform(api: &Arc<Api>, performed: Performed<'_>) -> Result<Document, Fault> {
    let Performed { caller, service, operation, request, peer, headers, request_id } = performed;
    let service = SERVICES.iter().find(|known| known.name == service).ok_or_else(|| {
        Fault::new("UnknownOperationException", "The service is not served here.").with_status(404)
    })?;
    let name = OperationName { service, operation: operation.to_owned(), protocol: service.protocol };
    let (now, registry) = (wall_clock::now(), api.core.registry());
    let scope = registry.settings().scope.clone();
    let unsigned = Err(SignatureError::MissingAuthenticationToken);
    let mut recording = begin_recording(api, &name, peer.address, headers, request_id, &unsigned);
    recording.in_region(&scope.region);
    recording.by(&caller);
    recording.asks(&request);
    let origin = Origin {
        address: peer.address.ip().to_canonical(),
        secure: peer.tls,
        region: scope.region.clone(),
        user_agent: text(headers, "user-agent").map(str::to_owned),
        now,
    };
    let carry_out = || {
        let operation = operation::find(service, operation).ok_or_else(|| unknown(&name))?;
        allow(api, &registry, &name, &caller, &request, &origin)?;
        recording.admit()?;
        let call = Call { core: &api.core, caller: &caller, scope, now, origin: &origin };
        (operation.call)(&call, &request).map_err(|outcome| match outcome {
            Outcome::Fault(fault) => fault,
            Outcome::Violation(violation) => violated(&name, &violation),
        })
    };
    let outcome = carry_out();
    recording.end(&outcome);
    outcome
}

fn begin_recording(
    api: &Api,
    name: &OperationName,
    peer: SocketAddr,
    headers: &HeaderMap,
    request_id: &str,
    presented: &Result<Presented, SignatureError>,
) -> Recording {
    let registry = api.core.registry();
    let account_id = &registry.settings().scope.account_id;
    let origin = recording::Origin { peer, headers, request_id, presented, account_id };
    Recording::begin(api.core.audit(), api.audit_data_events, name, &origin)
}

/// What does not fit an operation's shape, in the service's own code.
pub(super) fn violated(name: &OperationName, violation: &Violation) -> Fault {
    let code = match violation.is_of_type() && name.protocol.is_json_like() {
        true => "SerializationException",
        false => name.service.validation_code,
    };
    Fault::new(code, violation.message())
}

/// What policies do not allow, in the code of the protocol.
fn access_denied(name: &OperationName, denied: Denied) -> Fault {
    match name.protocol.is_json_like() {
        true => Fault::new("AccessDeniedException", denied.0)
            .with_query_code("AccessDenied")
            .with_status(name.protocol.common_status(403)),
        false => Fault::new("AccessDenied", denied.0).with_status(403),
    }
}

fn unknown(name: &OperationName) -> Fault {
    let OperationName { service, operation, protocol } = name;
    match protocol.is_json_like() {
        true => Fault::new(
            "UnknownOperationException",
            format!("The operation {operation} of {} is not served here.", service.name),
        )
        .with_status(protocol.common_status(404)),
        false => Fault::new(
            "InvalidAction",
            format!("Could not find operation {operation} for version {}", service.version),
        ),
    }
}

/// What is answered to one who asks too much. Source: each service's "Common Errors".
fn throttled_fault(name: &OperationName, throttled: Throttled) -> Fault {
    let code = if name.protocol.is_json_like() { "ThrottlingException" } else { "Throttling" };
    Fault::new(code, "Rate exceeded")
        .with_status(name.protocol.common_status(429))
        .with_retry_after(throttled.retry_after)
}

/// The same before anything but the head was read.
pub(super) fn throttled_early(headers: &HeaderMap, throttled: Throttled, request_id: &str) -> Response {
    let protocol = match is_for_rest(headers) {
        true => Protocol::RestJson,
        false => protocol_of(text(headers, "smithy-protocol"), text(headers, "x-amz-target")),
    };
    let code = if protocol.is_json_like() { "ThrottlingException" } else { "Throttling" };
    let fault = Fault::new(code, "Rate exceeded")
        .with_status(protocol.common_status(429))
        .with_retry_after(throttled.retry_after);
    protocol::write_fault(protocol, "", request_id, &fault)
}

/// Whether the signature in the head says that it is for a service of restJson1. Nothing is verified:
/// it only decides how a refusal is written.
fn is_for_rest(headers: &HeaderMap) -> bool {
    let credential = text(headers, "authorization").and_then(|it| it.split_once("Credential="));
    let signed_for = credential.and_then(|(_, scope)| scope.split('/').nth(3));
    signed_for.is_some_and(|name| {
        SERVICES.iter().any(|known| known.endpoint_prefix == name && known.rest.is_some())
    })
}

/// The protocol of a request for nothing that is known.
fn protocol_of(smithy_protocol: Option<&str>, target: Option<&str>) -> Protocol {
    match (smithy_protocol, target) {
        (Some("rpc-v2-cbor"), _) => Protocol::Cbor,
        (_, Some(_)) => Protocol::Json11,
        (_, None) => Protocol::Query,
    }
}

/// An answer to what is for no service that is served, in the form that it was asked in.
fn unreadable(head: &RequestHead<'_>, error: &UnreadableRequest, request_id: &str) -> Response {
    protocol::write_unreadable(protocol_of(head.smithy_protocol, head.target), request_id, error)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The headers as a signature is over them; HTTP/2 has the host in `:authority`.
fn received_headers(parts: &http::request::Parts) -> Vec<(&str, &[u8])> {
    let mut headers: Vec<(&str, &[u8])> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
    {
        headers.push(("host", authority.as_str().as_bytes()));
    }
    headers
}

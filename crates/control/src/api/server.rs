//! HTTP in front of the operations.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline_aws::{
    protocol::{
        self, Document, Fault, OperationName, Protocol, RECEIVED_BODY_BYTES_MAX, RequestHead, Response,
        UnreadableRequest, Violation,
    },
    sigv4::{ErrorFamily, Presented, Received, SignatureError},
};
use bowline_plumbing::{drain::DrainWatch, wall_clock};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{
    authentication::Authentication,
    authorization::{
        Denied, Origin,
        demand::{self, Asked},
    },
    call::{Call, Caller},
    operation::{self, Operation, Outcome},
    recording::{self, Recording},
};
use crate::{core::Core, random};

/// Most connections at once.
const CONNECTIONS_MAX: usize = 1_024;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

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
}

/// The AWS endpoint, as it listens.
pub struct ApiServer;

impl ApiServer {
    /// Serves until `drain` says to end.
    pub(crate) async fn serve(listener: TcpListener, api: Arc<Api>, mut drain: DrainWatch) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.signaled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are small: the peer should not wait for more to come.
                    let _ = stream.set_nodelay(true);
                    let (api, drain) = (Arc::clone(&api), drain.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        serve_connection(stream, peer, api, drain).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the AWS endpoint was not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    api: Arc<Api>,
    mut drain: DrainWatch,
) {
    let service = hyper::service::service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(answer(&api, peer, request).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.signaled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection to the AWS endpoint ended");
    }
}

async fn answer(api: &Arc<Api>, peer: SocketAddr, request: Request<Incoming>) -> http::Response<Full<Bytes>> {
    let request_id = random::uuid();
    let (parts, body) = request.into_parts();
    if parts.uri.path() == RESET_PATH {
        return reset(api, &parts).await;
    }
    let body = read_body(body).await;
    // In a task of its own: a client that goes away must not leave a call unrecorded.
    let (api, id) = (Arc::clone(api), request_id.clone());
    let responding = tokio::spawn(async move { respond(&api, peer, &parts, body, &id).await });
    let response = responding.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call ended early");
        let fault = Fault::new("InternalFailure", "the call ended early").with_status(500);
        protocol::write_fault(Protocol::Json11, "", &request_id, &fault)
    });
    into_http(response, &request_id)
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
        builder = builder.header(*name, value);
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
pub(super) async fn respond(
    api: &Arc<Api>,
    peer: SocketAddr,
    parts: &http::request::Parts,
    body: Result<Bytes, Fault>,
    request_id: &str,
) -> Response {
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
        signed_for: presented.as_ref().ok().map(|presented| presented.scope.service.as_str()),
    };
    let name = match (protocol::identify(&head, &body), &unread) {
        (Ok(name), _) => name,
        (Err(_), Some(fault)) => return protocol::write_fault(Protocol::Json11, "", request_id, fault),
        (Err(error), None) => return unreadable(&head, &error, request_id),
    };
    let mut recording = begin_recording(api, &name, peer, &parts.headers, request_id, &presented);
    let family = if name.protocol.is_json_like() { ErrorFamily::AwsJson } else { ErrorFamily::Query };
    let outcome = async {
        if let Some(fault) = unread {
            return Err(fault);
        }
        let (now, registry) = (wall_clock::now(), api.core.registry());
        let caller = api
            .authentication
            .authenticate(&registry, api.core.credentials(), &presented, &received, name.service, now)
            .map_err(|error| {
                let (code, status) = error.code(family);
                Fault::new(code, error.to_string()).with_status(status)
            })?;
        recording.by(&caller);
        let operation = operation::find(name.service, &name.operation).ok_or_else(|| unknown(&name))?;
        let request = protocol::read(name.protocol, &head, &body)
            .map_err(|error| Fault::new("SerializationException", error.to_string()))?;
        recording.asks(&request);
        tracing::debug!(%peer, caller = %caller.arn, service = name.service.name, operation = operation.name);
        let scope = registry.settings().scope.clone();
        let origin = Origin {
            address: peer.ip(),
            region: presented.as_ref().map(|it| it.scope.region.clone()).unwrap_or_default(),
            user_agent: text(&parts.headers, "user-agent").map(str::to_owned),
            now,
        };
        let asked = Asked {
            registry: &registry,
            scope: &scope,
            caller: &caller,
            operation: operation.name,
            request: &request,
        };
        let demands = demand::of(name.service.name, &asked);
        api.core
            .authorizer()
            .authorize(&registry, &caller, &demands, &origin)
            .map_err(|denied| access_denied(&name, denied))?;
        recording.admit()?;
        call(api, operation, &name, caller, origin, request).await
    };
    let outcome = outcome.await;
    recording.end(&outcome);
    match outcome {
        Ok(document) => protocol::write(&name, request_id, &document),
        Err(fault) => protocol::write_fault(name.protocol, name.service.xml_namespace, request_id, &fault),
    }
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

async fn call(
    api: &Arc<Api>,
    operation: &'static Operation,
    name: &OperationName,
    caller: Caller,
    origin: Origin,
    request: Document,
) -> Result<Document, Fault> {
    let core = Arc::clone(&api.core);
    let carry_out = move || {
        let scope = core.registry().settings().scope.clone();
        let call = Call { core: &core, caller: &caller, scope, now: origin.now, origin: &origin };
        (operation.call)(&call, &request)
    };
    let outcome = match operation.waits {
        false => carry_out(),
        true => tokio::task::spawn_blocking(carry_out).await.unwrap_or_else(|error| {
            tracing::error!(%error, operation = operation.name, "an operation ended early");
            Err(Outcome::Fault(Fault::new("InternalFailure", "the operation ended early").with_status(500)))
        }),
    };
    outcome.map_err(|outcome| match outcome {
        Outcome::Fault(fault) => fault,
        Outcome::Violation(violation) => violated(name, &violation),
    })
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
        true => Fault::new("AccessDeniedException", denied.0),
        false => Fault::new("AccessDenied", denied.0).with_status(403),
    }
}

fn unknown(name: &OperationName) -> Fault {
    let OperationName { service, operation, protocol } = name;
    match protocol.is_json_like() {
        true => Fault::new(
            "UnknownOperationException",
            format!("The operation {operation} of {} is not served here.", service.name),
        ),
        false => Fault::new(
            "InvalidAction",
            format!("Could not find operation {operation} for version {}", service.version),
        ),
    }
}

/// An answer to what is for no service that is served, in the form that it was asked in.
fn unreadable(head: &RequestHead<'_>, error: &UnreadableRequest, request_id: &str) -> Response {
    let protocol = match (head.smithy_protocol, head.target) {
        (Some("rpc-v2-cbor"), _) => Protocol::Cbor,
        (_, Some(_)) => Protocol::Json11,
        (_, None) => Protocol::Query,
    };
    let code = match (error, protocol) {
        (UnreadableRequest::Body(_), _) => "SerializationException",
        (UnreadableRequest::UnknownService(_), Protocol::Query) => "InvalidAction",
        (UnreadableRequest::UnknownService(_), _) => "UnknownOperationException",
    };
    protocol::write_fault(protocol, "", request_id, &Fault::new(code, error.to_string()))
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

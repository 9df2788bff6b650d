//! The dashboard: pages in the binary, the state of everything as one stream, and a few things that may be done.
//!
//! - `assets`: the pages themselves.
//! - `parties`: who there is, and who calls whom.
//! - `overview`: what everybody who looks is told; `detail`: what is told besides of one service.
//! - `stream`: changes of both, once a second, while somebody looks.
//! - `plots`: what was, from the metrics that are kept.
//! - `session`: who has signed in; `actions`: what those may do, as through the API.
//!
//! Reading needs no credentials, as `/metrics` needs none, and like it is for this machine alone. It answers to no
//! name that somebody else could give this machine (DNS rebinding), nor to what other sites' pages send.

mod actions;
mod alarms;
mod assets;
mod detail;
mod overview;
mod parties;
mod plots;
mod records;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bowline_plumbing::drain::DrainWatch;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;
use serde_json::json;

use self::{session::Sessions, stream::Hub};
use crate::{
    api::{
        body::{self, Body},
        connection::Peer,
        metrics,
        server::Api,
    },
    core::Core,
};

/// Where it is.
const PATH: &str = "/dashboard/";

/// Most bytes that a request's body may have.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// How long a client may take for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything comes from here, no page elsewhere may frame it, and text never becomes markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src \
                                       'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What the dashboard keeps.
pub(crate) struct Dashboard {
    hub: Arc<Hub>,
    sessions: Sessions,
}

impl Dashboard {
    /// One that nobody looks at yet. Streams end when the drain begins.
    pub(crate) fn new(core: Arc<Core>, drain: DrainWatch) -> Arc<Self> {
        Arc::new(Self { hub: Hub::new(core, drain), sessions: Sessions::default() })
    }
}

/// Whether a path is one of the dashboard's.
pub(crate) fn is_path(path: &str) -> bool {
    path == PATH.trim_end_matches('/') || path.starts_with(PATH)
}

/// A request that is being answered.
struct Request<'a> {
    api: &'a Arc<Api>,
    dashboard: &'a Arc<Dashboard>,
    peer: Peer,
    parts: &'a Parts,
    request_id: &'a str,
}

/// Why a request is not answered: the status, and a text for people.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// An error's name, in AWS's words where AWS has some.
    code: String,
    message: String,
    /// Seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), retry_after: None }
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing of this name.")
    }
}

/// Answers a request for a path of the dashboard.
pub(crate) async fn answer<B>(
    api: &Arc<Api>,
    dashboard: &Arc<Dashboard>,
    peer: Peer,
    parts: &Parts,
    body: B,
    request_id: &str,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let request = Request { api, dashboard, peer, parts, request_id };
    let mut response = match request.route(body).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

impl Request<'_> {
    async fn route<B>(&self, body: B) -> Result<Response<Body>, Refusal>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !metrics::is_for_this_machine(self.peer, self.parts) {
            let text = "The dashboard is only for this machine, under its own name or address.";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", text));
        }
        let Some(name) = self.parts.uri.path().strip_prefix(PATH) else {
            let mut response = body::whole(Response::new(Full::default()));
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PATH));
            return Ok(response);
        };
        let reads = matches!(self.parts.method, Method::GET | Method::HEAD);
        let Some(name) = name.strip_prefix("api/") else {
            return match reads {
                true => assets::answer(name, self.parts).ok_or_else(Refusal::not_found),
                false => Err(method_not_allowed()),
            };
        };
        self.check_site()?;
        match (name, &self.parts.method) {
            ("stream", &Method::GET) => self.stream().await,
            ("plots", &Method::GET) => {
                let (subject, range) = (self.parameter("of")?, self.parameter("range")?);
                let core = Arc::clone(&self.api.core);
                blocking(move || plots::of(&core, &subject, &range)).await?.map(|plots| written(&plots))
            }
            ("alarm", &Method::GET) => {
                let name = self.parameter("name")?;
                let history = alarms::history(&self.api.core.registry(), &name);
                history.map(|history| written(&history)).ok_or_else(Refusal::not_found)
            }
            ("records", &Method::GET) => {
                let subject = self.parameter("of")?;
                let core = Arc::clone(&self.api.core);
                blocking(move || records::of(&core, &subject)).await?.map(|records| written(&records))
            }
            ("session", &Method::GET) => Ok(written(&self.session())),
            ("session", &Method::POST) => self.sign_in(&read(body).await?).await,
            ("session", &Method::DELETE) => self.sign_out(),
            ("action", &Method::POST) => {
                let body = read(body).await?;
                self.act(&body).await.map(|()| written(&json!({})))
            }
            ("stream" | "plots" | "alarm" | "records" | "session" | "action", _) => Err(method_not_allowed()),
            _ => Err(Refusal::not_found()),
        }
    }

    /// Refuses what a page of another site has sent: where its browser tells, by either of two headers.
    fn check_site(&self) -> Result<(), Refusal> {
        let text = |name: &str| self.parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let of_other_site =
            text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
        let host = metrics::host_of(self.parts).unwrap_or_default();
        let scheme = if self.peer.tls { "https" } else { "http" };
        let of_other_origin = text("origin").is_some_and(|origin| origin != format!("{scheme}://{host}"));
        match of_other_site || of_other_origin {
            true => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", "Another site's page asked for it."))
            }
            false => Ok(()),
        }
    }

    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Result<String, Refusal> {
        let found = parameter(self.parts.uri.query().unwrap_or_default(), name);
        found.ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "MissingParameter",
                format!("The parameter {name} is needed."),
            )
        })
    }

    async fn stream(&self) -> Result<Response<Body>, Refusal> {
        let subject = parameter(self.parts.uri.query().unwrap_or_default(), "of");
        let hub = Arc::clone(&self.dashboard.hub);
        let pieces = hub.open(subject).await.ok_or_else(|| Refusal {
            retry_after: Some(5),
            ..Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                format!("{} pages look at it already.", stream::STREAMS_MAX),
            )
        })?;
        let mut response = Response::new(body::lasting(pieces));
        response.extensions_mut().insert(body::Lasting);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// The value of a parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let given = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::with_capacity(given.len());
    let mut rest = given.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "It cannot be done to this.")
}

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "The body is too long, or ended early.",
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeout",
            "The body did not arrive in time.",
        )),
    }
}

/// Does what waits for the disk beside the runtime.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "The call ended early.")
    })
}

/// A value as JSON.
fn written(value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a page's data could not be written");
        Vec::new()
    });
    let mut response = body::whole(Response::new(Full::new(Bytes::from(bytes))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = written(&json!({"code": refusal.code, "message": refusal.message}));
    *response.status_mut() = refusal.status;
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

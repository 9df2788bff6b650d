//! The credentials of the task's role, as ECS gives them out: one HTTP path of
//! 169.254.170.2 within the task, which nobody can guess; and a port beside it
//! that leads to the control plane's AWS endpoint. On host networking both are
//! on loopback, and who asks must show the token that the task was given.
//!
//! Whose credentials they are the control plane knows by the sidecar's
//! certificate. They are kept here until they are renewed, so that SDKs may
//! ask as often as they like, and go on while the control plane is away.

use std::{
    convert::Infallible, future::Future, net::SocketAddr, net::SocketAddrV4, sync::Arc, time::Duration,
};

use aws_lc_rs::constant_time;
use bowline_discovery::{identity::TaskCredentialsResponse, tonic};
use bowline_model::{
    clock::Timestamp,
    network::{AWS_ENDPOINT_PORT, CREDENTIALS_ADDRESS, CREDENTIALS_PORT},
    task::Secret,
};
use bowline_plumbing::{
    shim_link::{CredentialsAccess, Hello, Place, ShimLink, Transport},
    wall_clock,
};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    certificates::chain_text,
    control_plane::{ControlPlane, ControlPlaneError},
    options::ProxyError,
    tcp,
};

/// Most connections at once that ask for credentials; more wait in the listener's queue.
const ASKING_MAX: usize = 32;
/// Most connections at once to the AWS endpoint; more wait in the listener's queue.
const FORWARDED_MAX: usize = 256;
/// How large the head of a request may be. Bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a connection that asks may take altogether: SDKs ask once a connection.
const ASKING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the AWS endpoint may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to the AWS endpoint may last.
const FORWARDED_LIFETIME: Duration = Duration::from_secs(3_600);
/// Credentials are renewed when they have so long to live: before SDKs want fresh ones, the
/// earliest of which (botocore) does 15 minutes before the end.
const RENEW_BEFORE: Duration = Duration::from_secs(20 * 60);
/// How long a refusal is repeated before the control plane is asked again.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// How often it is asked where the AWS endpoint is, at most.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept: out of file descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The two sockets, in the task's alias network.
#[derive(Debug)]
pub(crate) struct Listeners {
    credentials: std::net::TcpListener,
    endpoint: std::net::TcpListener,
    access: CredentialsAccess,
}

impl Listeners {
    /// Asks the shim for them, if the task has a role.
    ///
    /// # Errors
    /// The shim does not answer, or gives none.
    pub(crate) fn open(link: &ShimLink, hello: &Hello) -> Result<Option<Self>, ProxyError> {
        let Some(access) = hello.credentials.clone() else { return Ok(None) };
        let listen = |port| -> Result<std::net::TcpListener, ProxyError> {
            let address = SocketAddrV4::new(CREDENTIALS_ADDRESS, port);
            let (socket, _) = link.listen(Place::Aliases, Transport::Tcp, address)?;
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let (credentials, endpoint) = (listen(CREDENTIALS_PORT)?, listen(AWS_ENDPOINT_PORT)?);
        Ok(Some(Self { credentials, endpoint, access }))
    }
}

/// Serves until it is aborted.
pub(crate) async fn serve(listeners: Option<Listeners>, control_plane: ControlPlane) {
    let Some(listeners) = listeners else { return };
    let ask = move || {
        let control_plane = control_plane.clone();
        async move { control_plane.task_credentials().await }
    };
    serve_with(listeners, Arc::new(Keeper::new(ask))).await;
}

async fn serve_with<A: Ask>(listeners: Listeners, keeper: Arc<Keeper<A>>) {
    let Listeners { credentials, endpoint, access } = listeners;
    let sockets = TcpListener::from_std(credentials)
        .and_then(|credentials| Ok((credentials, TcpListener::from_std(endpoint)?)));
    let (credentials, endpoint) = match sockets {
        Ok(sockets) => sockets,
        Err(error) => return tracing::error!(%error, "the task has no credentials"),
    };
    let access = Arc::new(access);
    let asking = accept(credentials, ASKING_MAX, |stream| {
        let (keeper, access) = (Arc::clone(&keeper), Arc::clone(&access));
        async move {
            let _ = timeout(ASKING_TIMEOUT, serve_one(stream, &keeper, &access)).await;
        }
    });
    let forwarding = accept(endpoint, FORWARDED_MAX, |stream| {
        let keeper = Arc::clone(&keeper);
        async move {
            let _ = timeout(FORWARDED_LIFETIME, forward(stream, &keeper)).await;
        }
    });
    tokio::join!(asking, forwarding);
}

async fn accept<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(most));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream);
                tokio::spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one<A: Ask>(stream: TcpStream, keeper: &Keeper<A>, access: &CredentialsAccess) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, keeper, access).await)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a connection that asks for credentials ended");
    }
}

async fn answer<A: Ask, B>(
    request: &Request<B>,
    keeper: &Keeper<A>,
    access: &CredentialsAccess,
) -> Response<Full<Bytes>> {
    if !is_same(request.uri().path().as_bytes(), &access.path) {
        return response(&Refusal::new(StatusCode::NOT_FOUND, "InvalidIdInRequest", "CredentialsNotFound"));
    }
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    if let Some(token) = &access.authorization
        && !shown.is_some_and(|shown| is_same(shown, token))
    {
        return response(&Refusal::new(
            StatusCode::UNAUTHORIZED,
            "InvalidAuthorizationToken",
            "the Authorization header is not AWS_CONTAINER_AUTHORIZATION_TOKEN",
        ));
    }
    if request.method() != Method::GET {
        return response(&Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "InvalidMethod",
            "credentials are read with GET",
        ));
    }
    match keeper.get(wall_clock::now()).await {
        Ok(held) => json_response(StatusCode::OK, held.body),
        Err(refusal) => response(&refusal),
    }
}

/// Whether it is the secret; how long that takes does not tell how much of it is right.
fn is_same(shown: &[u8], secret: &Secret) -> bool {
    constant_time::verify_slices_are_equal(shown, secret.expose().as_bytes()).is_ok()
}

fn response(refusal: &Refusal) -> Response<Full<Bytes>> {
    // The shape of the ECS agent's errors.
    let body = json!({
        "code": refusal.code,
        "message": refusal.message,
        "HTTPErrorCode": refusal.status.as_u16(),
    });
    json_response(refusal.status, body.to_string().into())
}

fn json_response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// Carries a connection to the control plane's AWS endpoint. Where that moved, as after a restart
/// of the control plane, it is asked where it is now.
async fn forward<A: Ask>(mut stream: TcpStream, keeper: &Keeper<A>) {
    let connected = match connect(keeper).await {
        Err(gone) => {
            keeper.look_for_endpoint(gone).await;
            connect(keeper).await
        }
        connected => connected,
    };
    let Ok(mut upstream) = connected else {
        // A reset is nearest to a refusal.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return;
    };
    let _ = (stream.set_nodelay(true), upstream.set_nodelay(true));
    if let Err(error) = tcp::relay(&mut stream, &mut upstream).await {
        tracing::debug!(%error, "a connection to the AWS endpoint broke");
    }
}

/// # Errors
/// Where it was thought to be, if that is known, nobody answers.
async fn connect<A: Ask>(keeper: &Keeper<A>) -> Result<TcpStream, Option<SocketAddr>> {
    let endpoint = match keeper.get(wall_clock::now()).await {
        Ok(held) => held.endpoint,
        Err(refusal) => {
            tracing::debug!(message = refusal.message, "the AWS endpoint is not known");
            return Err(None);
        }
    };
    let Some(endpoint) = endpoint else {
        tracing::debug!("the control plane serves no AWS endpoint");
        return Err(None);
    };
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(%endpoint, %error, "the AWS endpoint does not answer");
            Err(Some(endpoint))
        }
        Err(_) => Err(Some(endpoint)),
    }
}

/// How the control plane is asked for credentials.
trait Ask: Send + Sync + 'static {
    fn ask(&self) -> impl Future<Output = Result<TaskCredentialsResponse, ControlPlaneError>> + Send;
}

impl<F, Answer> Ask for F
where
    F: Fn() -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<TaskCredentialsResponse, ControlPlaneError>> + Send,
{
    fn ask(&self) -> impl Future<Output = Result<TaskCredentialsResponse, ControlPlaneError>> + Send {
        self()
    }
}

/// Credentials at hand. No `Debug`: the body is the secret.
#[derive(Clone)]
struct Held {
    body: Bytes,
    expires_at: Timestamp,
    endpoint: Option<SocketAddr>,
}

impl Held {
    fn new(answer: &TaskCredentialsResponse) -> Self {
        let expires_at = Timestamp::from_secs(u64::try_from(answer.expiration).unwrap_or_default());
        let body = json!({
            "RoleArn": answer.role_arn,
            "AccessKeyId": answer.access_key_id,
            "SecretAccessKey": answer.secret_access_key,
            "Token": answer.session_token,
            "Expiration": expires_at.to_string(),
        });
        // An empty text is no address.
        let endpoint = answer.endpoint.parse().ok();
        Self { body: body.to_string().into(), expires_at, endpoint }
    }

    fn lasts(&self, now: Timestamp, least: Duration) -> bool {
        now + least < self.expires_at
    }
}

/// Why there are no credentials, as it is told.
#[derive(Clone, Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    fn of(error: &ControlPlaneError) -> Self {
        let ControlPlaneError::Status(status) = error else {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable", &chain_text(error));
        };
        match status.code() {
            tonic::Code::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "CredentialsNotFound", status.message())
            }
            tonic::Code::FailedPrecondition | tonic::Code::PermissionDenied => {
                Self::new(StatusCode::FORBIDDEN, "AccessDenied", status.message())
            }
            _ => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "CredentialsUnavailable",
                "the control plane does not answer",
            ),
        }
    }
}

#[derive(Default)]
struct Kept {
    held: Option<Held>,
    refused: Option<(Instant, Refusal)>,
    /// When the AWS endpoint was last looked for anew.
    looked_for: Option<Instant>,
}

/// Credentials, kept until they are renewed. One asks at a time; the others wait for the answer.
struct Keeper<A> {
    ask: A,
    kept: Mutex<Kept>,
}

impl<A: Ask> Keeper<A> {
    fn new(ask: A) -> Self {
        Self { ask, kept: Mutex::default() }
    }

    async fn get(&self, now: Timestamp) -> Result<Held, Refusal> {
        let mut kept = self.kept.lock().await;
        if let Some(held) = kept.held.as_ref().filter(|held| held.lasts(now, RENEW_BEFORE)) {
            return Ok(held.clone());
        }
        let recent = kept.refused.as_ref().filter(|(at, _)| at.elapsed() < REFUSED_FOR);
        let refusal = match recent {
            Some((_, refusal)) => refusal.clone(),
            None => match self.ask.ask().await {
                Ok(answer) => {
                    let held = Held::new(&answer);
                    (kept.held, kept.refused) = (Some(held.clone()), None);
                    return Ok(held);
                }
                Err(error) => {
                    let refusal = Refusal::of(&error);
                    tracing::warn!(error = %chain_text(&error), "no credentials of the task's role");
                    kept.refused = Some((Instant::now(), refusal.clone()));
                    refusal
                }
            },
        };
        // What is still good is used while the control plane is away, but not when it says no.
        let away = refusal.status == StatusCode::SERVICE_UNAVAILABLE;
        match kept.held.as_ref().filter(|held| away && held.lasts(now, Duration::ZERO)) {
            Some(held) => Ok(held.clone()),
            None => Err(refusal),
        }
    }

    /// Where the AWS endpoint was, `gone`, it is not any more: asks anew, and keeps what there is
    /// in case nobody answers.
    async fn look_for_endpoint(&self, gone: Option<SocketAddr>) {
        let mut kept = self.kept.lock().await;
        // Another connection that waited with this one may have found it.
        let is_known = kept.held.as_ref().is_some_and(|held| held.endpoint != gone);
        let recently = |at: &Instant, pause| at.elapsed() < pause;
        if is_known
            || kept.refused.as_ref().is_some_and(|(at, _)| recently(at, REFUSED_FOR))
            || kept.looked_for.as_ref().is_some_and(|at| recently(at, LOOKED_FOR_EVERY))
        {
            return;
        }
        kept.looked_for = Some(Instant::now());
        match self.ask.ask().await {
            Ok(answer) => (kept.held, kept.refused) = (Some(Held::new(&answer)), None),
            Err(error) => kept.refused = Some((Instant::now(), Refusal::of(&error))),
        }
    }
}

#[cfg(test)]
mod tests;

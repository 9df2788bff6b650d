//! Active health checks: over HTTP, gRPC's health service, or a connection alone.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bowline_discovery::v1::Protocol;
use bowline_plumbing::wall_clock;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::task::JoinSet;

use super::EndpointHealth;
use crate::{
    config::{CheckProtocol, Cluster, HealthCheck, Upstream},
    dial::{DialError, HopKind, Target, accepted, dial, verdict},
    refusal::REFUSAL,
    run::Control,
    shared::Shared,
    trace::Timings,
};

/// How often the set of checks is compared with the configuration, and endpoints with each other.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How soon an endpoint is checked again that has never passed, for so many times: its application may just be
/// starting.
const FIRST_CHECKS: (Duration, u32) = (Duration::from_secs(1), 60);
/// Most endpoints checked at once, over all clusters.
const CHECKS_MAX: usize = 10_000;

/// Runs the active checks of all clusters that ask for them, and what outlier detection does once an
/// interval.
pub(crate) async fn check_forever(control: Control) {
    let shared = Arc::clone(&control.lock().shared);
    drop(control);
    let mut running: HashMap<(Arc<str>, SocketAddr, String), tokio::task::AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let snapshot = shared.snapshot.load_full();
        let mut wanted = HashMap::new();
        for cluster in snapshot.clusters.values() {
            for endpoint in cluster.health.sweep(wall_clock::now()) {
                cluster.metrics.ejections.increment();
                tracing::warn!(cluster = &*cluster.name, %endpoint, "ejected an endpoint that stands out");
            }
        }
        for cluster in snapshot.clusters.values().filter(|cluster| cluster.health_check.is_some()) {
            for endpoint in cluster.upstream.endpoints().iter().filter(|endpoint| !endpoint.draining) {
                let key = (Arc::clone(&cluster.name), endpoint.address, endpoint.task_id.clone());
                if wanted.len() < CHECKS_MAX {
                    wanted.insert(key, Arc::clone(&endpoint.health));
                }
            }
        }
        running.retain(|key, task| {
            let keep = wanted.contains_key(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, health) in wanted {
            if let Entry::Vacant(entry) = running.entry(key) {
                let (cluster, address, _) = entry.key().clone();
                entry.insert(tasks.spawn(check_endpoint(Arc::clone(&shared), cluster, address, health)));
            }
        }
        while tasks.try_join_next().is_some() {}
        if running.is_empty() && !snapshot.clusters.values().any(has_rounds) {
            shared.checks_changed.notified().await;
        } else {
            tokio::time::sleep(LOOK_AROUND).await;
        }
    }
}

/// Whether there is something to do for a cluster though its configuration stays the same.
fn has_rounds(cluster: &Arc<Cluster>) -> bool {
    cluster.health_check.is_some() || cluster.health.is_swept()
}

/// Checks one endpoint for as long as it exists.
async fn check_endpoint(
    shared: Arc<Shared>,
    name: Arc<str>,
    address: SocketAddr,
    health: Arc<EndpointHealth>,
) {
    let (mut good, mut bad) = (0u32, 0u32);
    let mut healthy = Healthy::Initial;
    let mut told = None;
    loop {
        let snapshot = shared.snapshot.load_full();
        let Some(cluster) = snapshot.clusters.get(&name) else { return };
        let Some(check) = cluster.health_check.clone() else {
            return cluster.health.set_checked(&health, true, wall_clock::now());
        };
        let endpoints = cluster.upstream.endpoints();
        let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.address == address) else { return };
        let target = Target::Endpoint(Arc::clone(endpoint));
        let passed = tokio::time::timeout(check.timeout, check_once(&shared, cluster, &check, &target)).await;
        if let Ok(Err(error)) = &passed
            && error.is_refusal()
        {
            // That says nothing of the endpoint's health.
            tracing::warn!(cluster = &*name, endpoint = %address, %error, "a health check was refused");
            tokio::time::sleep(check.interval).await;
            continue;
        }
        let passed = matches!(passed, Ok(Ok(())));
        (good, bad) = if passed { (good.saturating_add(1), 0) } else { (0, bad.saturating_add(1)) };
        healthy = healthy.after(passed, good >= check.healthy_threshold, bad >= check.unhealthy_threshold);
        let is_used = healthy == Healthy::Yes;
        if told != Some(is_used) {
            tracing::info!(cluster = &*name, endpoint = %address, healthy = is_used, "health check");
            cluster.health.set_checked(&health, is_used, wall_clock::now());
            told = Some(is_used);
        }
        let (soon, times) = FIRST_CHECKS;
        let is_starting = healthy == Healthy::Initial && bad < times;
        tokio::time::sleep(if is_starting { soon.min(check.interval) } else { check.interval }).await;
    }
}

/// As a target group's target has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Healthy {
    /// No check has passed since it was added; it is not used once one has failed.
    Initial,
    Yes,
    No,
}

impl Healthy {
    /// After a check. The first that passes decides alone, as an ALB's does ("Target health status", ELB user guide);
    /// later ones in rows.
    fn after(self, passed: bool, good_row: bool, bad_row: bool) -> Self {
        match self {
            Self::Initial if passed => Self::Yes,
            Self::Initial => Self::Initial,
            _ if good_row => Self::Yes,
            _ if bad_row => Self::No,
            before => before,
        }
    }
}

/// Why a check failed.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("answered {0}")]
    Status(u16),
    #[error("answered gRPC status {0}")]
    GrpcStatus(String),
    #[error("the health service says that it is not serving")]
    NotServing,
    #[error("the authorization policy does not allow it")]
    NotAuthorized,
}

impl CheckError {
    /// Whether an identity was refused.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Dial(error) => error.refusal().is_some(),
            Self::NotAuthorized => true,
            Self::Http(_) | Self::Status(_) | Self::GrpcStatus(_) | Self::NotServing => false,
        }
    }
}

async fn check_once(
    shared: &Shared,
    cluster: &Cluster,
    check: &HealthCheck,
    target: &Target,
) -> Result<(), CheckError> {
    match &check.protocol {
        CheckProtocol::Tcp => {
            let stream = dial(shared, cluster, target, HopKind::Main, &mut Timings::default()).await?;
            // A proxy in front of TCP says whether its application accepts.
            match cluster.protocol {
                Protocol::Tcp => drop(verdict(cluster, target, stream).await?),
                _ => drop(accepted(cluster, target, stream).await?),
            }
            Ok(())
        }
        CheckProtocol::Http(path) => {
            let (response, _connection) =
                ask(shared, cluster, target, Method::GET, path, Bytes::new()).await?;
            let status = response.status().as_u16();
            match check.matcher.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
                true => Ok(()),
                false => Err(CheckError::Status(status)),
            }
        }
        CheckProtocol::Grpc(service) => {
            let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
            let request = grpc_request(service);
            let (response, _connection) = ask(shared, cluster, target, Method::POST, &path, request).await?;
            if response.status() != http::StatusCode::OK {
                return Err(CheckError::Status(response.status().as_u16()));
            }
            if let Some(status) = grpc_failure(response.headers()) {
                return Err(CheckError::GrpcStatus(status));
            }
            /// An answer has 7 bytes.
            const ANSWER_MAX: usize = 1_024;
            let answer = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let answer = answer.map_err(|_| CheckError::NotServing)?;
            if let Some(status) = answer.trailers().and_then(grpc_failure) {
                return Err(CheckError::GrpcStatus(status));
            }
            if is_serving(&answer.to_bytes()) { Ok(()) } else { Err(CheckError::NotServing) }
        }
    }
}

/// A task that ends with this.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection of a check's own.
type Connection = AbortOnDrop<Result<(), hyper::Error>>;

/// Sends one request on a connection of its own.
async fn ask(
    shared: &Shared,
    cluster: &Cluster,
    target: &Target,
    method: Method,
    path: &PathAndQuery,
    body: Bytes,
) -> Result<(Response<Incoming>, Connection), CheckError> {
    let stream = dial(shared, cluster, target, HopKind::Main, &mut Timings::default()).await?;
    let stream = accepted(cluster, target, stream).await?;
    let is_grpc = method == Method::POST;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    let agent = HeaderValue::from_static("ELB-HealthChecker/2.0");
    request.headers_mut().insert(header::USER_AGENT, agent);
    if is_grpc {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let authority = target.address().to_string();
    // As in the pool: other proxies, and servers of HTTP/2 and gRPC, speak HTTP/2.
    let is_h1 = !matches!(cluster.upstream, Upstream::Mesh(_)) && cluster.protocol == Protocol::Http;
    let (response, connection) = if is_h1 {
        *request.uri_mut() = http::Uri::from(path.clone());
        if let Ok(host) = HeaderValue::from_str(&authority) {
            request.headers_mut().insert(header::HOST, host);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        (sender.send_request(request).await?, connection)
    } else {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = authority.parse().ok();
        uri.path_and_query = Some(path.clone());
        *request.uri_mut() = http::Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = http::Version::HTTP_2;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        (sender.send_request(request).await?, connection)
    };
    if response.headers().contains_key(&REFUSAL) {
        return Err(CheckError::NotAuthorized);
    }
    Ok((response, connection))
}

/// `HealthCheckRequest { service }` in gRPC's frame.
fn grpc_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0A); // field 1, length-delimited
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// Whether a frame holds `HealthCheckResponse { status: SERVING }`.
fn is_serving(frame: &[u8]) -> bool {
    // Not compressed; field 1, a varint; 1 is SERVING.
    frame == [0, 0, 0, 0, 2, 0x08, 1]
}

/// The gRPC status that is not OK.
fn grpc_failure(headers: &http::HeaderMap) -> Option<String> {
    let status = headers.get("grpc-status")?;
    (status != "0").then(|| String::from_utf8_lossy(status.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_check_that_passes_decides_alone_and_later_ones_in_rows() {
        let checks = |outcomes: &[bool]| {
            let (mut good, mut bad) = (0, 0);
            outcomes.iter().fold(Healthy::Initial, |healthy, passed| {
                (good, bad) = if *passed { (good + 1, 0) } else { (0, bad + 1) };
                healthy.after(*passed, good >= 3, bad >= 2)
            })
        };
        assert_eq!(checks(&[]), Healthy::Initial);
        assert_eq!(checks(&[true]), Healthy::Yes);
        assert_eq!(checks(&[false, false, false]), Healthy::Initial);
        assert_eq!(checks(&[false, false, false, true]), Healthy::Yes);
        assert_eq!(checks(&[true, false]), Healthy::Yes);
        assert_eq!(checks(&[true, false, false]), Healthy::No);
        assert_eq!(checks(&[true, false, false, true, true]), Healthy::No);
        assert_eq!(checks(&[true, false, false, true, true, true]), Healthy::Yes);
    }

    #[test]
    fn grpc_health_messages_are_as_the_protocol_has_them() {
        assert_eq!(&grpc_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&grpc_request("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = grpc_request(&"x".repeat(300));
        assert_eq!(long[5..8], [0x0A, 0xAC, 0x02]);
        assert!(
            is_serving(&[0, 0, 0, 0, 2, 8, 1]) && !is_serving(&[0, 0, 0, 0, 2, 8, 2]) && !is_serving(b"")
        );
    }
}

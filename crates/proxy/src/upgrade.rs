//! Requests that leave HTTP (WebSocket): a hop of their own, over HTTP/1.1.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bowline_model::outlier;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, request::Parts, uri::PathAndQuery};
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    body::{Received, RequestBody, ResponseBody},
    config::{Cluster, ForwardPolicy, Upstream},
    deadline::{self, Deadline},
    dial::{DialError, HopKind, Target, dial, verdict},
    exchange::Exchange,
    external_head,
    forward::{carries_upgrades, refusal_in},
    headers::strip_hop_by_hop,
    metrics::Flag,
    reply::Failure,
    tcp,
    trace::{EventKind, Timings},
    worker::Worker,
};

/// Sends an upgrade request, and joins the two connections if it is granted.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    policy: &ForwardPolicy,
    parts: &Parts,
    on_upgrade: OnUpgrade,
    mut exchange: Box<Exchange>,
) -> Result<Response<ResponseBody>, (Failure, Box<Exchange>)> {
    if !carries_upgrades(cluster) {
        let text = "this service's protocol carries no upgrades";
        let failure = Failure::new(StatusCode::NOT_IMPLEMENTED, Flag::DownstreamProtocolError, text);
        return Err((failure, exchange));
    }
    cluster.metrics.requests.increment();
    exchange.goes_to(cluster);
    let counted = (
        cluster.load.request(&cluster.breakers),
        // An upgraded connection is the request's own, however long it lasts.
        cluster.load.connection(&cluster.breakers, false),
    );
    let (Some(request), Some(mut open)) = counted else {
        cluster.metrics.overflows.increment();
        return Err((Failure::OVERFLOW, exchange));
    };
    exchange.holds(request, None);
    let deadline = exchange.deadline(policy.timeout, &parts.headers);
    let sending = send(worker, cluster, policy, parts, deadline, &mut exchange);
    let outcome = match deadline.at {
        Some(deadline) => timeout_at(deadline, sending).await.unwrap_or_else(|_| {
            exchange.timeline.note(|| EventKind::Timeout { of: "request", limit: policy.timeout });
            Err(Failure::TIMEOUT)
        }),
        None => sending.await,
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(failure) => return Err((failure, exchange)),
    };
    exchange.status = response.status().as_u16();
    exchange.answered();
    cluster.metrics.responded(exchange.status);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut head, body) = response.into_parts();
        if let Some(refusal) = refusal_in(cluster, &mut head.headers) {
            return Err((Failure::refused(refusal, ""), exchange));
        }
        strip_hop_by_hop(&mut head.headers);
        exchange.answers_with(&head.headers);
        return Ok(Response::from_parts(head, ResponseBody::relayed(body, None, None, Some(exchange))));
    }
    exchange.answers_with(response.headers());
    open.opened(cluster.series.row());
    let upstream = hyper::upgrade::on(&mut response);
    let limit = cluster.connect_timeout;
    let (head, _) = response.into_parts();
    tokio::task::spawn_local(async move {
        let joined = async {
            let (client, upstream) = tokio::try_join!(on_upgrade, upstream)?;
            Ok::<_, hyper::Error>((TokioIo::new(client), TokioIo::new(upstream)))
        };
        let (mut client, mut upstream) = match timeout(limit, joined).await {
            Ok(Ok(joined)) => joined,
            Ok(Err(error)) => return tracing::debug!(%error, "an upgrade came to nothing"),
            Err(_) => return tracing::debug!("an upgrade came to nothing in time"),
        };
        let not_allowed = async {
            match exchange.held() {
                Some(held) => held.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = tcp::relay(&mut client, &mut upstream) => if let Err(error) = result {
                tracing::debug!(%error, "an upgraded connection broke");
            },
            cause = not_allowed => {
                tracing::info!(cause = cause.as_str(), "closed an upgraded connection");
                return;
            }
        }
        exchange.complete = true;
        drop(open);
    });
    Ok(Response::from_parts(head, ResponseBody::own(bytes::Bytes::new(), None)))
}

async fn send(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    policy: &ForwardPolicy,
    parts: &Parts,
    deadline: Deadline,
    exchange: &mut Exchange,
) -> Result<Response<Received>, Failure> {
    let mut tried = Vec::new();
    let mut retries = 0;
    let (stream, target) = loop {
        let target = match &cluster.upstream {
            Upstream::Application { address, port } => Target::Application(SocketAddr::new(
                address.unwrap_or(worker.shared.application_address),
                *port,
            )),
            Upstream::Mesh(_) | Upstream::External(_) => match worker.pick(cluster, &tried, None) {
                Some(endpoint) => Target::Endpoint(endpoint),
                None => return Err(Failure::NO_UPSTREAM),
            },
        };
        exchange.upstream = Some(target.address());
        let began = Instant::now();
        let mut timings = Timings::default();
        let connecting = async {
            let stream = dial(&worker.shared, cluster, &target, HopKind::Upgrade, &mut timings).await?;
            verdict(cluster, &target, stream).await
        };
        let connected = connecting.await;
        exchange.timeline.dialled(target.address(), &timings);
        match connected {
            Ok(stream) => break (stream, target),
            Err(DialError::Identity { refusal, text, .. }) => return Err(Failure::refused(refusal, text)),
            Err(error) => {
                if let Target::Endpoint(endpoint) = &target
                    && error.blames_endpoint()
                {
                    let took = began.elapsed();
                    if tcp::failed(cluster, endpoint, outlier::Failure::Local, took) {
                        exchange.timeline.note(|| EventKind::Ejection { endpoint: endpoint.address });
                    }
                }
                if retries >= policy.max_retries || matches!(target, Target::Application(_)) {
                    return Err(broken(Flag::UpstreamConnectionFailure));
                }
                retries += 1;
                let at = target.address();
                exchange.timeline.retries(retries, || error.to_string(), at, Duration::ZERO);
                tried.push(at);
            }
        }
    };
    tracing::trace!(upstream = %target.address(), "a connection for an upgrade");
    let (mut sender, connection) = http1::Builder::new()
        .handshake::<_, RequestBody>(TokioIo::new(stream))
        .await
        .map_err(|_| broken(Flag::UpstreamConnectionFailure))?;
    tokio::task::spawn_local(connection.with_upgrades());
    let mut request = head_of(parts);
    if let (Upstream::External(external), Target::Endpoint(endpoint)) = (&cluster.upstream, &target) {
        external_head::adapt(&mut request, external, endpoint, true, exchange.own_request_id);
    }
    let outside = matches!(cluster.upstream, Upstream::External(_));
    deadline::tell(request.headers_mut(), deadline.left(), false, outside);
    let response = sender.send_request(request).await;
    response
        .map(|response| response.map(Received::from))
        .map_err(|_| broken(Flag::UpstreamConnectionTermination))
}

/// The request as it came, with its upgrade and without what else was meant
/// for the client's connection.
fn head_of(parts: &Parts) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = parts.method.clone();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    *headers = parts.headers.clone();
    let protocol = headers.get(header::UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    request
}

fn broken(flag: Flag) -> Failure {
    let text = "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, flag, text)
}

//! Servers that answer as a test tells them to, and a proxy in front of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    harness::{Ca, Proxy},
    http::{full, h2},
};

/// How a backend answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) delay: Duration,
    /// No answer while this is so.
    pub(crate) hangs: bool,
    /// What `grpc.health.v1.Health` says.
    pub(crate) serving: bool,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, hangs: false, serving: true }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn hanging() -> Self {
        Self { hangs: true, ..Self::status(200) }
    }
}

/// A server of HTTP/1.1 and HTTP/2 that tells its port in the header `backend`.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    answer: watch::Sender<Answer>,
    /// Requests, without those of health checks.
    pub(crate) requests: Arc<AtomicU32>,
    pub(crate) open: Arc<AtomicU32>,
    pub(crate) most_open: Arc<AtomicU32>,
    pub(crate) last: Arc<Mutex<HeaderMap>>,
}

impl Backend {
    pub(crate) async fn start(answer: Answer) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("an address");
        let (answer, answers) = watch::channel(answer);
        let backend = Self {
            address,
            answer,
            requests: Arc::default(),
            open: Arc::default(),
            most_open: Arc::default(),
            last: Arc::default(),
        };
        let (requests, last) = (Arc::clone(&backend.requests), Arc::clone(&backend.last));
        let (open, most_open) = (Arc::clone(&backend.open), Arc::clone(&backend.most_open));
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (answers, requests, last) = (answers.clone(), Arc::clone(&requests), Arc::clone(&last));
                let open = Arc::clone(&open);
                most_open.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        if !request.uri().path().starts_with("/grpc.health")
                            && request.uri().path() != "/check"
                        {
                            requests.fetch_add(1, SeqCst);
                            *last.lock().expect("no panic") = request.headers().clone();
                        }
                        respond(request, answers.clone(), address)
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        backend
    }

    pub(crate) fn answers(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    pub(crate) fn count(&self) -> u32 {
        self.requests.load(SeqCst)
    }
}

async fn respond(
    request: Request<Incoming>,
    mut answers: watch::Receiver<Answer>,
    address: SocketAddr,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, hyper::Error> {
    if request.uri().path().starts_with("/grpc.health") {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let status = if answers.borrow().serving { 1 } else { 2 };
        let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
        let frames = futures::stream::iter([Ok(Frame::data(message)), Ok(Frame::trailers(trailers))]);
        return Ok(Response::new(StreamBody::new(frames).boxed()));
    }
    let answer = answers.wait_for(|answer| !answer.hangs).await.expect("told").clone();
    request.into_body().collect().await?;
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status).header("backend", address.port());
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.status == 204 { full("") } else { full("body") };
    Ok(response.body(body).expect("a response"))
}

/// A proxy whose cluster `service` are servers without sidecars.
pub(crate) fn proxy_to(
    backends: &[&Backend],
    protocol: &str,
    forward: Value,
    cluster: Value,
    endpoint: impl Fn(usize) -> Value,
) -> Proxy {
    Proxy::start(&resources(backends, protocol, forward, cluster, endpoint))
}

pub(crate) fn resources(
    backends: &[&Backend],
    protocol: &str,
    forward: Value,
    cluster: Value,
    endpoint: impl Fn(usize) -> Value,
) -> Vec<Value> {
    let merged = |mut base: Value, more: Value| {
        let more = more.as_object().cloned().unwrap_or_default();
        base.as_object_mut().expect("an object").extend(more);
        base
    };
    let endpoints: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(place, backend)| {
            let base =
                json!({"address": "127.0.0.1", "port": backend.address.port(), "taskId": place.to_string()});
            merged(base, endpoint(place))
        })
        .collect();
    let forward = merged(
        json!({"clusters": [{"cluster": "service", "weight": 1}], "requestTimeoutMs": 15_000}),
        forward,
    );
    // Without TLS another proxy's port is any server of HTTP/2.
    let kind = match protocol {
        "HTTP1" => json!({"external": {"security": {"plain": {}}}}),
        _ => json!({"mesh": {"tls": "PLAINTEXT"}}),
    };
    let protocol = protocol.trim_end_matches('1');
    let base = json!({"name": "service", "protocol": protocol, "connectTimeoutMs": 1_000, "kind": kind});
    vec![
        Ca::new().trust(),
        json!({"listener": {
            "name": "out", "protocol": protocol, "route": "out",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["service-b-sc"]}},
        }}),
        json!({"route": {"name": "out", "rules": [{"action": {"forward": forward}}]}}),
        json!({"cluster": merged(base, cluster)}),
        json!({"endpoints": {"name": "service", "endpoints": endpoints}}),
    ]
}

/// A client with one HTTP/2 connection to a proxy.
#[derive(Clone)]
pub(crate) struct Client(
    hyper::client::conn::http2::SendRequest<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>,
);

/// A response whose body has been read.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The port of who answered.
    pub(crate) backend: Option<u16>,
}

impl Client {
    pub(crate) async fn of(proxy: &Proxy) -> Self {
        Self::at(proxy.address("out")).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self(h2(address).await)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = Request::builder().method(method).uri(format!("http://service{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(full("")).expect("a request");
        let response = self.0.clone().send_request(request).await.expect("a response");
        let (head, body) = response.into_parts();
        let _ = body.collect().await;
        let backend = head.headers.get("backend").and_then(|port| port.to_str().ok()?.parse().ok());
        Got { status: head.status.as_u16(), headers: head.headers, backend }
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send("GET", path, &[]).await
    }
}

//! The endpoints, and the connections that they are served on.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::metrics::{CpuMeter, MemoryUse, SHORTEST_WINDOW};
use crate::peer;

/// How many connections are served at once; further ones wait in the kernel's backlog.
const MOST_CONNECTIONS: usize = 1024;
/// How long requests under way may take after SIGTERM. ECS sends SIGKILL after 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// The pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

struct App {
    config: Config,
    cpu: CpuMeter,
    /// The task's own host name: tells the tasks of a service apart.
    host: Option<String>,
}

/// Serves until `stop` gives its reason, then finishes the requests under way.
pub(crate) async fn serve(listener: TcpListener, config: Config, stop: impl Future<Output = &'static str>) {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let app = Arc::new(App { config, cpu: CpuMeter::start(), host });
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let http = auto::Builder::new(TokioExecutor::new());
    let mut stop = pin!(stop);
    let reason = loop {
        let accept = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            reason = &mut stop => break reason,
            accepted = accept => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("accept failed: {error}");
                // What concerns one connection is over with it; a shortage would be met again at once.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let app = Arc::clone(&app);
        let service = service_fn(move |request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(app.answer(&request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is its own affair.
            let _ = connection.await;
            drop(permit);
        });
    };
    drop(listener);
    println!("{reason}: {} finishes its requests and ends", app.config.service);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        eprintln!("requests were still under way after {} s", DRAIN.as_secs());
    }
}

impl App {
    async fn answer<B: Body>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let endpoint = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(self.config.service.as_str()))
            .and_then(|path| path.strip_prefix('/'));
        let Some(endpoint @ ("healthcheck" | "status" | "other-status")) = endpoint else {
            return answer(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found" }));
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal =
                answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "detail": "Method Not Allowed" }));
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match endpoint {
            "healthcheck" => {
                answer(StatusCode::OK, &json!({ "service": self.config.service, "status": "healthy" }))
            }
            "status" => answer(StatusCode::OK, &self.status().await),
            _ => self.other_status(request).await,
        }
    }

    async fn status(&self) -> Value {
        let mut cpu = self.cpu.read();
        if cpu.is_none() {
            // Only in the first moments of the process.
            tokio::time::sleep(SHORTEST_WINDOW).await;
            cpu = self.cpu.read();
        }
        let memory = MemoryUse::read();
        json!({
            "service": self.config.service,
            "status": "running",
            "cpu_percent": cpu.map(|cpu| cpu.machine),
            "memory_percent": memory.map(|memory| memory.percent()),
            "process_cpu_percent": cpu.and_then(|cpu| cpu.process),
            "process_memory_bytes": memory.and_then(|memory| memory.process),
            "host": self.host,
        })
    }

    async fn other_status<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let service = &self.config.service;
        let Some(peer) = &self.config.peer else {
            let error = "no other service is configured: set SERVICE_A_URL or SERVICE_B_URL";
            return answer(StatusCode::NOT_IMPLEMENTED, &json!({ "service": service, "error": error }));
        };
        match peer::get(&peer.url, request.headers()).await {
            Ok(response) => {
                let mut fields = serde_json::Map::new();
                fields.insert("service".to_owned(), json!(service));
                fields.insert(peer.field.clone(), response);
                answer(StatusCode::OK, &Value::Object(fields))
            }
            Err(error) => {
                eprintln!("{}: {error}", peer.url);
                let error = format!("{}: {error}", peer.url);
                answer(StatusCode::BAD_GATEWAY, &json!({ "service": service, "error": error }))
            }
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Peer;

    fn config(service: &str, peer: Option<(&str, String)>) -> Config {
        let peer = peer.map(|(field, url)| Peer { url: url.parse().expect("URL"), field: field.to_owned() });
        Config { service: service.to_owned(), address: "127.0.0.1:0".parse().expect("address"), peer }
    }

    fn app(config: Config) -> App {
        App { config, cpu: CpuMeter::start(), host: None }
    }

    async fn ask(app: &App, method: Method, path: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("x-request-id", "marked");
        let request = request.body(Empty::<Bytes>::new()).expect("request");
        let response = app.answer(&request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("body").to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn only_the_services_own_paths_are_answered() {
        let app = app(config("service-a", None));
        let (status, body) = ask(&app, Method::GET, "/service-a/healthcheck").await;
        assert_eq!((status, body), (StatusCode::OK, json!({ "service": "service-a", "status": "healthy" })));
        let (status, body) = ask(&app, Method::GET, "/service-a/status?verbose=1").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["status"], "running");
        assert!(body["cpu_percent"].is_number(), "measured from the first request on: {body}");
        assert!(body["memory_percent"].as_f64().expect("memory_percent") > 0.0);
        for path in ["/service-b/status", "/service-a/status/", "/service-a", "/service-astatus", "/"] {
            assert_eq!(ask(&app, Method::GET, path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let (status, _) = ask(&app, Method::POST, "/service-a/status").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        let (status, _) = ask(&app, Method::GET, "/service-a/other-status").await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    }

    /// Starts service B on a port of its own; the sender stops it.
    async fn start_b() -> (String, oneshot::Sender<&'static str>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let authority = listener.local_addr().expect("address").to_string();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            serve(listener, config("service-b", None), async { stopped.await.unwrap_or("dropped") }).await;
        });
        (authority, stop, serving)
    }

    #[tokio::test]
    async fn a_asks_b_and_says_when_it_cannot() {
        let (b, stop, serving) = start_b().await;
        let url = format!("http://{b}/service-b/status");
        let a = app(config("service-a", Some(("service_b_response", url))));
        let (status, body) = ask(&a, Method::GET, "/service-a/other-status").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["service"], "service-a");
        assert_eq!(body["service_b_response"]["service"], "service-b");

        stop.send("test").expect("B runs");
        serving.await.expect("B ends");
        let (status, body) = ask(&a, Method::GET, "/service-a/other-status").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(body["error"].as_str().expect("error").contains("cannot connect"), "{body}");
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_and_an_idle_connection_closed() {
        // A peer that answers only when told to keeps the request under way.
        let slow = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let url = format!("http://{}/status", slow.local_addr().expect("address"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let config = config("service-a", Some(("service_b_response", url)));
        let serving = tokio::spawn(serve(listener, config, async { stopped.await.unwrap_or("dropped") }));

        let mut idle = TcpStream::connect(address).await.expect("connect");
        idle.write_all(b"GET /service-a/healthcheck HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
        let mut first = [0; 15];
        idle.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        let mut client = TcpStream::connect(address).await.expect("connect");
        client.write_all(b"GET /service-a/other-status HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
        let (mut peer, _) = slow.accept().await.expect("the call to the peer");
        stop.send("test").expect("A runs");
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.expect("the idle connection ends first");

        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"b\": 1}").await.expect("write");
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("the answer, then the end");
        assert!(response.ends_with(r#"{"service":"service-a","service_b_response":{"b":1}}"#), "{response}");
        serving.await.expect("A ends");
    }
}

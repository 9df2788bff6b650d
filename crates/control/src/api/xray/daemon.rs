//! X-Ray's daemon, as its SDKs know it: segments by UDP, and beside it a port by TCP for what they ask of sampling.
//!
//! It is on loopback only: who comes from there shows no credentials, as is so with AWS's daemon. It takes segments, and
//! tells sampling rules and targets; everything else is for the AWS endpoint. From within tasks sidecars lead to it.
//!
//! Source: X-Ray's developer guide, "Sending segment documents to the X-Ray daemon"; the SDKs' sampling pollers.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_aws::protocol::{self, Document, Fault, OperationName, Protocol, RequestHead, SERVICES};
use bowline_plumbing::{drain::DrainWatch, wall_clock};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::{
    api::{
        authorization::Origin,
        call::{Call, Caller},
        operation::{self, Outcome},
        server::violated,
    },
    core::Core,
    random,
    xray::segment,
};

/// Longest datagram: UDP's.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// How much may wait in the socket.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Most connections at once; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// Longest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: out of file descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What SDKs ask of the daemon.
const ASKED: [&str; 2] = ["GetSamplingRules", "GetSamplingTargets"];

/// What came by UDP.
#[derive(Debug, Default)]
pub(crate) struct DaemonCounters {
    /// Segments that were taken.
    pub(crate) taken: AtomicU64,
    /// Datagrams that were none.
    pub(crate) refused: AtomicU64,
}

/// The daemon's sockets.
#[derive(Debug)]
pub(crate) struct DaemonSockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl DaemonSockets {
    /// Listens on the same port of `address` by UDP and TCP. Port 0 takes a free one.
    ///
    /// # Errors
    /// The port is in use, or the address is not this machine's.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        // A port that is free for one may be in use by the other.
        let attempts = if address.port() == 0 { 16 } else { 1 };
        let mut failed = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..attempts {
            let tcp = TcpListener::bind(address)?;
            match UdpSocket::bind(tcp.local_addr()?) {
                Ok(udp) => {
                    udp.set_nonblocking(true)?;
                    tcp.set_nonblocking(true)?;
                    // The kernel may allow less: then bursts are shorter.
                    let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER);
                    return Ok(Self { udp, tcp });
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until the drain begins.
    pub(crate) async fn serve(self, core: Arc<Core>, mut drain: DrainWatch) {
        let sockets = tokio::net::UdpSocket::from_std(self.udp)
            .and_then(|udp| Ok((udp, tokio::net::TcpListener::from_std(self.tcp)?)));
        let (udp, tcp) = match sockets {
            Ok(sockets) => sockets,
            Err(error) => return tracing::error!(%error, "X-Ray's daemon cannot be served"),
        };
        tokio::select! {
            () = take_segments(&core, &udp) => {}
            () = accept(&core, &tcp) => {}
            () = drain.signaled() => {}
        }
    }
}

async fn take_segments(core: &Core, socket: &tokio::net::UdpSocket) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv(&mut datagram).await {
            Ok(length) => take_segment(core, &datagram[..length]),
            // What an earlier answer's refusal left behind; nothing is answered here.
            Err(error) => {
                tracing::debug!(%error, "a segment could not be received");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn take_segment(core: &Core, datagram: &[u8]) {
    let counters = core.daemon();
    match document(datagram).map(segment::check) {
        Some(Ok(document)) => {
            counters.taken.fetch_add(1, Relaxed);
            core.traces().put_documents(&[document]);
        }
        refused => {
            counters.refused.fetch_add(1, Relaxed);
            let why = refused.and_then(Result::err).map_or("BadHeader", |refused| refused.code);
            tracing::debug!(why, "a datagram is no segment");
        }
    }
}

/// What follows the head `{"format": "json", "version": 1}` and a newline.
fn document(datagram: &[u8]) -> Option<&str> {
    let (head, document) = std::str::from_utf8(datagram).ok()?.split_once('\n')?;
    let head: serde_json::Value = serde_json::from_str(head).ok()?;
    (head["format"] == "json" && head["version"] == 1).then_some(document)
}

async fn accept(core: &Arc<Core>, listener: &tokio::net::TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let core = Arc::clone(core);
        tokio::spawn(async move {
            let _slot = slot;
            let service = service_fn(|request| {
                let core = Arc::clone(&core);
                async move { Ok::<_, Infallible>(answer(&core, request).await) }
            });
            // Also ends a connection that is kept open without asking: SDKs ask every ten seconds, or anew.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to X-Ray's daemon ended");
            }
        });
    }
}

async fn answer(core: &Arc<Core>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    // Browsers send it with whatever a page asks for: no page is to ask here.
    let is_from_page = parts.headers.contains_key(header::ORIGIN);
    if parts.method != Method::POST || is_from_page {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let Ok(Ok(body)) = body else { return status(StatusCode::BAD_REQUEST) };
    let head = RequestHead {
        method: "POST",
        path: parts.uri.path(),
        query: "",
        target: None,
        content_type: Some("application/json"),
        smithy_protocol: None,
        headers: &[],
        signed_for: Some("xray"),
    };
    let service = SERVICES.iter().find(|service| service.name == "xray");
    let route = service.and_then(|service| Some((service, service.rest?.find("POST", head.path, "").ok()?)));
    let Some((service, route)) = route.filter(|(_, route)| ASKED.contains(&route.operation)) else {
        return status(StatusCode::NOT_FOUND);
    };
    let name = OperationName { service, operation: route.operation.to_owned(), protocol: Protocol::RestJson };
    let request_id = random::uuid();
    let outcome = protocol::read(&name, &head, &body.to_bytes())
        .map_err(|error| Fault::new("SerializationException", error.to_string()))
        .and_then(|request| call(core, &name, &request));
    let answer = match outcome {
        Ok(document) => protocol::write(&name, &request_id, &document),
        Err(fault) => protocol::write_fault_of(&name, &request_id, &fault),
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(&**name, value);
    }
    response.body(Full::new(answer.body.into())).unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn call(core: &Arc<Core>, name: &OperationName, request: &Document) -> Result<Document, Fault> {
    let operation = operation::find(name.service, &name.operation)
        .ok_or_else(|| Fault::new("UnknownOperationException", "It is not served here.").with_status(404))?;
    let scope = core.registry().settings().scope.clone();
    let now = wall_clock::now();
    let caller = Caller::root(&scope, "xray-daemon");
    let origin = Origin {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        secure: false,
        region: scope.region.clone(),
        user_agent: None,
        now,
    };
    let call = Call { core, caller: &caller, scope, now, origin: &origin };
    (operation.call)(&call, request).map_err(|outcome| match outcome {
        Outcome::Fault(fault) => fault,
        Outcome::Violation(violation) => violated(name, &violation),
    })
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::api::{authorization::AuthorizationMode, testing::core_in_memory};

    #[test]
    fn a_datagram_has_a_head() {
        assert_eq!(document(b"{\"format\": \"json\", \"version\": 1}\n{}"), Some("{}"));
        for datagram in
            [&b"{}"[..], b"{}\n{}", b"{\"format\":\"json\",\"version\":2}\n{}", b"\n", b"", b"\xff\n"]
        {
            assert_eq!(document(datagram), None, "{datagram:?}");
        }
    }

    async fn asked(address: SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test]
    async fn segments_are_taken_and_rules_told() {
        let (core, _directory) = core_in_memory(AuthorizationMode::Enforce);
        let sockets = DaemonSockets::bind("127.0.0.1:0".parse().expect("an address")).expect("listens");
        let address = sockets.local_addr().expect("an address");
        let (_trigger, drain) = bowline_plumbing::drain::channel();
        let serving = tokio::spawn(sockets.serve(Arc::clone(&core), drain));
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let segment = "{\"format\":\"json\",\"version\":1}\n{\"id\":\"53995c3f42cd8ad8\",\"name\":\"app\",\
                       \"trace_id\":\"1-58406520-a006649127e371903a2de979\",\"start_time\":1,\"end_time\":2}";
        for datagram in ["nothing", segment] {
            client.send_to(datagram.as_bytes(), address).await.expect("sends");
        }
        let counters = core.daemon();
        while counters.taken.load(Relaxed) + counters.refused.load(Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!((counters.taken.load(Relaxed), core.traces().counts().documents), (1, 1));

        let post = |path: &str, more: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}content-length: 2\r\n\r\n{{}}"
            )
        };
        let rules = asked(address, &post("/GetSamplingRules", "")).await;
        assert!(rules.starts_with("HTTP/1.1 200") && rules.contains("\"Default\""), "{rules}");
        let targets = asked(address, &post("/SamplingTargets", "")).await;
        assert!(
            targets.starts_with("HTTP/1.1 400") && targets.contains("InvalidRequestException"),
            "{targets}"
        );
        // What needs credentials elsewhere is not to be had here.
        assert!(asked(address, &post("/TraceSummaries", "")).await.starts_with("HTTP/1.1 404"));
        assert!(asked(address, &post("/CreateSamplingRule", "")).await.starts_with("HTTP/1.1 404"));
        assert!(
            asked(address, &post("/GetSamplingRules", "origin: http://a\r\n"))
                .await
                .starts_with("HTTP/1.1 405")
        );
        serving.abort();
    }
}

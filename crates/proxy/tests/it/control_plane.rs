//! A proxy in a task: a shim and a control plane of the test's own.

mod introspection;
mod reports;
mod shown_outside;
mod staging;
mod traces;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bowline_discovery::{
    identity::{
        FETCH_PURPOSE, FetchRequest, FetchResponse, IssueRequest, IssueResponse, ShowsOutsideRequest,
        ShowsOutsideResponse, ShowsRequest, ShowsResponse, TaskCredentialsRequest, TaskCredentialsResponse,
        identity_server::{Identity, IdentityServer},
    },
    introspection::introspection_server::IntrospectionServer,
    prost_types::Any,
    resource::{Resource, ResourceType},
    telemetry::{
        MetricReport, ReportAck, SpanBatch,
        telemetry_server::{Telemetry, TelemetryServer},
    },
    tonic::{self, Request, Status, Streaming, transport::server::Connected},
    xds::{
        self, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
    },
};
use bowline_model::task::{ControlPlaneAddress, InboundSocket, ProxyRole, Secret, TaskId};
use bowline_plumbing::{
    fd_message, hpke,
    shim_link::{Hello, Request as Ask, Response as Told, ShimLink, TaskAuthority, Transport},
};
use bowline_proxy::{Direction, HandshakeFailure, ProxyHandle, ProxyOptions, start_with_shim};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    harness::{Ca, Leaf, Proxy, TRUST_DOMAIN, eventually, id, identity, inbound, outbound},
    http::{application, get},
    imported::{Outside, pinned},
    tls::curl,
};

/// What the test's control plane saw and has.
#[derive(Default)]
struct Seen {
    /// Type, nonce and NACK text of each answer.
    answers: Vec<(ResourceType, String, Option<String>)>,
    /// What the proxy said it had, by type, at each stream's start.
    initial: Vec<(ResourceType, HashMap<String, String>)>,
    /// Tokens used, and certificates issued to connections with one.
    tokens: Vec<String>,
    renewals: u32,
    /// Serial numbers of what was issued, as proxies tell them.
    serials: Vec<String>,
    /// What is fetched: a certificate and its key, DER.
    held: Option<(Vec<u8>, Vec<u8>)>,
    /// What is fetched by a staged certificate's name.
    staged: HashMap<String, (Vec<u8>, Vec<u8>)>,
    /// Which disturbance it said is in force, and how many requests came during the last.
    disturbed: Vec<(String, u64)>,
    /// What the proxy said that it shows: the serial number of its own, and the version of what is staged.
    shown: Vec<(String, String)>,
    /// The serial numbers of what it said clients outside are shown.
    shown_outside: Vec<Vec<String>>,
    senders: Vec<mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>>,
    /// What it was told of what was counted, repeated reports included.
    reports: Vec<MetricReport>,
    /// So many reports are taken without a word: the stream breaks instead.
    unanswered_reports: usize,
    /// What it was told of traces, repeated batches included.
    spans: Vec<SpanBatch>,
    /// So many batches are taken without a word: the stream breaks instead.
    unanswered_spans: usize,
    /// What it was told when it looked into the proxy.
    asked: introspection::Asked,
}

struct ControlPlane {
    ca: Arc<Ca>,
    seen: Arc<Mutex<Seen>>,
    resources: Arc<Mutex<Vec<(String, Value)>>>,
    lifetime_seconds: i64,
}

fn response(kind: ResourceType, resources: &[(String, Value)], nonce: &str) -> DeltaDiscoveryResponse {
    let resources = resources
        .iter()
        .map(|(version, value)| {
            (version, serde_json::from_value::<Resource>(value.clone()).expect("a resource"))
        })
        .filter(|(_, resource)| resource.kind() == kind)
        .map(|(version, resource)| xds::Resource {
            version: version.clone(),
            name: resource.name().to_owned(),
            resource: Some(Any { type_url: kind.type_url(), value: resource.encode() }),
        })
        .collect();
    DeltaDiscoveryResponse {
        resources,
        type_url: kind.type_url(),
        nonce: nonce.to_owned(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for ControlPlane {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaAggregatedResourcesStream>, Status> {
        if request.extensions().get::<bool>() != Some(&true) {
            return Err(Status::unauthenticated("no certificate"));
        }
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(100);
        self.seen.lock().expect("not poisoned").senders.push(sender.clone());
        let (seen, resources) = (Arc::clone(&self.seen), Arc::clone(&self.resources));
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let kind = ResourceType::from_type_url(&request.type_url).expect("a known type");
                if request.response_nonce.is_empty() {
                    seen.lock()
                        .expect("not poisoned")
                        .initial
                        .push((kind, request.initial_resource_versions.into_iter().collect()));
                    let resources = resources.lock().expect("not poisoned").clone();
                    let _ = sender.send(Ok(response(kind, &resources, "first"))).await;
                } else {
                    let nack = request.error_detail.map(|status| status.message);
                    seen.lock().expect("not poisoned").answers.push((kind, request.response_nonce, nack));
                }
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Telemetry for ControlPlane {
    type ReportStream = ReceiverStream<Result<ReportAck, Status>>;
    type TraceStream = ReceiverStream<Result<ReportAck, Status>>;

    async fn trace(
        &self,
        request: Request<Streaming<SpanBatch>>,
    ) -> Result<tonic::Response<Self::TraceStream>, Status> {
        assert_eq!(request.extensions().get::<bool>(), Some(&true), "a certificate was shown");
        let mut batches = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                let sequence = batch.sequence;
                {
                    let mut seen = seen.lock().expect("not poisoned");
                    seen.spans.push(batch);
                    if seen.unanswered_spans > 0 {
                        seen.unanswered_spans -= 1;
                        return;
                    }
                }
                let _ = sender.send(Ok(ReportAck { sequence, interval_ms: 0 })).await;
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }

    async fn report(
        &self,
        request: Request<Streaming<MetricReport>>,
    ) -> Result<tonic::Response<Self::ReportStream>, Status> {
        assert_eq!(request.extensions().get::<bool>(), Some(&true), "a certificate was shown");
        let mut reports = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let sequence = report.sequence;
                {
                    let mut seen = seen.lock().expect("not poisoned");
                    seen.reports.push(report);
                    if seen.unanswered_reports > 0 {
                        seen.unanswered_reports -= 1;
                        return;
                    }
                }
                let _ = sender.send(Ok(ReportAck { sequence, interval_ms: 1_000 })).await;
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Identity for ControlPlane {
    async fn task_credentials(
        &self,
        _: Request<TaskCredentialsRequest>,
    ) -> Result<tonic::Response<TaskCredentialsResponse>, Status> {
        Err(Status::not_found("the task has no role"))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<tonic::Response<FetchResponse>, Status> {
        if request.extensions().get::<bool>() != Some(&true) {
            return Err(Status::unauthenticated("no certificate"));
        }
        let FetchRequest { name, recipient } = request.into_inner();
        let held = {
            let seen = self.seen.lock().expect("not poisoned");
            match name.as_str() {
                "acm:b" => seen.held.clone(),
                staged => seen.staged.get(staged).cloned(),
            }
        };
        let (leaf, key) = held.ok_or_else(|| Status::not_found("there is none yet"))?;
        let sealed = hpke::seal(&recipient, FETCH_PURPOSE, &leaf, &key).expect("a key of the proxy's");
        let (encapsulated, sealed_key) = (sealed.encapsulated, sealed.ciphertext);
        Ok(tonic::Response::new(FetchResponse { chain_der: vec![leaf], encapsulated, sealed_key }))
    }

    async fn shows(&self, request: Request<ShowsRequest>) -> Result<tonic::Response<ShowsResponse>, Status> {
        assert_eq!(request.extensions().get::<bool>(), Some(&true), "a certificate was shown");
        let ShowsRequest { serial, staged, disturbance, arrived } = request.into_inner();
        self.seen.lock().expect("not poisoned").disturbed.push((disturbance, arrived));
        self.seen.lock().expect("not poisoned").shown.push((serial, staged));
        Ok(tonic::Response::new(ShowsResponse {}))
    }

    async fn shows_outside(
        &self,
        request: Request<ShowsOutsideRequest>,
    ) -> Result<tonic::Response<ShowsOutsideResponse>, Status> {
        assert_eq!(request.extensions().get::<bool>(), Some(&true), "a certificate was shown");
        self.seen.lock().expect("not poisoned").shown_outside.push(request.into_inner().serials);
        Ok(tonic::Response::new(ShowsOutsideResponse {}))
    }

    async fn issue(&self, request: Request<IssueRequest>) -> Result<tonic::Response<IssueResponse>, Status> {
        let authenticated = request.extensions().get::<bool>() == Some(&true);
        let request = request.into_inner();
        {
            let mut seen = self.seen.lock().expect("not poisoned");
            if request.token.is_empty() {
                if !authenticated {
                    return Err(Status::unauthenticated("neither token nor certificate"));
                }
                seen.renewals += 1;
            } else if seen.tokens.contains(&request.token) {
                return Err(Status::permission_denied("the token was used"));
            } else {
                seen.tokens.push(request.token.clone());
            }
        }
        let (chain, not_before, not_after) =
            self.ca.sign_csr(&request.csr_der, &id("b"), self.lifetime_seconds);
        self.seen.lock().expect("not poisoned").serials.push(serial_of(&chain));
        Ok(tonic::Response::new(IssueResponse {
            chain_der: vec![chain],
            roots_pem: self.ca.root_pem.clone(),
            not_before,
            not_after,
            spiffe_id: id("b"),
        }))
    }
}

/// A TLS stream that tells whether its client showed a certificate.
struct Accepted(TlsStream<TcpStream>);

impl Connected for Accepted {
    type ConnectInfo = bool;

    fn connect_info(&self) -> bool {
        self.0.get_ref().1.peer_certificates().is_some()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A control plane that runs, and what it saw.
struct Running {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(ca: &Arc<Ca>, resources: Vec<(String, Value)>, lifetime_seconds: i64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let control_plane = format!("spiffe://{TRUST_DOMAIN}/control-plane");
        let (chain, key) = ca.issue("control-plane", &Leaf::of(&control_plane));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.root_pem.as_bytes()).expect("a root")).expect("added");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(chain).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key).expect("a key"),
            )
            .expect("a configuration");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (seen, resources) = (Arc::<Mutex<Seen>>::default(), Arc::new(Mutex::new(resources)));
        let make = || ControlPlane {
            ca: Arc::clone(ca),
            seen: Arc::clone(&seen),
            resources: Arc::clone(&resources),
            lifetime_seconds,
        };
        let socket = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bound");
        let address = socket.local_addr().expect("an address");
        let (sender, receiver) = mpsc::channel::<io::Result<Accepted>>(10);
        runtime.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.send(Ok(Accepted(stream))).await;
                    }
                });
            }
        });
        let served = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(make()))
            .add_service(IdentityServer::new(make()))
            .add_service(TelemetryServer::new(make()))
            .add_service(IntrospectionServer::new(make()));
        runtime.spawn(served.serve_with_incoming(ReceiverStream::new(receiver)));
        Self { address, seen, runtime }
    }

    fn push(&self, response: DeltaDiscoveryResponse) {
        let senders = self.seen.lock().expect("not poisoned").senders.clone();
        let sender = senders.last().expect("a stream is open");
        sender.blocking_send(Ok(response)).expect("sent");
    }

    fn answer_to(&self, nonce: &str) -> Option<Option<String>> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.answers.iter().find(|(_, of, _)| of == nonce).map(|(_, _, nack)| nack.clone())
    }

    fn stop(self) {
        self.runtime.shutdown_background();
    }
}

/// What the test's shim was told.
#[derive(Default)]
struct Shim {
    ready: bool,
    hosts: Vec<(Ipv4Addr, Vec<String>)>,
    tokens_asked: u32,
    sockets: u32,
    listening: HashMap<String, (OwnedFd, SocketAddr)>,
}

/// Answers a proxy as a task's shim does. Aliases are bound on loopback.
fn start_shim(hello: Hello, shim: Arc<Mutex<Shim>>) -> ShimLink {
    let (ours, theirs) = fd_message::pair().expect("sockets");
    std::thread::spawn(move || {
        while let Ok(Some((ask, _))) = fd_message::receive::<Ask>(&ours) {
            let mut shim = shim.lock().expect("not poisoned");
            let mut socket = None;
            let mut sockets = Vec::new();
            let told = match ask {
                Ask::Hello => Told::Hello(Box::new(hello.clone())),
                Ask::Listen { transport, address, .. } => {
                    let key = format!("{transport:?} {address}");
                    let (fd, address) = shim.listening.entry(key).or_insert_with(|| match transport {
                        Transport::Tcp => tcp(),
                        Transport::Udp => {
                            let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
                            let address = socket.local_addr().expect("an address");
                            (socket.into(), address)
                        }
                    });
                    socket = Some(fd.try_clone().expect("copied"));
                    Told::Socket { address: *address }
                }
                Ask::Inbound { port_name } => {
                    let (fd, address) = shim.listening.entry(port_name).or_insert_with(tcp);
                    socket = Some(fd.try_clone().expect("copied"));
                    Told::Socket { address: *address }
                }
                Ask::ApplicationSockets { count } => {
                    for _ in 0..count {
                        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
                        sockets.push(OwnedFd::from(socket.expect("a socket")));
                    }
                    shim.sockets += u32::try_from(count).expect("few");
                    Told::Sockets
                }
                Ask::Hosts { entries } => {
                    shim.hosts = entries.into_iter().map(|entry| (entry.address, entry.names)).collect();
                    Told::Done
                }
                Ask::Token => {
                    shim.tokens_asked += 1;
                    Told::Token(Secret::new(format!("asked-{}", shim.tokens_asked)))
                }
                Ask::Ready => {
                    shim.ready = true;
                    Told::Done
                }
                Ask::Release { .. } => Told::Done,
            };
            sockets.extend(socket);
            let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            if fd_message::send(&ours, &told, &fds).is_err() {
                return;
            }
        }
    });
    ShimLink::new(theirs)
}

fn tcp() -> (OwnedFd, SocketAddr) {
    let socket = StdTcpListener::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("an address");
    (socket.into(), address)
}

fn hello(ca: &Ca, control_plane: SocketAddr, token: Option<&str>, state: PathBuf) -> Hello {
    Hello {
        task_id: TaskId::from_random([7; 16]),
        role: ProxyRole::Sidecar,
        control_plane: ControlPlaneAddress {
            address: control_plane,
            roots_pem: ca.root_pem.clone(),
            trust_domain: TRUST_DOMAIN.to_owned(),
        },
        control_plane_id: format!("spiffe://{TRUST_DOMAIN}/control-plane").parse().expect("an id"),
        token: token.map(|token| Secret::new(token.to_owned())),
        seal_key: Secret::new("5a".repeat(32)),
        state_file: state,
        inbound: vec![InboundSocket {
            port_name: "web".to_owned(),
            container_port: 80,
            address: "127.0.0.1:0".parse().expect("an address"),
        }],
        application_address: Ipv4Addr::LOCALHOST,
        isolated: true,
        dns: Some("198.18.0.2:53".parse().expect("an address")),
        published: vec![],
        egress: None,
        credentials: None,
        xray_daemon: None,
        task_authority: Some(TaskAuthority {
            certificate_pem: ca.root_pem.clone(),
            key_pem: Secret::new(ca.key_pem.clone()),
        }),
    }
}

struct Task {
    ca: Arc<Ca>,
    control_plane: Running,
    shim: Arc<Mutex<Shim>>,
    proxy: ProxyHandle,
    state: PathBuf,
}

impl Task {
    /// Service b's task behind a control plane; waits until it is ready.
    fn start(application: SocketAddr, lifetime_seconds: i64, more: Vec<Value>) -> Self {
        Self::start_with(application, lifetime_seconds, more, &options())
    }

    fn start_with(
        application: SocketAddr,
        lifetime_seconds: i64,
        more: Vec<Value>,
        options: &ProxyOptions,
    ) -> Self {
        let ca = Arc::new(Ca::new());
        let mut resources = vec![ca.trust()];
        resources.extend(inbound("HTTP", application, &[&id("a")]));
        // An address for the alias network, which the test's shim maps.
        let mut calls = outbound("HTTP", &id("c"), &[]);
        calls[0]["listener"]["bind"]["outbound"]["address"] = json!("198.18.1.1");
        calls[0]["listener"]["bind"]["outbound"]["port"] = json!(8202);
        resources.extend(calls);
        resources.extend(more);
        let resources = resources.into_iter().map(|value| ("v1".to_owned(), value)).collect();
        let control_plane = Running::start(&ca, resources, lifetime_seconds);
        let state = ca.directory.path().join("state");
        let shim = Arc::<Mutex<Shim>>::default();
        let link =
            start_shim(hello(&ca, control_plane.address, Some("first"), state.clone()), Arc::clone(&shim));
        let proxy = start_with_shim(link, options).expect("started");
        eventually("the shim is told: ready", || shim.lock().expect("not poisoned").ready);
        Self { ca, control_plane, shim, proxy, state }
    }

    /// A sidecar of service a that calls the task.
    fn caller(&self) -> Proxy {
        let a = self.ca.issue("a", &Leaf::of(&id("a")));
        let mut resources = vec![self.ca.trust(), identity("mesh", &a)];
        resources.extend(outbound("HTTP", &id("b"), &[self.proxy.address("in").expect("open")]));
        Proxy::start(&resources)
    }
}

fn options() -> ProxyOptions {
    ProxyOptions { drain: Duration::from_secs(2), ..ProxyOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_its_certificate_its_configuration_and_serves() {
    let application = application().await;
    let task =
        tokio::task::spawn_blocking(move || Task::start(application, 3600, vec![])).await.expect("started");
    let caller = task.caller();
    let (status, _, body) = get(caller.address("out"), "/headers").await;
    assert_eq!(status, 200, "{body:?}");
    {
        let shim = task.shim.lock().expect("not poisoned");
        assert_eq!(
            shim.hosts,
            [("198.18.1.1".parse().expect("an address"), vec!["service-b-sc".to_owned()])]
        );
        assert_eq!(shim.tokens_asked, 0, "the greeting's token was enough");
        assert!(shim.sockets >= 16, "application sockets come from the shim");
        let seen = task.control_plane.seen.lock().expect("not poisoned");
        assert_eq!(seen.tokens, ["first"]);
        assert_eq!(seen.initial.len(), ResourceType::ALL.len(), "all types are subscribed");
    }
    // DNS, with a codec of its own.
    let server = task.shim.lock().expect("not poisoned").listening["Udp 198.18.0.2:53"].1;
    let asked = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let mut question = hickory_proto::op::Message::query();
    let name = hickory_proto::rr::Name::from_ascii("service-b-sc.").expect("a name");
    question.add_query(hickory_proto::op::Query::query(name, hickory_proto::rr::RecordType::A));
    asked.send_to(&question.to_vec().expect("encodes"), server).await.expect("sent");
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(Duration::from_secs(5), asked.recv(&mut buffer))
        .await
        .expect("in time")
        .expect("read");
    let reply = hickory_proto::op::Message::from_vec(&buffer[..length]).expect("decodes");
    assert!(format!("{:?}", reply.answers).contains("198.18.1.1"), "{reply:?}");
    caller.handle.stop();
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_resource_is_refused_by_itself_and_the_last_good_one_stays() {
    let application = application().await;
    let task =
        tokio::task::spawn_blocking(move || Task::start(application, 3600, vec![])).await.expect("started");
    let caller = task.caller();
    let task = tokio::task::spawn_blocking(move || {
        let bad = [
            (
                "v2".to_owned(),
                json!({"cluster": {"name": "app", "protocol": "HTTP", "kind": {"local": {"port": 0}}}}),
            ),
            (
                "v2".to_owned(),
                json!({"cluster": {"name": "new", "protocol": "HTTP", "kind": {"local": {"port": 1}}}}),
            ),
        ];
        task.control_plane.push(response(ResourceType::Cluster, &bad, "second"));
        eventually("the answer came", || task.control_plane.answer_to("second").is_some());
        let nack = task.control_plane.answer_to("second").flatten().expect("a NACK");
        assert!(nack.contains("Cluster \"app\": local.port") && !nack.contains("\"new\""), "{nack}");
        let limit =
            [("v1".to_owned(), json!({"limit": {"name": "in", "requestsPerSecond": 1.0, "burst": 0}}))];
        task.control_plane.push(response(ResourceType::Limit, &limit, "third"));
        eventually("the answer came", || task.control_plane.answer_to("third").is_some());
        assert!(task.control_plane.answer_to("third").flatten().expect("a NACK").contains("above zero"));
        let good = [("v2".to_owned(), json!({"authorization": {"name": "callers", "rules": []}}))];
        task.control_plane.push(response(ResourceType::Authorization, &good, "fourth"));
        eventually("the answer came", || task.control_plane.answer_to("fourth").is_some());
        assert_eq!(task.control_plane.answer_to("fourth"), Some(None), "an ACK");
        task
    })
    .await
    .expect("pushed");
    // The cluster still works: what is denied now got as far as the rules.
    let (status, _, body) = get(caller.address("out"), "/headers").await;
    assert_eq!((status.as_u16(), &body[..]), (403, &body[..]));
    assert!(String::from_utf8_lossy(&body).contains(r#""cause":"not_authorized""#), "{body:?}");
    caller.handle.stop();
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_proxy_serves_without_the_control_plane() {
    let application = application().await;
    let task =
        tokio::task::spawn_blocking(move || Task::start(application, 3600, vec![])).await.expect("started");
    let state = task.state.clone();
    eventually("the state is on disk with all resources", || {
        std::fs::metadata(&state).is_ok_and(|file| file.len() > 2_000)
    });
    let Task { ca, control_plane, shim, proxy, state } = task;
    let gone = control_plane.address;
    control_plane.stop();
    proxy.stop();
    shim.lock().expect("not poisoned").ready = false;
    let link = start_shim(hello(&ca, gone, None, state), Arc::clone(&shim));
    let proxy = start_with_shim(link, &options()).expect("started");
    let again = Arc::clone(&shim);
    tokio::task::spawn_blocking(move || eventually("ready", || again.lock().expect("not poisoned").ready))
        .await
        .expect("ready");
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let mut resources = vec![ca.trust(), identity("mesh", &a)];
    resources.extend(outbound("HTTP", &id("b"), &[proxy.address("in").expect("open")]));
    let caller = Proxy::start(&resources);
    let (status, ..) = get(caller.address("out"), "/headers").await;
    assert_eq!(status, 200);
    assert_eq!(shim.lock().expect("not poisoned").tokens_asked, 0);
    caller.handle.stop();
    proxy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_while_requests_go_on() {
    let application = application().await;
    let task =
        tokio::task::spawn_blocking(move || Task::start(application, 6, vec![])).await.expect("started");
    let caller = task.caller();
    let address = caller.address("out");
    let mut sent = 0;
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while task.control_plane.seen.lock().expect("not poisoned").renewals < 2 {
        let (status, ..) = get(address, "/headers").await;
        assert_eq!(status, 200, "after {sent} requests");
        sent += 1;
        assert!(std::time::Instant::now() < deadline, "no renewals");
    }
    let seen = task.control_plane.seen.lock().expect("not poisoned").tokens.clone();
    assert_eq!(seen, ["first"], "renewals need no token");
    caller.handle.stop();
    task.proxy.stop();
    task.control_plane.stop();
}

/// In hex, without leading zeros, which is how proxies tell it.
fn serial_of(certificate: &[u8]) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    let text: String = parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    text.trim_start_matches('0').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_replaced_at_once_and_with_a_token() {
    let application = application().await;
    let work = move || {
        let task = Task::start(application, 3600, vec![]);
        let seen = || {
            let seen = task.control_plane.seen.lock().expect("not poisoned");
            (seen.tokens.len(), seen.renewals, seen.serials.clone())
        };
        let push = |serial: &str, nonce: &str| {
            let revocation = json!({"revocation": {"name": TRUST_DOMAIN, "serials": [serial]}});
            let resources = [(nonce.to_owned(), revocation)];
            task.control_plane.push(response(ResourceType::Revocation, &resources, nonce));
            eventually("the answer came", || task.control_plane.answer_to(nonce) == Some(None));
        };
        let (tokens, renewals, serials) = seen();
        assert_eq!((tokens, renewals, serials.len()), (1, 0, 1));
        // The twin: somebody else's is no reason.
        push("0dd", "other");
        assert_eq!(seen().2.len(), 1);
        // The first cannot vouch for the second: whoever has its key would get one as well.
        push(&serials[0], "own");
        eventually("another one is there", || seen().2.len() == 2);
        assert_eq!((seen().0, seen().1), (2, 0));
        task.proxy.stop();
        task.control_plane.stop();
    };
    tokio::task::spawn_blocking(work).await.expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_may_call_https_on_an_alias() {
    let application = application().await;
    let route = json!({"route": {"name": "out", "rules": [{"action": {"forward": {
        "clusters": [{"cluster": "app", "weight": 1}], "requestTimeoutMs": 15000,
    }}}]}});
    let task = tokio::task::spawn_blocking(move || Task::start(application, 3600, vec![route]))
        .await
        .expect("started");
    let alias = task.shim.lock().expect("not poisoned").listening["Tcp 198.18.1.1:8202"].1.port();
    let root = task.ca.directory.path().join("root.pem").to_string_lossy().into_owned();
    let resolve = format!("*:{alias}:127.0.0.1");
    let known = ["--resolve", &resolve, "--cacert", &root];
    let url = format!("https://service-b-sc:{alias}/headers");
    for more in [&["--http2"][..], &["--http1.1"], &["--tls-max", "1.2"], &["--tlsv1.3"]] {
        let text = curl(&[&known[..], more, &[&url]].concat()).await;
        let status = if more == ["--http1.1"] { "HTTP/1.1 200" } else { "HTTP/2 200" };
        assert!(text.starts_with(status), "{more:?}: {text}");
    }
    let text = curl(&[&known[..], &[&format!("https://127.0.0.1:{alias}/headers")]].concat()).await;
    assert!(text.contains("200"), "by its address: {text}");
    assert!(curl(&["--resolve", &resolve, &url.replace("https", "http")]).await.contains("200"));
    let failed = |cause| task.proxy.metrics().handshake_failures(Direction::Outbound, cause);
    assert_eq!(failed(HandshakeFailure::UnknownName), 0);
    let text = curl(&[&known[..], &["-k", &format!("https://elsewhere:{alias}/headers")]].concat()).await;
    assert!(text.contains("unrecognized name"), "{text}");
    eventually("the unknown name is counted", || failed(HandshakeFailure::UnknownName) == 1);
    let text = curl(&["--resolve", &resolve, &url]).await;
    assert!(text.contains("curl: (60)"), "{text}");
    eventually("the refusal is counted", || failed(HandshakeFailure::RefusedByPeer) == 1);
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_fetched_with_its_key_and_again_when_there_is_another() {
    let application = application().await;
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let fetched = |version: &str| json!({"identity": {"name": "acm:b", "source": {"fetched": {"version": version}}}});
        let task = Task::start(application, 3600, vec![fetched("1")]);
        let push = |kind: ResourceType, resource: Value, nonce: &str| {
            task.control_plane.push(response(kind, &[(nonce.to_owned(), resource)], nonce));
            eventually("the answer came", || task.control_plane.answer_to(nonce) == Some(None));
        };
        let status = |proxy: &ProxyHandle, believed: Option<&Outside>| {
            let a = task.ca.issue("a", &Leaf::of(&id("a")));
            let mut resources = vec![task.ca.trust(), identity("mesh", &a)];
            resources.extend(believed.map(|outside| pinned(&["b"], "", &[outside.pin()])));
            resources.extend(outbound("HTTP", &id("b"), &[proxy.address("in").expect("open")]));
            let caller = Proxy::start(&resources);
            let (status, ..) = runtime.block_on(get(caller.address("out"), "/headers"));
            caller.handle.stop();
            status.as_u16()
        };
        let hold = |outside: &Outside| {
            task.control_plane.seen.lock().expect("not poisoned").held =
                Some((outside.leaf().to_vec(), outside.key_der()));
        };
        let [first, second] = [2090, 2091].map(|until| Outside::self_signed((2020, until)));
        assert_eq!(status(&task.proxy, None), 200, "the mesh's certificate");
        let mut listener = inbound("HTTP", application, &[&id("a")]).remove(0);
        listener["listener"]["bind"]["inbound"]["identity"] = "acm:b".into();
        push(ResourceType::Listener, listener, "listener");
        // It is not there yet: the mesh's goes on.
        assert_eq!(status(&task.proxy, None), 200);
        hold(&first);
        eventually("the first is shown", || status(&task.proxy, None) == 503);
        assert_eq!(status(&task.proxy, Some(&first)), 200);
        // Another one without another version is not noticed; with one, it is fetched.
        hold(&second);
        assert_eq!(status(&task.proxy, Some(&first)), 200);
        push(ResourceType::Identity, fetched("2"), "second");
        eventually("the second is shown", || status(&task.proxy, Some(&second)) == 200);
        assert_eq!(status(&task.proxy, Some(&first)), 503);

        // After a restart, with nobody to fetch it from.
        let state = task.state.clone();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&state).expect("is there"));
        for nonce in ["third", "fourth"] {
            // Of two writes that follow one another, the second has all that is here now.
            let before = inode();
            push(ResourceType::Identity, fetched("2"), nonce);
            eventually("the state is on disk", || inode() != before);
        }
        let Task { ca, control_plane, shim, proxy, state } = task;
        let gone = control_plane.address;
        control_plane.stop();
        proxy.stop();
        shim.lock().expect("not poisoned").ready = false;
        let link = start_shim(hello(&ca, gone, None, state), Arc::clone(&shim));
        let proxy = start_with_shim(link, &options()).expect("started");
        eventually("ready", || shim.lock().expect("not poisoned").ready);
        let a = ca.issue("a", &Leaf::of(&id("a")));
        let mut resources = vec![ca.trust(), identity("mesh", &a), pinned(&["b"], "", &[second.pin()])];
        resources.extend(outbound("HTTP", &id("b"), &[proxy.address("in").expect("open")]));
        let caller = Proxy::start(&resources);
        let (status, ..) = runtime.block_on(get(caller.address("out"), "/headers"));
        assert_eq!(status, 200);
        caller.handle.stop();
        proxy.stop();
    };
    tokio::task::spawn_blocking(work).await.expect("done");
}

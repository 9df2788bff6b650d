mod identity;
mod introspection;
mod telemetry;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use bowline_discovery::{
    identity::ShowsRequest,
    resource::{Resource, ResourceType},
    telemetry::{MetricReport, SpanBatch},
    v1,
    xds::{
        self, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_plumbing::drain::{self, DrainTrigger};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Streaming,
    transport::{Channel, Endpoint},
};
use zeroize::Zeroizing;

use super::{
    directory::{
        Acknowledgement, Common, HeldCertificate, IssueError, IssuedCertificate, Notice, Peer, ResourceSet,
        TaskCredentials, TaskCredentialsError, VersionedResource,
    },
    tls::TlsMaterial,
    *,
};
use crate::directory::{InvalidReport, InvalidSpans, Taken};
use crate::services::discovery;

/// Longest that a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(10);

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Credentials {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    fn issue(&self, dns: &[&str], uris: &[&str]) -> Credentials {
        let mut params =
            CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect("good names");
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII")));
        params.subject_alt_names.extend(uris);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Credentials { chain: vec![certificate.der().to_vec()], key: key.serialize_der() }
    }

    fn material(&self) -> TlsMaterial {
        let server = self.issue(&["control"], &["spiffe://test/control-plane"]);
        TlsMaterial {
            chain_der: server.chain,
            key_pkcs8_der: Zeroizing::new(server.key),
            roots_pem: self.0.pem(),
        }
    }
}

#[derive(Default)]
struct World {
    tokens: BTreeMap<String, TaskId>,
    tasks: BTreeMap<String, TaskId>,
    sets: BTreeMap<String, ResourceSet>,
    /// What streams have in common: for as long as a task lives the same one.
    common: BTreeMap<String, Arc<Common>>,
    revoked: Vec<String>,
}

struct FakeDirectory {
    world: Mutex<World>,
    told: watch::Sender<Notice>,
    issued: Mutex<Vec<(TaskId, String)>>,
    answers: mpsc::UnboundedSender<(TaskId, Acknowledgement)>,
    presence: watch::Sender<i64>,
    reports: Mutex<Vec<(TaskId, MetricReport)>>,
    spans: Mutex<Vec<(TaskId, SpanBatch)>>,
    shown_outside: Mutex<Vec<(TaskId, Vec<String>)>>,
    introspection: crate::introspection::Introspection,
}

impl FakeDirectory {
    fn change(&self, change: impl FnOnce(&mut World)) {
        let mut world = self.world.lock().expect("nothing panicked");
        let before = world.sets.len();
        change(&mut world);
        let generation = self.told.borrow().generation + 1;
        let World { sets, common, .. } = &mut *world;
        common.retain(|task, _| sets.contains_key(task));
        for (task, common) in common {
            common.publish(generation, Arc::new(sets[task].clone()));
        }
        let has_moved = sets.len() != before;
        drop(world);
        self.told.send_modify(|told| {
            told.generation = generation;
            if has_moved {
                told.moved = generation;
            }
        });
    }

    fn put(&self, task: &TaskId, kind: ResourceType, name: &str, version: &str) {
        let resource = match kind {
            ResourceType::Cluster => {
                Resource::Cluster(v1::Cluster { name: name.into(), ..Default::default() })
            }
            _ => Resource::Route(v1::Route { name: name.into(), ..Default::default() }),
        };
        let encoded = Arc::new(resource.encode());
        let versioned = VersionedResource { version: version.into(), resource: Arc::new(resource), encoded };
        self.change(|world| {
            let set = world.sets.entry(task.as_str().into()).or_default();
            set.insert(kind, name, versioned);
        });
    }

    fn remove(&self, task: &TaskId, kind: ResourceType, name: &str) {
        self.change(|world| {
            world.sets.entry(task.as_str().into()).or_default().remove(kind, name);
        });
    }
}

impl Directory for FakeDirectory {
    fn shows(&self, _: &TaskId, _: ShowsRequest) {}

    fn shows_outside(&self, task: &TaskId, serials: Vec<String>) {
        self.shown_outside.lock().expect("nothing panicked").push((task.clone(), serials));
    }

    fn redeem(&self, token: &str) -> Result<TaskId, IssueError> {
        self.world.lock().expect("nothing panicked").tokens.remove(token).ok_or(IssueError::Token)
    }

    fn is_revoked(&self, peer: &Peer) -> bool {
        self.world.lock().expect("nothing panicked").revoked.contains(&peer.serial)
    }

    fn task_of(&self, peer: &Peer) -> Option<TaskId> {
        assert!(!peer.serial.is_empty());
        self.world.lock().expect("nothing panicked").tasks.get(peer.id.as_str()).cloned()
    }

    fn issue(&self, task: &TaskId, name: &str, csr_der: &[u8]) -> Result<IssuedCertificate, IssueError> {
        match (name, csr_der) {
            ("nobody", _) => return Err(IssueError::Unknown),
            (_, b"bad") => return Err(IssueError::Request),
            _ => {}
        }
        self.issued.lock().expect("nothing panicked").push((task.clone(), name.to_owned()));
        Ok(IssuedCertificate {
            chain_der: vec![b"leaf".to_vec()],
            roots_pem: "roots".into(),
            not_before: Timestamp::from_secs(1),
            not_after: Timestamp::from_secs(2),
            spiffe_id: Some("spiffe://test/a".parse().expect("an id")),
            serial: "01".into(),
            authority: "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/a"
                .parse()
                .expect("an ARN"),
        })
    }

    fn fetch(&self, task: &TaskId, name: &str) -> Result<HeldCertificate, IssueError> {
        match *task == self::task(A) && name == "acm:a" {
            true => Ok(HeldCertificate {
                chain_der: vec![b"leaf".to_vec(), b"above".to_vec()],
                key: Zeroizing::new(b"key".to_vec()),
            }),
            false => Err(IssueError::Unknown),
        }
    }

    fn credentials(&self, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError> {
        if *task != self::task(A) {
            return Err(TaskCredentialsError::NoRole);
        }
        Ok(TaskCredentials {
            access_key_id: "ASIA".into(),
            secret_access_key: Zeroizing::new("secret".into()),
            session_token: "token".into(),
            expires_at: Timestamp::from_secs(3),
            role_arn: "arn:aws:iam::000000000000:role/a".parse().expect("an ARN"),
            endpoint: Some(([127, 0, 0, 1], 4566).into()),
        })
    }

    fn common(&self, task: &TaskId) -> Option<Arc<Common>> {
        let generation = self.told.borrow().generation;
        let mut world = self.world.lock().expect("nothing panicked");
        let set = world.sets.get(task.as_str())?.clone();
        let common = world.common.entry(task.as_str().to_owned());
        Some(Arc::clone(common.or_insert_with(|| Arc::new(Common::new(generation, Arc::new(set))))))
    }

    fn notices(&self, _: &TaskId) -> watch::Receiver<Notice> {
        self.told.subscribe()
    }

    fn connected(&self, _task: &TaskId, serial: &str) {
        assert!(!serial.is_empty(), "a certificate opened it");
        self.presence.send_modify(|streams| *streams += 1);
    }

    fn disconnected(&self, _task: &TaskId) {
        self.presence.send_modify(|streams| *streams -= 1);
    }

    fn reported(&self, task: &TaskId, report: MetricReport) -> Result<Taken, InvalidReport> {
        if report.sequence == 0 {
            return Err(InvalidReport::Unnumbered);
        }
        let sequence = report.sequence;
        self.reports.lock().expect("nothing panicked").push((task.clone(), report));
        Ok(Taken { sequence, interval: Some(Duration::from_secs(1)) })
    }

    fn traced(&self, task: &TaskId, batch: SpanBatch) -> Result<(), InvalidSpans> {
        if batch.sequence == 0 {
            return Err(InvalidSpans::Unnumbered);
        }
        self.spans.lock().expect("nothing panicked").push((task.clone(), batch));
        Ok(())
    }

    fn introspection(&self) -> &crate::introspection::Introspection {
        &self.introspection
    }

    fn acknowledged(&self, task: &TaskId, acknowledgement: Acknowledgement) {
        self.answers.send((task.clone(), acknowledgement)).expect("the test listens");
    }
}

struct Fixture {
    authority: Authority,
    directory: Arc<FakeDirectory>,
    answers: mpsc::UnboundedReceiver<(TaskId, Acknowledgement)>,
    tls: TlsHandle,
    server: StreamServer,
    trigger: DrainTrigger,
}

const A: &str = "spiffe://test/a";
const B: &str = "spiffe://test/b";

fn task(id: &str) -> TaskId {
    TaskId::from_random([id.as_bytes()[id.len() - 1]; 16])
}

fn start() -> Fixture {
    let authority = Authority::new();
    let (answers, receiver) = mpsc::unbounded_channel();
    let mut world = World::default();
    for id in [A, B] {
        world.tasks.insert(id.into(), task(id));
        world.sets.insert(task(id).as_str().into(), ResourceSet::new());
    }
    world.tokens.insert("token".into(), task(A));
    let directory = Arc::new(FakeDirectory {
        world: Mutex::new(world),
        told: watch::Sender::new(Notice { generation: 1, moved: 1 }),
        issued: Mutex::default(),
        answers,
        presence: watch::Sender::new(0),
        reports: Mutex::default(),
        spans: Mutex::default(),
        shown_outside: Mutex::default(),
        introspection: crate::introspection::Introspection::default(),
    });
    let tls = TlsHandle::new(&authority.material()).expect("good material");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (trigger, drain) = drain::channel();
    let shared: Arc<dyn Directory> = directory.clone();
    let server = StreamServer::start(listener, tls.clone(), shared, drain).expect("starts");
    Fixture { authority, directory, answers: receiver, tls, server, trigger }
}

impl Fixture {
    async fn connect(&self, credentials: Option<Credentials>) -> Channel {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots);
        let mut config = match credentials {
            None => builder.with_no_client_auth(),
            Some(credentials) => {
                let chain = credentials.chain.into_iter().map(CertificateDer::from).collect();
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key));
                builder.with_client_auth_cert(chain, key).expect("a good key")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let address = self.server.local_addr();
        Endpoint::from_static("http://control").connect_with_connector_lazy(tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                let name = ServerName::try_from("control").expect("a name");
                connector.connect(name, socket).await.map(TokioIo::new)
            }
        }))
    }

    async fn connect_as(&self, id: &str) -> Channel {
        self.connect(Some(self.authority.issue(&[], &[id]))).await
    }

    async fn stream_as(&self, id: &str) -> ProxyStream {
        open(self.connect_as(id).await).await.expect("a stream")
    }

    async fn answer(&mut self) -> (TaskId, Acknowledgement) {
        timeout(PATIENCE, self.answers.recv()).await.expect("in time").expect("an answer")
    }
}

async fn open(channel: Channel) -> Result<ProxyStream, Status> {
    let (requests, receiver) = mpsc::channel(16);
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let call = client.delta_aggregated_resources(ReceiverStream::new(receiver));
    let responses = timeout(PATIENCE, call).await.expect("in time")?.into_inner();
    Ok(ProxyStream { requests, responses })
}

struct ProxyStream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl ProxyStream {
    async fn ask(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.expect("the stream stands");
    }

    async fn subscribe(&self, kind: ResourceType) {
        self.ask(DeltaDiscoveryRequest { type_url: kind.type_url(), ..Default::default() }).await;
    }

    async fn answer(&self, response: &DeltaDiscoveryResponse, refusal: Option<&str>) {
        self.ask(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: refusal.map(|message| xds::Status { code: 3, message: message.into() }),
            ..Default::default()
        })
        .await;
    }

    async fn try_next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        timeout(PATIENCE, self.responses.message()).await.expect("in time")
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.try_next().await.expect("no error").expect("a response")
    }

    /// The next response as names with versions, and what is removed; accepted.
    async fn accept(&mut self) -> (Vec<String>, Vec<String>) {
        let response = self.next().await;
        self.answer(&response, None).await;
        contents(response)
    }
}

fn contents(response: DeltaDiscoveryResponse) -> (Vec<String>, Vec<String>) {
    let resources = response.resources.iter();
    (
        resources.map(|resource| format!("{}@{}", resource.name, resource.version)).collect(),
        response.removed_resources,
    )
}

fn just(changed: &[&str]) -> (Vec<String>, Vec<String>) {
    (changed.iter().map(|name| (*name).to_owned()).collect(), Vec::new())
}

#[test]
fn as_many_connections_are_taken_as_files_may_be_open() {
    assert_eq!(connections_max(1_024), 512);
    assert_eq!(connections_max(256), 128);
    assert_eq!(connections_max(20_000), 20_000 - OTHER_FILES);
    assert_eq!(connections_max(1 << 40), CONNECTIONS_MAX);
    assert_eq!(connections_max(u64::MAX), CONNECTIONS_MAX);
    assert_eq!(connections_max(0), 1);
}

#[tokio::test]
async fn only_a_known_certificate_opens_a_stream() {
    let fixture = start();
    let code = |result: Result<ProxyStream, Status>| result.err().map(|status| status.code());
    assert_eq!(code(open(fixture.connect(None).await).await), Some(Code::Unauthenticated));
    let stranger = fixture.connect_as("spiffe://test/stranger").await;
    assert_eq!(code(open(stranger).await), Some(Code::PermissionDenied));
    // These do not get past the handshake.
    let foreign = Authority::new().issue(&[], &[A]);
    let two_ids = fixture.authority.issue(&[], &[A, B]);
    let no_id = fixture.authority.issue(&["a"], &[]);
    for credentials in [foreign, two_ids, no_id] {
        let refused = code(open(fixture.connect(Some(credentials)).await).await);
        // Of TLS 1.3's client the handshake is done before the server's is: the call may be under way or not.
        let is_broken =
            matches!(refused, Some(Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled));
        assert!(is_broken, "{refused:?}");
    }
    assert!(open(fixture.connect_as(A).await).await.is_ok());
}

#[tokio::test]
async fn roots_and_certificates_rotate() {
    let mut fixture = start();
    let before = fixture.stream_as(A).await;
    let new = Authority::new();
    fixture.tls.replace(&new.material()).expect("good material");
    before.subscribe(ResourceType::Route).await;
    let old = std::mem::replace(&mut fixture.authority, new);
    assert!(open(fixture.connect_as(A).await).await.is_ok());
    assert!(open(fixture.connect(Some(old.issue(&[], &[A]))).await).await.is_err());
}

#[tokio::test]
async fn changes_and_removals_are_pushed() {
    let mut fixture = start();
    let a = task(A);
    fixture.directory.put(&a, ResourceType::Cluster, "one", "1");
    let mut stream = fixture.stream_as(A).await;
    stream
        .ask(DeltaDiscoveryRequest { type_url: "type.googleapis.com/unknown".into(), ..Default::default() })
        .await;
    stream.subscribe(ResourceType::Cluster).await;
    let first = stream.next().await;
    assert_eq!(first.system_version_info, "2");
    stream.answer(&first, None).await;
    assert_eq!(contents(first), just(&["one@1"]));
    let (answerer, acknowledgement) = fixture.answer().await;
    assert_eq!((answerer, acknowledgement.generation, acknowledgement.refusal), (a.clone(), 2, None));

    fixture.directory.put(&a, ResourceType::Cluster, "two", "1");
    assert_eq!(stream.accept().await, just(&["two@1"]));
    fixture.directory.put(&a, ResourceType::Cluster, "one", "2");
    assert_eq!(stream.accept().await, just(&["one@2"]));
    fixture.directory.remove(&a, ResourceType::Cluster, "two");
    assert_eq!(stream.accept().await, (vec![], vec!["two".to_owned()]));
}

#[tokio::test]
async fn changes_in_a_burst_gather_and_the_last_of_them_is_published() {
    const CHANGES: usize = 200;
    let fixture = start();
    let a = task(A);
    fixture.directory.put(&a, ResourceType::Cluster, "one", "0");
    let mut stream = fixture.stream_as(A).await;
    stream.subscribe(ResourceType::Cluster).await;
    assert_eq!(stream.accept().await, just(&["one@0"]));
    let directory = Arc::clone(&fixture.directory);
    let burst = tokio::spawn(async move {
        let began = std::time::Instant::now();
        for change in 1..=CHANGES {
            directory.put(&task(A), ResourceType::Cluster, "one", &change.to_string());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    });
    let (last, mut sent) = (just(&[&format!("one@{CHANGES}")]), 1);
    while stream.accept().await != last {
        sent += 1;
    }
    // The first goes at once, and one after each pause.
    let pauses = burst.await.expect("no panic").as_millis() / discovery::COALESCE.as_millis();
    assert!(sent <= pauses + 2, "{sent} responses in {pauses} pauses");

    // What does not come in a burst goes by itself.
    for change in ["a", "b", "c"] {
        tokio::time::sleep(discovery::COALESCE).await;
        fixture.directory.put(&a, ResourceType::Cluster, "one", change);
        assert_eq!(stream.accept().await, just(&[&format!("one@{change}")]));
    }
}

#[tokio::test]
async fn who_only_connects_keeps_nobody_out() {
    let fixture = start();
    fixture.directory.put(&task(A), ResourceType::Cluster, "one", "1");
    let mut silent = Vec::new();
    for _ in 0..=HANDSHAKES_MAX {
        silent.push(TcpStream::connect(fixture.server.local_addr()).await.expect("connects"));
    }
    let stream = fixture.stream_as(A).await;
    stream.subscribe(ResourceType::Cluster).await;
}

#[tokio::test]
async fn a_refusal_is_recorded_and_not_answered_with_the_same() {
    let mut fixture = start();
    let a = task(A);
    fixture.directory.put(&a, ResourceType::Route, "bad", "1");
    let mut stream = fixture.stream_as(A).await;
    stream.subscribe(ResourceType::Route).await;
    let response = stream.next().await;
    stream.answer(&response, Some("no such cluster")).await;
    let (_, acknowledgement) = fixture.answer().await;
    assert_eq!(acknowledgement.kind, ResourceType::Route);
    assert_eq!(acknowledgement.refusal.as_deref(), Some("no such cluster"));
    fixture.directory.put(&a, ResourceType::Route, "good", "1");
    assert_eq!(stream.accept().await, just(&["good@1"]));
    fixture.directory.put(&a, ResourceType::Route, "bad", "2");
    assert_eq!(stream.accept().await, just(&["bad@2"]));
}

#[tokio::test]
async fn a_new_stream_begins_where_the_old_one_ended() {
    let fixture = start();
    let a = task(A);
    fixture.directory.put(&a, ResourceType::Route, "same", "1");
    fixture.directory.put(&a, ResourceType::Route, "changed", "2");
    let mut stream = fixture.stream_as(A).await;
    let has = [("same", "1"), ("changed", "1"), ("gone", "1")];
    let has: HashMap<String, String> = has.map(|(name, version)| (name.into(), version.into())).into();
    let type_url = ResourceType::Route.type_url();
    stream
        .ask(DeltaDiscoveryRequest { type_url, initial_resource_versions: has, ..Default::default() })
        .await;
    assert_eq!(stream.accept().await, just(&["changed@2"]));
    assert_eq!(stream.accept().await, (vec![], vec!["gone".to_owned()]));
    // In step: an empty answer says so.
    stream.subscribe(ResourceType::Limit).await;
    assert_eq!(stream.accept().await, just(&[]));
}

#[tokio::test]
async fn tasks_see_their_own_only_and_end_alone() {
    let fixture = start();
    fixture.directory.put(&task(A), ResourceType::Route, "of-a", "1");
    fixture.directory.put(&task(B), ResourceType::Route, "of-b", "1");
    let (mut a, mut b) = (fixture.stream_as(A).await, fixture.stream_as(B).await);
    a.subscribe(ResourceType::Route).await;
    b.subscribe(ResourceType::Route).await;
    assert_eq!(a.accept().await, just(&["of-a@1"]));
    assert_eq!(b.accept().await, just(&["of-b@1"]));
    let mut presence = fixture.directory.presence.subscribe();
    fixture.directory.change(|world| {
        world.sets.remove(task(A).as_str());
    });
    let ended = a.try_next().await.expect_err("the task is over");
    assert_eq!(ended.code(), Code::PermissionDenied);
    let one_left = presence.wait_for(|streams| *streams == 1);
    timeout(PATIENCE, one_left).await.expect("in time").expect("the directory lives");
    fixture.directory.put(&task(B), ResourceType::Route, "more", "1");
    assert_eq!(b.accept().await, just(&["more@1"]));
}

#[tokio::test]
async fn a_drain_ends_streams_and_then_itself() {
    let fixture = start();
    let mut stream = fixture.stream_as(A).await;
    stream.subscribe(ResourceType::Route).await;
    assert_eq!(stream.accept().await, just(&[]));
    let draining = tokio::spawn(fixture.trigger.drain());
    assert_eq!(stream.try_next().await.expect_err("drained").code(), Code::Unavailable);
    timeout(PATIENCE, draining).await.expect("in time").expect("no panic");
    fixture.server.stopped().await;
}

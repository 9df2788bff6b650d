use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
};

use bowline_model::{
    arn::Scope,
    clock::Timestamp,
    log::{LogEvent, LogWriteError},
    log_driver::LogConfiguration,
    task::{ContainerSpec, Egress, FireLensSpec, LogSpec, ResourceLimits, Secret},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    route::{SPOOLS, SourceName},
    spool::{Record, RecordKind, SpoolLimits, SpoolWriter},
};

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// Takes it, and closes without a word.
    Close,
    /// Takes half of it, and closes.
    Cut,
}

/// Serves requests on a listener, each with the next answer, at last with 200; collects what was accepted.
async fn receiver(listener: TcpListener, mut answers: VecDeque<Answer>, accepted: Arc<Mutex<Vec<Value>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        while let Some((head, body)) = request(&mut stream, answers.front().copied()).await {
            let answer = answers.pop_front().unwrap_or(Answer::Status(200));
            let status = match answer {
                Answer::Status(status) => status,
                Answer::Close | Answer::Cut => break,
            };
            if status == 200 {
                let body = match head.contains("content-encoding: gzip") {
                    true => {
                        let mut text = Vec::new();
                        let mut decoder = flate2::read::GzDecoder::new(body.as_slice());
                        std::io::Read::read_to_end(&mut decoder, &mut text).expect("gzip");
                        text
                    }
                    false => body,
                };
                let mut all = accepted.lock().expect("nobody failed");
                match serde_json::from_slice(&body).expect("JSON") {
                    Value::Array(records) => all.extend(records),
                    other => panic!("{other}"),
                }
            }
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nno");
            if stream.write_all(text.as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

async fn request(stream: &mut TcpStream, answer: Option<Answer>) -> Option<(String, Vec<u8>)> {
    let mut buffer = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        buffer.extend_from_slice(&chunk[..length]);
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse::<usize>().ok()?;
        if matches!(answer, Some(Answer::Cut)) || buffer.len() >= end + 4 + length {
            return Some((head, buffer[end + 4..].to_vec()));
        }
    }
}

fn container(name: &str, log: Option<(&str, &[(&str, &str)])>) -> ContainerSpec {
    let log = log.map(|(driver, options)| {
        let options = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        LogSpec {
            configuration: LogConfiguration::parse(driver, &options, BTreeMap::new()).expect("it is right"),
            secrets: BTreeMap::new(),
        }
    });
    ContainerSpec {
        name: name.into(),
        image: "app:1".into(),
        command: Vec::new(),
        working_directory: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
        essential: true,
        health_check: None,
        depends_on: Vec::new(),
        stop_timeout: Duration::ZERO,
        start_timeout: None,
        ulimits: Vec::new(),
        mounts: Vec::new(),
        limits: ResourceLimits::default(),
        readonly_root: false,
        log,
        firelens: None,
    }
}

fn spec(containers: Vec<ContainerSpec>) -> TaskSpec {
    let scope = Scope { partition: "aws".into(), region: "r".into(), account_id: "000000000000".into() };
    TaskSpec {
        id: TaskId::from_random([7; 16]),
        arn: scope.arn("ecs", "task/c/07"),
        family: "shop".into(),
        revision: 3,
        cluster: "main".into(),
        group: "service:web".into(),
        containers,
        proxy: None,
        published: Vec::new(),
        egress: Egress::Deny,
        limits: ResourceLimits::default(),
        role: None,
        proxy_log: None,
        xray_daemon: None,
    }
}

/// Writes so many lines as a shim does.
fn write(directory: &Path, source: &SourceName, numbers: std::ops::Range<u64>) {
    let mut writer =
        SpoolWriter::open(&directory.join(source.directory()), SpoolLimits::default()).expect("it opens");
    for number in numbers {
        let body = format!("line {number}").into_bytes();
        let at = Timestamp::from_millis(1_700_000_000_123);
        writer.append(&Record { at, kind: RecordKind::Stdout, tag: String::new(), body });
    }
    writer.flush().expect("it writes");
}

/// Keeps events, and fails as often as it is told to.
#[derive(Default)]
struct Double {
    events: Mutex<BTreeMap<(String, String), Vec<String>>>,
    failures: AtomicUsize,
}

impl LogWriter for Double {
    fn put(
        &self,
        group: &str,
        stream: &str,
        events: Vec<LogEvent>,
        create_group: bool,
    ) -> Result<(), LogWriteError> {
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(LogWriteError::NoGroup(group.to_owned()));
        }
        assert_eq!(create_group, group.starts_with("/bowline") || group == "made");
        let mut all = self.events.lock().expect("nobody failed");
        let kept = all.entry((group.to_owned(), stream.to_owned())).or_default();
        kept.extend(events.into_iter().map(|event| event.message));
        Ok(())
    }
}

struct Bench {
    root: tempfile::TempDir,
    store: Arc<Double>,
    figures: Arc<LogFigures>,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        Self { root, store: Arc::default(), figures: Arc::default() }
    }

    fn router(&self, lives: bool) -> Router {
        let config = RouterConfig {
            directory: self.root.path().join(SPOOLS),
            file_directories: vec![self.root.path().to_owned()],
            writer: Some(Arc::clone(&self.store) as Arc<dyn LogWriter>),
            figures: Arc::clone(&self.figures),
        };
        Router::start(config, |_| lives).expect("it starts")
    }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens in time");
}

fn lines(accepted: &Mutex<Vec<Value>>) -> Vec<String> {
    let all = accepted.lock().expect("nobody failed");
    all.iter().map(|record| record["log"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Each at least once, and the first time of each in order.
fn all_in_order(lines: &[String], count: u64) -> bool {
    let mut next = 0;
    for line in lines {
        if *line == format!("line {next}") {
            next += 1;
        }
    }
    next == count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_closes_and_is_replaced_has_every_line_in_order() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let options = [("Name", "http"), ("Host", "127.0.0.1"), ("Port", &port), ("compress", "gzip")];
    let mut spec = spec(vec![
        container("app", Some(("awsfirelens", &options))),
        container(
            "log_router",
            Some((
                "awslogs",
                &[("awslogs-group", "made"), ("awslogs-region", "r"), ("awslogs-create-group", "true")],
            )),
        ),
    ]);
    spec.containers[1].firelens = Some(FireLensSpec { metadata: true, config_files: Vec::new() });
    let router = bench.router(true);
    let logs = router.prepare(&spec).expect("it can be routed");
    assert_eq!(logs.inputs.len(), 1, "FireLens' own");
    let app = SourceName::Container("app".into());
    write(&logs.directory, &app, 0..500);
    let accepted = Arc::<Mutex<Vec<Value>>>::default();
    let answers = [Answer::Status(500), Answer::Close, Answer::Cut, Answer::Status(429), Answer::Status(413)];
    let serving = tokio::spawn(receiver(listener, VecDeque::from(answers), Arc::clone(&accepted)));
    until(|| lines(&accepted).len() >= 500).await;
    // Nobody listens, and the router is killed meanwhile; the task goes on writing.
    serving.abort();
    let _ = serving.await;
    router.stop().await;
    write(&logs.directory, &app, 500..900);
    let router = bench.router(true);
    write(&logs.directory, &app, 900..1_000);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free again");
    let serving = tokio::spawn(receiver(listener, VecDeque::new(), Arc::clone(&accepted)));
    until(|| all_in_order(&lines(&accepted), 1_000)).await;
    let first = accepted.lock().expect("nobody failed")[0].clone();
    assert_eq!(first["date"], 1_700_000_000.123);
    assert_eq!((first["source"].as_str(), first["container_name"].as_str()), (Some("stdout"), Some("app")));
    assert_eq!(
        (first["ecs_cluster"].as_str(), first["ecs_task_definition"].as_str()),
        (Some("main"), Some("shop:3"))
    );
    // A task that is over leaves nothing.
    router.ended(&spec.id);
    router.drained(Duration::from_secs(20)).await;
    assert!(!logs.directory.exists());
    let figures: BTreeMap<_, _> = bench.figures.all().into_iter().collect();
    let figures = &figures["awsfirelens"];
    assert!(figures.delivered >= 1_000 && figures.retries >= 3 && figures.dropped.is_empty(), "{figures:?}");
    assert_eq!(figures.queued_bytes(), 0);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_to_streams_and_wait_for_groups() {
    let bench = Bench::new();
    bench.store.failures.store(2, Ordering::SeqCst);
    let router = bench.router(true);
    let named = [
        ("awslogs-group", "made"),
        ("awslogs-region", "r"),
        ("awslogs-stream-prefix", "p"),
        ("awslogs-create-group", "true"),
        ("awslogs-multiline-pattern", "[02468]$"),
    ];
    let spec = spec(vec![container("app", Some(("awslogs", &named))), container("other", None)]);
    let logs = router.prepare(&spec).expect("it can be routed");
    write(&logs.directory, &SourceName::Container("app".into()), 0..4);
    write(&logs.directory, &SourceName::Container("other".into()), 0..2);
    router.ended(&spec.id);
    router.drained(Duration::from_secs(20)).await;
    let kept = bench.store.events.lock().expect("nobody failed").clone();
    let stream =
        |group: &str, stream: String| kept.get(&(group.to_owned(), stream)).cloned().unwrap_or_default();
    assert_eq!(stream("made", format!("p/app/{}", spec.id)), ["line 0\nline 1", "line 2\nline 3"]);
    assert_eq!(stream("/bowline/main/web", format!("other/{}", spec.id)), ["line 0", "line 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_routers_file_sends_tags_where_it_says() {
    let bench = Bench::new();
    let text = "[INPUT]\n Name tcp\n Port 5140\n Tag ecs-application\n[FILTER]\n Name grep\n Match ecs-application\n Exclude log line.1$\n\
                [OUTPUT]\n Name cloudwatch_logs\n Match ecs-*\n log_group_name /bowline/own\n log_stream_prefix s-\n auto_create_group on\n log_key log\n\
                [OUTPUT]\n Name stdout\n Match other\n";
    fs::write(bench.root.path().join("fluent-bit.conf"), text).expect("it writes");
    let mut spec = spec(vec![
        container("app", Some(("awsfirelens", &[("Name", "firelens"), ("Tag", "ecs-application")]))),
        container("log_router", None),
    ]);
    let config_files = vec![PathBuf::from("/fluent-bit.conf")];
    spec.containers[1].firelens = Some(FireLensSpec { metadata: false, config_files });
    let router = bench.router(true);
    let logs = router.prepare(&spec).expect("it can be routed");
    let ports: Vec<_> = logs.inputs.iter().map(|input| input.port).collect();
    assert_eq!(ports, [5140, 24224]);
    write(&logs.directory, &SourceName::Container("app".into()), 0..3);
    router.ended(&spec.id);
    router.drained(Duration::from_secs(20)).await;
    let kept = bench.store.events.lock().expect("nobody failed").clone();
    let streams: Vec<_> = kept.into_iter().filter(|((group, _), _)| group == "/bowline/own").collect();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].0.1, "s-ecs-application");
    assert_eq!(streams[0].1, ["line 0", "line 2"]);
    let dropped = bench.figures.all().into_iter().find(|(driver, _)| *driver == "awsfirelens");
    assert_eq!(dropped.map(|(_, figures)| figures.dropped.get("filtered").copied()), Some(Some(1)));
}

#[tokio::test]
async fn what_cannot_be_routed_does_not_start() {
    let bench = Bench::new();
    let router = bench.router(true);
    let mut spec = spec(vec![container("log_router", None)]);
    spec.containers[0].firelens =
        Some(FireLensSpec { metadata: true, config_files: vec!["/no-such/fluent-bit.conf".into()] });
    let error = router.prepare(&spec).expect_err("there is no file").to_string();
    assert!(error.contains("not on this machine: looked for"), "{error}");
    fs::write(bench.root.path().join("fluent-bit.conf"), "[INPUT]\n Name tail\n").expect("it writes");
    let error = router.prepare(&spec).expect_err("it is wrong").to_string();
    assert!(
        error.ends_with("fluent-bit.conf:2: the input \"tail\" is not here: known are tcp, forward"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_file_and_are_waited_for() {
    let bench = Bench::new();
    let options = [("awslogs-group", "made"), ("awslogs-region", "r"), ("awslogs-create-group", "true")];
    let mut spec = spec(vec![container("app", Some(("awslogs", &options)))]);
    let log = spec.containers[0].log.as_mut().expect("a configuration");
    log.configuration.secret_options = BTreeMap::from([("awslogs-stream-prefix".into(), "arn:s".into())]);
    log.secrets = BTreeMap::from([("awslogs-stream-prefix".into(), Secret::new("hunter2".into()))]);
    let first = bench.router(true);
    let logs = first.prepare(&spec).expect("it can be routed");
    for entry in fs::read_dir(&logs.directory).expect("it lists").flatten() {
        if entry.path().is_file() {
            let text = fs::read_to_string(entry.path()).expect("text");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    // Another process knows no value until it is told.
    first.stop().await;
    let router = bench.router(true);
    write(&logs.directory, &SourceName::Container("app".into()), 0..1);
    router.ended(&spec.id);
    router.drained(Duration::from_millis(200)).await;
    assert!(bench.store.events.lock().expect("nobody failed").is_empty());
    router.told(&spec);
    router.drained(Duration::from_secs(20)).await;
    assert_eq!(bench.store.events.lock().expect("nobody failed").len(), 1);
}

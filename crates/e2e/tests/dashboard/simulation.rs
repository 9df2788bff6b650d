//! A mesh of any size of which all is only told: its tasks are records, and what its proxies would report each second
//! is made up. The control plane and its pages are the real ones.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_aws::cfn::{Inputs, Template};
use bowline_control::{
    control_plane::{ControlConfig, ControlPlane},
    record_launcher,
    registry::Registry,
    stack::record::StackTemplate,
};
use bowline_discovery::telemetry::{self as wire, MetricReport, SeriesIncrement};
use bowline_model::task::{TaskId, TaskUsage};
use bowline_plumbing::wall_clock;

/// Longest that its tasks may take to run.
const LIMIT: Duration = Duration::from_secs(60);

/// What a proxy tells of a cluster that nobody has, called as no service can be.
pub(crate) const HOSTILE: &str = "<img src=x onerror=\"document.title='taken over'\">";

/// The names of services.
const SUBJECTS: [&str; 25] = [
    "cart", "catalog", "checkout", "payments", "orders", "stock", "pricing", "search", "reviews", "accounts",
    "sessions", "shipping", "returns", "invoices", "coupons", "emails", "images", "ads", "fraud", "ledger",
    "reports", "exports", "wishlist", "profiles", "gifts",
];
const PARTS: [&str; 8] = ["web", "api", "worker", "rules", "queue", "index", "cache", "store"];

/// One whose proxies report each second until it is dropped.
pub(crate) struct Simulation {
    pub(crate) address: SocketAddr,
    control: Arc<ControlPlane>,
    calls: Vec<Call>,
    random: Random,
    sequence: u64,
    usage: tokio::sync::mpsc::Sender<Vec<TaskUsage>>,
    _state: tempfile::TempDir,
}

/// Who calls whom, by places in the list of services.
struct Call {
    from: usize,
    to: usize,
    per_second: f64,
    failing: f64,
    milliseconds: f64,
    security: wire::Security,
}

/// Numbers that look random, and are the same each time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f64) as usize
    }
}

/// How many services stand side by side: each calls some of the next ones.
fn tier(services: usize) -> usize {
    (services / 4).clamp(3, SUBJECTS.len())
}

fn name(place: usize, services: usize) -> String {
    let (part, subject) = (place / tier(services) % PARTS.len(), place % SUBJECTS.len());
    format!("{}-{}", SUBJECTS[subject], PARTS[part])
}

impl Simulation {
    /// One of so many services, whose tasks run.
    pub(crate) async fn start(services: usize, listen: SocketAddr) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let config = ControlConfig { ephemeral: true, dns: None, ..ControlConfig::new(state.path()) };
        let control = Arc::new(ControlPlane::start(config).await.expect("starts"));
        let port = control.agent_port();
        let usage = port.usage.clone();
        tokio::spawn(record_launcher::run(port));
        let listener = TcpListener::bind(listen).expect("a port");
        let address = listener.local_addr().expect("an address");
        control.serve_api(listener, None).expect("is served");
        apply(&control, template(services));
        let mut generation = control.generation();
        let running = async {
            let serves = |registry: &Registry| registry.tasks.values().filter(|it| it.available()).count();
            while serves(&control.snapshot()) < services {
                generation.changed().await.expect("the control plane runs");
            }
        };
        tokio::time::timeout(LIMIT, running).await.expect("all tasks run in time");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let calls = calls(services, &mut random);
        Self { address, control, calls, random, sequence: 0, usage, _state: state }
    }

    /// Has every proxy report once, of the second that has just passed.
    pub(crate) fn report(&mut self) {
        self.sequence += 1;
        let registry = self.control.snapshot();
        let tasks = tasks(&registry);
        let mut rows: Vec<Vec<SeriesIncrement>> = vec![Vec::new(); tasks.len()];
        for call in &self.calls {
            let wave = 1.0 + 0.25 * (self.sequence as f64 / 9.0 + call.to as f64).sin();
            let requests = (call.per_second * wave * (0.85 + 0.3 * self.random.next())).round() as u64;
            let failed = (requests as f64 * call.failing * 2.0 * self.random.next()).round() as u64;
            let (caller, called) = (&tasks[call.from], &tasks[call.to]);
            let row = increment(requests, failed, call, &mut self.random);
            rows[call.from].push(SeriesIncrement {
                side: wire::Side::Outbound.into(),
                discovery_name: called.name.clone(),
                cluster: format!("{}.{}", called.name, called.namespace),
                peer: peer(call, &called.identity),
                ..row.clone()
            });
            rows[call.to].push(SeriesIncrement {
                side: wire::Side::Inbound.into(),
                discovery_name: called.name.clone(),
                cluster: format!("{}.{}", called.name, called.namespace),
                peer: peer(call, &caller.identity),
                ..row
            });
        }
        // And somebody calls out, to what is called as nothing should be.
        if let Some(rows) = rows.get_mut(tier(tasks.len())) {
            rows.push(SeriesIncrement {
                side: wire::Side::Outbound.into(),
                security: wire::Security::Tls.into(),
                discovery_name: HOSTILE.into(),
                cluster: HOSTILE.into(),
                responses: vec![0, 0, 7, 0, 0, 0],
                ..SeriesIncrement::default()
            });
        }
        let until_ms = wall_clock::now().as_millis();
        for (task, series) in tasks.iter().zip(rows) {
            let report = MetricReport {
                process: vec![1],
                sequence: self.sequence,
                from_ms: until_ms - 1_000,
                until_ms,
                series,
                access_log_dropped: 0,
            };
            // Of one that was replaced meanwhile nothing is told.
            self.control.take_report(&task.id, report).expect("it is a report");
        }
        let usage = tasks.iter().map(|task| TaskUsage {
            task: task.id.clone(),
            at: wall_clock::now(),
            over: Duration::from_secs(1),
            cpu: Duration::from_millis(20 + self.random.below(120) as u64),
            memory_bytes: (90 + self.random.below(60) as u64) << 20,
            received_bytes: 0,
            sent_bytes: 0,
        });
        let _ = self.usage.try_send(usage.collect());
    }

    /// Reports each second until told to stop, in the background.
    pub(crate) fn run(mut self) -> Running {
        let (address, stop) = (self.address, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            while !stopped.load(Relaxed) {
                seconds.tick().await;
                self.report();
            }
        });
        Running { address, stop, task }
    }
}

/// A simulation in the background.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Ends it.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Relaxed);
        self.task.await.expect("it reports to its end");
    }
}

/// A task that reports.
struct Told {
    id: TaskId,
    name: String,
    namespace: String,
    identity: String,
}

/// The first task of each service, in the order of the template.
fn tasks(registry: &Registry) -> Vec<Told> {
    let mut services: Vec<_> = registry.services.values().collect();
    let count = services.len();
    let places: BTreeMap<String, usize> = (0..count).map(|place| (name(place, count), place)).collect();
    services.sort_by_key(|service| places.get(&service.name));
    let told = services.into_iter().map(|service| {
        let id = registry.tasks_of_service(&service.arn).first().expect("a task").id.clone();
        let namespace = service.connect.as_ref().expect("connected").namespace.clone();
        let identity = registry.identity_of_service(service).as_str().to_owned();
        Told { id, name: service.name.clone(), namespace, identity }
    });
    told.collect()
}

fn peer(call: &Call, identity: &str) -> String {
    if call.security == wire::Security::MutualTls { identity.to_owned() } else { String::new() }
}

/// Each calls some of the next tier; a tier is all of one part.
fn calls(services: usize, random: &mut Random) -> Vec<Call> {
    let tier = tier(services);
    let mut calls = Vec::new();
    for from in 0..services {
        let next = (from / tier + 1) * tier;
        let size = services.saturating_sub(next).min(tier);
        if size == 0 {
            continue;
        }
        let mut called = vec![next + from % tier % size];
        for _ in 0..random.below(3) {
            let other = next + random.below(size);
            if !called.contains(&other) {
                called.push(other);
            }
        }
        for to in called {
            let security = match calls.len() % 47 {
                11 => wire::Security::Plaintext,
                _ => wire::Security::MutualTls,
            };
            calls.push(Call {
                from,
                to,
                per_second: 4.0 + 90.0 * random.next() * random.next(),
                failing: match calls.len() % 29 {
                    3 => 0.03,
                    7 => 0.004,
                    _ => 0.0,
                },
                milliseconds: 1.5 + 40.0 * random.next() * random.next(),
                security,
            });
        }
    }
    calls
}

fn increment(requests: u64, failed: u64, call: &Call, random: &mut Random) -> SeriesIncrement {
    let (mut deltas, mut counts, mut sum) = (Vec::new(), Vec::new(), 0.0);
    let mut last = 0;
    // Sixteen buckets to each doubling, as proxies have them.
    for (share, longer) in [(0.7, 1.0), (0.25, 2.2), (0.05, 6.0)] {
        let count = (requests as f64 * share).round() as u64;
        let milliseconds = call.milliseconds * longer * (0.9 + 0.2 * random.next());
        let index = (milliseconds.log2() * 16.0).ceil() as i32;
        if count > 0 && (counts.is_empty() || index > last) {
            deltas.push(index - if counts.is_empty() { 0 } else { last });
            counts.push(count);
            (last, sum) = (index, sum + milliseconds * count as f64);
        }
    }
    SeriesIncrement {
        security: call.security.into(),
        responses: vec![0, 0, requests - failed, 0, 0, failed],
        failures: failed,
        connections_active: 2,
        connections: 1,
        targets: 1,
        bytes_received: requests * 300,
        bytes_sent: requests * 1_400,
        response_time: (!counts.is_empty()).then_some(wire::Durations {
            index_deltas: deltas,
            counts,
            sum,
            minimum: call.milliseconds * 0.5,
            maximum: call.milliseconds * 8.0,
        }),
        ..SeriesIncrement::default()
    }
}

/// Makes the stack what a template says.
fn apply(control: &ControlPlane, text: String) {
    let template = Template::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: "shop".into(), revision: control.revisions(), ..Inputs::default() };
    let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
    let made_from =
        StackTemplate { files: vec![("template".to_owned(), text)], parameters: Default::default() };
    control.apply_stack(&stack, &made_from).unwrap_or_else(|error| panic!("{error}"));
}

/// So many services, in two clusters with a namespace each; one of them is deployed by weights.
fn template(services: usize) -> String {
    let mut text = "
Resources:
  Shop: {Type: AWS::ServiceDiscovery::HttpNamespace, Properties: {Name: shop}}
  Back: {Type: AWS::ServiceDiscovery::HttpNamespace, Properties: {Name: back}}
  Front: {Type: AWS::ECS::Cluster, Properties: {ClusterName: front}}
  Rear: {Type: AWS::ECS::Cluster, Properties: {ClusterName: rear}}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: app
      RequiresCompatibilities: [FARGATE]
      NetworkMode: awsvpc
      Cpu: '256'
      Memory: '512'
      ContainerDefinitions:
        - {Name: app, Image: app, PortMappings: [{Name: http, ContainerPort: 8080, AppProtocol: http}]}
"
    .to_owned();
    for place in 0..services {
        let name = name(place, services);
        let id = name.replace('-', "");
        let (cluster, namespace) = if place < services / 2 { ("Front", "Shop") } else { ("Rear", "Back") };
        write!(
            text,
            "  Service{id}:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: {name}
      Cluster: !Ref {cluster}
      TaskDefinition: !Ref Task
      LaunchType: FARGATE
      DesiredCount: 1
      NetworkConfiguration: {{AwsvpcConfiguration: {{Subnets: [subnet-1]}}}}
      ServiceConnectConfiguration:
        Enabled: true
        Namespace: !GetAtt {namespace}.Arn
        Services: [{{PortName: http, DiscoveryName: {name}, ClientAliases: [{{DnsName: {name}, Port: 80}}]}}]
"
        )
        .expect("memory");
    }
    text
}

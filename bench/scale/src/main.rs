//! A control plane under a thousand, or ten thousand, simulated proxies: how soon a change of endpoints
//! is in all that are subscribed, what that costs, how soon all are in step after a restart, and what
//! renewing every certificate costs.
//!
//! `bench/README.md` says how to run it and what it measures.

mod call;
mod crowd;
mod names;
mod proxy;
mod report;
mod server;
mod tls;
mod world;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bowline_model::task::TaskId;
use bowline_plumbing::{machine, sys::allocator::Allocator};
use clap::Parser;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::{
    crowd::Crowd,
    names::Names,
    proxy::{Proxy, Shared},
    report::{Meter, Report},
    server::Server,
    tls::Trust,
    world::{FIRST_PORT, SERVICES_PER_NAMESPACE, World, percentile},
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const PORT_NAME: &str = "http";
/// Tokens asked for at a time: they are good for a minute.
const TOKENS_AT_ONCE: usize = 250;
/// Certificates asked for at a time.
const ASKING_MAX: usize = 64;
/// Open files beside the connections of proxies: the server's store, logs and clients. What it keeps for those itself is
/// 512.
const OTHER_FILES: u64 = 1_024;
/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures a control plane with many proxies.
#[derive(Debug, Parser)]
struct Args {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/bowline")]
    bowline: PathBuf,
    /// How many proxies are connected.
    #[arg(long, default_value_t = 1_000)]
    proxies: usize,
    /// How many services there are, of which each proxy is subscribed to the 20 of its namespace.
    #[arg(long, default_value_t = 1_000)]
    services: usize,
    /// Tasks of each service, an endpoint each.
    #[arg(long, default_value_t = 10)]
    tasks: usize,
    /// Changes of endpoints per second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// How long they go on, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How long it is watched idle, in seconds.
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Threads of the simulated proxies.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Leaves out the restart and the renewal.
    #[arg(long)]
    churn_only: bool,
    /// Appends the figures, as a row of JSON, to this file.
    #[arg(long)]
    results: Option<PathBuf>,
    /// A word for the figures' row.
    #[arg(long, default_value = "")]
    label: String,
    /// What is written on standard output.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// What is written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Each figure as soon as it is known.
    Text,
    /// All figures in the end, as an object; each on standard error as soon as it is known.
    Json,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.services % SERVICES_PER_NAMESPACE != 0 || args.proxies > args.services * args.tasks {
        bail!("services come by {SERVICES_PER_NAMESPACE}, and there is a task for each proxy");
    }
    open_files(u64::try_from(args.proxies)? + OTHER_FILES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .enable_all()
        .build()?;
    let directory = tempfile::Builder::new().prefix("bowline-scale-").tempdir()?;
    let mut server = Server::start(&args.bowline, directory.path())?;
    let measured = runtime.block_on(measure(&args, &mut server));
    if measured.is_err() {
        eprintln!("the server's log ends with:\n{}", server.tail());
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    measured
}

/// Makes this process, and the server that it starts, able to have so many files open.
fn open_files(needed: u64) -> anyhow::Result<()> {
    let allowed = machine::raise_open_files();
    if allowed < needed {
        bail!(
            "{needed} open files are needed, by this process and the server each, and {allowed} are allowed: \
             raise the hard limit (as root, ulimit -Hn {needed}; or LimitNOFILE= of systemd, --ulimit of Docker)"
        );
    }
    Ok(())
}

async fn measure(args: &Args, server: &mut Server) -> anyhow::Result<()> {
    let mut report = Report::new(args.proxies, &args.label, args.output);
    let mut meter = Meter::start(server)?;
    let tasks = fill(args, server)?;
    report.note("filled", meter.lap(server)?, Some(args.services));

    // One task of each namespace after another, so that few proxies are spread as many are.
    let clusters = tasks.iter().map(|service| service.cluster.clone()).collect();
    let mut order = Vec::new();
    for task in 0..args.tasks {
        for place in 0..SERVICES_PER_NAMESPACE {
            let of_place = tasks.iter().skip(place).step_by(SERVICES_PER_NAMESPACE).enumerate();
            order.extend(of_place.map(|(namespace, service)| (namespace, service.tasks[task].clone())));
        }
    }
    order.truncate(args.proxies);
    let mut subscribed = vec![0_usize; args.services / SERVICES_PER_NAMESPACE];
    order.iter().for_each(|(namespace, _)| subscribed[*namespace] += 1);

    let (renew, rounds) = watch::channel(0_u64);
    let mut crowd = Crowd::start(args.threads)?;
    let shared = subscribe(server, World::new(clusters), &order, &mut crowd, &rounds).await?;
    let world = &shared.world;
    wait(world, "every proxy is in step", || world.in_step.load(Ordering::Relaxed) >= args.proxies).await?;
    report.note("subscribed", meter.lap(server)?, Some(args.proxies));
    // What was begun meanwhile comes to its end.
    tokio::time::sleep(Duration::from_secs(3)).await;
    meter.lap(server)?;

    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    report.note("idle", meter.lap(server)?, None);

    churn(args, server, world, &tasks, &subscribed, args.seconds).await?;
    let cost = meter.lap(server)?;
    let changes = usize::try_from(u64::from(args.rate) * args.seconds)?;
    report.note("churn", cost, Some(changes));
    let (mut last, mut each) = world.take_applied();
    report.applied(changes, &mut last, &mut each);
    report.pushed(world);

    if !args.churn_only {
        let (killed, failures) = (Instant::now(), world.failures.load(Ordering::Relaxed));
        let opened = world.opened.load(Ordering::Relaxed);
        server.restart()?;
        report.figure("restart: it listens again after, s", killed.elapsed().as_secs_f64());
        meter = Meter::start(server)?;
        let back = || {
            world.opened.load(Ordering::Relaxed) >= opened + args.proxies
                && world.in_step.load(Ordering::Relaxed) >= args.proxies
        };
        wait(world, "every proxy is in step again", back).await?;
        report.figure("restart: all in step after, s", killed.elapsed().as_secs_f64());
        let failed = world.failures.load(Ordering::Relaxed) - failures;
        #[allow(clippy::cast_precision_loss)]
        report.figure("restart: attempts that failed", failed as f64);
        report.note("restarted", meter.lap(server)?, Some(args.proxies));
        // Whoever is in step hears of what comes.
        churn(args, server, world, &tasks, &subscribed, 1).await?;
        let (mut last, _) = world.take_applied();
        report.figure("restart: changes afterwards applied, p99 ms", percentile(&mut last, 99));
        meter.lap(server)?;

        let (began, certificates) = (Instant::now(), world.certificates.load(Ordering::Relaxed));
        let opened = world.opened.load(Ordering::Relaxed);
        renew.send_modify(|round| *round += 1);
        let renewed = || {
            world.certificates.load(Ordering::Relaxed) >= certificates + args.proxies
                && world.opened.load(Ordering::Relaxed) >= opened + args.proxies
                && world.in_step.load(Ordering::Relaxed) >= args.proxies
        };
        wait(world, "every certificate is renewed", renewed).await?;
        #[allow(clippy::cast_precision_loss)]
        report.figure("renewal: certificates/s", args.proxies as f64 / began.elapsed().as_secs_f64());
        report.note("renewed", meter.lap(server)?, Some(args.proxies));
    }
    report.finish(server, args.results.as_deref())?;
    Ok(())
}

/// A service that was made.
struct Service {
    /// Its cluster's name on the stream.
    cluster: String,
    tasks: Vec<TaskId>,
}

/// Makes the services, waits for their tasks, and says where they listen.
fn fill(args: &Args, server: &Server) -> anyhow::Result<Vec<Service>> {
    let mut api = server.api()?;
    let definition = json!({
        "family": "app",
        "networkMode": "awsvpc",
        "containerDefinitions": [{
            "name": "app",
            "image": "bench/app",
            "portMappings": [{ "name": PORT_NAME, "containerPort": 8080, "appProtocol": "http" }],
        }],
    });
    api.ecs("RegisterTaskDefinition", &definition)?;
    let namespace = |number: usize| format!("ns-{}", number / SERVICES_PER_NAMESPACE);
    for number in 0..args.services {
        let namespace = namespace(number);
        if number % SERVICES_PER_NAMESPACE == 0 {
            let defaults = json!({ "namespace": namespace });
            let request = json!({ "clusterName": namespace, "serviceConnectDefaults": defaults });
            api.ecs("CreateCluster", &request)?;
        }
        let name = format!("service-{number}");
        let offered = json!({
            "portName": PORT_NAME,
            "discoveryName": name,
            "clientAliases": [{ "port": 80, "dnsName": name }],
        });
        let request = json!({
            "cluster": namespace,
            "serviceName": name,
            "taskDefinition": "app",
            "desiredCount": args.tasks,
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
            "serviceConnectConfiguration": { "enabled": true, "namespace": namespace, "services": [offered] },
        });
        api.ecs("CreateService", &request)?;
    }
    let mut local = server.local()?;
    let mut services = Vec::new();
    for number in 0..args.services {
        let name = format!("service-{number}");
        let tasks = running(&mut api, &namespace(number), &name, args.tasks)?;
        let sockets =
            tasks.iter().enumerate().map(|(task, id)| (id.clone(), socket(number, task, FIRST_PORT)));
        local.listen(&sockets.collect(), PORT_NAME)?;
        services.push(Service { cluster: format!("{name}.{}", namespace(number)), tasks });
    }
    Ok(services)
}

/// The service's tasks, once all of them run.
fn running(api: &mut server::Api, cluster: &str, service: &str, count: usize) -> anyhow::Result<Vec<TaskId>> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let described = api.ecs("DescribeServices", &json!({ "cluster": cluster, "services": [service] }))?;
        if described["services"][0]["runningCount"].as_u64() == Some(u64::try_from(count)?) {
            let listed = api.ecs("ListTasks", &json!({ "cluster": cluster, "serviceName": service }))?;
            let arns = listed["taskArns"].as_array().cloned().unwrap_or_default();
            let id = |arn: &Value| arn.as_str().and_then(|arn| arn.rsplit('/').next()?.parse().ok());
            let ids: Vec<TaskId> = arns.iter().filter_map(id).collect();
            if ids.len() == count {
                return Ok(ids);
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("the tasks of {service} do not run")
}

/// Where a task listens; the port tells which change moved it there.
fn socket(service: usize, task: usize, port: u16) -> SocketAddr {
    let byte = |number: usize| u8::try_from(number % 250).unwrap_or_default();
    SocketAddr::from(([10, byte(service / 250), byte(service), byte(task) + 1], port))
}

/// Starts the proxies of these tasks.
async fn subscribe(
    server: &Server,
    world: World,
    order: &[(usize, TaskId)],
    crowd: &mut Crowd,
    rounds: &watch::Receiver<u64>,
) -> anyhow::Result<Arc<Shared>> {
    let mut local = server.local()?;
    let first = local.start(&[order.first().context("there are no proxies")?.1.clone()])?;
    let told = &first.first().context("nothing was told")?.control_plane;
    let shared = Arc::new(Shared {
        world,
        names: Names::default(),
        trust: Trust::new(told)?,
        address: told.address,
        asking: Semaphore::new(ASKING_MAX),
    });
    let mut begun = 0;
    for batch in order.chunks(TOKENS_AT_ONCE) {
        let tasks: Vec<_> = batch.iter().map(|(_, task)| task.clone()).collect();
        for start in local.start(&tasks)? {
            let proxy = Proxy::new(Arc::clone(&shared), start.task);
            crowd.add(proxy, start.token, rounds.clone());
        }
        begun += batch.len();
        let certified = || shared.world.certificates.load(Ordering::Relaxed) >= begun;
        wait(&shared.world, "every proxy has a certificate", certified).await?;
    }
    Ok(shared)
}

/// Moves endpoints, one after another in all namespaces, and waits until all who are subscribed have
/// every change.
async fn churn(
    args: &Args,
    server: &Server,
    world: &World,
    services: &[Service],
    subscribed: &[usize],
    seconds: u64,
) -> anyhow::Result<()> {
    let mut local = server.local()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / args.rate);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let namespaces = subscribed.len();
    for number in 0..usize::try_from(u64::from(args.rate) * seconds)? {
        ticks.tick().await;
        // The next namespace each time, and there the next service.
        let (namespace, place) = (number % namespaces, number / namespaces % SERVICES_PER_NAMESPACE);
        let service = namespace * SERVICES_PER_NAMESPACE + place;
        let change = world.change(service, subscribed[namespace]);
        let task = usize::from(change) % args.tasks;
        let address = socket(service, task, FIRST_PORT + change);
        let moved = BTreeMap::from([(services[service].tasks[task].clone(), address)]);
        tokio::task::block_in_place(|| local.listen(&moved, PORT_NAME))?;
    }
    wait(world, "every change is applied", || world.pending.load(Ordering::Relaxed) == 0).await
}

async fn wait(world: &World, what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > PATIENCE {
            bail!("{what}: not within {} s. {}", PATIENCE.as_secs(), world.describe());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

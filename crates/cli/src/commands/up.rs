//! `bowline up`: a template becomes running services.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use bowline_agent::{Agent, AgentConfig, NetworkMode, OutputLine, ProgramCommand};
use bowline_aws::cfn::{Inputs, ResourceBody, Stack, Template};
use bowline_control::{
    control_plane::{self, ControlConfig, ControlPlane},
    reconcile,
    registry::{LocalCommandRecord, Registry},
};
use bowline_model::{arn::Scope, task::Egress};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    build_step::{self, BuildStep},
    local_api,
    output::OutputFormat,
    project,
    running::Running,
    state_dir, topology,
};

/// Arguments of `bowline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CloudFormation template, YAML or JSON.
    pub(crate) template: PathBuf,
    /// What only Bowline reads. Default: NAME.bowline.yaml beside NAME.yaml.
    #[arg(long, value_name = "FILE")]
    pub(crate) overlay: Option<PathBuf>,
    /// Where state is kept. Default: $XDG_STATE_HOME/bowline, else ~/.local/state/bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Value of a template parameter.
    #[arg(short, long = "parameter", value_name = "KEY=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// Local command in place of a container's image; run by `sh -c`.
    #[arg(long = "exec", value_name = "CONTAINER=COMMAND")]
    pub(crate) exec: Vec<String>,
    /// Do not run the Build commands of local commands.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The stack's name. Default: after the template's directory.
    #[arg(long, value_name = "NAME")]
    pub(crate) stack_name: Option<String>,
    /// AWS::Region.
    #[arg(long, default_value = "us-east-1", env = "AWS_REGION", hide_env_values = true)]
    pub(crate) region: String,
    /// AWS::AccountId.
    #[arg(long, default_value = "000000000000")]
    pub(crate) account_id: String,
    /// Leave the traffic to this service UNENCRYPTED where the template gives it no `tls`, as AWS
    /// does; with encryption, `tls` or not, if it is not named here.
    #[arg(long = "aws-plaintext", value_name = "SERVICE")]
    pub(crate) plaintext: Vec<String>,
    /// How tasks are connected.
    #[arg(long, default_value = "auto")]
    pub(crate) network: NetworkArg,
    /// What tasks may reach beyond their aliases.
    #[arg(long, default_value = "deny")]
    pub(crate) egress: EgressArg,
    /// How long a certificate lives, in seconds.
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(10..=604_800))]
    pub(crate) certificate_ttl: u64,
    /// Where proxies find the control plane. Port 0: a free one, kept for this state directory.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) discovery_listen: SocketAddr,
    /// Give up when not everything is up after so many seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) wait_timeout: u64,
    /// How to print what is up. With json: one line, the topology.
    #[arg(short, long, default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// `--network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkArg {
    /// Namespaces where they are allowed, else the host's network.
    Auto,
    /// Namespaces of its own for each task.
    Isolated,
    /// The host's network; weaker.
    Host,
}

/// `--egress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EgressArg {
    /// Nothing.
    Deny,
    /// By TCP what the host reaches, but not the host itself.
    Allow,
}

/// How long tasks have to end after Ctrl-C; ECS's longest `stopTimeout`.
const STOP_LIMIT: Duration = Duration::from_secs(125);

/// Brings the template up, follows until it is told to end, takes it down.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    // From here on Ctrl-C ends what was begun; it does not cut it off.
    let mut stop = Stop::new()?;
    let state_dir = state_dir::resolve(args.state_dir.clone())?;
    let template = Templates::read(&args)?;
    let control = ControlPlane::start(control_config(&args, &state_dir)?).await?;
    let stack = template.resolve(&args, &control)?;
    for service in &args.plaintext {
        if !has_service(&stack, service) {
            bail!("--aws-plaintext {service}: the template has no service of that name");
        }
        eprintln!("‼ traffic to {service} is NOT ENCRYPTED: --aws-plaintext");
    }
    for container in project::key_values("--exec", &args.exec)?.keys() {
        if !has_container(&stack, container) {
            bail!("--exec {container}=…: no task definition of the template has a container of that name");
        }
    }
    if !args.no_build {
        build_step::run_all(build_steps(&args, &stack)?)?;
    }
    let network = report_network(args.network);

    let (output, lines) = mpsc::channel(4_096);
    let port = control.agent_port();
    let agent = Agent::start(
        AgentConfig {
            state_dir: state_dir.clone(),
            shim_command: ProgramCommand::this_program("shim")?,
            proxy_command: ProgramCommand::this_program("proxy")?,
            network,
            output,
        },
        port.desired,
        port.reports,
        port.tokens,
    )?;
    let running =
        Arc::new(Running { control, agent, state_dir: state_dir.clone(), ended: watch::channel(false).0 });
    let handler = Arc::clone(&running);
    let server = local_api::serve(&state_dir, move |request| {
        let running = Arc::clone(&handler);
        async move { running.answer(request).await }
    })?;
    let notes = running.control.apply_stack(&stack)?;
    for note in notes {
        eprintln!("‼ {}: {}: {}", note.position, note.logical_id, note.message);
    }
    tokio::spawn(print_output(lines, args.output));
    tokio::spawn(print_events(Arc::clone(&running)));

    let outcome = tokio::select! {
        settled = wait_until_settled(&running, Duration::from_secs(args.wait_timeout)) => match settled {
            Ok(()) => {
                announce(&running, &args, begin.elapsed())?;
                tokio::select! {
                    () = stop.asked() => {}
                    () = running.told_to_end() => {}
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        () = stop.asked() => Ok(()),
        () = running.told_to_end() => Ok(()),
    };
    eprintln!("taking everything down (Ctrl-C again does not wait)");
    tokio::select! {
        all = running.control.stop_all(STOP_LIMIT) => {
            running.agent.stop_all().await;
            if !all {
                eprintln!("‼ not every task reported its end");
            }
        }
        () = stop.asked() => bail!("ended without waiting: tasks may still be ending"),
    }
    drop(server);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The template's files.
struct Templates {
    template: Template,
}

impl Templates {
    fn read(args: &Args) -> anyhow::Result<Self> {
        let sources = project::read_sources(&args.template, args.overlay.as_deref())?;
        let named: Vec<_> =
            sources.iter().map(|source| (source.path.display().to_string(), source.text.as_str())).collect();
        let files: Vec<_> = named.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let template = Template::parse_many(&files).map_err(|faults| anyhow!("{faults}"))?;
        eprint!("{}", template.warnings());
        Ok(Self { template })
    }

    fn resolve(&self, args: &Args, control: &ControlPlane) -> anyhow::Result<Stack> {
        let inputs = Inputs {
            stack_name: args.stack_name.clone().unwrap_or_else(|| project::stack_name(&args.template)),
            region: args.region.clone(),
            account_id: args.account_id.clone(),
            parameters: project::key_values("--parameter", &args.parameters)?,
            revision: control.revisions(),
            ..Inputs::default()
        };
        let stack = self.template.resolve(&inputs).map_err(|faults| anyhow!("{faults}"))?;
        eprint!("{}", stack.warnings);
        Ok(stack)
    }
}

fn control_config(args: &Args, state_dir: &Path) -> anyhow::Result<ControlConfig> {
    let exec = project::key_values("--exec", &args.exec)?;
    let directory = std::env::current_dir().context("the present directory cannot be read")?;
    let exec = exec
        .into_iter()
        .map(|(container, command)| LocalCommandRecord {
            family: None,
            container,
            command: vec!["/bin/sh".into(), "-c".into(), format!("exec {command}")],
            working_directory: Some(directory.clone()),
            environment: BTreeMap::new(),
        })
        .collect();
    Ok(ControlConfig {
        state_dir: state_dir.to_owned(),
        scope: Scope {
            partition: "aws".into(),
            region: args.region.clone(),
            account_id: args.account_id.clone(),
        },
        trust_domain: "bowline.local".into(),
        discovery_listen: args.discovery_listen,
        certificate_ttl: Duration::from_secs(args.certificate_ttl),
        exec,
        plaintext_services: args.plaintext.iter().cloned().collect(),
        egress: match args.egress {
            EgressArg::Deny => Egress::Deny,
            EgressArg::Allow => Egress::Allow,
        },
    })
}

fn has_service(stack: &Stack, name: &str) -> bool {
    stack.resources.iter().any(|resource| {
        matches!(&resource.body, ResourceBody::EcsService(service) if service.service_name == name)
    })
}

fn has_container(stack: &Stack, name: &str) -> bool {
    stack.resources.iter().any(|resource| match &resource.body {
        ResourceBody::EcsTaskDefinition(definition) => {
            definition.container_definitions.iter().any(|container| container.name == name)
        }
        _ => false,
    })
}

/// The Build commands of local commands, but for containers that `--exec` runs.
fn build_steps(args: &Args, stack: &Stack) -> anyhow::Result<Vec<(String, BuildStep)>> {
    let exec = project::key_values("--exec", &args.exec)?;
    let mut steps = Vec::new();
    for resource in &stack.resources {
        let ResourceBody::LocalCommand(local) = &resource.body else { continue };
        let file = std::path::absolute(&resource.position.file)?;
        let beside = file.parent().context("a template has a directory")?;
        for container in local.containers.iter().filter(|container| !exec.contains_key(&container.name)) {
            if let Some(command) = &container.build {
                let directory = match &container.working_directory {
                    Some(directory) => beside.join(directory),
                    None => beside.to_owned(),
                };
                steps.push((container.name.clone(), BuildStep { command: command.clone(), directory }));
            }
        }
    }
    Ok(steps)
}

fn report_network(wanted: NetworkArg) -> NetworkMode {
    match wanted {
        NetworkArg::Isolated => NetworkMode::Isolated,
        NetworkArg::Host => {
            eprintln!(
                "‼ host network: tasks have no network of their own; other processes can reach them in plaintext"
            );
            NetworkMode::Host
        }
        NetworkArg::Auto => {
            let support = bowline_agent::probe_network();
            if !support.isolated {
                eprintln!(
                    "‼ no user namespaces here, so tasks run on the host network, in plaintext reach of other \
                     processes: {}",
                    support.reason.unwrap_or_default()
                );
            }
            NetworkMode::Auto
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn wait_until_settled(running: &Running, limit: Duration) -> anyhow::Result<()> {
    let mut generation = running.control.generation();
    let mut shown = BTreeMap::new();
    let settled = tokio::time::timeout(limit, async {
        loop {
            generation.mark_unchanged();
            let registry = running.control.snapshot();
            show_progress(&registry, &mut shown);
            if control_plane::is_settled(&registry) || generation.changed().await.is_err() {
                return;
            }
        }
    });
    if settled.await.is_ok() {
        // A task that serves is of use when the others' proxies know of it.
        running.control.in_step(Duration::from_secs(5)).await;
        if let Some((task, refusal)) = running.control.refusals().into_iter().next() {
            bail!("the proxy of task {task} refuses its configuration: {refusal}");
        }
        return Ok(());
    }
    let registry = running.control.snapshot();
    let waiting: Vec<_> = registry
        .services
        .values()
        .filter(|service| !reconcile::is_steady(&registry, service))
        .map(|service| service.name.clone())
        .collect();
    bail!(
        "not everything is up after {} s; still waiting for {}. What their tasks printed is above and under {}",
        limit.as_secs(),
        if waiting.is_empty() { "a gateway".to_owned() } else { waiting.join(", ") },
        running.state_dir.display()
    )
}

fn show_progress(registry: &Registry, shown: &mut BTreeMap<String, usize>) {
    for service in registry.services.values() {
        let up = registry.tasks_of_service(&service.arn).iter().filter(|task| task.available()).count();
        if shown.insert(service.name.clone(), up) != Some(up) {
            eprintln!("{}: {up} of {} tasks up", service.name, service.desired_count);
        }
    }
}

fn announce(running: &Running, args: &Args, took: Duration) -> anyhow::Result<()> {
    let topology = running.topology();
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&topology)?),
        OutputFormat::Text => {
            println!("\n{}", topology::table(&topology, bowline_plumbing::wall_clock::now()));
            for line in topology::curl_lines(&topology) {
                println!("{line}");
            }
            println!(
                "\nup in {:.1} s; `bowline verify` shows that it is encrypted; Ctrl-C ends it",
                took.as_secs_f64()
            );
        }
    }
    for note in topology::port_notes(&topology) {
        eprintln!("‼ {note}");
    }
    std::io::Write::flush(&mut std::io::stdout())?;
    Ok(())
}

async fn print_output(mut lines: mpsc::Receiver<OutputLine>, format: OutputFormat) {
    while let Some(OutputLine { task, source, line, .. }) = lines.recv().await {
        let short = &task.as_str()[..8];
        match format {
            OutputFormat::Text => eprintln!("{}/{short} | {line}", source.name()),
            OutputFormat::Json => eprintln!(
                "{}",
                serde_json::json!({"task": task.as_str(), "source": source.name(), "line": line})
            ),
        }
    }
}

async fn print_events(running: Arc<Running>) {
    let mut generation = running.control.generation();
    let mut last = 0;
    loop {
        for (number, event) in running.control.events_since(last) {
            last = number;
            eprintln!("({}) {}", event.subject, event.message);
        }
        if generation.changed().await.is_err() {
            return;
        }
    }
}

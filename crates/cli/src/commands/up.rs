//! `bowline up`: a template becomes running services.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use bowline_aws::cfn::{Inputs, ResourceBody, Stack, Template};
use bowline_control::{
    control_plane::{self, ControlPlane},
    reconcile,
    registry::Registry,
    stack::record::StackTemplate,
};

use crate::{
    build_step::{self, BuildStep},
    machine::{Machine, MachineArgs, Stop},
    output::OutputFormat,
    project,
    running::Running,
    state_dir, topology,
};

/// How long gateways' first health checks, and their certificates, are waited for.
const GATEWAYS_WAIT: Duration = Duration::from_secs(15);
/// How often gateways are asked meanwhile.
const GATEWAYS_LOOK: Duration = Duration::from_millis(200);

/// Arguments of `bowline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CloudFormation template, YAML or JSON.
    pub(crate) template: PathBuf,
    /// What only Bowline reads. Default: NAME.bowline.yaml beside NAME.yaml.
    #[arg(long, value_name = "FILE")]
    pub(crate) overlay: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Value of a template parameter.
    #[arg(short, long = "parameter", value_name = "KEY=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// Do not run the Build commands of local commands.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The stack's name. Default: after the template's directory.
    #[arg(long, value_name = "NAME")]
    pub(crate) stack_name: Option<String>,
    /// Give up when not everything is up after so many seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) wait_timeout: u64,
    /// End when standard input does: whoever started this is gone then.
    #[arg(long, hide = true)]
    pub(crate) while_stdin: bool,
    /// Remove this directory at the end: whoever has made it may be gone.
    #[arg(long, hide = true, value_name = "DIRECTORY", requires = "while_stdin")]
    pub(crate) remove_at_end: Option<PathBuf>,
    /// How to print what is up. With json: one line, the topology.
    #[arg(short, long, default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// Brings the template up, follows until it is told to end, takes it down.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let directory = args.remove_at_end.clone();
    let ended = up_and_down(args).await;
    if let Some(directory) = directory {
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("‼ {} could not be removed: {error}", directory.display());
            }
            _ => {}
        }
    }
    ended
}

async fn up_and_down(mut args: Args) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    args.machine.project_dir = std::path::absolute(&args.template)?.parent().map(PathBuf::from);
    // From here on Ctrl-C ends what was begun; it does not cut it off.
    let mut stop = Stop::new()?;
    let state_dir = state_dir::resolve(args.machine.state_dir.clone())?;
    let template = Templates::read(&args)?;
    let control = args.machine.control_plane(&state_dir, false).await?;
    let stack = template.resolve(&args, &control)?;
    for service in &args.machine.plaintext {
        if !has_service(&stack, service) {
            bail!("--aws-plaintext {service}: the template has no service of that name");
        }
        eprintln!("‼ traffic to {service} is NOT ENCRYPTED: --aws-plaintext");
    }
    for container in project::key_values("--exec", &args.machine.exec)?.keys() {
        if !has_container(&stack, container) {
            bail!("--exec {container}=…: no task definition of the template has a container of that name");
        }
    }
    let endpoint = args.machine.endpoint.open(true)?;
    if !args.no_build {
        build_step::run_all(build_steps(&args, &stack)?)?;
    }
    let machine = Machine::start(control, &args.machine, &state_dir, endpoint, args.output)?;
    let running = &machine.running;
    if args.while_stdin {
        end_with_stdin(running.ended.clone());
    }
    let notes = running.control.apply_stack(&stack, &template.source(&args)?)?;
    for note in notes {
        eprintln!("‼ {}: {}: {}", note.position, note.logical_id, note.message);
    }

    let outcome = tokio::select! {
        settled = wait_until_settled(running, Duration::from_secs(args.wait_timeout)) => match settled {
            Ok(()) => {
                announce(&machine, &args, begin.elapsed())?;
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
    machine.take_down(&mut stop).await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Has everything taken down when nobody holds this process's standard input any more.
fn end_with_stdin(ended: tokio::sync::watch::Sender<bool>) {
    // Not joined: it may wait for as long as the process lives.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        ended.send_replace(true);
    });
}

/// The template's files.
struct Templates {
    files: Vec<(String, String)>,
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
        let files = named.iter().map(|(name, text)| (name.clone(), (*text).to_owned())).collect();
        Ok(Self { files, template })
    }

    /// What the stack is made from, as it is kept.
    fn source(&self, args: &Args) -> anyhow::Result<StackTemplate> {
        let parameters = project::key_values("--parameter", &args.parameters)?;
        Ok(StackTemplate { files: self.files.clone(), parameters })
    }

    fn resolve(&self, args: &Args, control: &ControlPlane) -> anyhow::Result<Stack> {
        let inputs = Inputs {
            stack_name: args.stack_name.clone().unwrap_or_else(|| project::stack_name(&args.template)),
            region: args.machine.region.clone(),
            account_id: args.machine.account_id.clone(),
            parameters: project::key_values("--parameter", &args.parameters)?,
            revision: control.revisions(),
            ..Inputs::default()
        };
        let stack = self.template.resolve(&inputs).map_err(|faults| anyhow!("{faults}"))?;
        eprint!("{}", stack.warnings);
        Ok(stack)
    }
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
    let exec = project::key_values("--exec", &args.machine.exec)?;
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
        running.control.in_step(Duration::from_secs(30)).await;
        if let Some((task, refusal)) = running.control.refusals().into_iter().next() {
            bail!("the proxy of task {task} refuses its configuration: {refusal}");
        }
        wait_for_gateways(&running.control).await;
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

/// Gateways check their targets themselves: an application that was still starting is checked again within a second.
/// They ask for their certificates themselves, too. What never comes is the user's own affair, and is told of.
async fn wait_for_gateways(control: &ControlPlane) {
    let end = Instant::now() + GATEWAYS_WAIT;
    loop {
        let gaps = control.gateway_gaps().await;
        if gaps.is_empty() {
            return;
        }
        if Instant::now() >= end {
            for (balancer, gap) in gaps {
                eprintln!("‼ {balancer} {gap}");
            }
            return;
        }
        tokio::time::sleep(GATEWAYS_LOOK).await;
    }
}

fn show_progress(registry: &Registry, shown: &mut BTreeMap<String, usize>) {
    for service in registry.services.values() {
        let up = registry.tasks_of_service(&service.arn).iter().filter(|task| task.available()).count();
        if shown.insert(service.name.clone(), up) != Some(up) {
            eprintln!("{}: {up} of {} tasks up", service.name, service.desired_count);
        }
    }
}

fn announce(machine: &Machine, args: &Args, took: Duration) -> anyhow::Result<()> {
    let topology = machine.running.topology();
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&topology)?),
        OutputFormat::Text => {
            println!("\n{}", topology::table(&topology, bowline_plumbing::wall_clock::now()));
            for line in topology::curl_lines(&topology) {
                println!("{line}");
            }
            println!("aws --endpoint-url {} ecs list-services …", machine.running.endpoint);
            if let Some(ca) = &machine.endpoint_ca {
                println!("(AWS_CA_BUNDLE={})", ca.display());
            }
            if let Some(url) = machine.running.dashboard() {
                println!("dashboard: {url}");
            }
            println!("Prometheus scrapes {}/metrics", machine.running.endpoint);
            for address in &topology.dns {
                println!("dig @{} -p {} … for names of private DNS namespaces", address.ip(), address.port());
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
    for served in machine.running.control.served_certificates() {
        for warning in &served.warnings {
            eprintln!("‼ {} ({}): {warning}", served.arn, served.used_by.join(", "));
        }
    }
    std::io::Write::flush(&mut std::io::stdout())?;
    Ok(())
}

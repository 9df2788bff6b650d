//! The control plane and the agent on this machine, as `up` and `server` start them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use bowline_agent::{Agent, AgentConfig, AgentHandle, LogDelivery, NetworkMode, OutputLine, ProgramCommand};
use bowline_control::{
    api::{AuthorizationMode, EndpointCertificate},
    control_plane::{
        AgentPort, ControlConfig, ControlPlane, LogLimits, MetricLimits, MetricRetention, TraceLimits,
    },
    dns::Network,
    otlp::OtlpConfig,
    record_launcher,
    registry::LocalCommandRecord,
};
use bowline_model::{
    arn::Scope,
    sampling::{DefaultSampling, MILLION},
    task::Egress,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    dns_args::{self, DnsForward, DnsListen},
    endpoint::{Endpoint, EndpointArgs},
    faults, local_api,
    master_key_args::MasterKeyArgs,
    output::OutputFormat,
    project,
    running::Running,
};

/// How long tasks have to end after Ctrl-C; ECS's longest `stopTimeout`.
const STOP_LIMIT: Duration = Duration::from_secs(125);

/// How long receivers of logs have to take the last lines; what they do not take is kept.
const DELIVERY_LIMIT: Duration = Duration::from_secs(3);

/// Arguments that `up` and `server` share.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineArgs {
    /// Where state is kept. Default: $XDG_STATE_HOME/bowline, else ~/.local/state/bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) master_key: MasterKeyArgs,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArgs,
    /// Local command in place of a container's image; run by `sh -c`.
    #[arg(long = "exec", value_name = "CONTAINER=COMMAND")]
    pub(crate) exec: Vec<String>,
    /// AWS::Region.
    #[arg(long, default_value = "us-east-1", env = "AWS_REGION", hide_env_values = true)]
    pub(crate) region: String,
    /// AWS::AccountId.
    #[arg(long, default_value = "000000000000", value_parser = account_id)]
    pub(crate) account_id: String,
    /// Leave the traffic to this service UNENCRYPTED where the template gives it no `tls`, as AWS
    /// does; with encryption, `tls` or not, if it is not named here.
    #[arg(long = "aws-plaintext", value_name = "SERVICE")]
    pub(crate) plaintext: Vec<String>,
    /// What runs a task's containers.
    #[arg(long, default_value = "process")]
    pub(crate) launcher: LauncherArg,
    /// How tasks are connected.
    #[arg(long, default_value = "auto")]
    pub(crate) network: NetworkArg,
    /// What tasks may reach beyond their aliases.
    #[arg(long, default_value = "deny")]
    pub(crate) egress: EgressArg,
    /// Record reading calls of applications in the audit trail too: there are many of them.
    #[arg(long)]
    pub(crate) audit_data_events: bool,
    /// How long values of metrics are kept by the minute, in days; five minutes' are kept for 63 days, hours' for 455.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=455), value_name = "DAYS")]
    pub(crate) metrics_days: u64,
    /// How much room metrics may take on the disk, in MiB; the oldest are given up for newer ones.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(8..=1_048_576), value_name = "MIB")]
    pub(crate) metrics_mib: u64,
    /// Which share of requests is traced, of those that no sampling rule is about, beside the first one a second of each
    /// proxy. 0: none. Failed calls are traced in any case.
    #[arg(long, default_value = "5", value_parser = per_million, value_name = "PERCENT")]
    pub(crate) trace_sampling: u32,
    /// How long traces are kept, in hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720), value_name = "HOURS")]
    pub(crate) traces_hours: u64,
    /// How much room traces may take on the disk, in MiB; the oldest are given up for newer ones.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1_024), value_name = "MIB")]
    pub(crate) traces_mib: u64,
    /// Send spans and metrics on to this receiver of OpenTelemetry's protocol, as http://127.0.0.1:4318.
    /// OTEL_EXPORTER_OTLP_PROTOCOL, _HEADERS and the other variables of OpenTelemetry are read too.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Listen for segments of AWS X-Ray's SDKs on this address of loopback, by UDP and TCP as X-Ray's daemon does; it
    /// uses port 2000.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) xray_daemon: Option<SocketAddr>,
    /// How much room logs may take on the disk, in MiB; the oldest are given up for newer ones.
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    pub(crate) logs_mib: u64,
    /// What becomes of requests to the AWS endpoint that IAM's policies do not allow. The root
    /// user, whose the key `test` is, may do everything.
    #[arg(long, default_value = "enforce")]
    pub(crate) authorization: AuthorizationArg,
    /// How long a certificate lives, in seconds. It is renewed after two thirds of that.
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(3..=604_800))]
    pub(crate) certificate_ttl: u64,
    /// Where proxies find the control plane. Port 0: a free one, kept for this state directory.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) discovery_listen: SocketAddr,
    /// Where the DNS server of private namespaces listens, by UDP and TCP; may be given more than
    /// once. Port 0: a free one, kept for this state directory. `off`: there is none.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS|off")]
    pub(crate) dns_listen: Vec<DnsListen>,
    /// Whom the DNS server asks for names of others, for clients that it serves: nobody (`none`,
    /// such names are refused), the resolvers of this machine (`system`), or these.
    #[arg(long, default_value = "none", value_name = "none|system|ADDRESS,...")]
    pub(crate) dns_forward: DnsForward,
    /// Networks whose clients the DNS server serves besides this machine; others are refused.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub(crate) dns_allow: Vec<Network>,
    /// Where the template is.
    #[arg(skip)]
    pub(crate) project_dir: Option<PathBuf>,
}

fn account_id(text: &str) -> Result<String, String> {
    match text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err("an account id is 12 digits".into()),
    }
}

/// A percentage, as so many of a million.
fn per_million(text: &str) -> Result<u32, String> {
    let percent: f64 = text.parse().map_err(|_| "a percentage is a number".to_owned())?;
    match (0.0..=100.0).contains(&percent) {
        true => Ok((percent * f64::from(MILLION) / 100.0).round() as u32),
        false => Err("a percentage is between 0 and 100".into()),
    }
}

/// `--authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AuthorizationArg {
    /// They are carried out.
    Off,
    /// They are carried out, and the log says what would have been refused.
    Audit,
    /// They are refused.
    Enforce,
}

/// `--launcher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LauncherArg {
    /// Processes of this machine.
    Process,
    /// Nothing: tasks are records, for suites that only test an API.
    Record,
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

impl MachineArgs {
    fn control_config(&self, state_dir: &Path, ephemeral: bool) -> anyhow::Result<ControlConfig> {
        let exec = project::key_values("--exec", &self.exec)?;
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
                region: self.region.clone(),
                account_id: self.account_id.clone(),
            },
            trust_domain: "bowline.local".into(),
            discovery_listen: self.discovery_listen,
            certificate_ttl: Duration::from_secs(self.certificate_ttl),
            exec,
            plaintext_services: self.plaintext.iter().cloned().collect::<BTreeSet<_>>(),
            egress: match self.egress {
                EgressArg::Deny => Egress::Deny,
                EgressArg::Allow => Egress::Allow,
            },
            audit_data_events: self.audit_data_events,
            authorization: match self.authorization {
                AuthorizationArg::Off => AuthorizationMode::Off,
                AuthorizationArg::Audit => AuthorizationMode::Audit,
                AuthorizationArg::Enforce => AuthorizationMode::Enforce,
            },
            ephemeral,
            dns: dns_args::config(&self.dns_listen, &self.dns_forward, &self.dns_allow)?,
            master_key: self.master_key.source()?,
            logs: LogLimits { bytes_max: self.logs_mib * 1024 * 1024, ..LogLimits::default() },
            metrics: MetricLimits {
                retention: MetricRetention {
                    minutes: Duration::from_secs(self.metrics_days * 24 * 3600),
                    ..MetricRetention::default()
                },
                bytes_max: self.metrics_mib * 1024 * 1024,
                ..MetricLimits::default()
            },
            sampling: DefaultSampling::of_share(self.trace_sampling),
            otlp: OtlpConfig::read(self.otlp_endpoint.as_deref(), |name| std::env::var(name).ok())
                .context("OTLP cannot be sent")?,
            xray_daemon: self.xray_daemon,
            traces: TraceLimits {
                retention: Duration::from_secs(self.traces_hours * 3600),
                bytes_max: self.traces_mib * 1024 * 1024,
                // A span takes some 250 bytes.
                records_max: self.traces_mib as usize * 4096,
                ..TraceLimits::default()
            },
        })
    }

    /// Opens the state directory.
    ///
    /// # Errors
    /// Another Bowline has it, or it cannot be used.
    pub(crate) async fn control_plane(
        &self,
        state_dir: &Path,
        ephemeral: bool,
    ) -> anyhow::Result<ControlPlane> {
        Ok(ControlPlane::start(self.control_config(state_dir, ephemeral)?).await?)
    }
}

fn start_agent(
    port: AgentPort,
    args: &MachineArgs,
    state_dir: &Path,
    output: mpsc::Sender<OutputLine>,
) -> anyhow::Result<AgentHandle> {
    let config = AgentConfig {
        state_dir: state_dir.to_owned(),
        shim_command: ProgramCommand::this_program("shim")?,
        proxy_command: ProgramCommand::this_program("proxy")?,
        network: report_network(args.network),
        output,
        usage: Some(port.usage),
        logs: LogDelivery {
            writer: Some(port.logs),
            figures: port.log_figures,
            file_directories: args.project_dir.iter().cloned().chain(std::env::current_dir()).collect(),
        },
    };
    Ok(Agent::start(config, port.desired, port.reports, port.tokens)?)
}

/// Everything that runs on this machine.
pub(crate) struct Machine {
    pub(crate) running: Arc<Running>,
    /// The CA that the endpoint's certificate is of, where that is Bowline's own.
    pub(crate) endpoint_ca: Option<PathBuf>,
    _local_api: local_api::Server,
}

impl Machine {
    /// Starts the agent and the endpoints of a control plane.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub(crate) fn start(
        control: ControlPlane,
        args: &MachineArgs,
        state_dir: &Path,
        endpoint: Endpoint,
        format: OutputFormat,
    ) -> anyhow::Result<Self> {
        let (output, lines) = mpsc::channel(4_096);
        let port = control.agent_port();
        let agent = match args.launcher {
            LauncherArg::Process => Some(start_agent(port, args, state_dir, output)?),
            LauncherArg::Record => {
                eprintln!("‼ --launcher record: tasks are records, nothing runs");
                tokio::spawn(record_launcher::run(port));
                None
            }
        };
        let Endpoint { listener, certificate, url } = endpoint;
        let of_own_authority = matches!(certificate, Some(EndpointCertificate::Own { .. }));
        let endpoint_ca = of_own_authority.then(|| control.gateway_ca_path());
        control.serve_api(listener, certificate)?;
        let (control, agent) = (Arc::new(control), agent.map(Arc::new));
        let injector = faults::injector(&control, agent.as_ref())?;
        if agent.is_some() {
            control.set_fault_injector(Arc::new(injector.clone()));
        }
        let running = Arc::new(Running {
            control,
            agent,
            injector,
            state_dir: state_dir.to_owned(),
            endpoint: url,
            ended: watch::channel(false).0,
        });
        let handler = Arc::clone(&running);
        let local_api = local_api::serve(state_dir, move |request, stdio| {
            let running = Arc::clone(&handler);
            async move { running.answer(request, stdio).await }
        })?;
        tokio::spawn(print_output(lines, format));
        tokio::spawn(print_events(Arc::clone(&running)));
        Ok(Self { running, endpoint_ca, _local_api: local_api })
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// It was asked for again: nothing is waited for.
    pub(crate) async fn take_down(&self, stop: &mut Stop) -> anyhow::Result<()> {
        eprintln!("taking everything down (Ctrl-C again does not wait)");
        let stopped = async {
            // Tasks that are harmed end badly.
            self.running.injector.close().await;
            self.running.control.stop_all(STOP_LIMIT).await
        };
        tokio::select! {
            all = stopped => {
                if let Some(agent) = &self.running.agent {
                    agent.stop_all().await;
                    agent.deliver_logs(DELIVERY_LIMIT).await;
                }
                self.running.control.close_telemetry().await;
                self.running.control.close_audit_trail().await;
                if !all {
                    eprintln!("‼ not every task reported its end");
                }
                Ok(())
            }
            () = stop.asked() => bail!("ended without waiting: tasks may still be ending"),
        }
    }
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
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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

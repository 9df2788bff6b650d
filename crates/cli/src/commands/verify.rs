//! `bowline verify`: evidence of encryption in transit.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use bowline_model::task::TaskStatus;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::JoinHandle;

use crate::{
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
    topology::{AliasView, ServiceView, TaskView, Topology},
    verify::{
        capture,
        evidence::{Evidence, PairEvidence, PortAnswer, occurrences},
        inspect::{self, VerifierIdentity},
        observer::{CaptureMethod, Observer},
        report, tls_record,
    },
};

/// How long a sidecar stays diverted if this process dies.
const DIVERSION_SECONDS: u64 = 15;

/// Arguments of `bowline verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// Write a self-contained page to this file as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How to capture what crosses between sidecars.
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    capture: CaptureMethod,
    /// Write the captured packets to this file (pcap) as well.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Checks every pair of services that may talk. Fails when any pair does.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let topology = topology(&mut client).await?;
    let identity = verifier_identity(&mut client).await?;
    let method = args
        .capture
        .settle()
        .context("packets cannot be captured here; `--capture relay` needs no privilege")?;
    if args.pcap.is_some() && method == CaptureMethod::Relay {
        bail!("--pcap needs a packet capture, which is not permitted here (CAP_NET_RAW) or not asked for");
    }
    let mut packets = Vec::new();
    let mut pairs = Vec::new();
    let interrupt = interrupt();
    for (caller, alias) in talking_pairs(&topology) {
        if interrupt.is_finished() {
            bail!(
                "interrupted after {} pairs: nothing is proven, and every sidecar is as it was",
                pairs.len()
            );
        }
        eprintln!("verifying {} → {} ({}:{})", caller.name, alias.service, alias.names[0], alias.port);
        let observed = Observed { method, packets: &mut packets };
        pairs.push(verify_pair(&mut client, &topology, caller, alias, &identity, observed).await);
    }
    if pairs.is_empty() {
        bail!("no two services may talk to each other here: there is nothing to verify");
    }
    let passed = pairs.iter().all(PairEvidence::passed);
    let evidence = Evidence {
        at: bowline_plumbing::wall_clock::now(),
        bowline: env!("CARGO_PKG_VERSION").to_owned(),
        trust_domain: topology.trust_domain.clone(),
        method: method.text().to_owned(),
        pairs,
        passed,
    };
    if let Some(path) = &args.html {
        std::fs::write(path, report::html(&evidence))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    if let Some(path) = &args.pcap {
        std::fs::write(path, capture::pcap(packets.iter().map(Vec::as_slice)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string_pretty(&evidence)?),
        OutputFormat::Text => print!("{}", report::table(&evidence)),
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends with the first Ctrl-C: the pair that is being verified is led back before anything else. With the second one
/// the process ends at once.
fn interrupt() -> JoinHandle<()> {
    tokio::spawn(async {
        // Where signals cannot be waited for they end the process.
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        });
    })
}

async fn topology(client: &mut Client) -> anyhow::Result<Topology> {
    match client.call(&Request::Topology).await? {
        Response::Topology(topology) => Ok(*topology),
        other => bail!("an unexpected answer: {other:?}"),
    }
}

async fn verifier_identity(client: &mut Client) -> anyhow::Result<VerifierIdentity> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let csr = rcgen::CertificateParams::default().serialize_request(&key)?;
    match client.call(&Request::VerifierCertificate { csr_der: csr.der().to_vec() }).await? {
        Response::Certificate { chain_der, .. } => Ok(VerifierIdentity {
            chain: chain_der.into_iter().map(CertificateDer::from).collect(),
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }),
        other => bail!("an unexpected answer: {other:?}"),
    }
}

/// Every service with every alias that leads to another service.
fn talking_pairs(topology: &Topology) -> Vec<(&ServiceView, &AliasView)> {
    let others = |service: &'_ ServiceView, alias: &&AliasView| alias.service != service.name;
    topology
        .services
        .iter()
        .flat_map(|service| {
            service
                .aliases
                .iter()
                .filter(move |alias| others(service, alias))
                .map(move |alias| (service, alias))
        })
        .collect()
}

fn running_task(service: &ServiceView) -> Option<&TaskView> {
    service.tasks.iter().find(|task| task.status == TaskStatus::Running)
}

/// How bytes are captured, and where their packets are kept.
struct Observed<'a> {
    method: CaptureMethod,
    packets: &'a mut Vec<Vec<u8>>,
}

async fn verify_pair(
    client: &mut Client,
    topology: &Topology,
    caller: &ServiceView,
    alias: &AliasView,
    identity: &VerifierIdentity,
    observed: Observed<'_>,
) -> PairEvidence {
    let mut pair = PairEvidence {
        caller: caller.name.clone(),
        callee: alias.service.clone(),
        alias: format!("{}:{}", alias.names[0], alias.port),
        protocol: alias.protocol.clone(),
        mode: alias.mode.clone(),
        answer: None,
        tls_version: None,
        cipher: None,
        callee_certificate: None,
        caller_certificate: None,
        captured_bytes: 0,
        mark_occurrences: 0,
        plaintext: PortAnswer::NotTried,
        without_certificate: PortAnswer::NotTried,
        faults: Vec::new(),
    };
    if let Err(error) = gather(client, topology, caller, alias, identity, observed, &mut pair).await {
        pair.faults.push(format!("{error:#}"));
    }
    pair.judge();
    pair
}

async fn gather(
    client: &mut Client,
    topology: &Topology,
    caller: &ServiceView,
    alias: &AliasView,
    identity: &VerifierIdentity,
    observed: Observed<'_>,
    pair: &mut PairEvidence,
) -> anyhow::Result<()> {
    let callee = topology
        .services
        .iter()
        .find(|service| service.name == alias.service)
        .with_context(|| format!("there is no service {}", alias.service))?;
    let calling_task =
        running_task(caller).with_context(|| format!("{} has no running task", caller.name))?;
    let called_task = running_task(callee).with_context(|| format!("{} has no running task", callee.name))?;
    let inbound = called_task
        .inbound
        .iter()
        .find(|socket| socket.port_name == alias.port_name)
        .with_context(|| format!("{} has no inbound port {}", callee.name, alias.port_name))?
        .address;
    // Where the called side alone proves who it is, the caller shows nothing.
    let proves_caller = alias.mode != "TLS";
    pair.caller_certificate = calling_task.certificate.clone().filter(|_| proves_caller);

    send_marked_request(client, calling_task, alias, inbound, observed, pair).await?;
    pair.plaintext = inspect::plaintext(inbound).await?;
    pair.without_certificate = inspect::without_certificate(inbound).await?;
    pair.callee_certificate =
        Some(inspect::shown_certificate(inbound, identity, (&callee.imported, &callee.identity)).await?);
    let shown = pair.callee_certificate.as_ref().map(|certificate| certificate.identity.as_str());
    if shown != Some(callee.identity.as_str()) {
        pair.faults.push(format!(
            "the port proves to be {}, not {}",
            shown.unwrap_or("nobody"),
            callee.identity
        ));
    }
    match &pair.caller_certificate {
        Some(certificate) if certificate.identity == caller.identity => {}
        Some(certificate) => {
            pair.faults.push(format!("the caller holds {}, not {}", certificate.identity, caller.identity));
        }
        None if proves_caller => pair.faults.push("the caller holds no certificate".into()),
        None => {}
    }
    Ok(())
}

async fn send_marked_request(
    client: &mut Client,
    calling_task: &TaskView,
    alias: &AliasView,
    inbound: SocketAddr,
    observed: Observed<'_>,
    pair: &mut PairEvidence,
) -> anyhow::Result<()> {
    let mark = random_mark()?;
    let observer = Observer::start(observed.method, inbound).await.context("cannot capture what crosses")?;
    let divert = Request::Divert {
        task: calling_task.id.clone(),
        cluster: alias.cluster.clone(),
        to: observer.meeting_point(),
        seconds: DIVERSION_SECONDS,
    };
    client.call(&divert).await.context("the calling sidecar could not be led to a new connection")?;
    let probe = Request::Probe {
        task: calling_task.id.clone(),
        host: alias.names[0].clone(),
        port: alias.port,
        mark: mark.clone(),
        tcp: alias.protocol == "TCP",
    };
    let probed = client.call(&probe).await;
    client
        .call(&Request::EndDivert { task: calling_task.id.clone(), cluster: alias.cluster.clone() })
        .await?;
    match probed? {
        Response::Probe { exit_code: 0, output } => pair.answer = Some(output.trim().to_owned()),
        Response::Probe { output, .. } => {
            pair.faults.push(format!("the marked request failed: {}", output.trim()));
        }
        other => bail!("an unexpected answer: {other:?}"),
    }
    let observation = observer.end().await.context("the capture failed")?;
    if observation.incomplete {
        pair.faults.push("not every packet was captured: verify again, or with `--capture relay`".into());
    }
    observed.packets.extend(observation.packets);
    for connection in observation.connections {
        pair.captured_bytes += connection.from_client.len() + connection.from_server.len();
        pair.mark_occurrences += occurrences(&connection.from_client, mark.as_bytes())
            + occurrences(&connection.from_server, mark.as_bytes());
        if let Some(hello) = tls_record::server_hello(&connection.from_server) {
            pair.tls_version = Some(hello.version_name());
            pair.cipher = Some(hello.cipher_name());
        }
    }
    Ok(())
}

fn random_mark() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no randomness from the system")?;
    Ok(bytes.iter().fold("mark-".to_owned(), |mark, byte| format!("{mark}{byte:02x}")))
}

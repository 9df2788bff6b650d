//! `bowline certs`: the certificates of a running Bowline, and their revocation.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    certificates::{self, CertificateTarget},
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline certs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, global = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text", global = true)]
    output: OutputFormat,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show every certificate that has not ended, and warn of what is going to end without another
    /// one in its place; this is the default
    List,
    /// Refuse certificates, everywhere and at once
    ///
    /// Every proxy is told, open connections are closed, and the authority's CRL lists them. A task
    /// or service that is revoked gets no certificates until `bowline certs allow`; where a serial
    /// number is revoked, its task gets another certificate with another key.
    Revoke {
        #[command(flatten)]
        target: RevokeTarget,
        /// Why: UNSPECIFIED, KEY_COMPROMISE, CERTIFICATE_AUTHORITY_COMPROMISE,
        /// AFFILIATION_CHANGED, SUPERSEDED, CESSATION_OF_OPERATION, PRIVILEGE_WITHDRAWN or
        /// A_A_COMPROMISE.
        #[arg(long, default_value = "UNSPECIFIED")]
        reason: String,
    },
    /// Let a task or service that was revoked have certificates again
    Allow {
        #[command(flatten)]
        target: AllowTarget,
    },
    /// Print an authority's certificate revocation list, PEM
    ///
    /// The AWS endpoint serves the same at /_bowline/crl/NAME.crl (DER) and NAME.pem.
    Crl {
        /// The authority's ARN, or the last part of it. Default: the mesh's own, bowline-mesh.
        authority: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct RevokeTarget {
    /// One certificate, by its serial number.
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Every certificate of a task: its id, or the beginning of it.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Every certificate of a service: its name, CLUSTER/NAME or ARN.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct AllowTarget {
    /// The task.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// The service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

fn target(
    serial: Option<String>,
    task: Option<String>,
    service: Option<String>,
) -> anyhow::Result<CertificateTarget> {
    Ok(match (serial, task, service) {
        (Some(serial), _, _) => CertificateTarget::Serial(serial),
        (None, Some(task), _) => CertificateTarget::Task(task),
        (None, None, Some(service)) => CertificateTarget::Service(service),
        (None, None, None) => bail!("one of --serial, --task and --service is needed"),
    })
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let json = matches!(args.output, OutputFormat::Json);
    match args.action.unwrap_or(Action::List) {
        Action::List => match client.call(&Request::Certificates).await? {
            Response::Certificates(rows) if json => println!("{}", serde_json::to_string(&rows)?),
            Response::Certificates(rows) => {
                print!("{}", certificates::table(&rows, bowline_plumbing::wall_clock::now()));
            }
            _ => bail!("an unexpected answer"),
        },
        Action::Revoke { target: RevokeTarget { serial, task, service }, reason } => {
            let target = target(serial, task, service)?;
            let Response::Revoked(revoked) = client.call(&Request::Revoke { target, reason }).await? else {
                bail!("an unexpected answer");
            };
            if json {
                println!("{}", serde_json::to_string(&revoked)?);
            } else {
                for serial in &revoked.serials {
                    println!("revoked {serial}");
                }
                if let Some(barred) = &revoked.barred {
                    println!("the {barred} gets no certificates until `bowline certs allow`");
                }
                let (refusing, connected) = (revoked.proxies_refusing, revoked.proxies_connected);
                println!("{refusing} of {connected} connected proxies refuse them");
            }
            if revoked.proxies_refusing < revoked.proxies_connected {
                eprintln!(
                    "‼ not every proxy has answered within 5 s; the others are told as soon as they can be"
                );
                return Ok(ExitCode::from(2));
            }
        }
        Action::Allow { target: AllowTarget { task, service } } => {
            let target = target(None, task, service)?;
            client.call(&Request::AllowCertificates { target }).await?;
        }
        Action::Crl { authority } => match client.call(&Request::Crl { authority }).await? {
            Response::Crl { pem } if json => println!("{}", serde_json::json!({ "pem": pem })),
            Response::Crl { pem } => print!("{pem}"),
            _ => bail!("an unexpected answer"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

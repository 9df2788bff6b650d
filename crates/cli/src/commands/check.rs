//! `bowline check`: whether everything is as it should be.

use std::{
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use tokio::{net::TcpStream, time::Instant};

use crate::{
    check::{Check, Group, Report, machine, mesh},
    inspection::{Inspect, Inspected},
    local_api::{Client, Request, Response},
    output::OutputFormat,
    span, state_dir,
};

/// How often it is looked again while something is waited for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for the AWS endpoint to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Arguments of `bowline check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check the machine alone, before anything runs.
    #[arg(long)]
    pre: bool,
    /// Look again until nothing fails, for so long at most.
    #[arg(long, value_name = "TIME", value_parser = span::argument)]
    wait: Option<Duration>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Checks, once or until it is well. Fails where a check does.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let end = args.wait.map(|wait| Instant::now() + wait);
    let report = loop {
        let report = look(&state_dir, args.pre).await?;
        let is_late = end.is_none_or(|end| Instant::now() >= end);
        if report.failures == 0 || is_late {
            break report;
        }
        tokio::time::sleep(INTERVAL).await;
    };
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&report)?),
        OutputFormat::Text => print!("{}", report.text()),
    }
    Ok(if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(state_dir: &Path, pre: bool) -> anyhow::Result<Report> {
    let client = match pre {
        true => None,
        false => Some(Client::connect(state_dir).await),
    };
    let running = matches!(client, Some(Ok(_)));
    // It tries things, in children of its own.
    let facts = tokio::task::block_in_place(|| machine::gather(state_dir, running));
    let mut groups = vec![machine::judge(&facts)];
    #[cfg(feature = "sabotage")]
    groups.insert(0, crate::sabotage::judged());
    match client {
        None => {}
        Some(Ok(mut client)) => groups.extend(of_mesh(&mut client).await?),
        Some(Err(error)) => {
            let hint = "start it with `bowline up TEMPLATE`; `bowline check --pre` checks the machine alone";
            let check = Check::failure("control-reachable", format!("{error:#}"), hint, "operating.md");
            groups.push(Group { title: "control plane", checks: vec![check] });
        }
    }
    Ok(Report::new(groups, running))
}

async fn of_mesh(client: &mut Client) -> anyhow::Result<Vec<Group>> {
    let Inspected::Facts(facts) = client.inspect(Inspect::Facts).await? else {
        bail!("an unexpected answer")
    };
    let Response::Topology(topology) = client.call(&Request::Topology).await? else {
        bail!("an unexpected answer");
    };
    let endpoint = (topology.endpoint.clone(), connect(&topology.endpoint).await.err());
    Ok(mesh::judge(&facts, &endpoint, env!("CARGO_PKG_VERSION")))
}

/// Whether somebody listens there.
async fn connect(url: &str) -> Result<(), String> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut addresses = authority.to_socket_addrs().map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or_else(|| "its name stands for no address".to_owned())?;
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection in {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

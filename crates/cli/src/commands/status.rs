//! `bowline status`: what runs.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir, topology,
};

/// Arguments of `bowline status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Prints services, tasks, certificates and gateways.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let topology = match client.call(&Request::Topology).await? {
        Response::Topology(topology) => *topology,
        other => bail!("an unexpected answer: {other:?}"),
    };
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&topology)?),
        OutputFormat::Text => print!("{}", topology::table(&topology, bowline_plumbing::wall_clock::now())),
    }
    Ok(ExitCode::SUCCESS)
}

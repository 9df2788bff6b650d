//! `bowline routes`: where calls lead.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    display,
    local_api::{Client, Request, Response},
    output::OutputFormat,
    routes, state_dir,
};

/// Arguments of `bowline routes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services and load balancers that call: NAME, CLUSTER/NAME or ARN. Default: all.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. JSON has each target with its task and address.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir)?).await?;
    let Response::Routes(rows) = client.call(&Request::Routes { services: args.services }).await? else {
        bail!("an unexpected answer");
    };
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&rows)?),
        OutputFormat::Text => print!("{}", routes::table(&rows, display::terminal().map(|(width, _)| width))),
    }
    Ok(ExitCode::SUCCESS)
}

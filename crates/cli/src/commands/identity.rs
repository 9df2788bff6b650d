//! `bowline identity`: the certificates by which a task is known.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    certificates,
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline identity`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task's id, or the beginning of it.
    task: String,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. What `text` prints can be read as PEM: the leaf is first.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let Response::Identity(identity) = client.call(&Request::Identity { task: args.task }).await? else {
        bail!("an unexpected answer");
    };
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&identity)?),
        OutputFormat::Text => print!("{}", certificates::text_of(&identity)),
    }
    Ok(ExitCode::SUCCESS)
}

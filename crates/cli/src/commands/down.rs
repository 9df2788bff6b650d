//! `bowline down`: takes everything down, as Ctrl-C in `bowline up` does.

use std::{path::PathBuf, process::ExitCode};

use crate::{
    local_api::{Client, Request},
    state_dir,
};

/// Arguments of `bowline down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
}

/// Asks a running `bowline up` to end, and waits until it has.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    eprintln!("taking everything down");
    client.call(&Request::Down).await?;
    client.closed().await;
    Ok(ExitCode::SUCCESS)
}

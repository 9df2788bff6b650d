//! `bowline server`: an empty AWS endpoint that runs what it is asked to.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::{
    machine::{Machine, MachineArgs, Stop},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// For a test suite: keep nothing after the end, and answer `POST /_bowline/reset` with a
    /// clean slate.
    #[arg(long, conflicts_with = "state_dir")]
    ephemeral: bool,
    /// How to print where it listens. With json: one line.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Serves until it is told to end; tasks end with it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let (state_dir, _removed_at_the_end) = state_dir_of(&args)?;
    let control = args.machine.control_plane(&state_dir, args.ephemeral).await?;
    let endpoint = args.machine.endpoint.open(false)?;
    let machine = Machine::start(control, &args.machine, &state_dir, endpoint, args.output)?;
    match args.output {
        OutputFormat::Json => {
            let dns = machine.running.control.dns_addresses();
            println!(
                "{}",
                serde_json::json!({ "endpoint": machine.running.endpoint, "caBundle": machine.endpoint_ca, "dns": dns, "dashboard": machine.running.dashboard() })
            );
        }
        OutputFormat::Text => {
            println!("AWS endpoint: {}", machine.running.endpoint);
            if let Some(url) = machine.running.dashboard() {
                println!("dashboard: {url}");
            }
            for address in machine.running.control.dns_addresses() {
                println!("DNS of private namespaces: {address}");
            }
            println!("try: aws --endpoint-url {} ecs create-cluster", machine.running.endpoint);
            match &machine.endpoint_ca {
                Some(ca) => println!("(AWS_CA_BUNDLE={})", ca.display()),
                None => println!("(AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test)"),
            }
            println!("Ctrl-C ends it");
        }
    }
    std::io::Write::flush(&mut std::io::stdout())?;
    tokio::select! {
        () = stop.asked() => {}
        () = machine.running.told_to_end() => {}
    }
    machine.take_down(&mut stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// The state directory; an ephemeral server's has only what tasks need while they run.
fn state_dir_of(args: &Args) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    if !args.ephemeral {
        return Ok((state_dir::resolve(args.machine.state_dir.clone())?, None));
    }
    let directory = tempfile::Builder::new().prefix("bowline-").tempdir();
    let directory = directory.context("no temporary directory can be made")?;
    Ok((directory.path().to_owned(), Some(directory)))
}

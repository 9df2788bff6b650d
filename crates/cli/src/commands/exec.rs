//! `bowline exec`: a command within a running task, as ECS Exec has it.

use std::{os::fd::AsFd, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use bowline_model::task::TaskId;

use crate::{
    local_api::{Client, Request, Response},
    state_dir,
    topology::Topology,
};

/// Arguments of `bowline exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// The container. Default: the task's first.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The task: its id, the beginning of it, its ARN, or a service's name for its first task.
    task: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command with this process's standard input, output and error; exits as it does.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let Response::Topology(topology) = client.call(&Request::Topology).await? else {
        bail!("Bowline gave another answer than was asked for");
    };
    let task = find(&topology, &args.task)?;
    let request = Request::Exec { task, container: args.container, command: args.command };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let exit_code = client.exec(&request, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).await?;
    // A shell's own convention: only the lowest byte is told.
    Ok(ExitCode::from(u8::try_from(exit_code & 0xff).context("an exit code")?))
}

fn find(topology: &Topology, given: &str) -> anyhow::Result<TaskId> {
    let id = given.rsplit('/').next().unwrap_or(given);
    let tasks = || topology.services.iter().flat_map(|service| &service.tasks);
    let matching: Vec<_> = tasks().filter(|task| task.id.as_str().starts_with(id)).collect();
    match &matching[..] {
        [task] => return Ok(task.id.clone()),
        [] => {}
        several => bail!("{} tasks begin with {id}: give more of the id", several.len()),
    }
    let of_service = topology.services.iter().find(|service| service.name == given);
    match of_service {
        Some(service) => match service.tasks.first() {
            Some(task) => Ok(task.id.clone()),
            None => bail!("the service {given} has no task"),
        },
        None => {
            let names: Vec<_> = topology.services.iter().map(|service| service.name.as_str()).collect();
            bail!("there is no task and no service {given:?}; services: {}", names.join(", "))
        }
    }
}

//! `bowline diagnostics`: what proxies go by, and whether that is what they should.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::{
    diagnosis::{self, DiagnosisView},
    display,
    inspection::{Inspect, Inspected},
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline diagnostics`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tasks (an id, its beginning, or ARN), services (NAME, CLUSTER/NAME or ARN) and load balancers. Default: all.
    #[arg(value_name = "TASK|SERVICE")]
    names: Vec<String>,
    /// Write a file for each proxy, and what else helps who is asked for help, into this new directory. There is
    /// no key in it, nor any other secret of Bowline's.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. JSON is an array, and has all that a proxy tells.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Asks each proxy. Fails where one is out of step.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir)?).await?;
    let Inspected::Tasks(tasks) = client.inspect(Inspect::Tasks { names: args.names }).await? else {
        bail!("an unexpected answer");
    };
    if tasks.is_empty() {
        eprintln!("there is no task with a proxy");
    }
    let config = args.output == OutputFormat::Json || args.output_dir.is_some();
    let mut views: Vec<DiagnosisView> = Vec::new();
    for (task, _) in tasks {
        let Inspected::Diagnosis(view) = client.inspect(Inspect::Diagnose { task, config }).await? else {
            bail!("an unexpected answer");
        };
        views.push(*view);
    }
    views.sort_by(|a, b| (&a.service, a.task.as_str()).cmp(&(&b.service, b.task.as_str())));
    let in_step = views.iter().all(|view| view.in_step);
    match (&args.output_dir, args.output) {
        (Some(directory), _) => write_all(directory, &mut client, &views).await?,
        (None, OutputFormat::Json) => println!("{}", serde_json::to_string(&views)?),
        (None, OutputFormat::Text) => {
            let width = display::terminal().map(|(width, _)| width);
            let texts: Vec<_> = views.iter().map(|view| diagnosis::text(view, width)).collect();
            print!("{}", texts.join("\n"));
        }
    }
    Ok(if in_step { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file for each proxy, and the topology, events and rates of the moment.
async fn write_all(directory: &Path, client: &mut Client, views: &[DiagnosisView]) -> anyhow::Result<()> {
    fs::create_dir(directory)
        .with_context(|| format!("{} cannot be made: name a new directory", directory.display()))?;
    for view in views {
        let name: String =
            view.service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        write_json(&directory.join(format!("proxy-{name}-{}.json", view.task)), view)?;
    }
    let Response::Topology(topology) = client.call(&Request::Topology).await? else {
        bail!("an unexpected answer");
    };
    write_json(&directory.join("topology.json"), &topology)?;
    let everything = Request::Events { services: Vec::new(), after: 0 };
    let Response::Events(events) = client.call(&everything).await? else { bail!("an unexpected answer") };
    write_json(&directory.join("events.json"), &events)?;
    let Inspected::Facts(facts) = client.inspect(Inspect::Facts).await? else {
        bail!("an unexpected answer")
    };
    write_json(&directory.join("facts.json"), &facts)?;
    eprintln!("{} proxies are in {}", views.len(), directory.display());
    Ok(())
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.with_context(|| format!("{} cannot be written", path.display()))?;
    serde_json::to_writer_pretty(&mut file, value)?;
    file.write_all(b"\n")?;
    Ok(())
}

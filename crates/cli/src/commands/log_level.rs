//! `bowline log-level`: what a proxy logs, for a time.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use bowline_model::{clock::Timestamp, diagnostics::LogState, task::TaskId};
use serde::Serialize;

use crate::{
    display::{Table, printable},
    inspection::{Inspect, Inspected},
    local_api::Client,
    output::OutputFormat,
    span, state_dir,
};

/// Arguments of `bowline log-level`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A task (its id, its beginning, or ARN), a service (NAME, CLUSTER/NAME or ARN) or a load balancer.
    #[arg(value_name = "TASK|SERVICE")]
    name: String,
    /// off, error, warn, info, debug or trace; levels by module, as bowline_proxy::tls=trace; or default, for the
    /// proxy's own again.
    #[arg(value_name = "LEVEL")]
    level: String,
    /// For so long, a day at most; then it is the proxy's own again, by itself.
    #[arg(long = "for", default_value = "10m", value_name = "TIME", value_parser = span::argument)]
    lasting: Duration,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// A proxy, and what it logs now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    task: TaskId,
    service: String,
    /// Levels by module; none where it could not be asked.
    filter: Option<String>,
    /// Until when; none: for good.
    until: Option<Timestamp>,
    /// Why nothing was changed.
    error: Option<String>,
}

/// Tells each proxy. Fails where one was not reached.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir)?).await?;
    let Inspected::Tasks(tasks) = client.inspect(Inspect::Tasks { names: vec![args.name] }).await? else {
        bail!("an unexpected answer");
    };
    if tasks.is_empty() {
        bail!("it has no task with a proxy now");
    }
    let lasting_seconds = if args.level == "default" { 0 } else { args.lasting.as_secs() };
    let mut rows = Vec::new();
    for (task, service) in tasks {
        let order = Inspect::LogLevel { task: task.clone(), filter: args.level.clone(), lasting_seconds };
        rows.push(match client.inspect(order).await {
            Ok(Inspected::LogLevel(LogState { filter, until })) => {
                Row { task, service, filter: Some(filter), until, error: None }
            }
            Ok(_) => bail!("an unexpected answer"),
            Err(error) => Row { task, service, filter: None, until: None, error: Some(format!("{error:#}")) },
        });
    }
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&rows)?),
        OutputFormat::Text => print!("{}", table(&rows)),
    }
    let failed = rows.iter().any(|row| row.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(["SERVICE", "TASK", "LOGS", "UNTIL"]);
    for row in rows {
        table.row([
            row.service.clone(),
            row.task.as_str().chars().take(12).collect(),
            // A proxy's own words.
            printable(
                &row.filter
                    .clone()
                    .or_else(|| Some(format!("× {}", row.error.as_ref()?)))
                    .unwrap_or_default(),
            ),
            row.until.map_or_else(|| "-".into(), |until| until.to_string()),
        ]);
    }
    table.to_string()
}

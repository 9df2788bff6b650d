//! `bowline events`: what has happened to services and load balancers.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use tokio::time::MissedTickBehavior;

use crate::{
    display,
    events::{self, EventRow},
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// How often new ones are asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `bowline events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services and load balancers: NAME, CLUSTER/NAME or ARN. Default: all.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Go on with what happens, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. JSON is an array, with --follow a line an event.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Asks a running Bowline, once or again and again.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir.clone())?).await?;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut after = 0;
    let mut is_first = true;
    loop {
        ticks.tick().await;
        let request = Request::Events { services: args.services.clone(), after };
        let Response::Events(rows) = client.call(&request).await? else { bail!("an unexpected answer") };
        match write(&args, &rows, is_first) {
            // Who read, as `head` does, has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        if !args.follow {
            break;
        }
        after = rows.last().map_or(after, |row| row.number);
        is_first = false;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(args: &Args, rows: &[EventRow], is_first: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        OutputFormat::Json if args.follow => {
            for row in rows {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
        }
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string(rows)?)?,
        // Lines that come later cannot be aligned with those before.
        OutputFormat::Text if args.follow => {
            for row in rows {
                writeln!(out, "{}", events::line(row))?;
            }
        }
        OutputFormat::Text if is_first && rows.is_empty() => eprintln!("nothing has happened yet"),
        OutputFormat::Text => {
            write!(out, "{}", events::table(rows, display::terminal().map(|(width, _)| width)))?;
        }
    }
    out.flush()
}

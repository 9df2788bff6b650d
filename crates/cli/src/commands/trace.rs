//! `bowline trace`: one trace along its time, or the newest ones.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use bowline_control::traces::TraceQuestion;

use crate::{
    display,
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir, traces,
};

/// Arguments of `bowline trace`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("asked").required(true).args(["id", "list", "count"]))]
pub(crate) struct Args {
    /// The trace: 32 hex digits, or as X-Ray writes it (1-5840…-…).
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// List traces, the newest first.
    #[arg(long)]
    list: bool,
    /// Tell how many traces are kept, and how many were dropped.
    #[arg(long)]
    count: bool,
    /// List those that this service takes part in, or that call this discovery name.
    #[arg(long, value_name = "SERVICE", requires = "list")]
    service: Option<String>,
    /// List those of which a part failed.
    #[arg(long, requires = "list")]
    failed: bool,
    /// List those that took so long or longer: 100ms, 2s.
    #[arg(long, value_name = "TIME", requires = "list", value_parser = duration)]
    slower: Option<Duration>,
    /// List at most so many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// `100ms`, `2s`, `250us`.
fn duration(text: &str) -> Result<Duration, String> {
    let read = |suffix: &str, of: fn(u64) -> Duration| {
        text.strip_suffix(suffix).and_then(|number| number.parse().ok()).map(of)
    };
    read("ms", Duration::from_millis)
        .or_else(|| read("us", Duration::from_micros))
        .or_else(|| read("s", Duration::from_secs))
        .ok_or_else(|| "a time is needed, as 100ms".to_owned())
}

/// Asks a running Bowline once.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir.clone())?).await?;
    let width = display::terminal().map(|(width, _)| width);
    let is_json = args.output == OutputFormat::Json;
    if args.count {
        let Response::TraceNumbers(told) = client.call(&Request::TraceNumbers).await? else {
            bail!("an unexpected answer")
        };
        match is_json {
            true => println!("{}", serde_json::to_string(&told)?),
            false => print!("{}", traces::numbers(&told)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = args.id {
        let Response::Trace(found) = client.call(&Request::Trace { id: id.clone() }).await? else {
            bail!("an unexpected answer")
        };
        let Some(trace) = found else {
            bail!("nothing is kept of trace {id}: see `bowline trace --list`");
        };
        match is_json {
            true => println!("{}", serde_json::to_string(&trace)?),
            false => print!("{}", traces::waterfall(&trace, width)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let slower = args.slower.unwrap_or_default().as_micros();
    let question = TraceQuestion {
        service: args.service,
        failed: args.failed,
        slower_us: u64::try_from(slower).unwrap_or(u64::MAX),
        limit: args.limit.into(),
    };
    let Response::Traces(rows) = client.call(&Request::Traces(question)).await? else {
        bail!("an unexpected answer")
    };
    match is_json {
        true => println!("{}", serde_json::to_string(&rows)?),
        false if rows.is_empty() => eprintln!("no trace is like that"),
        false => print!("{}", traces::table(&rows, width)),
    }
    Ok(ExitCode::SUCCESS)
}

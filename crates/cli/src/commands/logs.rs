//! `bowline logs`: what tasks and their sidecars have written.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use bowline_plumbing::wall_clock;
use tokio::time::MissedTickBehavior;

use crate::{
    display,
    local_api::{Client, Request, Response},
    logs::{self, LINES_MAX, LogLines, LogQuestion},
    output::OutputFormat,
    state_dir,
};

/// How often new lines are asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `bowline logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services: NAME, CLUSTER/NAME or ARN. Default: all log groups.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Only the task whose id begins so.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// How far to look back: 30s, 10m, 2h, 3d.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = period)]
    since: Duration,
    /// Go on with what is written, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Only lines that this filter pattern of CloudWatch Logs takes: `ERROR`, `{ $.response_code = 5* }`.
    #[arg(long, value_name = "PATTERN", default_value = "", hide_default_value = true)]
    filter: String,
    /// Ask a question in the language of Logs Insights: `stats count(*) by bin(1m)`.
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["follow", "filter", "task"])]
    query: Option<String>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. JSON is an array, with --follow a line each.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Reads a period.
fn period(text: &str) -> Result<Duration, String> {
    let wanted = || "a time is needed, as 30s, 10m, 2h or 3d".to_owned();
    let unit = text.chars().last().ok_or_else(wanted)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wanted()),
    };
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wanted())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wanted)
}

/// Asks a running Bowline, once or again and again.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir.clone())?).await?;
    let since = wall_clock::now() - args.since;
    if let Some(query) = args.query {
        let request = Request::QueryLogs { services: args.services, since, query };
        let Response::LogRows(rows) = client.call(&request).await? else { bail!("an unexpected answer") };
        let mut out = io::stdout().lock();
        let written = match args.output {
            OutputFormat::Json => {
                let objects = rows.into_iter().map(|row| {
                    row.into_iter()
                        .map(|(name, value)| (name, value.into()))
                        .collect::<serde_json::Map<_, _>>()
                });
                writeln!(out, "{}", serde_json::Value::from_iter(objects))
            }
            OutputFormat::Text => {
                write!(out, "{}", logs::table(&rows, display::terminal().map(|(width, _)| width)))
            }
        };
        return ended(written);
    }
    let mut question = LogQuestion {
        services: args.services.clone(),
        task: args.task.clone(),
        since,
        pattern: args.filter.clone(),
        after: None,
    };
    let has_colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let request = Request::Logs(question.clone());
        let Response::Logs(answer) = client.call(&request).await? else { bail!("an unexpected answer") };
        match write(&args, &answer, has_colours) {
            Ok(()) if args.follow => question.after = Some(answer.after),
            written => return ended(written),
        }
    }
}

fn ended(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        // Who read, as `head` does, has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => Ok(written.map(|()| ExitCode::SUCCESS)?),
    }
}

fn write(args: &Args, answer: &LogLines, has_colours: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if answer.is_cut {
        eprintln!("there are more lines than the latest {LINES_MAX}: look back less far, or filter");
    }
    match args.output {
        OutputFormat::Json if args.follow => {
            for line in &answer.lines {
                writeln!(out, "{}", serde_json::to_string(line)?)?;
            }
        }
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string(&answer.lines)?)?,
        OutputFormat::Text => {
            for line in &answer.lines {
                writeln!(out, "{}", logs::text(line, has_colours))?;
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_numbers_with_units() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7_200), ("3d", 259_200)] {
            assert_eq!(period(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "10", "-1m", "1w", "99999999999999999999d", "18446744073709551615d", "1é"] {
            assert!(period(text).is_err(), "{text}");
        }
    }
}

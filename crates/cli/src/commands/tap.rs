//! `bowline tap`: live requests.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use bowline_model::{
    tap::{TapFilter, parse_status},
    wildcard::Wildcard,
};
use tokio::time::Instant;

use crate::{
    display,
    inspection::{Inspect, Inspected, TapQuestion},
    local_api::Client,
    output::OutputFormat,
    span, state_dir,
    tapped::{self, TapRows},
};

/// Arguments of `bowline tap`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services (NAME, CLUSTER/NAME or ARN), load balancers and tasks (an id, its beginning, or ARN) whose
    /// proxies are looked into. Default: all.
    #[arg(value_name = "SERVICE|TASK")]
    names: Vec<String>,
    /// Only requests with this method; may be given more than once.
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// Only requests for such a path: `/cart/*`; may be given more than once.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    path: Vec<Wildcard>,
    /// Only requests that ended so: 503, 5xx, 400-499, or none for those without a response; may be given more
    /// than once.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Vec<(u16, u16)>,
    /// Only requests of this service, load balancer or SPIFFE id; may be given more than once.
    #[arg(long, value_name = "SERVICE")]
    caller: Vec<String>,
    /// Only requests to this service or SPIFFE id; may be given more than once.
    #[arg(long, value_name = "SERVICE")]
    to: Vec<String>,
    /// At most so many requests a second; those beyond are counted.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    max_rps: u32,
    /// Show paths with their queries, parameters that look like secrets redacted.
    #[arg(long)]
    query: bool,
    /// Show headers, those that look like secrets redacted.
    #[arg(long)]
    headers: bool,
    /// Show this header as it is, whatever it holds; may be given more than once.
    #[arg(long, value_name = "NAME")]
    show_header: Vec<String>,
    /// End after so long. Default: with Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = span::argument)]
    lasting: Option<Duration>,
    /// End after so many requests.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print. JSON is a line a request.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

fn pattern(text: &str) -> Result<Wildcard, String> {
    Wildcard::new(text, false).ok_or_else(|| "a pattern of 1 to 1024 characters is needed".to_owned())
}

fn status(text: &str) -> Result<(u16, u16), String> {
    parse_status(text).ok_or_else(|| "a status is needed: 503, 5xx, 400-499 or none".to_owned())
}

/// Shows requests until it is told to end.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&state_dir::resolve(args.state_dir.clone())?).await?;
    let question = TapQuestion {
        names: args.names.clone(),
        filter: TapFilter {
            methods: args.method.iter().map(|method| method.to_ascii_uppercase()).collect(),
            paths: args.path.clone(),
            statuses: args.status.clone(),
            ..TapFilter::default()
        },
        callers: args.caller.clone(),
        called: args.to.clone(),
        max_per_second: args.max_rps,
        query: args.query,
        headers: args.headers || !args.show_header.is_empty(),
        shown_headers: args.show_header.clone(),
    };
    let Inspected::Tap { id } = client.inspect(Inspect::OpenTap(Box::new(question))).await? else {
        bail!("an unexpected answer");
    };
    let mut seen = Seen::default();
    let outcome = tokio::select! {
        outcome = show(&args, &mut client, id, &mut seen) => outcome,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be waited for"),
    };
    // A question may be under way on the connection that was used.
    let mut another = Client::connect(&state_dir::resolve(args.state_dir)?).await?;
    another.inspect(Inspect::EndTap { id }).await?;
    if seen.dropped > 0 {
        eprintln!("‼ {} more were not shown: --max-rps, or a filter, tells which to show", seen.dropped);
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

#[derive(Default)]
struct Seen {
    requests: u64,
    dropped: u64,
    was_told_of_none: bool,
}

async fn show(args: &Args, client: &mut Client, id: u64, seen: &mut Seen) -> anyhow::Result<()> {
    let end = args.lasting.map(|lasting| Instant::now() + lasting);
    while end.is_none_or(|end| Instant::now() < end) {
        let question = Inspect::ReadTap { id, names: args.names.clone() };
        let Inspected::Tapped(rows) = client.inspect(question).await? else { bail!("an unexpected answer") };
        if rows.proxies == 0 && !seen.was_told_of_none {
            eprintln!("‼ no proxy can be asked now; those that come are");
            seen.was_told_of_none = true;
        }
        match write(args, &rows, seen) {
            // Who read, as `head` does, has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if args.count.is_some_and(|count| seen.requests >= count) {
            return Ok(());
        }
    }
    Ok(())
}

fn write(args: &Args, rows: &TapRows, seen: &mut Seen) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for error in &rows.errors {
        eprintln!("‼ {}", display::printable(error));
    }
    seen.dropped = seen.dropped.saturating_add(rows.dropped);
    let width = display::terminal().map(|(width, _)| width);
    for row in &rows.rows {
        if args.count.is_some_and(|count| seen.requests >= count) {
            break;
        }
        seen.requests += 1;
        match args.output {
            OutputFormat::Json => writeln!(out, "{}", serde_json::to_string(row)?)?,
            OutputFormat::Text => write!(out, "{}", tapped::lines(row, width))?,
        }
    }
    out.flush()
}

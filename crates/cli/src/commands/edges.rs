//! `bowline edges`: who calls whom.

use std::process::ExitCode;

use anyhow::bail;

use super::stat::Question;
use crate::{
    display,
    local_api::{Request, Response},
    measured::edges,
    output::OutputFormat,
};

/// Arguments of `bowline edges`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    question: Question,
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { question } = args;
    let mut client = question.connect().await?;
    let (services, window_seconds) = (question.services, question.window.as_secs());
    let Response::Edges(rows) = client.call(&Request::Edges { services, window_seconds }).await? else {
        bail!("an unexpected answer");
    };
    match question.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&rows)?),
        OutputFormat::Text if rows.is_empty() => {
            eprintln!("nobody has called anybody yet; proxies tell of calls after ten seconds at the latest");
        }
        OutputFormat::Text => print!("{}", edges::table(&rows, display::terminal().map(|(width, _)| width))),
    }
    Ok(ExitCode::SUCCESS)
}

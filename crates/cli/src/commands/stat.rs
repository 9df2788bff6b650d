//! `bowline stat`: how services fare.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;

use crate::{
    display,
    local_api::{Client, Request, Response},
    measured::{
        WINDOWS,
        stat::{self, By, StatRow},
    },
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline stat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) question: Question,
    /// What a row is of.
    #[arg(long, default_value = "service")]
    pub(crate) by: By,
}

/// What `stat`, `edges` and `top` are asked alike.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// Services and load balancers: NAME, CLUSTER/NAME or ARN. Default: all.
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// How far to look back: 1s to 60s.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = window)]
    pub(crate) window: Duration,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    pub(crate) output: OutputFormat,
}

impl Question {
    /// Connects to whom it is for.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(&state_dir::resolve(self.state_dir.clone())?).await
    }
}

/// `10s`, `1m`.
fn window(text: &str) -> Result<Duration, String> {
    let window = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(seconds), _) => seconds.parse().ok(),
        (_, Some(minutes)) => minutes.parse().ok().and_then(|minutes: u64| minutes.checked_mul(60)),
        (None, None) => None,
    };
    let window = window.map(Duration::from_secs).filter(|window| WINDOWS.contains(window));
    window.ok_or_else(|| "a time from 1s to 60s is needed, as 10s".to_owned())
}

/// Asks a running Bowline once.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rows = ask(&mut args.question.connect().await?, &args.question, args.by).await?;
    match args.question.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&rows)?),
        OutputFormat::Text => {
            print!("{}", stat::table(&rows, args.by, display::terminal().map(|(width, _)| width)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How services fare now.
pub(crate) async fn ask(client: &mut Client, question: &Question, by: By) -> anyhow::Result<Vec<StatRow>> {
    let services = question.services.clone();
    match client.call(&Request::Stat { services, by, window_seconds: question.window.as_secs() }).await? {
        Response::Stat(rows) => Ok(rows),
        _ => bail!("an unexpected answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_second_to_a_minute() {
        for (text, seconds) in [("1s", 1), ("10s", 10), ("60s", 60), ("1m", 60)] {
            assert_eq!(window(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "0s", "61s", "2m", "-1s", "s", "99999999999999999999m", "1h"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}

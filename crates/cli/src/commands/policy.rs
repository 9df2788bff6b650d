//! `bowline policy`: who may call which service.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::bail;
use bowline_control::authorization::{PolicyAnswer, PolicyQuestion};

use crate::{
    display::Table,
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Exit code when the question has no answer; 1 says that the call is denied.
const NO_ANSWER: u8 = 2;

/// Arguments of `bowline policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether a call may be made, and which rule decides. Exit code 0: allowed, 1: denied,
    /// 2: no such service or port, or no Bowline runs
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The caller: a service's name, CLUSTER/NAME, or a SPIFFE id.
    #[arg(long, value_name = "SERVICE|SPIFFE-ID")]
    from: String,
    /// The called service: its name, or CLUSTER/NAME.
    #[arg(long, value_name = "SERVICE")]
    to: String,
    /// The HTTP method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The path, without its query.
    #[arg(long, default_value = "/")]
    path: String,
    /// The container port. Default: every port of the service that others can call.
    #[arg(long)]
    port: Option<u16>,
    /// The address that the call comes from.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    source: IpAddr,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Answers without making the call.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Test(args) = args.action;
    match test(args).await {
        Ok(allowed) => Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(error) => {
            eprintln!("bowline: {error:#}");
            Ok(ExitCode::from(NO_ANSWER))
        }
    }
}

/// Whether every port that was asked about may be called.
async fn test(args: TestArgs) -> anyhow::Result<bool> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let question = PolicyQuestion {
        from: args.from,
        to: args.to,
        method: args.method,
        path: args.path,
        port: args.port,
        source: Some(args.source),
    };
    let mut client = Client::connect(&state_dir).await?;
    let answers = match client.call(&Request::PolicyTest(question)).await? {
        Response::PolicyTest(answers) => answers,
        other => bail!("an unexpected answer: {other:?}"),
    };
    match args.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&answers)?),
        OutputFormat::Text => print!("{}", table(&answers)),
    }
    Ok(answers.iter().all(|answer| answer.allowed))
}

fn table(answers: &[PolicyAnswer]) -> String {
    let mut table = Table::new(["FROM", "TO", "PORT", "VERDICT", "RULE", "AUDITED BY"]);
    for answer in answers {
        table.row([
            answer.from.clone(),
            answer.to.clone(),
            answer.port.to_string(),
            answer.effect.clone(),
            answer.rule.clone().unwrap_or_else(|| "(no rule allows it)".into()),
            answer.audited_by.join(", "),
        ]);
    }
    table.to_string()
}

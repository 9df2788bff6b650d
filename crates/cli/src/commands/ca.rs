//! `bowline ca`: the certificate authorities of a running Bowline, and how one follows another.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use bowline_model::succession::Slot;

use crate::{
    authorities::{self, Move, MoveAuthority, MovedAuthority, name},
    local_api::{Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline ca`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, global = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text", global = true)]
    output: OutputFormat,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the authorities that members trust, and those before and after them; this is the default
    List,
    /// Make the authority that is to follow, and have every proxy trust it; it signs nothing yet
    Next {
        #[command(flatten)]
        line: Line,
        /// Take this authority of acm-pca (ARN or the last part of it) in place of a new one: one that is
        /// ACTIVE and that no service names, as a subordinate of a root of yours.
        #[arg(long, value_name = "AUTHORITY")]
        with: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let the next authority sign; the one before stays trusted
    ///
    /// Proxies whose certificates the one before signed ask for others, each at a moment of its own
    /// within a twentieth of a certificate's life and a minute at most. Refused while a proxy has not
    /// said that it trusts the next one.
    Promote {
        #[command(flatten)]
        line: Line,
        #[command(flatten)]
        wait: Wait,
        /// Do not mind proxies that do not trust it yet: they refuse what others show until they are told.
        #[arg(long)]
        force: bool,
    },
    /// Trust an authority no more: one that was followed by another, or the next
    ///
    /// Refused while a proxy may show a certificate of it, or has not said that it trusts the others.
    Retire {
        /// The authority that is to go, by ARN or the last part of it; where it is the one that signs, the
        /// only former one of its line. Default: the mesh's own.
        authority: Option<String>,
        #[command(flatten)]
        wait: Wait,
        /// Do not mind who has certificates of it: everybody refuses them. For a key that was stolen.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Line {
    /// Any authority of the line, by ARN or the last part of it: what a service names, bowline-mesh or
    /// bowline-public. Default: the mesh's own.
    authority: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Wait {
    /// Wait for the proxies that this depends on.
    #[arg(long)]
    wait: bool,
    /// How long to wait, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    timeout: u64,
}

impl Wait {
    fn seconds(&self) -> Option<u64> {
        self.wait.then_some(self.timeout)
    }
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    let json = matches!(args.output, OutputFormat::Json);
    let wanted = match args.action.unwrap_or(Action::List) {
        Action::List => {
            match client.call(&Request::Authorities).await? {
                Response::Authorities(rows) if json => println!("{}", serde_json::to_string(&rows)?),
                Response::Authorities(rows) => print!("{}", authorities::table(&rows)),
                _ => bail!("an unexpected answer"),
            }
            return Ok(ExitCode::SUCCESS);
        }
        Action::Next { line, with, wait } => {
            MoveAuthority { authority: line.authority, to: Move::Next { with }, wait_seconds: wait.seconds() }
        }
        Action::Promote { line, wait, force } => MoveAuthority {
            authority: line.authority,
            to: Move::Promote { force },
            wait_seconds: wait.seconds(),
        },
        Action::Retire { authority, wait, force } => {
            MoveAuthority { authority, to: Move::Retire { force }, wait_seconds: wait.seconds() }
        }
    };
    let waited = wanted.wait_seconds.is_some();
    let Response::AuthorityMoved(moved) = client.call(&Request::MoveAuthority(wanted)).await? else {
        bail!("an unexpected answer");
    };
    match json {
        true => println!("{}", serde_json::to_string(&moved)?),
        false => println!("{}", text_of(&moved)),
    }
    // What was waited for has not come, but what was asked for is done.
    Ok(match waited && moved.authority.slot == Slot::Next && moved.proxies_informed < moved.proxies {
        true => ExitCode::from(2),
        false => ExitCode::SUCCESS,
    })
}

fn text_of(moved: &MovedAuthority) -> String {
    let (name, line) = (name(&moved.authority.arn), name(&moved.authority.line));
    let (informed, proxies) = (moved.proxies_informed, moved.proxies);
    match moved.authority.slot {
        Slot::Next => format!(
            "{name} is next of {line}\n{informed} of {proxies} proxies trust it; then `bowline ca promote` lets it sign"
        ),
        Slot::Current => format!(
            "{name} signs for {line}; proxies ask for its certificates by themselves\n`bowline ca retire` ends the trust \
             in the one before"
        ),
        Slot::Former | Slot::Retired => format!("{name} is trusted no more"),
    }
}

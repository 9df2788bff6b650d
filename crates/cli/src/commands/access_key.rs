//! `bowline access-key`: keys for the AWS endpoint of a running Bowline.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    local_api::{AccessKey, Client, Request, Response},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline access-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, global = true)]
    state_dir: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, default_value = "text", global = true)]
    output: OutputFormat,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make an access key; its secret is printed this once
    Create {
        /// The IAM user whose key it is. Default: the root user, who may do everything.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Show access keys
    List {
        /// Only the keys of this IAM user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Remove an access key: what is signed with it is refused from then on
    Delete {
        /// The access key's id.
        id: String,
    },
}

/// Asks a running Bowline.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::resolve(args.state_dir)?;
    let mut client = Client::connect(&state_dir).await?;
    match args.action {
        Action::Create { user } => match client.call(&Request::CreateAccessKey { user }).await? {
            Response::AccessKey { key, secret } => match args.output {
                // The form that the AWS CLI's `credential_process` reads.
                OutputFormat::Json => println!(
                    "{}",
                    serde_json::json!({
                        "Version": 1,
                        "AccessKeyId": key.id,
                        "SecretAccessKey": secret.expose(),
                    })
                ),
                OutputFormat::Text => {
                    println!("AWS_ACCESS_KEY_ID={}", key.id);
                    println!("AWS_SECRET_ACCESS_KEY={}", secret.expose());
                    eprintln!("the secret is not shown again");
                }
            },
            _ => bail!("an unexpected answer"),
        },
        Action::List { user } => match client.call(&Request::AccessKeys).await? {
            Response::AccessKeys(mut keys) => {
                keys.retain(|key| user.is_none() || key.user == user);
                print_keys(&keys, args.output)?;
            }
            _ => bail!("an unexpected answer"),
        },
        Action::Delete { id } => {
            client.call(&Request::DeleteAccessKey { id }).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_keys(keys: &[AccessKey], format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Json => println!("{}", serde_json::to_string(keys)?),
        OutputFormat::Text => {
            for key in keys {
                let status = if key.active { "active" } else { "inactive" };
                let user = key.user.as_deref().unwrap_or("(root)");
                println!("{}  {status:8}  {}  {user}", key.id, key.created_at);
            }
        }
    }
    Ok(())
}

//! `bowline master-key`: another key for everything that is sealed.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use bowline_control::{
    control_plane::{AUDIT_DIRECTORY, STORE_FILE},
    master_key::{MasterKey, MasterKeySource, NEW_VARIABLE, Rotated},
    state_lock::{StateLock, StateLockError},
};

use crate::{
    local_api::{Client, Request, Response},
    master_key_args::{self, MasterKeyArgs},
    output::OutputFormat,
    state_dir,
};

/// Arguments of `bowline master-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Wrap the data keys by a new master key; nothing stops, and nothing is encrypted anew
    ///
    /// Where the key is the state directory's own file, Bowline makes the new one. Where it comes from
    /// a file or a command of yours, put the new key there first. Or give it in the variable
    /// BOWLINE_NEW_MASTER_KEY: then the old key opens the state directory until the first start with the
    /// new one. A key in the environment is always changed so.
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// State directory. A server may be running on it, and is told; it then needs no key here.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    master_key: MasterKeyArgs,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

/// Rotates, in the process that has the state directory, or here.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Rotate(args) = args.action;
    let state_dir = state_dir::resolve(args.state_dir.clone())?;
    // Only where there is something: to take its lock would make the directory.
    if !state_dir.join(STORE_FILE).exists() && !state_dir.join(AUDIT_DIRECTORY).exists() {
        bail!("{} is no state directory of Bowline: name another with --state-dir", state_dir.display());
    }
    let rotated = match StateLock::acquire(&state_dir) {
        Ok(_lock) => {
            let key = MasterKey::open_or_create(&state_dir, args.master_key.source()?, true)?;
            let new = master_key_args::new_key()?
                .map(|new| MasterKeySource::key_of_variable(NEW_VARIABLE, new.expose()));
            key.rotate(new.transpose()?)?
        }
        Err(StateLockError::Held { .. }) => {
            let request = Request::RotateMasterKey { new: master_key_args::new_key()? };
            match Client::connect(&state_dir).await?.call(&request).await? {
                Response::MasterKeyRotated { from, to, at_next_start } => Rotated { from, to, at_next_start },
                _ => bail!("an unexpected answer"),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let Rotated { from, to, at_next_start } = rotated;
    match args.output {
        OutputFormat::Json => {
            println!("{}", serde_json::json!({"from": from, "to": to, "atNextStart": at_next_start}));
        }
        OutputFormat::Text => {
            println!("the master key was rotated: {from} → {to}");
            if at_next_start {
                println!(
                    "give the new key at the next start; until then the old one opens the state directory too"
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

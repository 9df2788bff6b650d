//! Where the master key comes from, as arguments and the environment tell.

use std::{ffi::OsString, path::PathBuf, sync::OnceLock};

use anyhow::{Context, bail};
use bowline_control::master_key::{MasterKeySource, NEW_VARIABLE, VARIABLE};
use bowline_model::task::Secret;
use bowline_plumbing::sys;

/// Taken out of the environment when the program begins.
static PRESENT: OnceLock<OsString> = OnceLock::new();
static NEW: OnceLock<OsString> = OnceLock::new();

/// Takes the keys out of the environment. Called once, before there are threads.
pub(crate) fn take_from_environment() {
    for (name, kept) in [(VARIABLE, &PRESENT), (NEW_VARIABLE, &NEW)] {
        if let Some(value) = sys::take_environment_variable(name) {
            kept.get_or_init(|| value);
        }
    }
}

/// What a program needs in its environment to find the keys that this one found there.
pub(crate) fn environment() -> Vec<(String, OsString)> {
    let kept = [(VARIABLE, &PRESENT), (NEW_VARIABLE, &NEW)];
    kept.into_iter().filter_map(|(name, kept)| Some((name.to_owned(), kept.get()?.clone()))).collect()
}

/// The key for a rotation that was in the environment.
pub(crate) fn new_key() -> anyhow::Result<Option<Secret>> {
    NEW.get().map(|value| text(NEW_VARIABLE, value).map(|text| Secret::new(text.to_owned()))).transpose()
}

fn text<'a>(name: &str, value: &'a OsString) -> anyhow::Result<&'a str> {
    value.to_str().with_context(|| format!("the variable {name} does not hold 64 hex digits"))
}

/// Where the master key comes from. Without these, and without BOWLINE_MASTER_KEY in the
/// environment: from `master.key` in the state directory, which is made at the first start.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MasterKeyArgs {
    /// File with the master key: 64 hex digits, mode 0600. Default: the variable BOWLINE_MASTER_KEY,
    /// else master.key in the state directory, which is made at the first start.
    #[arg(
        long,
        env = "BOWLINE_MASTER_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE",
        conflicts_with = "master_key_command"
    )]
    master_key_file: Option<PathBuf>,
    /// Command that prints the master key; run by `sh -c`. It has 60 s.
    #[arg(long, env = "BOWLINE_MASTER_KEY_COMMAND", hide_env_values = true, value_name = "COMMAND")]
    master_key_command: Option<String>,
}

impl MasterKeyArgs {
    /// Where the key comes from.
    ///
    /// # Errors
    /// There are two, or the environment's is no key.
    pub(crate) fn source(&self) -> anyhow::Result<MasterKeySource> {
        let argument = match (&self.master_key_file, &self.master_key_command) {
            (Some(file), _) => Some(MasterKeySource::File(file.clone())),
            (None, Some(command)) => Some(MasterKeySource::Command(command.clone())),
            (None, None) => None,
        };
        match (argument, PRESENT.get()) {
            (Some(_), Some(_)) => {
                bail!("there are two master keys: one is named by an argument, one is in {VARIABLE}")
            }
            (Some(source), None) => Ok(source),
            (None, None) => Ok(MasterKeySource::StateDirectory),
            (None, Some(value)) => {
                let key = MasterKeySource::key_of_variable(VARIABLE, text(VARIABLE, value)?)?;
                Ok(MasterKeySource::Environment(key))
            }
        }
    }
}

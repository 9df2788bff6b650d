//! Where Bowline keeps its state.

use std::{env, path::PathBuf};

use anyhow::{Context, bail};

/// `given`, else `$XDG_STATE_HOME/bowline`, else `~/.local/state/bowline`
/// (XDG Base Directory Specification); absolute.
pub(crate) fn resolve(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => default()?,
    };
    std::path::absolute(&path).with_context(|| format!("{} is no usable path", path.display()))
}

fn default() -> anyhow::Result<PathBuf> {
    // The specification wants relative values ignored.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state_home) = absolute("XDG_STATE_HOME") {
        return Ok(state_home.join("bowline"));
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(".local/state/bowline")),
        None => bail!("neither --state-dir nor XDG_STATE_HOME nor HOME says where to keep the state"),
    }
}

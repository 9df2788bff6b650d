//! This process, killed on purpose and started again as it was started.

use std::ffi::OsString;

use bowline_chaos::revival::{self, Program};
use bowline_model::{clock::Timestamp, fault::FaultError};

use crate::master_key_args;

/// What `bowline up` has built once it does not build again.
const NO_BUILD: &str = "--no-build";

/// Has this process killed soon, and started again at `until`.
///
/// # Errors
/// What is to start it again does not start: nothing is killed then.
pub(crate) async fn begin(until: Timestamp) -> Result<(), FaultError> {
    let failed = |error: String| FaultError::Failed(format!("nobody would start it again: {error}"));
    let path = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let parent = std::process::id().to_string();
    let order = ["revive", "--parent", &parent, "--until", &until.as_millis().to_string(), "--"];
    let again = again(std::env::args_os().skip(1).collect());
    let arguments = order.into_iter().map(OsString::from).chain(again).collect();
    let reviver = Program { path, arguments, environment: master_key_args::environment() };
    let begun = tokio::task::spawn_blocking(move || revival::begin(reviver)).await;
    match begun {
        Ok(Ok(())) => {
            tracing::warn!(%until, "this process is killed in a moment, on purpose, and started again");
            Ok(())
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Arguments of the process that comes after.
fn again(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_up = arguments.first().is_some_and(|first| first == "up");
    if is_up && !arguments.iter().any(|argument| argument == NO_BUILD) {
        arguments.push(NO_BUILD.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again_of(line: &str) -> Vec<String> {
        let arguments = again(line.split(' ').map(OsString::from).collect());
        arguments.into_iter().map(|it| it.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn what_was_built_is_not_built_again() {
        assert_eq!(again_of("up t.yaml").join(" "), "up t.yaml --no-build");
        assert_eq!(again_of("up --no-build t.yaml").join(" "), "up --no-build t.yaml");
        assert_eq!(again_of("server -o json").join(" "), "server -o json");
    }
}

//! What a caller's task is told when it asks for a name.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::{IpAddr, ToSocketAddrs},
    time::Duration,
};

use bowline_model::task::TaskId;
use tokio::{io::AsyncReadExt, time::timeout};

use super::LoadError;
use crate::system::System;

/// Longest answer that is read, bytes.
const ANSWER_MAX: u64 = 16 * 1024;
/// Longest that asking may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Asks for a name's addresses and prints one a line: none of a name that is not there.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_addresses(name: &str) -> io::Result<()> {
    // That there is no such name is an answer.
    let found = (name, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let mut output = io::stdout().lock();
    for address in found.iter().map(|address| address.ip()).collect::<BTreeSet<_>>() {
        writeln!(output, "{address}")?;
    }
    output.flush()
}

/// The addresses that an application in this task is told of a name.
///
/// # Errors
/// The probe does not run.
pub async fn addresses(system: &dyn System, task: &TaskId, name: &str) -> Result<Vec<IpAddr>, LoadError> {
    let program = system.program().map_err(LoadError::NotStarted)?;
    let command = vec![program, "chaos-probe".to_owned(), "--resolve".to_owned(), name.to_owned()];
    let running = system.run(task.clone(), None, command).await.map_err(LoadError::NotStarted)?;
    let mut answer = String::new();
    let asking = async {
        let mut output = running.output.take(ANSWER_MAX);
        let read = output.read_to_string(&mut answer).await;
        let exit = running.exit.await.map_err(|error| LoadError::Ended(error.to_string()))?;
        match (exit.code, read) {
            (0, Ok(_)) => Ok(()),
            (0, Err(error)) => Err(LoadError::Ended(error.to_string())),
            (code, _) => Err(LoadError::Ended(format!("it exited with {code}: {}", exit.stderr.trim()))),
        }
    };
    match timeout(LIMIT, asking).await {
        Ok(asked) => asked?,
        Err(_) => return Err(LoadError::Ended(format!("nothing within {} s", LIMIT.as_secs()))),
    }
    Ok(answer.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

//! What can happen to a task.

use std::os::fd::OwnedFd;

use bowline_model::{
    clock::Timestamp,
    fault::{FaultId, TaskHarm},
    task::{Secret, StopCode},
};
use tokio::sync::oneshot;

/// One thing that happened, for the shim's loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// The container's namespaces are there.
    ContainerReady { index: usize, warnings: Vec<String> },
    /// The container's program runs.
    ContainerStarted { index: usize, pid: Option<u32> },
    /// The container could not be set up, or its program not be run.
    ContainerFailed { index: usize, reason: String },
    /// The container's program has ended; without a code its init was killed.
    ContainerExited { index: usize, code: Option<i32> },
    /// A health check has ended.
    Checked { index: usize, healthy: bool },
    /// The proxy accepts traffic.
    ProxyReady,
    /// The proxy has ended; it is started again.
    ProxyExited { how: String },
    /// The proxy wants a token.
    TokenWanted { answer: oneshot::Sender<Option<Secret>> },
    /// An agent gave one, or has none.
    Token(Option<Secret>),
    /// An agent, or a signal, asks to stop the task.
    Stop { code: Option<StopCode>, reason: Option<String> },
    /// An agent asks to run a command in a container.
    Exec { client: u64, id: u64, container: String, command: Vec<String>, stdio: Vec<OwnedFd> },
    /// An agent asks to do the task harm.
    BeginFault { client: u64, order: u64, id: FaultId, harm: TaskHarm, until: Timestamp },
    /// An agent asks to undo it.
    EndFault { client: u64, order: u64, id: FaultId },
}

//! What the processes of a task say to each other: agent and shim, shim and
//! the task's init, shim and a container's init. JSON packets with descriptors
//! ([`bowline_plumbing::fd_message`]) over sockets that nobody else can reach.

use std::{collections::BTreeMap, net::SocketAddrV4, path::PathBuf};

use bowline_logs::fluent_bit::Input;
use bowline_model::{
    clock::Timestamp,
    fault::{FaultError, FaultId, TaskHarm},
    task::{BindMount, Secret, StopCode, TaskReport, TaskSpec, Ulimit},
};
use bowline_plumbing::shim_link::Transport;
use serde::{Deserialize, Serialize};

use crate::config::{NetworkMode, OutputLine, ProgramCommand};

/// Agent to shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToShim {
    /// The first message, once, on the inherited socket. Beside it: the lock of the task's directory.
    Start(Box<Start>),
    /// Stop the task, in order.
    Stop {
        /// The stop code to report.
        code: Option<StopCode>,
        /// The reason to report.
        reason: Option<String>,
    },
    /// Answer to [`FromShim::TokenWanted`].
    Token(Option<Secret>),
    /// Run a command in a container. Beside it: standard input, output, error.
    Exec {
        /// Chosen by the agent.
        id: u64,
        /// The container's name.
        container: String,
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Do the task harm, and undo it at the deadline.
    BeginFault {
        /// Chosen by the agent.
        order: u64,
        /// The fault's id.
        id: FaultId,
        /// What to do.
        harm: TaskHarm,
        /// When it ends by itself.
        until: Timestamp,
    },
    /// Undo a fault before its deadline.
    EndFault {
        /// Chosen by the agent.
        order: u64,
        /// The fault's id.
        id: FaultId,
    },
}

/// What a shim needs to begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) spec: TaskSpec,
    pub(crate) token: Option<Secret>,
    pub(crate) proxy_command: ProgramCommand,
    pub(crate) network: NetworkMode,
    pub(crate) directory: PathBuf,
    /// Where lines go, or why that is not known: the task must not run.
    pub(crate) logs: Result<StartLogs, String>,
}

/// Where a task's lines wait to be delivered, and what takes more of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartLogs {
    /// The directory of the task's spools. It outlives the task's own.
    pub(crate) directory: PathBuf,
    /// The inputs of the task's log router.
    pub(crate) inputs: Vec<Input>,
}

/// Shim to agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromShim {
    /// The task's state changed.
    Report(Box<TaskReport>),
    /// The task printed a line.
    Output(OutputLine),
    /// The proxy wants a fresh token.
    TokenWanted,
    /// A command of [`ToShim::Exec`] has ended, or could not run.
    ExecDone {
        /// The agent's id of it.
        id: u64,
        /// Its exit code, or why there is none.
        result: Result<i32, String>,
    },
    /// A fault is in force, or over, as [`ToShim::BeginFault`] or [`ToShim::EndFault`] asked.
    FaultDone {
        /// The agent's number of the order.
        order: u64,
        /// Why not.
        result: Result<(), FaultError>,
    },
}

/// Shim to the task's init. Each is answered by one [`FromInit`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Set up the namespaces. The first message.
    SetUp(InitSetUp),
    /// A listening socket in the alias network.
    Listen { transport: Transport, address: SocketAddrV4 },
    /// Unconnected sockets in the application's network.
    ApplicationSockets { count: usize },
    /// A socket that sees what the task sends beyond its aliases.
    EgressTap,
    /// Sockets to the packet filters of the application's network and of the alias network.
    PacketFilters,
    /// Redirect TCP connections beyond the aliases to the sidecar's listener for them.
    RedirectEgress,
    /// Mount the files of this directory where containers look for roots.
    Trust { directory: PathBuf },
    /// Start a container's init. Beside it: the socket of its orders, and the
    /// files by which it enters its control groups.
    Container(ContainerSetUp),
}

/// Names and files of the task's namespaces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitSetUp {
    /// False on host networking: there is nothing to set up.
    pub(crate) isolated: bool,
    pub(crate) hostname: String,
    pub(crate) hosts_file: PathBuf,
    pub(crate) resolv_file: PathBuf,
}

/// The task's init to the shim; descriptors beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// Done, with what a user should know.
    Done { warnings: Vec<String> },
    /// Not done, and why.
    Failed { reason: String },
}

/// How a container's namespaces differ from the task's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerSetUp {
    pub(crate) isolated: bool,
    pub(crate) mounts: Vec<BindMount>,
    pub(crate) readonly_root: bool,
}

/// Shim to a container's init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToContainer {
    /// Run a program. Beside it: standard input, output, error. The first is
    /// the container's own: when it ends, the container ends.
    Run(Program),
    /// Send a signal to a program.
    Signal { id: u32, signal: i32 },
}

/// The container's own program among those that its init runs.
pub(crate) const MAIN_PROGRAM: u32 = 0;

/// A program to run in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) id: u32,
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, Secret>,
    pub(crate) working_directory: PathBuf,
    pub(crate) ulimits: Vec<Ulimit>,
}

/// A container's init to the shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromContainer {
    /// The namespaces are there.
    Ready { warnings: Vec<String> },
    /// They are not; it ends.
    Failed { reason: String },
    /// The program runs. Beside it: its pidfd.
    Started { id: u32 },
    /// The program could not be run.
    NotStarted { id: u32, reason: String },
    /// The program has ended: its exit code, or 128 + signal.
    Exited { id: u32, code: i32 },
}

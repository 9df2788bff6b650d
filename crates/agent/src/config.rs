//! What an agent is told when it starts.

use std::{fmt, io, path::PathBuf, sync::Arc};

use bowline_logs::route::SourceName;
use bowline_model::{
    log::LogWriter,
    log_driver::LogFigures,
    task::{TaskId, TaskUsage},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How an agent runs.
#[derive(Debug)]
pub struct AgentConfig {
    /// Where tasks live (`tasks/ID`) and what is kept of ended ones (`logs/ID`). Made if it does not exist.
    pub state_dir: PathBuf,
    /// Starts a task's shim; `--control-fd N` is appended.
    pub shim_command: ProgramCommand,
    /// Starts a proxy; `--shim-fd N` is appended.
    pub proxy_command: ProgramCommand,
    /// Which network tasks get.
    pub network: NetworkMode,
    /// Takes what containers and proxies print, and what the launcher has to
    /// say of a task. Lines are dropped, never waited for, when it is full;
    /// they are in the task's log files all the same.
    pub output: mpsc::Sender<OutputLine>,
    /// Takes what tasks use of the machine, every 10 s; `None`: it is not looked at.
    pub usage: Option<mpsc::Sender<Vec<TaskUsage>>>,
    /// Where lines are delivered.
    pub logs: LogDelivery,
}

/// What it takes to deliver lines.
#[derive(Clone, Default)]
pub struct LogDelivery {
    /// Takes what goes to CloudWatch Logs; `None`: there is no store, and those lines are dropped, and counted.
    pub writer: Option<Arc<dyn LogWriter>>,
    /// Counts what becomes of lines.
    pub figures: Arc<LogFigures>,
    /// Where a log router's file is looked for that is one of its image's: beside the template.
    pub file_directories: Vec<PathBuf>,
}

impl fmt::Debug for LogDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDelivery")
            .field("file_directories", &self.file_directories)
            .finish_non_exhaustive()
    }
}

/// A program and the arguments before our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCommand {
    /// An absolute path.
    pub program: PathBuf,
    /// Arguments.
    pub arguments: Vec<String>,
}

impl ProgramCommand {
    /// This very program with `subcommand`.
    ///
    /// # Errors
    /// The program's path cannot be read from `/proc`.
    pub fn this_program(subcommand: &str) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments: vec![subcommand.to_owned()] })
    }
}

/// Which network tasks get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// Their own where the system allows it, else the host's.
    #[default]
    Auto,
    /// Their own; a task fails to start where the system does not allow it.
    Isolated,
    /// The host's loopback, each task with an address of its own there.
    Host,
}

/// A line that a task printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLine {
    /// The task.
    pub task: TaskId,
    /// What of the task.
    pub source: OutputSource,
    /// Where it printed it.
    pub stream: OutputStream,
    /// The line, without its end; what is not UTF-8 is replaced, what is
    /// longer than 16 KiB is split.
    pub line: String,
}

/// Which part of a task printed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputSource {
    /// The container of this name.
    Container(String),
    /// The sidecar, or a gateway's proxy.
    Proxy,
    /// The launcher itself: "egress to 192.0.2.1:443 denied".
    Launcher,
}

impl OutputSource {
    /// A name for logs: the container's, `proxy` or `launcher`.
    pub fn name(&self) -> &str {
        match self {
            Self::Container(name) => name,
            Self::Proxy => "proxy",
            Self::Launcher => "launcher",
        }
    }

    /// Its name where lines wait to be delivered.
    pub(crate) fn source_name(&self) -> SourceName {
        match self {
            Self::Container(name) => SourceName::Container(name.clone()),
            Self::Proxy => SourceName::Proxy,
            Self::Launcher => SourceName::Launcher,
        }
    }
}

/// One of a process's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

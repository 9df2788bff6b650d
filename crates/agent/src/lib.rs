//! The agent: what the ECS container agent is. It compares the tasks that the
//! control plane desires with those that run, and starts and stops them.
//!
//! A task is a tree of processes:
//!
//! ```text
//! agent ── control socket ──▶ shim              host's namespaces; owns the task
//!                              ├── proxy        host's namespaces; asks the shim for sockets
//!                              └── init         user, network, mount, process, host name, IPC namespaces
//!                                   └── container's init    mount and process namespaces
//!                                        └── program, health checks, exec
//! ```
//!
//! The shim outlives the agent; nothing of the task outlives the shim. A
//! restarted agent finds the shims by the locks and sockets in the state
//! directory.
//!
//! - [`Agent`]: the loop.
//! - [`shim::main`]: the shim, for the binary's hidden subcommand.
//! - [`stress::main`]: what puts load on a container, for the binary's hidden subcommand.
//! - [`probe_network`]: whether tasks can have networks of their own here.

mod agent;
mod config;
mod control_groups;
mod driver;
mod output;
mod packet;
mod probe;
mod protocol;
pub mod shim;
pub mod stress;
mod task_directory;
mod usage;

pub use agent::{Agent, AgentError, AgentHandle};
pub use config::{
    AgentConfig, LogDelivery, NetworkMode, OutputLine, OutputSource, OutputStream, ProgramCommand,
};
pub use control_groups::probe_control_groups;
pub use probe::{NetworkSupport, probe_network};

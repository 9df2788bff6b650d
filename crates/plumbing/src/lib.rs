//! Process plumbing beneath the control plane, the proxy and the agent.
//!
//! - [`fd_message`]: messages with file descriptors over a Unix socket.
//! - [`shim_link`]: what a proxy and its task's shim say to each other.
//! - [`netlink`], [`rtnetlink`], [`nftables`], [`host_route`]: asking and telling the kernel about networks.
//! - [`machine`]: how many processors and how much memory there are.
//! - [`hpke`]: something secret for one reader.
//! - [`seal`]: encryption of what is kept on disk.
//! - [`backoff`]: growing, jittered delays.
//! - [`local_thread`]: a thread with a runtime of its own.
//! - [`exposition`]: metrics as Prometheus reads them.
//! - [`disk`]: room to write, and its lack on purpose.
//! - [`drain`]: telling every part of a process to finish what it has.
//! - [`telemetry`]: the process's own log.
//! - [`text`]: text for a terminal.
//! - [`wall_clock`]: the current time, for those who may ask.
//! - [`sys`]: the only module of Bowline with `unsafe` code.

pub mod backoff;
pub mod disk;
pub mod drain;
pub mod exposition;
pub mod fd_message;
pub mod host_route;
pub mod hpke;
pub mod local_thread;
pub mod machine;
pub mod netlink;
pub mod nftables;
pub mod rtnetlink;
pub mod seal;
pub mod shim_link;
pub mod sys;
pub mod telemetry;
pub mod text;
pub mod wall_clock;

//! The data plane: sidecar and gateway.
//!
//! Configuration comes from a stream ([`run_with_shim`]) or a file
//! ([`run_from_file`]), both as the resources of `bowline-discovery`. Each is
//! converted into validated types by itself, all are linked into one immutable
//! snapshot, and the snapshot is swapped whole. Workers, each a thread with a
//! runtime and connection pools of its own, read it on every request.
//!
//! The paths of traffic, each a straight line:
//! - `outbound`: accept → listener → route → pick → connect → relay → log; the
//!   gateway's public ports take the same path.
//! - `inbound`: accept → handshake → identity → authorize → relay → log.
//! - `egress`: accept → destination → may it be reached → connect → relay → log.

mod access_log;
mod admin;
mod apart;
mod application;
mod application_tls;
mod balance;
mod body;
mod caller;
mod certificates;
mod config;
mod config_file;
mod connections;
mod control_plane;
mod data_plane;
mod deadline;
mod diagnostics;
mod dial;
mod disturbance;
mod dns;
mod egress;
mod exchange;
mod external_head;
mod fault;
mod forward;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod headers;
mod health;
mod hops;
mod inbound;
mod introspection;
mod io;
mod last_good;
mod limit;
mod load;
mod log_level;
#[doc(hidden)]
pub mod measured;
mod metrics;
mod names;
mod options;
mod outbound;
mod overload;
mod pool;
mod pulse;
mod refusal;
mod reply;
mod resolver;
mod route;
mod run;
mod seldom;
mod server;
mod shared;
mod shim;
mod shown_outside;
mod sockets;
mod staging;
mod stream;
mod tap;
mod task_credentials;
mod tcp;
mod telemetry;
mod tls;
mod trace;
mod upgrade;
mod worker;
mod xray_daemon;

pub use crate::{
    access_log::{AccessLogFormat, AccessLogTarget},
    config_file::ConfigFileError,
    metrics::{Direction, Flag, HandshakeFailure, Metrics},
    options::{AdminAddress, ProxyError, ProxyOptions},
    refusal::{RefusalCause, RefusedParty},
    run::{ProxyHandle, run_from_file, start_from_file},
    shim::{run_with_shim, start_with_shim},
    tls::TlsError,
};

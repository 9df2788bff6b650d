//! What a proxy is started with, and why it may not start.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use bowline_plumbing::{shim_link::LinkError, telemetry::LogFilter};
use thiserror::Error;

use crate::{
    access_log::{AccessLogFormat, AccessLogTarget},
    config_file::ConfigFileError,
    tls::TlsError,
};

/// How a proxy runs; the traffic's rules come from its configuration.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Threads that carry traffic. Default 1.
    pub workers: usize,
    /// Where the access log goes. Default: nowhere.
    pub access_log: Option<AccessLogTarget>,
    /// How its lines are written. Default JSON.
    pub access_log_format: AccessLogFormat,
    /// Whether the access log has query parameters (AWS's
    /// `includeQueryParameters`). Default false.
    pub access_log_query: bool,
    /// Where `/metrics`, `/ready` and `/config_dump` are served. Default: nowhere.
    pub admin: Option<AdminAddress>,
    /// Longest time between being told to stop and ending. Default 20 s.
    pub drain: Duration,
    /// Bytes of memory from 90 % of which new requests are answered 503, and from 95 % of which no
    /// connections are accepted. Default: the control group's limit, or a quarter of the machine's
    /// memory if that is less.
    pub memory_limit: Option<u64>,
    /// What changes the level of the process's log for a time. Default: nothing does.
    pub log_filter: Option<LogFilter>,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            access_log: None,
            access_log_format: AccessLogFormat::default(),
            access_log_query: false,
            admin: None,
            drain: Duration::from_secs(20),
            memory_limit: None,
            log_filter: None,
        }
    }
}

/// Where the admin interface listens. It only reads, and has no login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address; a loopback one is meant.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0600.
    Unix(PathBuf),
}

/// Why a proxy did not start, or ended badly.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The configuration file.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// The task's shim.
    #[error(transparent)]
    Shim(#[from] LinkError),
    /// A listener's address cannot be bound.
    #[error("listener {listener:?} cannot listen")]
    Listen {
        /// The listener's name.
        listener: String,
        /// What the system said.
        source: io::Error,
    },
    /// The access log or the admin socket cannot be opened.
    #[error("{what} cannot be opened")]
    Open {
        /// Which of them.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread, runtime or signal handler.
    #[error("the system does not let the proxy run")]
    System(#[from] io::Error),
    /// A certificate or key that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The shim's greeting holds something that makes no sense.
    #[error("the task's shim sent a greeting that cannot be used: {0}")]
    Greeting(&'static str),
}

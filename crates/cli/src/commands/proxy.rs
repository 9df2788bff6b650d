//! `bowline proxy`: the data plane, beside a task or on its own.

use std::{net::SocketAddr, os::fd::RawFd, path::PathBuf, process::ExitCode};

use anyhow::bail;
use bowline_plumbing::{
    shim_link::ShimLink,
    sys,
    telemetry::{self, LogFormat},
};
use bowline_proxy::{AccessLogFormat, AccessLogTarget, AdminAddress, ProxyOptions};

/// Arguments of `bowline proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The resources to serve, as a YAML or JSON file.
    #[arg(long, value_name = "FILE", required_unless_present = "shim_fd")]
    config: Option<PathBuf>,
    /// The inherited socket towards the task's shim.
    #[arg(long, hide = true, conflicts_with = "config")]
    shim_fd: Option<RawFd>,
    /// Threads that carry traffic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Write the access log, a line an exchange, to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// How a line of the access log is written: a JSON object, or Envoy's text.
    #[arg(long, value_name = "FORMAT", default_value = "json", requires = "access_log")]
    access_log_format: LineFormat,
    /// Write paths with their query parameters into the access log.
    #[arg(long, requires = "access_log")]
    access_log_query: bool,
    /// Serve /metrics, /ready and /config_dump on this address.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// MiB of memory from 90 % of which new requests are answered 503, and from 95 % of which no
    /// connections are accepted [default: the control group's limit, at most a quarter of the machine's].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    memory_limit: Option<u64>,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LineFormat {
    /// A JSON object.
    Json,
    /// Envoy's default format string.
    Text,
}

/// Serves until it is told to end, and drains.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // What a task reaches beyond its aliases is for its user to see, as what it is denied is.
    let log_filter = telemetry::init("warn,bowline_proxy::egress=info", LogFormat::Text);
    let options = ProxyOptions {
        workers: usize::from(args.workers),
        access_log: args.access_log.map(|path| {
            if path.as_os_str() == "-" { AccessLogTarget::Stdout } else { AccessLogTarget::File(path) }
        }),
        access_log_format: match args.access_log_format {
            LineFormat::Json => AccessLogFormat::Json,
            LineFormat::Text => AccessLogFormat::Text,
        },
        access_log_query: args.access_log_query,
        admin: args.admin.map(AdminAddress::Tcp),
        log_filter: Some(log_filter),
        memory_limit: args.memory_limit.map(|mebibytes| mebibytes << 20),
        ..ProxyOptions::default()
    };
    match (args.shim_fd, args.config) {
        (Some(fd), _) => bowline_proxy::run_with_shim(ShimLink::new(sys::take_inherited_fd(fd)?), &options)?,
        (None, Some(config)) => bowline_proxy::run_from_file(&config, &options)?,
        (None, None) => bail!("--config FILE is needed"),
    }
    Ok(ExitCode::SUCCESS)
}

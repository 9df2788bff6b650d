//! The `bowline` command: AWS ECS Service Connect with TLS, anywhere.

mod authorities;
mod build_step;
mod certificates;
mod chaos;
mod check;
mod commands;
mod diagnosis;
mod display;
mod dns_args;
mod endpoint;
mod events;
mod faults;
mod inspection;
mod local_api;
mod logs;
mod machine;
mod master_key_args;
mod measured;
mod output;
mod project;
mod revival;
mod routes;
mod running;
#[cfg(feature = "sabotage")]
mod sabotage;
mod span;
mod stand_in;
mod state_dir;
mod tapped;
mod topology;
mod traces;
mod verify;

use std::process::ExitCode;

use bowline_plumbing::{
    machine::raise_open_files,
    sys::allocator::Allocator,
    telemetry::{self, LogFormat},
};
use clap::{Parser, Subcommand};

use commands::{
    access_key, audit, ca, certs, chaos as chaos_command, chaos_probe, check as check_command, completions,
    diagnostics, down, edges, events as events_command, exec, identity, log_level, logs as logs_command,
    master_key, policy, probe, proxy, relay, revive, routes as routes_command, server, shim, stat, status,
    tap, top, trace, up, verify as verify_command,
};

/// The C library's, but that a proxy's workers keep what they free.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What `--version` says.
#[cfg(not(feature = "sabotage"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What `--version` says.
#[cfg(feature = "sabotage")]
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " SABOTAGE: defences can be switched off, not for use");

/// AWS ECS Service Connect with TLS, anywhere.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a CloudFormation template up, follow it, and take it down at the end
    Up(Box<up::Args>),
    /// Serve AWS's API, and run what it is asked to
    Server(Box<server::Args>),
    /// Make, list or delete keys for the AWS endpoint
    AccessKey(access_key::Args),
    /// Change the key that everything secret in a state directory is sealed with
    MasterKey(master_key::Args),
    /// Take down what a running `bowline up` brought up
    Down(down::Args),
    /// Make experiments: inject faults, and judge what becomes of the traffic
    Chaos(chaos_command::Args),
    /// Check the whole installation, and tell what to do about what is not well
    Check(check_command::Args),
    /// Show services, tasks, certificates and gateways
    Status(status::Args),
    /// Show how services fare: success, rate, latency
    Stat(stat::Args),
    /// Show who calls whom, how that goes, and how it is protected
    Edges(edges::Args),
    /// Show how services fare, every second anew
    Top(top::Args),
    /// Show where calls lead: rules, weights, targets and their health
    Routes(routes_command::Args),
    /// Show what has happened to services and load balancers
    Events(events_command::Args),
    /// Show requests while they pass
    Tap(tap::Args),
    /// Show what proxies go by, and whether that is what they should
    Diagnostics(diagnostics::Args),
    /// Change what a running proxy logs, for a time
    LogLevel(log_level::Args),
    /// Show a trace along its time, or list traces
    Trace(trace::Args),
    /// Show what tasks and their sidecars have written; ask questions of it
    Logs(logs_command::Args),
    /// Show certificates; revoke them, or let who was revoked have them again
    Certs(certs::Args),
    /// Show certificate authorities; replace one by another while everything goes on
    Ca(ca::Args),
    /// Show the certificates by which a task is known
    Identity(identity::Args),
    /// Run a command within a running task
    Exec(exec::Args),
    /// Show that what crosses between services is encrypted
    Verify(verify_command::Args),
    /// Read and check the audit trail: who called what
    Audit(audit::Args),
    /// Tell which rule decides on a call between services
    Policy(policy::Args),
    /// Run the data plane on its own, from a file
    Proxy(proxy::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
    /// Hold a task together (started by `bowline up`)
    #[command(hide = true)]
    Shim(shim::Args),
    /// Put load on a container (started by a task's shim for a fault)
    #[command(hide = true)]
    Stress,
    /// Send a marked request from within a task (started by `bowline verify`)
    #[command(hide = true)]
    Probe(probe::Args),
    /// Send an experiment's load from within a task (started by `bowline chaos`)
    #[command(hide = true)]
    ChaosProbe(chaos_probe::Args),
    /// Stand between two sidecars and harm what passes (started by `bowline up`)
    #[command(hide = true)]
    Relay,
    /// Kill who started this, and start it again after a while (started by `bowline up`)
    #[command(hide = true)]
    Revive(revive::Args),
}

fn main() -> ExitCode {
    // Before any thread, and before any child: neither sees the keys.
    master_key_args::take_from_environment();
    #[cfg(feature = "sabotage")]
    sabotage::warn();
    let command = Cli::parse().command;
    if matches!(command, Command::Up(_) | Command::Server(_)) {
        // Each connection of a sidecar needs one; what is started has as many.
        raise_open_files();
    }
    let outcome = match command {
        // The shim makes namespaces: it must not have threads before.
        Command::Shim(args) => return shim::run(&args),
        Command::Stress => return bowline_agent::stress::main(),
        Command::Probe(args) => return probe::run(&args),
        Command::ChaosProbe(args) => return chaos_probe::run(&args),
        // It makes namespaces, too.
        Command::Relay => return relay::run(),
        Command::Revive(args) => revive::run(args),
        Command::Completions(args) => return completions::run::<Cli>(&args),
        Command::Audit(args) => audit::run(args),
        Command::Proxy(args) => proxy::run(args),
        Command::Up(args) => asynchronously("warn", up::run(*args)),
        Command::Server(args) => asynchronously("warn", server::run(*args)),
        Command::MasterKey(args) => asynchronously("warn", master_key::run(args)),
        Command::AccessKey(args) => asynchronously("warn", access_key::run(args)),
        Command::Certs(args) => asynchronously("warn", certs::run(args)),
        Command::Ca(args) => asynchronously("warn", ca::run(args)),
        Command::Identity(args) => asynchronously("warn", identity::run(args)),
        Command::Down(args) => asynchronously("warn", down::run(args)),
        Command::Exec(args) => asynchronously("warn", exec::run(args)),
        Command::Policy(args) => asynchronously("warn", policy::run(args)),
        Command::Stat(args) => asynchronously("warn", stat::run(args)),
        Command::Edges(args) => asynchronously("warn", edges::run(args)),
        Command::Top(args) => asynchronously("warn", top::run(args)),
        Command::Events(args) => asynchronously("warn", events_command::run(args)),
        Command::Trace(args) => asynchronously("warn", trace::run(args)),
        Command::Logs(args) => asynchronously("warn", logs_command::run(args)),
        Command::Routes(args) => asynchronously("warn", routes_command::run(args)),
        Command::Chaos(args) => asynchronously("warn", chaos_command::run(args)),
        Command::Check(args) => asynchronously("warn", check_command::run(args)),
        Command::Tap(args) => asynchronously("warn", tap::run(args)),
        Command::Diagnostics(args) => asynchronously("warn", diagnostics::run(args)),
        Command::LogLevel(args) => asynchronously("warn", log_level::run(args)),
        Command::Status(args) => asynchronously("warn", status::run(args)),
        Command::Verify(args) => asynchronously("warn", verify_command::run(args)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bowline: {error:#}");
        ExitCode::FAILURE
    })
}

fn asynchronously(
    default_filter: &str,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    telemetry::init(default_filter, LogFormat::Text);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

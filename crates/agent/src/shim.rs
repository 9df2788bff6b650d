//! A task's shim: the process that owns a task from its start to its end, in
//! the host's namespaces. It outlives the agent that started it, and nothing
//! of the task outlives it.

mod client;
mod container_init;
mod container_link;
mod containers;
mod credentials;
mod descendants;
mod egress;
mod event;
mod faults;
mod health;
mod host_network;
mod hosts;
pub(crate) mod init;
pub(crate) mod init_process;
mod link;
mod listeners;
mod log_router;
mod mounts;
mod network;
mod nftables;
mod outputs;
mod sidecar;
mod sockets;
mod task;
mod trust;
mod ulimits;

use std::{
    io,
    os::fd::{AsFd, OwnedFd, RawFd},
    process::ExitCode,
};

use bowline_model::{
    network::{ALIAS_GATEWAY, TASK_ADDRESS},
    task::{Egress, TaskSpec},
};
use bowline_plumbing::{
    fd_message,
    sys::{child::set_signal_ignored, fork::close_all_except, take_inherited_fd},
    telemetry::{self, LogFormat},
};
use nix::sys::signal::Signal;

use self::{host_network::HostNetwork, init_process::InitProcess, task::Prepared, trust::Trust};
use crate::{
    config::NetworkMode,
    control_groups::ControlGroups,
    protocol::{InitSetUp, Start, ToInit, ToShim},
    task_directory::TaskDirectory,
};

/// Runs as a task's shim; the agent's orders come over the inherited
/// descriptor `control_fd`. Must be called before the process has threads.
pub fn main(control_fd: RawFd) -> ExitCode {
    telemetry::init("info", LogFormat::Text);
    match start(control_fd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the task's shim failed");
            ExitCode::FAILURE
        }
    }
}

fn start(control_fd: RawFd) -> io::Result<()> {
    let control = take_inherited_fd(control_fd)?;
    // Whatever else leaked from whoever started the agent must not live as long as the task.
    close_all_except(&[control.as_fd()])?;
    let Some((ToShim::Start(start), fds)) = fd_message::receive(&control)? else {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the agent ended before it said what to run",
        ));
    };
    // Held until this process ends: by it agents know that the task lives.
    let _lock = fds;
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGPIPE] {
        set_signal_ignored(signal, true)?;
    }
    let prepared = prepare(*start, control)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, task::run(prepared))
}

/// Everything that must be done while the process has a single thread.
fn prepare(start: Start, control: OwnedFd) -> io::Result<Prepared> {
    let Start { spec, token, proxy_command, network, directory, logs } = start;
    let directory = TaskDirectory::new(directory);
    let listener = directory.listen()?;
    let (logs, log_fault) = match logs {
        Ok(logs) => (Some(logs), None),
        Err(fault) => (None, Some(fault)),
    };
    let mut prepared = Prepared {
        directory,
        token,
        proxy_command,
        init: None,
        host_network: None,
        egress: Egress::Deny,
        trust: None,
        control_groups: ControlGroups::default(),
        warnings: Vec::new(),
        failure: cannot_run(&spec).or(log_fault),
        logs,
        spec,
        control,
        listener,
    };
    if prepared.failure.is_none()
        && !prepared.spec.containers.is_empty()
        && let Err(error) = prepare_network(&mut prepared, network)
            .and_then(|()| prepare_trust(&mut prepared))
            .and_then(|()| prepare_control_groups(&mut prepared))
    {
        prepared.failure = Some(format!("ResourceInitializationError: {error}"));
    }
    Ok(prepared)
}

/// After the task's init was forked, so that it has no copy of the CA's key,
/// and before any container.
fn prepare_trust(prepared: &mut Prepared) -> io::Result<()> {
    if !Trust::is_of_use(&prepared.spec) {
        return Ok(());
    }
    let source = prepared.directory.trust();
    let mut trust = Trust::make(&prepared.spec.id, source.clone())?;
    if let (Some(init), None) = (&prepared.init, &prepared.host_network) {
        match init.call(&ToInit::Trust { directory: source }, &[]) {
            Ok((warnings, _)) => {
                prepared.warnings.extend(warnings);
                trust.mounted();
            }
            Err(error) => prepared.warnings.push(format!(
                "the task's CA is in its environment only, not in the system's list of roots: {error}"
            )),
        }
    }
    prepared.trust = Some(trust);
    Ok(())
}

/// Before any container: what starts in a group stays in it.
fn prepare_control_groups(prepared: &mut Prepared) -> io::Result<()> {
    let (groups, warning) = ControlGroups::create(&prepared.spec);
    prepared.warnings.extend(warning);
    let paths = groups.paths();
    if !paths.is_empty() {
        prepared.directory.write_control_groups(&paths)?;
    }
    if let Some(init) = &prepared.init
        && let Err(error) = groups.admit_init(init.pid())
    {
        crate::control_groups::remove(&paths);
        prepared.warnings.push(format!("limits of the task are not enforced: {error}"));
        return Ok(());
    }
    prepared.control_groups = groups;
    Ok(())
}

fn prepare_network(prepared: &mut Prepared, mode: NetworkMode) -> io::Result<()> {
    let directory = &prepared.directory;
    let set_up = |isolated| InitSetUp {
        isolated,
        hostname: link::hostname(&prepared.spec).to_owned(),
        hosts_file: directory.hosts_file(),
        resolv_file: directory.resolv_file(),
    };
    if mode != NetworkMode::Host {
        let own = hosts::hosts_text(link::hostname(&prepared.spec), TASK_ADDRESS, &[]);
        hosts::write_in_place(&directory.hosts_file(), &own)?;
        hosts::write_in_place(&directory.resolv_file(), &hosts::resolv_text(ALIAS_GATEWAY))?;
        match InitProcess::start(set_up(true)) {
            Ok((init, warnings)) => {
                prepared.warnings.extend(warnings);
                prepare_egress(prepared, &init);
                prepared.init = Some(init);
                return Ok(());
            }
            Err(error) if mode == NetworkMode::Isolated => return Err(error),
            Err(error) => prepared.warnings.push(crate::probe::weaker(&error)),
        }
    } else {
        prepared.warnings.push(crate::probe::WEAKER_BY_CHOICE.to_owned());
    }
    let (init, warnings) = InitProcess::start(set_up(false))?;
    prepared.warnings.extend(warnings);
    prepared.init = Some(init);
    let aliases = prepared.spec.proxy.as_ref().map(|proxy| proxy.aliases.as_slice()).unwrap_or_default();
    prepared.host_network = Some(HostNetwork::claim(&prepared.spec.id, aliases)?);
    Ok(())
}

/// Opens the task's way out, if it may have one. The task runs without it
/// where the system does not let us.
fn prepare_egress(prepared: &mut Prepared, init: &InitProcess) {
    if prepared.spec.egress == Egress::Deny {
        return;
    }
    if prepared.spec.proxy.is_none() {
        // It is the sidecar that connects in the task's place.
        let warning = "egress allow needs Service Connect: the task has no sidecar, and reaches nothing";
        prepared.warnings.push(warning.to_owned());
        return;
    }
    match init.call(&ToInit::RedirectEgress, &[]) {
        Ok(_) => prepared.egress = Egress::Allow,
        Err(error) => prepared.warnings.push(format!(
            "egress allow needs the kernel's nf_tables ({error}): the task reaches its aliases and nothing else"
        )),
    }
}

/// Why the task cannot be run as processes at all, in AWS's words.
fn cannot_run(spec: &TaskSpec) -> Option<String> {
    let container = spec
        .containers
        .iter()
        // A log router is not run, but served.
        .find(|container| container.command.is_empty() && container.firelens.is_none())?;
    Some(format!(
        "CannotPullContainerError: image {} of container {name} cannot be pulled: tasks run as processes here. \
         Give a local command in its place: --exec {name}=COMMAND",
        container.image,
        name = container.name,
    ))
}

//! A task's init: the first process of its namespaces. It sets them up, makes
//! sockets in its networks for the shim, and starts a container's init for
//! each container. It ends, and everything in the task with it, when the shim
//! does: the shim's death is a signal to it, and closes its socket.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use bowline_plumbing::{
    fd_message,
    shim_link::APPLICATION_SOCKETS_MAX,
    sys::{
        child::set_signal_ignored,
        fork::{Forked, close_all_except, exit_now, fork_into},
    },
};
use nix::{
    mount::{MsFlags, mount},
    sched::CloneFlags,
    sys::signal::Signal,
    unistd::sethostname,
};
use rustix::process::set_parent_process_death_signal;

use super::{container_init, network::Networks, trust};
use crate::protocol::{ContainerSetUp, FromInit, InitSetUp, ToInit};

/// Sockets of the host's own name services, by which a task would resolve
/// names as the host does, past its own hosts file and DNS server.
const HOST_RESOLVERS: [&str; 3] =
    ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/avahi-daemon/socket"];

/// Runs as a task's init until the shim is gone.
pub(crate) fn run(socket: OwnedFd) -> ! {
    let result = serve(&socket);
    if let Err(error) = result {
        let _ = fd_message::send(&socket, &FromInit::Failed { reason: error.to_string() }, &[]);
    }
    exit_now(0)
}

fn serve(socket: &OwnedFd) -> io::Result<()> {
    close_all_except(&[socket.as_fd()])?;
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Containers' inits are reaped by nobody: the shim hears of their ends over their sockets.
    set_signal_ignored(Signal::SIGCHLD, true)?;
    nix::unistd::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

    let mut networks = None;
    let mut isolated = false;
    while let Some((order, fds)) = fd_message::receive::<ToInit>(socket)? {
        let (answer, sockets) = match order {
            ToInit::SetUp(set_up) => {
                isolated = set_up.isolated;
                answer(set_up_namespaces(&set_up).map(|(made, warnings)| {
                    networks = made;
                    (warnings, Vec::new())
                }))
            }
            ToInit::Listen { transport, address } => {
                answer(with(&networks, |networks| Ok(vec![networks.listen(transport, address)?])))
            }
            ToInit::ApplicationSockets { count } => answer(with(&networks, |_| {
                (0..count.min(APPLICATION_SOCKETS_MAX)).map(|_| Networks::application_socket()).collect()
            })),
            ToInit::Trust { directory } => {
                answer(trust::mount(&directory).map(|warnings| (warnings, Vec::new())))
            }
            ToInit::EgressTap => answer(with(&networks, |networks| Ok(vec![networks.egress_tap()?]))),
            ToInit::PacketFilters => answer(with(&networks, |networks| networks.packet_filters())),
            ToInit::RedirectEgress => answer(with(&networks, |networks| {
                networks.redirect_egress()?;
                Ok(Vec::new())
            })),
            ToInit::Container(set_up) => {
                answer(start_container(isolated, set_up, fds).map(|()| (Vec::new(), Vec::new())))
            }
        };
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        fd_message::send(socket, &answer, &borrowed)?;
    }
    Ok(())
}

type Made = (Vec<String>, Vec<OwnedFd>);

fn answer(result: io::Result<Made>) -> (FromInit, Vec<OwnedFd>) {
    match result {
        Ok((warnings, fds)) => (FromInit::Done { warnings }, fds),
        Err(error) => (FromInit::Failed { reason: error.to_string() }, Vec::new()),
    }
}

fn with(
    networks: &Option<Networks>,
    work: impl FnOnce(&Networks) -> io::Result<Vec<OwnedFd>>,
) -> io::Result<Made> {
    let networks = networks.as_ref().ok_or_else(|| io::Error::other("the task has no network of its own"))?;
    Ok((Vec::new(), work(networks)?))
}

fn set_up_namespaces(set_up: &InitSetUp) -> io::Result<(Option<Networks>, Vec<String>)> {
    if !set_up.isolated {
        return Ok((None, Vec::new()));
    }
    let step = |what: &'static str| move |error: io::Error| io::Error::other(format!("{what}: {error}"));
    let networks = Networks::set_up().map_err(step("setting up the task's networks"))?;
    sethostname(&set_up.hostname).map_err(io::Error::from).map_err(step("setting the task's host name"))?;
    // No mount made here may show outside, and none made outside later may appear here.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(io::Error::from)
        .map_err(step("making the task's mounts private"))?;
    let mut warnings = Vec::new();
    for (source, target) in [(&set_up.hosts_file, "/etc/hosts"), (&set_up.resolv_file, "/etc/resolv.conf")] {
        if let Err(error) = bind(source, Path::new(target)) {
            warnings.push(format!("the task sees the host's {target}: {error}"));
        }
    }
    for resolver in HOST_RESOLVERS {
        if Path::new(resolver).exists()
            && let Err(error) = bind(Path::new("/dev/null"), Path::new(resolver))
        {
            warnings.push(format!("the task can ask the host's resolver {resolver}: {error}"));
        }
    }
    Ok((Some(networks), warnings))
}

/// Mounts the file or directory `source` over `target`.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?)
}

fn start_container(isolated: bool, set_up: ContainerSetUp, fds: Vec<OwnedFd>) -> io::Result<()> {
    let mut fds = fds.into_iter();
    let orders = fds.next().ok_or_else(|| io::Error::other("no socket for the container"))?;
    let namespaces =
        if isolated { CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID } else { CloneFlags::empty() };
    match fork_into(namespaces)? {
        Forked::Parent(_) => Ok(()),
        Forked::Child => {
            debug_assert!(orders.as_raw_fd() > 2, "descriptors received are no standard ones");
            container_init::run(orders, fds.collect(), set_up)
        }
    }
}

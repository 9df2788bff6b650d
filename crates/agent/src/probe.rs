//! Whether tasks can have networks of their own here.

use std::{fs, io};

/// What this machine allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSupport {
    /// Tasks get user, network, mount and process namespaces of their own.
    pub isolated: bool,
    /// Why not, and what to do about it; for people.
    pub reason: Option<String>,
}

/// What a task without a network of its own is told when that was asked for.
pub(crate) const WEAKER_BY_CHOICE: &str = "network host: applications can be reached on the host's loopback past \
     their sidecars, can reach the network, and see each other's ports";

/// What a task without a network of its own is told.
pub(crate) fn weaker(error: &io::Error) -> String {
    format!(
        "no network of its own for the task ({error}): applications can be reached on the host's loopback past \
         their sidecars, can reach the network, and see each other's ports. {}",
        how_to_enable()
    )
}

/// Tries what a task's start would do, in a child that ends at once. Takes a
/// few milliseconds; may be called from any thread.
pub fn probe_network() -> NetworkSupport {
    let support = |error: io::Error| NetworkSupport {
        isolated: false,
        reason: Some(format!("{error}. {}", how_to_enable())),
    };
    if let Some(0) = read_number("/proc/sys/user/max_user_namespaces") {
        return support(io::Error::other("user.max_user_namespaces is 0"));
    }
    match bowline_plumbing::sys::child::try_namespaces() {
        Ok(()) => NetworkSupport { isolated: true, reason: None },
        Err(error) => support(error),
    }
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What an administrator can do, by what this machine has.
fn how_to_enable() -> String {
    if read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return "To enable: sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned();
    }
    if read_number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return "To enable: sysctl kernel.unprivileged_userns_clone=1".to_owned();
    }
    if read_number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return "To enable: sysctl user.max_user_namespaces=10000".to_owned();
    }
    "To enable: allow user namespaces; in Docker, --security-opt seccomp=unconfined \
     --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        .to_owned()
}

//! What a Bowline that has ended must not leave behind.

use std::{fs, path::Path};

/// Process ids of every process whose command line or environment names
/// `state_dir`, or that has a file of it open (every shim has), other than this one.
pub fn processes_of(state_dir: &Path) -> Vec<u32> {
    let needle = state_dir.to_string_lossy().into_owned();
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let mentions = |file: &str| {
                fs::read(format!("/proc/{pid}/{file}"))
                    .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&needle))
            };
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(state_dir));
            let opened = || {
                let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
                files
                    .into_iter()
                    .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.starts_with(state_dir)))
            };
            cwd || mentions("cmdline") || mentions("environ") || opened()
        })
        .collect();
    found.sort_unstable();
    found
}

/// Network namespaces in which some process lives.
pub fn network_namespaces() -> std::collections::BTreeSet<String> {
    fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some(fs::read_link(format!("/proc/{pid}/ns/net")).ok()?.to_string_lossy().into_owned())
        })
        .collect()
}

/// Lines of this process's mount table that name `state_dir`.
pub fn mounts_of(state_dir: &Path) -> Vec<String> {
    let needle = state_dir.to_string_lossy().into_owned();
    fs::read_to_string("/proc/self/mounts")
        .expect("the mount table is there")
        .lines()
        .filter(|line| line.contains(&needle))
        .map(str::to_owned)
        .collect()
}

/// TCP ports of 127.0.0.0/8 on which something listens.
pub fn listening_ports() -> std::collections::BTreeSet<u16> {
    fs::read_to_string("/proc/net/tcp")
        .expect("the socket table is there")
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, port) = fields.get(1)?.split_once(':')?;
            (*fields.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok()).flatten()
        })
        .collect()
}

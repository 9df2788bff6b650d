//! What the kernel holds for a mesh: processes, namespaces, packet filters, queueing disciplines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;

/// Kinds of namespaces that tasks and relays have of their own.
const NAMESPACES: &[&str] = &["net", "user", "mnt", "pid"];

/// Processes that have not lived so long yet are health checks and the like, of which there is now one, now none.
pub(crate) const LASTING: Duration = Duration::from_secs(3);

/// Times of `/proc` are counted in these, a second's parts: `USER_HZ` of Linux, which programs see on every machine that
/// this is built for.
const TICKS: f64 = 100.0;

/// What the kernel holds, without what is different each time: numbers of processes, inodes, addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KernelState {
    /// Processes of the mesh: how many of which name.
    pub(crate) processes: BTreeMap<String, usize>,
    /// How many different namespaces they live in, by kind.
    pub(crate) namespaces: BTreeMap<&'static str, usize>,
    /// How many namespaces are kept by mounts.
    pub(crate) mounted_namespaces: usize,
    /// Packet filters of their network namespaces and of this one: tables with how many rules. None: `nft` cannot be used.
    pub(crate) filters: Option<BTreeMap<String, usize>>,
    /// Queueing disciplines there. None: `tc` cannot be used.
    pub(crate) disciplines: Option<BTreeMap<String, usize>>,
    /// Numbers of the processes of each name, for people.
    #[serde(skip)]
    pub(crate) pids: BTreeMap<String, Vec<u32>>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    /// After the machine's start, in [`TICKS`].
    began: u64,
    name: String,
    is_of_mesh: bool,
}

/// Looks at what is there of the mesh that has this state directory, and of this program elsewhere (relays outlive it),
/// and has been for [`LASTING`].
pub(crate) fn look(state_dir: &Path) -> KernelState {
    let mut processes = processes(state_dir);
    // Where the machine's time is not told all count.
    let up = uptime().unwrap_or(f64::MAX);
    processes.retain(|process| up - process.began as f64 / TICKS >= LASTING.as_secs_f64());
    let mut state = KernelState::default();
    let mut one_of_each = BTreeMap::new();
    let mut namespaces: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for process in &processes {
        *state.processes.entry(process.name.clone()).or_default() += 1;
        state.pids.entry(process.name.clone()).or_default().push(process.pid);
        for kind in NAMESPACES {
            let link = format!("/proc/{}/ns/{kind}", process.pid);
            // It may have ended meanwhile.
            let Ok(inode) = fs::read_link(link) else { continue };
            let inode = inode.to_string_lossy().into_owned();
            if *kind == "net" {
                one_of_each.entry(inode.clone()).or_insert(process.pid);
            }
            namespaces.entry(kind).or_default().insert(inode);
        }
    }
    state.namespaces = namespaces.into_iter().map(|(kind, inodes)| (kind, inodes.len())).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    state.mounted_namespaces = mounts.lines().filter(|line| line.contains(" - nsfs ")).count();
    let pids: Vec<_> = one_of_each.into_values().chain([std::process::id()]).collect();
    state.filters = counted(&pids, &["nft", "list", "ruleset"], filters);
    state.disciplines = counted(&pids, &["tc", "qdisc", "show"], disciplines);
    state
}

/// Seconds since the machine's start.
fn uptime() -> Option<f64> {
    fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()
}

/// Processes of the mesh and what they have started. This one and its children are none.
fn processes(state_dir: &Path) -> Vec<Process> {
    let program = std::env::current_exe().ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    let mut all: BTreeMap<u32, Process> = pids
        .filter(|pid| *pid != own)
        .filter_map(|pid| Some((pid, process(pid, state_dir, program.as_deref())?)))
        .collect();
    loop {
        let found: Vec<_> = all
            .values()
            .filter(|it| !it.is_of_mesh && all.get(&it.parent).is_some_and(|parent| parent.is_of_mesh))
            .map(|it| it.pid)
            .collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            if let Some(process) = all.get_mut(&pid) {
                process.is_of_mesh = true;
            }
        }
    }
    all.into_values().filter(|process| process.is_of_mesh && process.parent != own).collect()
}

fn process(pid: u32, state_dir: &Path, program: Option<&Path>) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses, and may have some itself.
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    // What has ended and is not waited for is gone.
    let _running = fields.next().filter(|state| *state != "Z")?;
    let parent = fields.next()?.parse().ok()?;
    // proc_pid_stat(5): the fourth and the 22nd field.
    let began = fields.nth(17)?.parse().ok()?;
    let command = before.split_once('(')?.1.to_owned();
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let is_program =
        program.is_some() && fs::read_link(format!("/proc/{pid}/exe")).ok().as_deref() == program;
    let names_it = || {
        let needle = state_dir.to_string_lossy();
        let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
        arguments.iter().any(|it| it.contains(&*needle)) || cwd.is_ok_and(|cwd| cwd.starts_with(state_dir))
    };
    let name = match (is_program, arguments.get(1)) {
        (true, Some(subcommand)) => format!("bowline {subcommand}"),
        _ => command,
    };
    Some(Process { pid, parent, began, name, is_of_mesh: is_program || names_it() })
}

/// What a program tells within the network namespaces of processes, counted by `read`.
fn counted(
    pids: &[u32],
    command: &[&str],
    read: fn(&str, &mut BTreeMap<String, usize>),
) -> Option<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for pid in pids {
        let mut entered = Command::new("nsenter");
        // Who is not root has rights over a task's network only within the task's user namespace.
        let user = if rustix_is_root() { &[][..] } else { &["--preserve-credentials", "-U"][..] };
        entered.args(["-t", &pid.to_string(), "-n"]).args(user).arg("--").args(command);
        let told = entered.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        if !told.status.success() {
            // Of a process that has ended nothing can be told.
            if Path::new(&format!("/proc/{pid}")).exists() {
                return None;
            }
            continue;
        }
        read(&String::from_utf8_lossy(&told.stdout), &mut counts);
    }
    Some(counts)
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// `table inet x {` … : how many rules a table of that name has; in several namespaces, all together.
fn filters(text: &str, counts: &mut BTreeMap<String, usize>) {
    let mut table = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            let name = name.trim_end_matches([' ', '{']).to_owned();
            *counts.entry(format!("{name} tables")).or_default() += 1;
            table = Some(name);
        } else if let Some(name) = table.as_ref().filter(|_| line.starts_with("\t\t")) {
            *counts.entry(format!("{name} lines")).or_default() += 1;
        }
    }
}

/// `qdisc noqueue 0: dev lo root refcnt 2`: how many of which kind.
fn disciplines(text: &str, counts: &mut BTreeMap<String, usize>) {
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("qdisc ").and_then(|rest| rest.split(' ').next()) {
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_tell_is_counted_by_name() {
        let mut counts = BTreeMap::new();
        filters(
            "table inet bowline {\n\tchain output {\n\t\ttype filter hook output\n\t\tip daddr 10.0.0.1 drop\n\t}\n}\n",
            &mut counts,
        );
        filters("table inet bowline {\n}\ntable ip other {\n}\n", &mut counts);
        assert_eq!(counts["inet bowline tables"], 2);
        assert_eq!(counts["inet bowline lines"], 2);
        assert_eq!(counts["ip other tables"], 1);
        let mut counts = BTreeMap::new();
        disciplines("qdisc noqueue 0: dev lo root refcnt 2 \nqdisc netem 8001: dev eth0 root\n", &mut counts);
        assert_eq!(counts, BTreeMap::from([("noqueue".to_owned(), 1), ("netem".to_owned(), 1)]));
    }

    #[test]
    fn a_process_that_names_the_state_directory_is_found_and_so_are_its_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", "sleep 30 & wait", &directory.path().to_string_lossy()])
            .spawn()
            .expect("sh is there");
        let sleeps = || look_names(directory.path()).get("sleep").copied();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while sleeps().is_none() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let found = sleeps();
        // Its child is found by what it was started with, and ends by itself.
        let all = processes_all(directory.path());
        for pid in all {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
        assert_eq!(found, Some(1));
    }

    #[test]
    fn a_process_that_has_just_begun_is_not_counted_yet() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", "sleep 30 & wait", &directory.path().to_string_lossy()])
            .spawn()
            .expect("sh is there");
        let begun = std::time::Instant::now();
        let found = || processes(directory.path()).into_iter().find(|it| it.name == "sleep");
        while found().is_none() && begun.elapsed() < LASTING * 3 {
            std::thread::yield_now();
        }
        let found = found();
        let age =
            uptime().expect("the machine's time") - found.as_ref().map_or(0.0, |it| it.began as f64 / TICKS);
        let early = look(directory.path());
        let is_early = begun.elapsed() < LASTING;
        std::thread::sleep(LASTING);
        let late = look(directory.path());
        for pid in processes_all(directory.path()) {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
        let found = found.expect("it runs");
        assert!((-0.1..30.0).contains(&age), "{age} s");
        // On a machine that is very busy the first look may have come late.
        assert!(!is_early || early.pids.is_empty(), "{early:?}");
        assert_eq!(late.pids["sleep"], [found.pid]);
    }

    fn look_names(state_dir: &Path) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for process in processes(state_dir) {
            *names.entry(process.name).or_default() += 1;
        }
        names
    }

    fn processes_all(state_dir: &Path) -> Vec<u32> {
        processes(state_dir).into_iter().filter(|it| it.name == "sleep").map(|it| it.pid).collect()
    }
}

//! What tasks use of the machine: processor time, memory, network.
//!
//! A task is its shim and all that descends from it. What its control groups hold is asked of them; the rest (the
//! sidecar, and everything where control groups cannot be written) is summed over `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bowline_model::task::{TaskId, TaskUsage};
use bowline_plumbing::wall_clock;
use tokio::sync::mpsc;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(10);
/// Most processes of the machine that are looked at.
const PROCESSES_MAX: usize = 65_536;

/// The shims of tasks that run, as the agent knows them.
#[derive(Debug, Default)]
pub(crate) struct Shims(Mutex<HashMap<TaskId, Root>>);

/// Where a task's processes begin.
#[derive(Clone, Debug)]
struct Root {
    pid: i32,
    groups: Vec<PathBuf>,
}

impl Shims {
    /// A task's shim runs, and the task has these control groups.
    pub(crate) fn runs(&self, task: &TaskId, pid: u32, groups: Vec<PathBuf>) {
        let Ok(pid) = i32::try_from(pid) else { return };
        let mut shims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shims.insert(task.clone(), Root { pid, groups });
    }

    /// A task is over.
    pub(crate) fn ended(&self, task: &TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
    }

    fn all(&self) -> HashMap<TaskId, Root> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells `usage` what tasks use, until nobody hears it. What there is no room for is not told: the next one
/// covers its time, too.
pub(crate) async fn watch(shims: Arc<Shims>, usage: mpsc::Sender<Vec<TaskUsage>>) {
    let meter = Arc::new(Mutex::new(Meter::default()));
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !usage.is_closed() {
        ticks.tick().await;
        let (roots, meter) = (shims.all(), Arc::clone(&meter));
        if roots.is_empty() {
            continue;
        }
        let Ok(permit) = usage.try_reserve() else { continue };
        let measured = tokio::task::spawn_blocking(move || {
            meter.lock().unwrap_or_else(PoisonError::into_inner).measure(&roots)
        });
        match measured.await {
            Ok(Ok(measured)) if measured.is_empty() => {}
            Ok(Ok(measured)) => permit.send(measured),
            Ok(Err(error)) => tracing::debug!(%error, "what tasks use cannot be read"),
            Err(_) => return,
        }
    }
}

/// What a task has used until a moment.
#[derive(Clone, Copy, Debug)]
struct Total {
    at: Instant,
    cpu: Duration,
    received: u64,
    sent: u64,
}

/// Compares with the time before.
#[derive(Debug, Default)]
struct Meter {
    before: HashMap<TaskId, Total>,
}

impl Meter {
    /// What each task has used since the last call; a task that is new is told of from the next one on.
    fn measure(&mut self, roots: &HashMap<TaskId, Root>) -> io::Result<Vec<TaskUsage>> {
        let table = processes(Path::new("/proc"))?;
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, process) in &table {
            children.entry(process.parent).or_default().push(*pid);
        }
        let own_network = network_of(std::process::id() as i32);
        let mut measured = Vec::with_capacity(roots.len());
        self.before.retain(|task, _| roots.contains_key(task));
        for (task, root) in roots {
            if !table.contains_key(&root.pid) {
                continue;
            }
            let family = family(root.pid, &children);
            let (total, memory_bytes) = total(task, root, &family, &table, own_network.as_deref());
            if let Some(before) = self.before.insert(task.clone(), total) {
                measured.push(TaskUsage {
                    task: task.clone(),
                    at: wall_clock::now(),
                    over: total.at - before.at,
                    // A process that nobody waited for takes its time with it.
                    cpu: total.cpu.saturating_sub(before.cpu),
                    memory_bytes,
                    received_bytes: total.received.saturating_sub(before.received),
                    sent_bytes: total.sent.saturating_sub(before.sent),
                });
            }
        }
        Ok(measured)
    }
}

fn total(
    task: &TaskId,
    root: &Root,
    family: &HashSet<i32>,
    table: &HashMap<i32, Process>,
    own_network: Option<&Path>,
) -> (Total, u64) {
    let at = Instant::now();
    let grouped = group_usage(&root.groups);
    let (mut cpu, mut memory) = (grouped.cpu.unwrap_or_default(), grouped.memory.unwrap_or_default());
    let mut traffic = None;
    for pid in family {
        let Some(process) = table.get(pid) else { continue };
        let is_grouped = !root.groups.is_empty() && is_in_group(*pid, task);
        if grouped.cpu.is_none() || !is_grouped {
            cpu += process.cpu;
        }
        if grouped.memory.is_none() || !is_grouped {
            memory += own_memory(*pid);
        }
        // All programs of a task share a network; its shim and its sidecar are in the host's.
        if traffic.is_none() && network_of(*pid).as_deref() != own_network {
            traffic = traffic_of(*pid);
        }
    }
    let (received, sent) = traffic.unwrap_or_default();
    (Total { at, cpu, received, sent }, memory)
}

/// A process and all that descend from it.
fn family(root: i32, children: &HashMap<i32, Vec<i32>>) -> HashSet<i32> {
    let (mut family, mut next) = (HashSet::from([root]), vec![root]);
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if family.insert(*child) {
                next.push(*child);
            }
        }
    }
    family
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// Its own, and that of children it has waited for.
    cpu: Duration,
}

/// Every process of the machine.
fn processes(proc: &Path) -> io::Result<HashMap<i32, Process>> {
    let ticks = rustix::param::clock_ticks_per_second();
    let mut table = HashMap::new();
    for entry in fs::read_dir(proc)?.take(PROCESSES_MAX) {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has just ended is no error.
        let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).unwrap_or_default();
        if let Some(process) = read_stat(&stat, ticks) {
            table.insert(pid, process);
        }
    }
    Ok(table)
}

/// `/proc/PID/stat` (proc_pid_stat(5)).
fn read_stat(stat: &str, ticks_per_second: u64) -> Option<Process> {
    // The name, in parentheses, may hold anything: the fields begin after the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime, stime, cutime, cstime: fields 14 to 17 of all, the third of which is the first here.
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    let cpu = Duration::from_millis(ticks.saturating_mul(1_000) / ticks_per_second.max(1));
    Some(Process { parent, cpu })
}

/// Memory that is a process' alone, in bytes: pages of files would be there without it.
fn own_memory(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields =
        statm.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or_default());
    let (resident, shared) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64)
}

fn is_in_group(pid: i32, task: &TaskId) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.contains(&format!("/bowline/{}", task.as_str()))
}

/// What a task's control groups tell; `None` where none of them counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct GroupUsage {
    cpu: Option<Duration>,
    memory: Option<u64>,
}

fn group_usage(groups: &[PathBuf]) -> GroupUsage {
    let read = |path: &Path, file: &str| fs::read_to_string(path.join(file)).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let mut usage = GroupUsage::default();
    for group in groups {
        // Version 2, then version 1.
        let v2 =
            read(group, "cpu.stat").and_then(|text| field(&text, "usage_usec")).map(Duration::from_micros);
        let v1 = || read(group, "cpuacct.usage").and_then(number).map(Duration::from_nanos);
        usage.cpu = usage.cpu.or(v2).or_else(v1);
        let (current, cache) = match read(group, "memory.current").and_then(number) {
            Some(current) => (Some(current), "inactive_file"),
            None => (read(group, "memory.usage_in_bytes").and_then(number), "total_inactive_file"),
        };
        // As Docker, and so ECS, tells memory: pages that the kernel may drop do not count.
        let cache = read(group, "memory.stat").and_then(|text| field(&text, cache)).unwrap_or_default();
        usage.memory = usage.memory.or(current.map(|current| current.saturating_sub(cache)));
    }
    usage
}

/// A number of a file of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Names a process' network namespace.
fn network_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// Bytes received and sent over all interfaces but the loopback, in a process' network.
fn traffic_of(pid: i32) -> Option<(u64, u64)> {
    Some(read_traffic(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?))
}

fn read_traffic(text: &str) -> (u64, u64) {
    let mut sums = (0_u64, 0_u64);
    for line in text.lines() {
        let Some((name, fields)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let fields: Vec<u64> =
            fields.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        sums.0 = sums.0.saturating_add(fields.first().copied().unwrap_or_default());
        sums.1 = sums.1.saturating_add(fields.get(8).copied().unwrap_or_default());
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends with the test, whatever becomes of it.
    struct Busy(Child);

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A shell whose child counts for ever.
    fn busy() -> Busy {
        let script = "sh -c 'while :; do :; done' & child=$!; trap 'kill $child' EXIT TERM; read line";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        Busy(command.spawn().expect("there is a shell"))
    }

    fn task(number: u8) -> TaskId {
        TaskId::from_random([number; 16])
    }

    fn cpu_of(meter: &mut Meter, roots: &HashMap<TaskId, Root>, id: &TaskId) -> Option<TaskUsage> {
        meter.measure(roots).expect("there is /proc").into_iter().find(|usage| usage.task == *id)
    }

    #[test]
    fn a_task_that_counts_for_ever_uses_a_processor_and_one_that_sleeps_none() {
        let mut busy = busy();
        let idle =
            Busy(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("there is sleep"));
        let root = |child: &Child| Root { pid: child.id() as i32, groups: Vec::new() };
        let roots = HashMap::from([(task(1), root(&busy.0)), (task(2), root(&idle.0))]);
        let mut meter = Meter::default();
        assert!(cpu_of(&mut meter, &roots, &task(1)).is_none(), "there is nothing to compare with");
        // The kernel decides when the child runs: until it has used enough to be sure of.
        let (mut used, mut rested) = (Duration::ZERO, Duration::ZERO);
        let begun = Instant::now();
        while used < Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
            for usage in meter.measure(&roots).expect("there is /proc") {
                match usage.task == task(1) {
                    true => used += usage.cpu,
                    false => rested += usage.cpu,
                }
                assert!(usage.over >= Duration::from_millis(50) && usage.memory_bytes > 0, "{usage:?}");
            }
        }
        assert!(used >= Duration::from_millis(200), "{used:?}");
        // A tick is a hundredth of a second, and a process may take several to begin.
        assert!(rested <= Duration::from_millis(50), "{rested:?}");
        // Ends its child, too.
        drop(busy.0.stdin.take());
        let _ = busy.0.wait();
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "12 (a) b (c)) S 7 12 12 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 9 1000 2 3";
        let read = read_stat(stat, 100).expect("it is one");
        assert_eq!(read, Process { parent: 7, cpu: Duration::from_secs(2) });
        assert_eq!(read_stat("12 (x) S 7 1", 100), None);
        assert_eq!(read_stat("", 100), None);
    }

    #[test]
    fn control_groups_of_both_versions_tell_the_same() {
        let v1 = tempfile::tempdir().expect("a directory");
        let v2 = tempfile::tempdir().expect("a directory");
        let write = |dir: &tempfile::TempDir, file: &str, text: &str| {
            fs::write(dir.path().join(file), text).expect("written");
        };
        write(&v2, "cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
        write(&v2, "memory.current", "5000\n");
        write(&v2, "memory.stat", "anon 1\ninactive_file 1000\n");
        write(&v1, "cpuacct.usage", "2500000000\n");
        write(&v1, "memory.usage_in_bytes", "5000\n");
        write(&v1, "memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n");
        let expected = GroupUsage { cpu: Some(Duration::from_millis(2_500)), memory: Some(4_000) };
        for groups in [&v1, &v2] {
            assert_eq!(group_usage(&[groups.path().to_owned()]), expected);
        }
        assert_eq!(group_usage(&[]), GroupUsage::default());
    }

    #[test]
    fn traffic_is_of_all_interfaces_but_the_loopback() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n v1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(read_traffic(text), (101, 202));
    }
}

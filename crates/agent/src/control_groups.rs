//! A task's control groups, by which `cpu` and `memory` of tasks and
//! containers are enforced: `bowline/<task id>` with a child for the task's
//! init and one for each container (version 2 lets no group have both processes
//! and children). The sidecar is in none: what a container eats is not its fault.
//!
//! As on ECS, `cpu` of a task is a hard bound and `cpu` of a container a share
//! (AWS, "Task definition parameters"); `memory` of either is a hard bound.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bowline_model::task::{ResourceLimits, TaskSpec};

/// The group of the task's init, which containers have no part of.
const INIT: &str = "init";

/// The period of a CPU quota, in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The smallest quota that the kernel takes, in microseconds.
const CPU_QUOTA_US_MIN: u64 = 1_000;

/// For the last processes of an ended task to leave their groups.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Cpu,
    Memory,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn limit(self, limits: &ResourceLimits) -> Option<u64> {
        match self {
            Self::Cpu => limits.cpu_units.map(u64::from),
            Self::Memory => limits.memory_mib.map(|mib| u64::from(mib) * 1024 * 1024),
        }
    }
}

/// A task's group for one controller. Both controllers have the same one in
/// version 2 of control groups.
#[derive(Debug)]
struct Group {
    controller: Controller,
    unified: bool,
    path: PathBuf,
}

/// The control groups of a task.
#[derive(Debug, Default)]
pub(crate) struct ControlGroups {
    groups: Vec<Group>,
}

impl ControlGroups {
    /// Makes the groups that the task's limits need, and says what cannot be enforced.
    pub(crate) fn create(spec: &TaskSpec) -> (Self, Option<String>) {
        let mut made = Self::default();
        let mut missing = Vec::new();
        for controller in [Controller::Cpu, Controller::Memory] {
            let limited = |limits: &ResourceLimits| controller.limit(limits).is_some();
            if !limited(&spec.limits) && !spec.containers.iter().any(|c| limited(&c.limits)) {
                continue;
            }
            if let Err(error) = made.add(controller, spec) {
                missing.push(format!("{} ({error})", controller.name()));
            }
        }
        let warning = (!missing.is_empty())
            .then(|| format!("limits of the task are not enforced: {}", missing.join(", ")));
        (made, warning)
    }

    fn add(&mut self, controller: Controller, spec: &TaskSpec) -> io::Result<()> {
        let group = place(controller, spec.id.as_str())?;
        let set_up = || -> io::Result<()> {
            fs::create_dir_all(group.path.join(INIT))?;
            if let Some(limit) = controller.limit(&spec.limits) {
                group.bound(&group.path, limit)?;
            }
            for (index, container) in spec.containers.iter().enumerate() {
                let path = group.path.join(index.to_string());
                fs::create_dir_all(&path)?;
                match (controller, controller.limit(&container.limits)) {
                    (Controller::Memory, Some(limit)) => group.bound(&path, limit)?,
                    (Controller::Cpu, Some(units)) => group.share(&path, units)?,
                    (_, None) => {}
                }
            }
            Ok(())
        };
        let result = set_up();
        if result.is_err() && !self.groups.iter().any(|other| other.path == group.path) {
            remove(&[group.path]);
        } else {
            self.groups.push(group);
        }
        result
    }

    /// The groups' directories: what `remove` takes.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.groups.iter().map(|group| group.path.clone()).collect();
        paths.dedup();
        paths
    }

    /// Moves the task's init in; what it starts is in the groups from its start.
    pub(crate) fn admit_init(&self, pid: i32) -> io::Result<()> {
        for path in self.paths() {
            write(&path.join(INIT).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// By writing "0" to these a process enters the container's groups. Opened
    /// here, they work in every namespace.
    pub(crate) fn doors(&self, container: usize) -> io::Result<Vec<OwnedFd>> {
        let open = |path: PathBuf| {
            let procs = path.join(container.to_string()).join("cgroup.procs");
            Ok(fs::OpenOptions::new().write(true).open(procs)?.into())
        };
        self.paths().into_iter().map(open).collect()
    }

    /// Bytes of memory that the container can still take, of its own limit and its task's, before the kernel kills
    /// something in it, but for a twentieth of each; `None` where nothing is enforced.
    pub(crate) fn memory_room(&self, container: usize) -> Option<u64> {
        let groups = self.groups.iter().filter(|group| group.controller == Controller::Memory);
        let rooms = groups.flat_map(|group| {
            let own = group.path.join(container.to_string());
            [group.memory_room(&own), group.memory_room(&group.path)]
        });
        rooms.flatten().min()
    }

    /// Whether the kernel has killed something in the container for its memory.
    pub(crate) fn out_of_memory(&self, container: usize) -> bool {
        self.groups.iter().filter(|group| group.controller == Controller::Memory).any(|group| {
            let file = if group.unified { "memory.events" } else { "memory.oom_control" };
            let text = fs::read_to_string(group.path.join(container.to_string()).join(file));
            text.is_ok_and(|text| oom_kills(&text) > 0)
        })
    }
}

impl Group {
    /// Sets a hard bound: CPU units, or bytes.
    fn bound(&self, path: &Path, limit: u64) -> io::Result<()> {
        match (self.controller, self.unified) {
            (Controller::Cpu, true) => {
                write(&path.join("cpu.max"), &format!("{} {CPU_PERIOD_US}", quota_us(limit)))
            }
            (Controller::Cpu, false) => {
                write(&path.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
                write(&path.join("cpu.cfs_quota_us"), &quota_us(limit).to_string())
            }
            // Swap only delays the end, and not every kernel accounts for it.
            (Controller::Memory, true) => {
                let _ = write(&path.join("memory.swap.max"), "0");
                write(&path.join("memory.max"), &limit.to_string())
            }
            (Controller::Memory, false) => {
                write(&path.join("memory.limit_in_bytes"), &limit.to_string())?;
                let _ = write(&path.join("memory.memsw.limit_in_bytes"), &limit.to_string());
                Ok(())
            }
        }
    }

    /// What is cached of files counts as free: the kernel gives it up.
    fn memory_room(&self, path: &Path) -> Option<u64> {
        let (limit, used) =
            if self.unified { ("memory.max", "anon ") } else { ("memory.limit_in_bytes", "total_rss ") };
        let limit: u64 = fs::read_to_string(path.join(limit)).ok()?.trim().parse().ok()?;
        let statistics = fs::read_to_string(path.join("memory.stat")).ok()?;
        let used: u64 = statistics.lines().find_map(|line| line.strip_prefix(used))?.trim().parse().ok()?;
        Some(limit.saturating_sub(used).saturating_sub(limit / 20))
    }

    /// Sets the share of the CPU among the task's containers.
    fn share(&self, path: &Path, units: u64) -> io::Result<()> {
        let units = units.clamp(2, 262_144);
        if self.unified {
            write(&path.join("cpu.weight"), &weight(units).to_string())
        } else {
            write(&path.join("cpu.shares"), &units.to_string())
        }
    }
}

fn quota_us(cpu_units: u64) -> u64 {
    (cpu_units * CPU_PERIOD_US / 1024).max(CPU_QUOTA_US_MIN)
}

/// The weight (1 to 10,000) of shares (2 to 262,144), as container runtimes convert them.
fn weight(shares: u64) -> u64 {
    1 + (shares - 2) * 9_999 / 262_142
}

fn oom_kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Makes the task's group in the controller's hierarchy, beneath the group that
/// this process is in, so that whatever bounds it bounds the task.
fn place(controller: Controller, task: &str) -> io::Result<Group> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let name = controller.name();
    if let Some((mount, base)) = hierarchy(&mounts, &own, Some(name)) {
        let base = if base.is_dir() { base } else { mount };
        let path = base.join("bowline").join(task);
        fs::create_dir_all(&path).map_err(|error| described(&path, &error))?;
        return Ok(Group { controller, unified: false, path });
    }
    let (mount, base) = hierarchy(&mounts, &own, None)
        .ok_or_else(|| io::Error::other("no control groups are mounted here"))?;
    let mut failure = None;
    // A group with processes cannot hand its controllers down: then one above it may.
    for base in base.ancestors().take_while(|base| base.starts_with(&mount)) {
        match place_unified(base, name, task) {
            Ok(path) => return Ok(Group { controller, unified: true, path }),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("this process's control group is not visible")))
}

/// Tries what a task with limits needs, and says why that cannot be had.
///
/// # Errors
/// For people: limits of tasks would not be enforced.
pub fn probe_control_groups() -> Result<(), String> {
    let name = format!("probe-{}", std::process::id());
    for controller in [Controller::Cpu, Controller::Memory] {
        let group = place(controller, &name).map_err(|error| format!("{}: {error}", controller.name()))?;
        let removed = fs::remove_dir(&group.path);
        // Where no task is there, nothing is left behind.
        let _ = group.path.parent().map(fs::remove_dir);
        removed.map_err(|error| described(&group.path, &error).to_string())?;
    }
    Ok(())
}

fn place_unified(base: &Path, controller: &str, task: &str) -> io::Result<PathBuf> {
    let parent = base.join("bowline");
    let path = parent.join(task);
    hand_down(base, controller)?;
    fs::create_dir_all(&path).map_err(|error| described(&path, &error))?;
    hand_down(&parent, controller).and_then(|()| hand_down(&path, controller))?;
    Ok(path)
}

/// Lets a group's children have the controller.
fn hand_down(group: &Path, controller: &str) -> io::Result<()> {
    let file = group.join("cgroup.subtree_control");
    let known = fs::read_to_string(&file).map_err(|error| described(&file, &error))?;
    if known.split_whitespace().any(|known| known == controller) {
        return Ok(());
    }
    write(&file, &format!("+{controller}"))
}

/// Where a hierarchy (of a controller in version 1, or version 2's) is mounted,
/// and the directory in it of this process's group.
fn hierarchy(mounts: &str, own: &str, controller: Option<&str>) -> Option<(PathBuf, PathBuf)> {
    let mount = mounts.lines().find_map(|line| {
        let [_, path, kind, options] =
            <[&str; 4]>::try_from(line.split(' ').take(4).collect::<Vec<_>>()).ok()?;
        let matches = match controller {
            Some(name) => kind == "cgroup" && options.split(',').any(|option| option == name),
            None => kind == "cgroup2",
        };
        matches.then(|| PathBuf::from(path))
    })?;
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let matches = match controller {
            Some(name) => controllers.split(',').any(|known| known == name),
            None => controllers.is_empty(),
        };
        matches.then(|| path.trim_start_matches('/'))
    })?;
    let own = mount.join(path);
    Some((mount, own))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    // Never made by writing: in a file system of another kind it would be an ordinary file.
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|error| described(path, &error))
}

fn described(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Removes a task's groups once nothing is in them. Blocks for up to 2 s.
pub(crate) fn remove(paths: &[PathBuf]) {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    for path in paths {
        while let Err(error) = remove_one(path) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if Instant::now() >= deadline {
                tracing::warn!(path = %path.display(), %error, "a control group could not be removed");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn remove_one(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir(entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hierarchies_and_the_own_group_in_them() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let own = "4:cpu,cpuacct:/user\n1:name=systemd:/x\n0::/user.slice/a:b\n";
        let paths = |mount: &str, own: &str| Some((PathBuf::from(mount), PathBuf::from(own)));
        assert_eq!(
            hierarchy(mounts, own, Some("cpu")),
            paths("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/user")
        );
        assert_eq!(
            hierarchy(mounts, own, None),
            paths("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice/a:b")
        );
        assert_eq!(hierarchy(mounts, own, Some("memory")), None);
    }

    #[test]
    fn converts_units() {
        assert_eq!(quota_us(256), 25_000);
        assert_eq!(quota_us(1), CPU_QUOTA_US_MIN);
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
    }
}

//! This machine: what tasks need of it.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use bowline_model::clock::Timestamp;
use bowline_plumbing::{machine, wall_clock};

use super::{Check, Group};
use crate::{endpoint::DEFAULT_LISTEN, span};

/// The kernel that is tested with, at least.
const KERNEL_MIN: (u32, u32) = (5, 4);
/// From so little room on the disk on something will fail, and before that there is a warning, in bytes.
const ROOM_MIN: u64 = 128 << 20;
const ROOM_LOW: u64 = 1 << 30;
/// So many open files are not many: each connection of a proxy is one or two.
const FILES_LOW: u64 = 4_096;
/// So little memory is not much, in bytes.
const MEMORY_LOW: u64 = 256 << 20;
/// Files that are written later than now by more than this: the clock goes wrong.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(60);
/// No clock that is right is before this: 2025-01-01.
const NOT_BEFORE: Timestamp = Timestamp::from_secs(1_735_689_600);

/// What is found on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineFacts {
    /// As `/proc/sys/kernel/osrelease` has it.
    pub(crate) kernel: String,
    /// Why tasks have no networks of their own.
    pub(crate) namespaces: Result<(), String>,
    /// Why limits of tasks are not enforced.
    pub(crate) control_groups: Result<(), String>,
    /// Why the AWS endpoint's usual port cannot be had; `None`: it may be Bowline's own.
    pub(crate) endpoint_port: Option<Result<(), String>>,
    /// Whether the state directory may be used: by its owner alone, and writable.
    pub(crate) state_dir: StateDir,
    /// Bytes that are free where the state directory is, or will be.
    pub(crate) free_bytes: Option<u64>,
    /// Bytes of memory that are available.
    pub(crate) memory_available: Option<u64>,
    /// Files that a process may have open.
    pub(crate) files_max: Option<u64>,
    /// Now, by this machine's clock.
    pub(crate) now: Timestamp,
    /// When the newest file of the state directory was written.
    pub(crate) newest_file: Option<Timestamp>,
}

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDir {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its permissions; `None`: there is none yet.
    pub(crate) mode: Option<u32>,
    /// Why nothing can be written there.
    pub(crate) writable: Result<(), String>,
}

/// Looks. `running`: the AWS endpoint's port may be Bowline's own.
pub(crate) fn gather(state_dir: &Path, running: bool) -> MachineFacts {
    let namespaces = bowline_agent::probe_network();
    let existing = state_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    MachineFacts {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        namespaces: match namespaces.isolated {
            true => Ok(()),
            false => Err(namespaces.reason.unwrap_or_default()),
        },
        control_groups: bowline_agent::probe_control_groups(),
        endpoint_port: (!running).then(|| bind(DEFAULT_LISTEN)),
        state_dir: look_at(state_dir, existing),
        free_bytes: machine::free_bytes(existing).ok(),
        memory_available: memory_available(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        files_max: files_max(&fs::read_to_string("/proc/self/limits").unwrap_or_default()),
        now: wall_clock::now(),
        newest_file: newest_file(state_dir),
    }
}

fn bind(address: &str) -> Result<(), String> {
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    TcpListener::bind(address).map(drop).map_err(|error| format!("{address}: {error}"))
}

fn look_at(path: &Path, existing: &Path) -> StateDir {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o7777);
    let writable = tempfile::Builder::new().prefix(".bowline-check").tempfile_in(existing);
    let writable = writable.map(drop).map_err(|error: io::Error| error.to_string());
    StateDir { path: path.to_owned(), mode, writable }
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The soft limit.
fn files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn newest_file(directory: &Path) -> Option<Timestamp> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let written = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let since_1970 = written.filter_map(|at| at.duration_since(UNIX_EPOCH).ok()).max()?;
    Some(Timestamp::default() + since_1970)
}

/// What is well with a machine, and what is not.
pub(crate) fn judge(facts: &MachineFacts) -> Group {
    let page = "operating.md";
    let mut checks = vec![
        kernel(&facts.kernel),
        match &facts.namespaces {
            Ok(()) => Check::ok("machine-namespaces", "tasks have networks of their own"),
            Err(reason) => Check::warning(
                "machine-namespaces",
                format!("tasks have no networks of their own: {reason}"),
                "applications can be reached past their sidecars until user namespaces are allowed",
                page,
            ),
        },
        match &facts.control_groups {
            Ok(()) => Check::ok("machine-control-groups", "limits of processors and memory are enforced"),
            Err(reason) => Check::warning(
                "machine-control-groups",
                format!("limits of processors and memory are not enforced: {reason}"),
                "run Bowline in a control group that is delegated to it, as systemd-run --user --scope -p Delegate=yes does",
                page,
            ),
        },
    ];
    checks.extend(facts.endpoint_port.as_ref().map(|port| match port {
        Ok(()) => Check::ok("machine-endpoint-port", "the AWS endpoint's port can be had"),
        Err(reason) => Check::warning(
            "machine-endpoint-port",
            format!("the AWS endpoint's usual port cannot be had: {reason}"),
            "`bowline up` takes a free one; name one with --listen to know it before",
            "aws-endpoint.md",
        ),
    }));
    checks.extend([
        state_dir(&facts.state_dir),
        room(facts.free_bytes),
        low(
            "machine-memory",
            facts.memory_available,
            MEMORY_LOW,
            |bytes| format!("{} MiB of memory are available", bytes >> 20),
            "end what is not needed: proxies answer 503 when their memory runs out",
        ),
        low(
            "machine-open-files",
            facts.files_max,
            FILES_LOW,
            |files| match files {
                u64::MAX => "a process may have any number of files open".to_owned(),
                files => format!("a process may have {files} files open"),
            },
            "ulimit -n 65536 before `bowline up`: each connection of a proxy is a file or two",
        ),
        clock(facts),
    ]);
    Group { title: "machine", checks }
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    match version {
        Some(version) if version >= KERNEL_MIN => Check::ok("machine-kernel", format!("Linux {release}")),
        _ => Check::warning(
            "machine-kernel",
            format!("Linux {release}: older than what Bowline is tested with"),
            format!("Linux {}.{} or later is tested", KERNEL_MIN.0, KERNEL_MIN.1),
            "operating.md",
        ),
    }
}

fn state_dir(facts: &StateDir) -> Check {
    let (id, path) = ("machine-state-dir", facts.path.display());
    if let Err(reason) = &facts.writable {
        return Check::failure(
            id,
            format!("nothing can be written to the state directory {path}: {reason}"),
            "give it to the user that runs Bowline, or name another one with --state-dir",
            "operating.md",
        );
    }
    match facts.mode {
        Some(mode) if mode & 0o077 != 0 => Check::failure(
            id,
            format!("the state directory {path} is open to others (mode {mode:04o})"),
            format!("chmod 700 {path}"),
            "operating.md",
        ),
        Some(_) => Check::ok(id, format!("the state directory {path} is its owner's alone")),
        None => Check::ok(id, format!("the state directory {path} can be made")),
    }
}

fn room(free: Option<u64>) -> Check {
    let id = "machine-disk";
    let hint = "make room: metrics, logs and the audit trail are written there; --metrics-mib bounds metrics";
    match free {
        Some(free) if free < ROOM_MIN => {
            Check::failure(id, format!("{} MiB are free on the disk", free >> 20), hint, "operating.md")
        }
        Some(free) if free < ROOM_LOW => {
            Check::warning(id, format!("{} MiB are free on the disk", free >> 20), hint, "operating.md")
        }
        Some(free) => Check::ok(id, format!("{} GiB are free on the disk", free >> 30)),
        None => Check::warning(id, "how much room the disk has is not known", hint, "operating.md"),
    }
}

fn low(
    id: &'static str,
    found: Option<u64>,
    low: u64,
    what: impl Fn(u64) -> String,
    hint: &'static str,
) -> Check {
    match found {
        Some(found) if found < low => Check::warning(id, what(found), hint, "operating.md"),
        Some(found) => Check::ok(id, what(found)),
        None => Check::warning(id, "the system does not tell", hint, "operating.md"),
    }
}

fn clock(facts: &MachineFacts) -> Check {
    let id = "machine-clock";
    let hint = "set the clock, by NTP: certificates are valid from one moment to another";
    let ahead = facts.newest_file.map(|written| written.since(facts.now)).unwrap_or_default();
    if facts.now < NOT_BEFORE {
        let what = format!("the clock is wrong: it says {}", facts.now);
        return Check::failure(id, what, hint, "certificate-faults.md");
    }
    if ahead > CLOCK_SLACK {
        let what = format!("the clock has gone back: the state was written {} later", span::text(ahead));
        return Check::failure(id, what, hint, "certificate-faults.md");
    }
    Check::ok(id, format!("the clock says {}", facts.now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Outcome;

    fn good() -> MachineFacts {
        let now = NOT_BEFORE + Duration::from_secs(1_000);
        MachineFacts {
            kernel: "6.1.0-18-amd64".into(),
            namespaces: Ok(()),
            control_groups: Ok(()),
            endpoint_port: Some(Ok(())),
            state_dir: StateDir { path: "/state".into(), mode: Some(0o700), writable: Ok(()) },
            free_bytes: Some(10 << 30),
            memory_available: Some(1 << 30),
            files_max: Some(65_536),
            now,
            newest_file: Some(now),
        }
    }

    fn outcome(facts: &MachineFacts, id: &str) -> Outcome {
        let group = judge(facts);
        let check = group.checks.iter().find(|check| check.id == id);
        check.unwrap_or_else(|| panic!("no {id}: {group:?}")).outcome
    }

    #[test]
    fn a_good_machine_has_nothing_to_say() {
        let group = judge(&good());
        assert!(group.checks.iter().all(|check| check.outcome == Outcome::Ok), "{group:?}");
    }

    #[test]
    fn each_thing_that_is_missing_is_told() {
        let later = |seconds| Some(good().now + Duration::from_secs(seconds));
        let state_dir = |mode, writable| StateDir { mode, writable, ..good().state_dir };
        let no = || Err("no".to_owned());
        let (warning, failure) = (Outcome::Warning, Outcome::Failure);
        for (id, facts, wanted) in [
            ("machine-kernel", MachineFacts { kernel: "4.19.0".into(), ..good() }, warning),
            ("machine-kernel", MachineFacts { kernel: String::new(), ..good() }, warning),
            ("machine-namespaces", MachineFacts { namespaces: no(), ..good() }, warning),
            ("machine-control-groups", MachineFacts { control_groups: no(), ..good() }, warning),
            ("machine-endpoint-port", MachineFacts { endpoint_port: Some(no()), ..good() }, warning),
            (
                "machine-state-dir",
                MachineFacts { state_dir: state_dir(Some(0o755), Ok(())), ..good() },
                failure,
            ),
            (
                "machine-state-dir",
                MachineFacts { state_dir: state_dir(Some(0o700), no()), ..good() },
                failure,
            ),
            ("machine-state-dir", MachineFacts { state_dir: state_dir(None, Ok(())), ..good() }, Outcome::Ok),
            ("machine-disk", MachineFacts { free_bytes: Some(ROOM_MIN - 1), ..good() }, failure),
            ("machine-disk", MachineFacts { free_bytes: Some(ROOM_LOW - 1), ..good() }, warning),
            ("machine-disk", MachineFacts { free_bytes: None, ..good() }, warning),
            ("machine-memory", MachineFacts { memory_available: Some(1), ..good() }, warning),
            ("machine-open-files", MachineFacts { files_max: Some(1_024), ..good() }, warning),
            ("machine-clock", MachineFacts { now: Timestamp::default(), ..good() }, failure),
            ("machine-clock", MachineFacts { newest_file: later(61), ..good() }, failure),
            ("machine-clock", MachineFacts { newest_file: later(59), ..good() }, Outcome::Ok),
        ] {
            assert_eq!(outcome(&facts, id), wanted, "{facts:?}");
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(memory_available("MemAvailable: much kB"), None);
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024       4096    files\n";
        assert_eq!(files_max(limits), Some(1_024));
        assert_eq!(files_max("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(files_max(""), None);
        let directory = tempfile::tempdir().expect("a directory");
        let facts = gather(&directory.path().join("state"), true);
        assert_eq!((facts.state_dir.mode, &facts.state_dir.writable), (None, &Ok(())));
        assert!(facts.free_bytes.is_some() && facts.files_max.is_some(), "{facts:?}");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0, "nothing is left behind");
    }
}

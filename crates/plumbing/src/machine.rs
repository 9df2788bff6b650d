//! What this machine has.

use std::{io, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a process asks for: as many as Fargate lets a container have.
const OPEN_FILES: u64 = 65_535;

/// Processors and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Logical processors that this process may use.
    pub processors: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// Asks the kernel.
    ///
    /// # Errors
    /// `/proc` is not there, or says nothing of memory.
    pub fn this() -> io::Result<Self> {
        let processors = std::thread::available_parallelism()?.get();
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let memory_mib = total_memory(&meminfo)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal"))?;
        Ok(Self { processors: u32::try_from(processors).unwrap_or(u32::MAX), memory_mib })
    }
}

/// Bytes that a file beneath `path` may take, for who is not root.
///
/// # Errors
/// There is no such path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// How many files this process may have open (the soft limit); `u64::MAX`: as many as it likes.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process, and those that it starts, have as many files open as it may let itself, up to 65,535. Many systems
/// start processes with a soft limit of 1,024 for the sake of programs that use select(2), and leave it to the others to
/// raise it. How many that are now, as [`open_files`].
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        // Who may not goes on with what there is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    open_files()
}

/// `MemTotal` in MiB.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_table() {
        assert_eq!(total_memory("MemTotal:       16316508 kB\nMemFree: 1 kB\n"), Some(15_934));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        assert_eq!(total_memory("MemTotal: much kB\n"), None);
        assert!(free_bytes(Path::new("/")).is_ok() && free_bytes(Path::new("/no/such/path")).is_err());
        let machine = Machine::this().expect("Linux tells");
        assert!(machine.processors > 0 && machine.memory_mib > 0);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_and_never_lowered() {
        let before = open_files();
        let raised = raise_open_files();
        assert!(
            raised >= before
                && raised >= OPEN_FILES.min(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))
        );
        assert_eq!(raise_open_files(), raised);
    }
}

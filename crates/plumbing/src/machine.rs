//! What this machine has.

use std::{io, path::Path};

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
}

//! Watches the proxy's own memory, and says what new work is given up for it
//! ([`bowline_model::overload`] decides).

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_model::overload::Shedding;
use bowline_plumbing::sys;

use crate::shared::Shared;

/// How often the memory is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How seldom freed memory is given back to the system, which stops the allocator for a moment.
const LOOKS_BETWEEN_RELEASES: u32 = 10;
/// Of the machine's memory, where nobody set a limit.
const SHARE_OF_MACHINE: u64 = 4;
const CGROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// What is given up at this moment: read for each request, written by one.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    shedding: AtomicU8,
    /// Bytes; `None`: what the control group or the machine leaves to a process like this.
    limit: Option<u64>,
}

impl Overload {
    pub(crate) fn of(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether new requests are answered 503.
    pub(crate) fn sheds_requests(&self) -> bool {
        self.shedding.load(Relaxed) >= Shedding::Requests as u8
    }

    /// Whether no connections are accepted.
    pub(crate) fn sheds_connections(&self) -> bool {
        self.shedding.load(Relaxed) >= Shedding::Connections as u8
    }

    /// Returns when connections are accepted again.
    pub(crate) async fn accepts_connections(&self) {
        while self.sheds_connections() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Watches for as long as the proxy runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let limit = shared.overload.limit.or_else(default_limit);
    let (Some(limit), Some(page)) = (limit, page_bytes()) else { return };
    let (mut shedding, mut looks) = (Shedding::None, 0_u32);
    loop {
        looks = looks.wrapping_add(1);
        // What the allocator keeps for later would be counted for ever.
        if shedding != Shedding::None && looks.is_multiple_of(LOOKS_BETWEEN_RELEASES) {
            sys::release_memory();
        }
        if let Some(used) = resident_pages().map(|pages| pages * page) {
            let next = shedding.next(used, limit);
            if next != shedding {
                tracing::warn!(used, limit, shedding = ?next, "memory: what new work is given up");
                shared.overload.shedding.store(next as u8, Relaxed);
                shedding = next;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The least of the control group's limit and a quarter of the machine's memory.
fn default_limit() -> Option<u64> {
    let of_group = CGROUP_LIMITS.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let of_machine = machine.map(|kibibytes| kibibytes * 1_024 / SHARE_OF_MACHINE);
    of_group.into_iter().chain(of_machine).min()
}

/// Bytes of this process in memory.
pub(crate) fn resident_bytes() -> Option<u64> {
    Some(resident_pages()? * page_bytes()?)
}

/// Pages of this process in memory. Source: proc(5), `statm`, which costs less than `status`.
fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

/// Source: getauxval(3), `AT_PAGESZ`.
fn page_bytes() -> Option<u64> {
    const AT_PAGESZ: u64 = 6;
    let vector = fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
    let found = vector.chunks_exact(16).find(|entry| word(&entry[..8]) == Some(AT_PAGESZ))?;
    word(&found[8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        let page = page_bytes().expect("a page has a size");
        assert!(page.is_power_of_two() && page >= 4_096, "{page}");
        let before = resident_pages().expect("a process has memory") * page;
        let block = vec![1_u8; 64 << 20];
        let after = resident_pages().expect("a process has memory") * page;
        assert!(after >= before + (32 << 20), "{before} {after} {}", block.len());
        assert!(default_limit().expect("there is a limit") > after);
    }
}

//! Watches the proxy's own memory, and says what new work is given up for it
//! ([`bowline_model::overload`] decides).

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Duration,
};

use bowline_model::overload::{LOOK_AT_LEAST_AFTER, LOOK_AT_MOST_AFTER, Shedding, next_look};
use bowline_plumbing::sys;
use tokio::{sync::Notify, time::timeout};

use crate::{
    metrics::{Direction, Metrics},
    shared::Shared,
};

/// For so long the looks have seen nothing begin.
const QUIET_BEFORE_REST: Duration = Duration::from_secs(1);
/// With less than this part of its limit a proxy may rest.
const REST_BELOW: u64 = 2;
/// How seldom freed memory is given back to the system, which stops the allocator for a moment.
const LOOKS_BETWEEN_RELEASES: u32 = 10;
/// Of the machine's memory, where nobody set a limit.
const SHARE_OF_MACHINE: u64 = 4;
const CGROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// Beside a [`Shedding`]: nothing has begun since the memory was last looked at.
const QUIET: u8 = 0x80;

/// What is given up at this moment: read for each request, written by one.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// A [`Shedding`], and [`QUIET`] where it is so: whoever begins something reads one byte.
    state: AtomicU8,
    /// Something began when it was quiet.
    stirred: Notify,
    /// Bytes; `None`: what the control group or the machine leaves to a process like this.
    limit: Option<u64>,
}

impl Overload {
    pub(crate) fn of(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// For a request that begins: whether it is answered 503.
    pub(crate) fn sheds_requests(&self) -> bool {
        self.begins() >= Shedding::Requests as u8
    }

    /// What is given up.
    pub(crate) fn shedding(&self) -> u8 {
        self.state.load(Relaxed) & !QUIET
    }

    /// Returns when connections are accepted again.
    pub(crate) async fn accepts_connections(&self) {
        while self.shedding() >= Shedding::Connections as u8 {
            tokio::time::sleep(LOOK_AT_LEAST_AFTER).await;
        }
    }

    /// What is given up as something begins: a connection that was accepted, or a request.
    pub(crate) fn begins(&self) -> u8 {
        let state = self.state.load(Relaxed);
        if state & QUIET != 0 {
            self.stir();
        }
        state & !QUIET
    }

    #[cold]
    fn stir(&self) {
        self.state.fetch_and(!QUIET, AcqRel);
        self.stirred.notify_one();
    }

    /// Sets what is given up; whether nothing has begun since this was last called.
    fn looked(&self, shedding: Shedding) -> bool {
        self.state.swap(shedding as u8 | QUIET, AcqRel) & QUIET != 0
    }
}

/// When the memory is looked at less often: a process that rests is to cost nothing.
///
/// Memory grows by what is begun, of which the first wakes the watcher, or by what is under way. Streams of bytes that
/// are neither are bounded each, and looked at all the same, every [`LOOK_AT_MOST_AFTER`], far from the limit.
#[derive(Debug, Default)]
struct Rest {
    quiet_for: Duration,
}

impl Rest {
    /// After a look, `since` the one before it.
    fn may_begin(&mut self, quiet: bool, since: Duration, shedding: Shedding, used: u64, limit: u64) -> bool {
        self.quiet_for = if quiet { self.quiet_for.saturating_add(since) } else { Duration::ZERO };
        self.quiet_for >= QUIET_BEFORE_REST && shedding == Shedding::None && used < limit / REST_BELOW
    }
}

/// Watches for as long as the proxy runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let limit = shared.overload.limit.or_else(default_limit);
    let (Some(limit), Some(page), Some(memory)) = (limit, page_bytes(), Memory::open()) else { return };
    let (mut shedding, mut looks, mut rest) = (Shedding::None, 0_u32, Rest::default());
    let (mut has_rested, mut since) = (false, Duration::ZERO);
    loop {
        looks = looks.wrapping_add(1);
        // What the allocator keeps for later would be counted for ever.
        if shedding != Shedding::None && looks.is_multiple_of(LOOKS_BETWEEN_RELEASES) {
            sys::release_memory();
        }
        let used = memory.resident_pages().map(|pages| pages * page);
        if let Some(used) = used {
            let next = shedding.next(used, limit);
            if next != shedding {
                tracing::warn!(used, limit, shedding = ?next, "memory: what new work is given up");
                shedding = next;
            }
        }
        let quiet = shared.overload.looked(shedding) && calls_under_way(&shared.metrics) <= 0;
        let used = used.unwrap_or(limit);
        if rest.may_begin(quiet, since, shedding, used, limit) {
            since = LOOK_AT_MOST_AFTER;
            if !has_rested {
                has_rested = true;
                give_back_start();
            }
            // Either way it is time to look.
            let _ = timeout(since, shared.overload.stirred.notified()).await;
        } else {
            since = next_look(used, limit);
            tokio::time::sleep(since).await;
        }
    }
}

/// What the start alone needed: most of what a sidecar without work has in memory is pages of its program's file. Once, for
/// afterwards it would be missing each time that there is work again.
fn give_back_start() {
    sys::release_memory();
    if let Err(error) = sys::program::release_program() {
        tracing::debug!(%error, "the program's pages stay in memory");
    }
}

fn calls_under_way(metrics: &Metrics) -> i64 {
    let of = |direction| metrics.of(direction).requests_active.get();
    of(Direction::Outbound) + of(Direction::Inbound) + of(Direction::Public)
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
    Some(Memory::open()?.resident_pages()? * page_bytes()?)
}

/// What the kernel tells of this process' memory, kept open: each look is one call.
///
/// Source: proc(5), `statm`, which costs less than `status`.
#[derive(Debug)]
struct Memory(File);

impl Memory {
    fn open() -> Option<Self> {
        File::open("/proc/self/statm").ok().map(Self)
    }

    /// Pages of this process in memory.
    fn resident_pages(&self) -> Option<u64> {
        // Seven numbers.
        let mut text = [0; 256];
        let length = self.0.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.split(' ').nth(1)?.parse().ok()
    }
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
        let memory = Memory::open().expect("the kernel tells");
        let before = memory.resident_pages().expect("a process has memory") * page;
        let block = vec![1_u8; 64 << 20];
        let after = memory.resident_pages().expect("a process has memory") * page;
        assert!(after >= before + (32 << 20), "{before} {after} {}", block.len());
        assert!(default_limit().expect("there is a limit") > after);
    }

    #[test]
    fn what_begins_is_noticed_once_a_look() {
        let overload = Overload::default();
        assert!(!overload.looked(Shedding::None), "nobody had looked before");
        assert!(overload.looked(Shedding::Requests));
        assert_eq!(overload.shedding(), Shedding::Requests as u8);
        assert!(overload.looked(Shedding::Requests), "to ask begins nothing");
        assert!(overload.sheds_requests() && overload.sheds_requests());
        assert!(!overload.looked(Shedding::None));
        assert!(!overload.sheds_requests());
        assert!(!overload.looked(Shedding::None));
        assert!(overload.looked(Shedding::None));
    }

    #[test]
    fn rests_far_from_its_limit_when_nothing_is_under_way() {
        let (limit, little) = (1_000, 499);
        let rests = |quiet, since, shedding, used| {
            let mut rest = Rest::default();
            (1..=20).find(|_| rest.may_begin(quiet, since, shedding, used, limit))
        };
        let (often, seldom) = (QUIET_BEFORE_REST / 10, QUIET_BEFORE_REST);
        assert_eq!(rests(true, often, Shedding::None, little), Some(10));
        assert_eq!(rests(true, seldom, Shedding::None, little), Some(1));
        assert_eq!(rests(false, often, Shedding::None, little), None);
        assert_eq!(rests(true, often, Shedding::Requests, little), None);
        assert_eq!(rests(true, often, Shedding::None, 500), None);
        let mut rest = Rest { quiet_for: QUIET_BEFORE_REST };
        assert!(!rest.may_begin(false, often, Shedding::None, little, limit), "it is over at once");
        assert!(!rest.may_begin(true, often, Shedding::None, little, limit));
    }

    #[tokio::test]
    async fn what_begins_wakes_the_watcher_from_its_rest() {
        let overload = Overload::default();
        overload.looked(Shedding::None);
        let rest = timeout(Duration::from_secs(20), overload.stirred.notified());
        let stir = async {
            tokio::task::yield_now().await;
            overload.begins();
        };
        let (woken, ()) = tokio::join!(rest, stir);
        assert!(woken.is_ok());
    }
}

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

/// When the memory is looked at again: the later the farther its limit is, and a process that rests is to cost nothing.
///
/// Memory grows by what is begun, of which the first wakes the watcher, or by what is under way. Streams of bytes that
/// are neither are bounded each, and looked at all the same, every [`LOOK_AT_MOST_AFTER`], far from the limit.
#[derive(Debug, Default)]
struct Pace {
    quiet_for: Duration,
    /// Between the last two looks.
    last: Duration,
}

/// What comes after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Another look after so long.
    Work(Duration),
    /// Another look after so long, or as soon as something begins.
    Rest(Duration),
}

impl Pace {
    /// After a look. `quiet`: nothing has begun since the one before, and nothing is under way.
    fn next(&mut self, quiet: bool, shedding: Shedding, used: u64, limit: u64) -> Pause {
        self.quiet_for = if quiet { self.quiet_for.saturating_add(self.last) } else { Duration::ZERO };
        let is_far = shedding == Shedding::None && used < limit / REST_BELOW;
        let pause = match self.quiet_for >= QUIET_BEFORE_REST && is_far {
            true => Pause::Rest(LOOK_AT_MOST_AFTER),
            false => Pause::Work(next_look(used, limit)),
        };
        let (Pause::Work(length) | Pause::Rest(length)) = pause;
        self.last = length;
        pause
    }
}

/// Watches for as long as the proxy runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let limit = shared.overload.limit.or_else(default_limit);
    let (Some(limit), Some(page), Some(memory)) = (limit, page_bytes(), Memory::open()) else { return };
    let (mut shedding, mut looks, mut pace) = (Shedding::None, 0_u32, Pace::default());
    let mut has_rested = false;
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
        match pace.next(quiet, shedding, used.unwrap_or(limit), limit) {
            Pause::Work(length) => tokio::time::sleep(length).await,
            Pause::Rest(length) => {
                if !has_rested {
                    has_rested = true;
                    give_back_start();
                }
                // Either way it is time to look.
                let _ = timeout(length, shared.overload.stirred.notified()).await;
            }
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

    const LIMIT: u64 = 1 << 30;

    #[test]
    fn rests_far_from_its_limit_when_nothing_is_under_way() {
        // Another look so often: ten times a second a little under the half, once a second far from it.
        let (near, far) = (LIMIT / 2 - 1, 0);
        let rests = |quiet, shedding, used| {
            let mut pace = Pace::default();
            (1..=50).find(|_| matches!(pace.next(quiet, shedding, used, LIMIT), Pause::Rest(_)))
        };
        let looks = |used| {
            let between = next_look(used, LIMIT).as_millis();
            // The first look has none before it.
            Some(1 + QUIET_BEFORE_REST.as_millis().div_ceil(between))
        };
        assert_eq!(rests(true, Shedding::None, near), looks(near));
        assert_eq!(rests(true, Shedding::None, far), looks(far));
        assert_ne!(looks(near), looks(far));
        assert_eq!(rests(false, Shedding::None, near), None);
        assert_eq!(rests(true, Shedding::Requests, near), None);
        assert_eq!(rests(true, Shedding::None, LIMIT / 2), None);
        let mut pace = Pace { quiet_for: QUIET_BEFORE_REST, last: QUIET_BEFORE_REST };
        assert_eq!(pace.next(true, Shedding::None, far, LIMIT), Pause::Rest(LOOK_AT_MOST_AFTER));
        assert!(matches!(pace.next(false, Shedding::None, far, LIMIT), Pause::Work(_)), "it is over at once");
        assert!(matches!(pace.next(true, Shedding::None, far, LIMIT), Pause::Work(_)));
    }

    #[test]
    fn at_work_it_looks_as_often_as_the_limit_is_near() {
        for used in [0, LIMIT / 4, LIMIT / 2, LIMIT, 2 * LIMIT] {
            let mut pace = Pace::default();
            for quiet in [false, true] {
                let next = pace.next(quiet, Shedding::None, used, LIMIT);
                assert_eq!(next, Pause::Work(next_look(used, LIMIT)), "{used}");
            }
        }
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

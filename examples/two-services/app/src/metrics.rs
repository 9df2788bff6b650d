//! CPU and memory, measured from `/proc`.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Two readings closer together than this say nothing: the kernel counts in ticks of 10 ms.
pub(crate) const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

/// A reading of the CPU counters, in ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTicks {
    /// All CPUs together, idle or not.
    total: u64,
    /// All CPUs together, not idle and not waiting for a disk.
    busy: u64,
    /// This process, in user and kernel mode.
    process: Option<u64>,
}

/// The share of the CPU that was used between two readings, in percent of all CPUs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuUse {
    /// By everything on the machine.
    pub(crate) machine: f64,
    /// By this process.
    pub(crate) process: Option<f64>,
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MemoryUse {
    /// All of the machine's memory, in bytes.
    pub(crate) total: u64,
    /// What could still be had without swapping, in bytes.
    pub(crate) available: u64,
    /// What this process holds, in bytes.
    pub(crate) process: Option<u64>,
}

impl MemoryUse {
    /// Reads `/proc/meminfo` and `/proc/self/status`.
    pub(crate) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok();
        Self::parse(&fs::read_to_string("/proc/meminfo").ok()?, status.as_deref())
    }

    fn parse(meminfo: &str, status: Option<&str>) -> Option<Self> {
        Some(Self {
            total: kibibytes(meminfo, "MemTotal:")?,
            available: kibibytes(meminfo, "MemAvailable:")?,
            process: status.and_then(|status| kibibytes(status, "VmRSS:")),
        })
    }

    /// The share of the machine's memory that is not available, in percent.
    pub(crate) fn percent(&self) -> f64 {
        percent(self.total.saturating_sub(self.available), self.total)
    }
}

/// Measures CPU use from one call to the next.
#[derive(Debug)]
pub(crate) struct CpuMeter(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Option<(Instant, CpuTicks)>,
    last: Option<CpuUse>,
}

impl CpuMeter {
    /// A meter whose first window starts now.
    pub(crate) fn start() -> Self {
        let since = CpuTicks::read().map(|ticks| (Instant::now(), ticks));
        Self(Mutex::new(State { since, last: None }))
    }

    /// The CPU use since the last call that started a window; `None` while the first window is too short
    /// to say anything, or where `/proc` cannot be read.
    pub(crate) fn read(&self) -> Option<CpuUse> {
        // A panic elsewhere cannot leave two plain numbers half written.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((start, _)) = state.since
            && now.duration_since(start) < SHORTEST_WINDOW
        {
            return state.last;
        }
        let ticks = CpuTicks::read()?;
        if let Some((_, before)) = state.since {
            state.last = ticks.since(&before);
        }
        state.since = Some((now, ticks));
        state.last
    }
}

impl CpuTicks {
    fn read() -> Option<Self> {
        let process = fs::read_to_string("/proc/self/stat").ok();
        Self::parse(&fs::read_to_string("/proc/stat").ok()?, process.as_deref())
    }

    fn parse(stat: &str, process: Option<&str>) -> Option<Self> {
        // cpu  user nice system idle iowait irq softirq steal guest guest_nice; the guests are in user and
        // nice already (proc_stat(5)).
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields = line.split_ascii_whitespace().take(8).map(|field| field.parse().ok());
        let fields: Vec<u64> = fields.collect::<Option<_>>()?;
        let total = fields.iter().try_fold(0u64, |sum, field| sum.checked_add(*field))?;
        let idle = fields.get(3)?.checked_add(*fields.get(4)?)?;
        Some(Self { total, busy: total - idle, process: process.and_then(process_ticks) })
    }

    fn since(&self, before: &Self) -> Option<CpuUse> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        // The kernel may take back some idle time, so busy may seem to run backwards.
        let machine = percent(self.busy.saturating_sub(before.busy), total);
        let process = self.process.zip(before.process);
        let process = process.map(|(now, before)| percent(now.saturating_sub(before), total));
        Some(CpuUse { machine, process })
    }
}

/// `utime` and `stime` of `/proc/self/stat`, fields 14 and 15. The name in field 2 may hold blanks and
/// parentheses, so counting starts after the last parenthesis (proc_pid_stat(5)).
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    user.checked_add(kernel)
}

/// A `Name:   123 kB` line, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// `part` of `whole` in percent with one decimal, as psutil gives it.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 1000.0 / whole as f64).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_use_is_the_busy_share_of_the_window() {
        let before = CpuTicks::parse("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n", None).expect("stat");
        assert_eq!(before, CpuTicks { total: 1000, busy: 150, process: None });
        let after = CpuTicks::parse("cpu  150 0 75 900 75 0 0 0 9 0\n", None).expect("stat");
        assert_eq!(after.since(&before), Some(CpuUse { machine: 37.5, process: None }));
        assert_eq!(after.since(&after), None, "no time has passed");
    }

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20";
        assert_eq!(process_ticks(stat), Some(100));
        assert_eq!(process_ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal:        4000 kB\nMemFree:  1 kB\nMemAvailable:    1000 kB\n";
        let memory = MemoryUse::parse(meminfo, Some("Name:\tx\nVmRSS:\t  12 kB\n")).expect("meminfo");
        assert_eq!(memory, MemoryUse { total: 4_096_000, available: 1_024_000, process: Some(12_288) });
        assert_eq!(memory.percent(), 75.0);
        assert_eq!(MemoryUse::parse("MemTotal: x kB", None), None);
    }

    #[test]
    fn this_machine_is_measured() {
        let meter = CpuMeter::start();
        let start = Instant::now();
        // Busy until the window is long enough: the process must show up in its own measurement.
        let used = loop {
            if let Some(used) = meter.read().filter(|_| start.elapsed() > SHORTEST_WINDOW * 2) {
                break used;
            }
        };
        assert!(used.machine > 0.0 && used.machine <= 100.0, "{used:?}");
        assert!(used.process.expect("own ticks") > 0.0, "{used:?}");
        let memory = MemoryUse::read().expect("meminfo");
        assert!(memory.process.expect("VmRSS") > 0 && memory.percent() > 0.0, "{memory:?}");
    }
}

//! A program that puts load on the container that it runs in: started there by the task's shim, which tells it over its
//! standard input what to do. It ends at its deadline, and at once when the shim closes its end or ends.

mod disk;
mod memory;
mod processor;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use bowline_plumbing::fd_message;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

/// What to do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) lasting: Duration,
    pub(crate) load: Load,
}

/// What to put load on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Processors.
    Cpu {
        /// Of each worker's time.
        percent: u8,
        /// 0: as many as there are processors.
        workers: u16,
    },
    /// Memory.
    Memory {
        /// Of the limit, or of the machine's.
        percent: u8,
        /// In bytes.
        limit: Option<u64>,
        /// Bytes that can be taken before something is killed.
        room: Option<u64>,
    },
    /// Files.
    Io {
        /// Of the free space.
        percent: u8,
        /// 0: one.
        workers: u16,
    },
}

/// To the shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromStress {
    /// The load is there.
    Ready {
        /// How much.
        what: String,
    },
    /// It cannot be, and why.
    Failed {
        /// For people.
        reason: String,
    },
}

/// Runs until the deadline, or until who ordered it is gone.
pub fn main() -> ExitCode {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let Ok(Some((order, _))) = fd_message::receive::<Order>(&socket) else {
        eprintln!("nobody says what load to make: a task's shim starts this program for a fault");
        return ExitCode::FAILURE;
    };
    // Rather this than what it shares the machine with.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let watch = Watch { deadline: Instant::now() + order.lasting, socket };
    match begin(&order.load, &watch) {
        Ok((what, mut held)) => {
            watch.say(&FromStress::Ready { what });
            while !watch.is_over(RETOUCH) {
                held.touch(&watch);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            watch.say(&FromStress::Failed { reason: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

/// Memory that is not used would be swapped out: it is touched so often.
const RETOUCH: Duration = Duration::from_secs(1);

/// When to end.
#[derive(Debug)]
struct Watch {
    deadline: Instant,
    socket: OwnedFd,
}

impl Watch {
    /// Whether it is time to end; known at once or after `wait`.
    fn is_over(&self, wait: Duration) -> bool {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return true;
        }
        // Rounded up, for else the last millisecond would be spent asking.
        let wait = wait.min(remaining).as_micros().div_ceil(1000);
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // Nothing is sent after the order: what can be read is the end.
        poll(&mut ready, wait).is_ok_and(|ready| ready > 0) || Instant::now() >= self.deadline
    }

    fn say(&self, what: &FromStress) {
        let _ = fd_message::send(&self.socket, what, &[]);
    }
}

/// What the load is made of beside threads.
trait Held {
    /// Uses it.
    fn touch(&mut self, _: &Watch) {}
}

struct Threads;

impl Held for Threads {}

/// Returns when the load is there, and what it is.
fn begin(load: &Load, watch: &Watch) -> io::Result<(String, Box<dyn Held>)> {
    match load {
        Load::Cpu { percent, workers } => {
            let workers = processor::begin(*percent, *workers)?;
            Ok((format!("{workers} workers, {percent} % of the time"), Box::new(Threads)))
        }
        Load::Memory { percent, limit, room } => {
            let bytes = memory::to_hold(*percent, *limit, *room)?;
            let memory = memory::hold(bytes, watch)?;
            Ok((format!("{} of {bytes} bytes of memory", memory.bytes()), Box::new(memory)))
        }
        Load::Io { percent, workers } => {
            let (workers, bytes) = disk::begin(*percent, *workers)?;
            Ok((format!("{workers} workers, each with up to {bytes} bytes"), Box::new(Threads)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_at_the_deadline_and_when_nobody_is_there() {
        let (ours, theirs) = fd_message::pair().expect("sockets");
        let watch = Watch { deadline: Instant::now() + Duration::from_secs(3600), socket: theirs };
        assert!(!watch.is_over(Duration::ZERO));
        drop(ours);
        assert!(watch.is_over(Duration::from_secs(3600)));
        let (_ours, theirs) = fd_message::pair().expect("sockets");
        let watch = Watch { deadline: Instant::now() + Duration::from_millis(5), socket: theirs };
        assert!(watch.is_over(Duration::from_secs(3600)));
    }
}

//! A worker's pulse: while there is work, its timers are looked at though none is due, and memory that it has kept and
//! not needed since the last beat goes back.
//!
//! tokio's driver is woken, by a system call, by each timer that is due before what it waits for. A worker without
//! other timers would be so for every request that begins, since each has a time limit. A worker without work is not
//! woken by its pulse either.

use std::{cell::Cell, time::Duration};

use bowline_plumbing::sys::allocator::give_back_unused;
use tokio::sync::Notify;

const PERIOD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Something has begun since the last beat.
    Busy,
    /// Nothing has.
    #[default]
    Quiet,
    /// Nothing had when it was time to beat: it does not, until something begins.
    Resting,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Cell<State>,
    wake: Notify,
}

impl Pulse {
    /// A connection or a request begins.
    pub(crate) fn has_work(&self) {
        if self.state.replace(State::Busy) == State::Resting {
            self.wake.notify_one();
        }
    }

    /// Beats for as long as it is polled.
    pub(crate) async fn beat(&self) {
        self.beat_each(PERIOD).await;
    }

    async fn beat_each(&self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            give_back_unused();
            if self.state.get() == State::Quiet {
                self.state.set(State::Resting);
                self.wake.notified().await;
            }
            self.state.set(State::Quiet);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Waits until it is so.
    async fn becomes(pulse: &Pulse, state: State) {
        let began = Instant::now();
        while pulse.state.get() != state {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?} and not {state:?}", pulse.state.get());
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beats_while_there_is_work_and_rests_when_there_is_none() {
        let pulse = Pulse::default();
        let work = async {
            for _ in 0..3 {
                becomes(&pulse, State::Resting).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert_eq!(pulse.state.get(), State::Resting, "nobody has woken it");
                pulse.has_work();
                becomes(&pulse, State::Quiet).await;
                pulse.has_work();
                assert_eq!(pulse.state.get(), State::Busy);
                becomes(&pulse, State::Quiet).await;
            }
        };
        tokio::select! {
            () = pulse.beat_each(Duration::from_millis(20)) => unreachable!("it beats on"),
            () = work => {}
        }
    }
}

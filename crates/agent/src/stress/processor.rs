//! Load on processors.

use std::{
    hint::black_box,
    io, thread,
    time::{Duration, Instant},
};

/// A worker is busy and idle in turns of this length together: short beside what a request takes.
const TURN: Duration = Duration::from_millis(20);

/// Starts workers, each busy for so much of its time, and says how many: with 0, one for each processor.
pub(super) fn begin(percent: u8, workers: u16) -> io::Result<usize> {
    let workers = match usize::from(workers) {
        0 => thread::available_parallelism()?.get(),
        workers => workers,
    };
    let (busy, idle) = turn(percent);
    for _ in 0..workers {
        thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            loop {
                burn(busy);
                if !idle.is_zero() {
                    thread::sleep(idle);
                }
            }
        })?;
    }
    Ok(workers)
}

/// How long a worker is busy, and how long idle.
fn turn(percent: u8) -> (Duration, Duration) {
    let busy = TURN * u32::from(percent.min(100)) / 100;
    (busy, TURN - busy)
}

fn burn(time: Duration) {
    let end = Instant::now() + time;
    let mut number = 1u64;
    while Instant::now() < end {
        for _ in 0..1000 {
            number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_divided_as_asked() {
        assert_eq!(turn(100), (TURN, Duration::ZERO));
        assert_eq!(turn(25), (TURN / 4, TURN * 3 / 4));
        assert_eq!(turn(1), (TURN / 100, TURN * 99 / 100));
    }
}

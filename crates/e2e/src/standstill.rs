//! How long the machine stood still: one that does is none to time requests on.

use std::{
    fs::File,
    io::Write as _,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Who meets less than this has no excuse.
const STANDSTILL: Duration = Duration::from_millis(100);
/// How often something is done that failed while the machine stood still.
const ATTEMPTS: usize = 5;

/// Does something until it is `good`, or it was not though the machine did not stand still, or so many times.
pub fn until_good<R>(mut work: impl FnMut() -> R, good: impl Fn(&R) -> bool) -> R {
    repeat(|| watched(&mut work), good)
}

/// As [`until_good`], of what says how long the machine stood still meanwhile.
fn repeat<R>(mut work: impl FnMut() -> (R, Duration), good: impl Fn(&R) -> bool) -> R {
    for attempt in 1.. {
        let (result, standstill) = work();
        if good(&result) || standstill < STANDSTILL || attempt == ATTEMPTS {
            return result;
        }
        eprintln!("the machine stood still for {standstill:?}: once more");
    }
    unreachable!("there is a last attempt")
}

/// Does something; and the longest that the machine stood still meanwhile, by a thread that wanted to be woken all the time,
/// and one that wanted a byte to be on the disk.
fn watched<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let (over, beats) = mpsc::channel::<()>();
    let (ended, syncs) = mpsc::channel::<()>();
    let processor = thread::spawn(move || longest(&beats, Duration::from_millis(5), || {}));
    let mut file = tempfile::tempfile().expect("a file");
    let disk = thread::spawn(move || longest(&syncs, Duration::from_millis(100), || sync(&mut file)));
    let result = work();
    drop((over, ended));
    let longest = [processor, disk].map(|watching| watching.join().expect("no panic"));
    (result, longest.into_iter().max().unwrap_or_default())
}

/// The longest that it took beyond `beat` to wait for that and do something, until the other end is gone.
fn longest(over: &Receiver<()>, beat: Duration, mut work: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let begin = Instant::now();
        if over.recv_timeout(beat) != Err(RecvTimeoutError::Timeout) {
            return longest;
        }
        work();
        longest = longest.max(begin.elapsed().saturating_sub(beat));
    }
}

fn sync(file: &mut File) {
    file.write_all(b".").and_then(|()| file.sync_data()).expect("the disk takes a byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something is done that is good one time.
    fn times(standstill: Duration, good_at: usize) -> usize {
        let mut calls = 0;
        let work = || {
            calls += 1;
            (calls, standstill)
        };
        repeat(work, |calls| *calls == good_at)
    }

    #[test]
    fn only_what_fails_while_the_machine_stands_still_is_done_again_and_not_for_ever() {
        assert_eq!(times(STANDSTILL, 1), 1);
        assert_eq!(times(STANDSTILL, 3), 3);
        assert_eq!(times(STANDSTILL, usize::MAX), ATTEMPTS);
        assert_eq!(times(STANDSTILL - Duration::from_millis(1), 3), 1);
    }

    #[test]
    fn the_longest_pause_is_what_is_told() {
        const PAUSE: Duration = Duration::from_millis(30);
        let (beats, over) = mpsc::channel::<()>();
        let mut open = Some(beats);
        let mut calls = 0;
        let longest = longest(&over, Duration::from_millis(1), || {
            calls += 1;
            match calls {
                2 => thread::sleep(PAUSE),
                4 => drop(open.take()),
                _ => {}
            }
        });
        assert!(longest >= PAUSE, "{longest:?}");
        assert_eq!(calls, 4);
    }
}

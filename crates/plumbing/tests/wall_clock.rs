//! A clock that is wrong on purpose. By itself, for it is the whole process' clock.

use std::time::{Duration, Instant};

use bowline_plumbing::wall_clock::{machine, now, set_wrong};

const HOUR: i64 = 3_600_000;
const NEAR: i64 = 5_000;

fn ahead() -> i64 {
    now().as_millis().cast_signed() - machine().as_millis().cast_signed()
}

#[test]
fn a_clock_is_wrong_until_its_end_and_no_longer() {
    let later = Instant::now() + Duration::from_secs(600);
    for wrong in [-HOUR, HOUR] {
        set_wrong(wrong, later);
        assert!((ahead() - wrong).abs() < NEAR, "{}", ahead());
    }
    // Its end has come, and nobody has said so.
    set_wrong(HOUR, Instant::now());
    assert!(ahead().abs() < NEAR, "{}", ahead());
    set_wrong(HOUR, later);
    set_wrong(0, later);
    assert!(ahead().abs() < NEAR, "{}", ahead());
}

//! Failures that a whole log cannot be brought into.

use tempfile::TempDir;

use super::*;
use crate::audit::AuditLog;
use crate::audit::tests::{KEY, event, options};

fn opened(options: AuditOptions) -> (TempDir, Trail) {
    let dir = tempfile::tempdir().expect("a directory");
    let trail = Trail::open(dir.path(), &KEY, options, SharedIndex::default()).expect("opens");
    (dir, trail)
}

fn record(number: usize, time: Timestamp) -> RecordText {
    let mut event = event(number);
    event.time = time;
    RecordText::of(event)
}

#[test]
fn what_a_failed_write_left_is_written_again() {
    let (dir, mut trail) = opened(options());
    trail.append(&record(0, wall_clock::now())).expect("appends");
    trail.write().expect("writes");
    // Half of the next line reached the disk, and the first was lost to a
    // failed sync.
    trail.append(&record(1, wall_clock::now())).expect("appends");
    trail.file.set_len(trail.synced_bytes + 7).expect("cuts");
    trail.file.write_all(&trail.pending[3..40]).expect("writes");
    trail.doubtful = true;
    trail.sync().expect("writes again");
    trail.close().expect("closes");
    assert_eq!(AuditLog::verify(dir.path(), &KEY).expect("is whole").records, 3);
}

#[test]
fn head_never_falls_further_behind_than_a_kill_may_leave_it() {
    // Without rotation, which writes HEAD too.
    let (dir, mut trail) = opened(AuditOptions::default());
    for number in 0..3000 {
        trail.append(&record(number, wall_clock::now())).expect("appends");
        trail.write().expect("writes");
        assert!(trail.last - trail.head.last <= BEHIND_MAX);
    }
    drop(trail);
    assert_eq!(AuditLog::verify(dir.path(), &KEY).expect("is what a kill leaves").records, 3001);
}

#[test]
fn a_segment_goes_when_it_is_too_old_and_never_the_active_one() {
    let day = Duration::from_secs(24 * 3600);
    let (dir, mut trail) = opened(AuditOptions { retention: Some(90 * day), ..options() });
    let now = wall_clock::now();
    // What a record says of its time makes no difference.
    trail.append(&record(0, Timestamp::default())).expect("appends");
    trail.append(&record(0, now + 999 * day)).expect("appends");
    let firsts = || segment::list(dir.path()).expect("lists");
    assert_eq!(firsts(), [1]);
    trail.head.active_mut().begun = now - 7 * day;
    // A file covers a fifteenth of 90 days at most.
    trail.append(&record(1, now)).expect("appends");
    trail.append(&record(2, now)).expect("appends");
    trail.sync().expect("syncs");
    assert_eq!(firsts(), [1, 4]);
    trail.expire(now + 89 * day).expect("expires");
    assert_eq!(firsts(), [1, 4]);
    trail.expire(now + 91 * day).expect("expires");
    assert_eq!(firsts(), [4]);
    assert_eq!(trail.index.lock().segments.len(), 1);
    trail.close().expect("closes");
    let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    assert_eq!((verified.first, verified.records), (4, 2));
}

#[test]
fn a_rotation_cut_short_between_head_and_file_is_taken_up() {
    let (dir, mut trail) = opened(options());
    trail.append(&record(0, wall_clock::now())).expect("appends");
    trail.rotate().expect("rotates");
    std::fs::remove_file(&trail.path).expect("removes");
    drop(trail);
    assert_eq!(AuditLog::verify(dir.path(), &KEY).expect("is no tampering").records, 2);
    drop(AuditLog::open(dir.path(), &KEY, options()).expect("opens"));
    let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    assert_eq!(verified.records, 3);
    assert_eq!(segment::list(dir.path()).expect("lists"), [1, 3]);
}

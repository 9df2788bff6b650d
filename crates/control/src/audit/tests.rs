//! What is noticed of a trail that somebody changed, and what a kill leaves.

use std::fs;
use std::time::Duration;

use bowline_plumbing::{disk::Disk, wall_clock};
use futures::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::event::AuditOutcome;
use super::verify::verify_includes;
use super::*;

pub(super) const KEY: [u8; 32] = [7; 32];

pub(super) fn options() -> AuditOptions {
    AuditOptions { segment_bytes_max: 512 * 1024, ..AuditOptions::default() }
}

pub(super) fn event(number: usize) -> AuditEvent {
    let mut event = AuditEvent::new(wall_clock::now(), "ecs.amazonaws.com", format!("Call{number}"));
    event.request_parameters = Some(json!({"number": number}));
    event
}

pub(super) async fn recorded(records: usize) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    record_into(dir.path(), records).await;
    dir
}

async fn record_into(dir: &Path, records: usize) {
    let log = AuditLog::open(dir, &KEY, options()).expect("opens");
    for number in 0..records {
        log.record(event(number)).expect("is taken");
    }
    log.flush().await.expect("is durable");
}

fn copy(dir: &Path) -> TempDir {
    let twin = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(dir).expect("lists") {
        let entry = entry.expect("lists");
        fs::copy(entry.path(), twin.path().join(entry.file_name())).expect("copies");
    }
    twin
}

/// The segments' files, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).expect("lists").into_iter().map(|first| dir.join(segment::file_name(first))).collect()
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).expect("reads").lines().map(str::to_owned).collect()
}

fn write_lines(file: &Path, lines: &[String]) {
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("writes");
}

fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut all = lines(file);
    change(&mut all);
    write_lines(file, &all);
}

fn tampering(dir: &Path) -> Tampering {
    match AuditLog::verify(dir, &KEY) {
        Err(AuditError::Tampered { tampering, .. }) => tampering,
        other => panic!("{other:?}"),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let of_line = |line: String| {
        let line: Value = serde_json::from_str(&line).expect("is JSON");
        line["record"]["eventName"].as_str().expect("has a name").to_owned()
    };
    segments(dir).iter().flat_map(|file| lines(file)).map(of_line).collect()
}

#[tokio::test]
async fn a_trail_that_nobody_touched_is_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(matches!(AuditLog::verify(dir.path(), &KEY), Err(AuditError::Absent { .. })));
    record_into(dir.path(), 3).await;
    record_into(dir.path(), 2).await;
    let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    assert_eq!((verified.records, verified.first, verified.torn_bytes), (6, 1, 0));
    assert!(verified.from.is_some() && verified.from <= verified.to);
    assert_eq!(names(dir.path()), ["BeginAuditTrail", "Call0", "Call1", "Call2", "Call0", "Call1"]);
    let what = match AuditLog::verify(dir.path(), &[8; 32]) {
        Err(AuditError::Tampered { tampering, .. }) => tampering.what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what, TamperingKind::HeadAltered);
}

#[tokio::test]
async fn is_verified_while_it_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog::open(dir.path(), &KEY, options()).expect("opens");
    for round in 1..=5 {
        for number in 0..700 {
            log.record(event(number)).expect("is taken");
        }
        AuditLog::verify(dir.path(), &KEY).expect("is untouched");
        log.flush().await.expect("is durable");
        let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
        assert_eq!(verified.records, 1 + round * 700);
        assert_eq!(Some(verified.anchor), log.anchor());
    }
    assert!(segments(dir.path()).len() > 1);
}

#[tokio::test]
async fn each_change_of_a_line_is_noticed_where_it_is() {
    let original = recorded(9).await;
    type Change = fn(&mut Vec<String>);
    let cases: [(&str, Change, u64, TamperingKind); 7] = [
        ("altered", |lines| lines[4] = lines[4].replace("Call3", "Call5"), 5, TamperingKind::LineAltered),
        ("removed", |lines| drop(lines.remove(4)), 5, TamperingKind::LineMisplaced { found: 6 }),
        ("first removed", |lines| drop(lines.remove(0)), 1, TamperingKind::LineMisplaced { found: 2 }),
        ("swapped", |lines| lines.swap(4, 5), 5, TamperingKind::LineMisplaced { found: 6 }),
        ("repeated", |lines| lines.insert(4, lines[3].clone()), 5, TamperingKind::LineMisplaced { found: 4 }),
        ("end cut", |lines| lines.truncate(7), 7, TamperingKind::EndCut { last: 10 }),
        ("made up", |lines| lines.push(lines[9].replace("10", "11")), 11, TamperingKind::LineAltered),
    ];
    for (case, change, line, what) in cases {
        let twin = copy(original.path());
        AuditLog::verify(twin.path(), &KEY).expect("the twin is untouched");
        edit(&segments(twin.path())[0], change);
        let found = tampering(twin.path());
        assert_eq!((found.line, &found.what), (line, &what), "{case}: {found}");
        assert!(matches!(
            AuditLog::open(twin.path(), &KEY, options()),
            Err(AuditError::Tampered { tampering, .. }) if tampering == found
        ));
    }
    let twin = copy(original.path());
    let file = &segments(twin.path())[0];
    let bytes = fs::read(file).expect("reads");
    fs::write(file, &bytes[..bytes.len() - 1]).expect("writes");
    assert_eq!(tampering(twin.path()).what, TamperingKind::EndCut { last: 10 }, "one byte off the end");
}

#[tokio::test]
async fn a_line_of_another_trail_with_the_same_key_is_noticed() {
    let (one, two) = (recorded(5).await, recorded(5).await);
    let other = lines(&segments(two.path())[0]);
    edit(&segments(one.path())[0], |lines| lines[3] = other[3].clone());
    assert_eq!(tampering(one.path()).what, TamperingKind::ChainBroken);
    let twin = copy(two.path());
    fs::copy(segments(two.path())[0].clone(), segments(one.path())[0].clone()).expect("copies");
    assert_eq!(tampering(one.path()).what, TamperingKind::ChainBroken, "all lines, not HEAD");
    AuditLog::verify(twin.path(), &KEY).expect("is untouched");
}

/// About 700 bytes a record: 4 segments of 512 KiB.
const RECORDS_OF_4_SEGMENTS: usize = 2600;

#[tokio::test]
async fn a_missing_or_strange_segment_is_noticed() {
    let original = recorded(RECORDS_OF_4_SEGMENTS).await;
    let count = segments(original.path()).len();
    assert!(count >= 3, "{count} segments");
    AuditLog::verify(original.path(), &KEY).expect("is untouched");
    for index in 0..count {
        let twin = copy(original.path());
        let file = &segments(twin.path())[index];
        fs::remove_file(file).expect("removes");
        let found = tampering(twin.path());
        assert_eq!(found.what, TamperingKind::SegmentMissing, "{found}");
        assert!(file.ends_with(&found.segment));
        assert!(AuditLog::open(twin.path(), &KEY, options()).is_err());

        let twin = copy(original.path());
        let file = &segments(twin.path())[index];
        fs::write(file, "").expect("empties");
        let found = tampering(twin.path());
        assert!(matches!(found.what, TamperingKind::EndCut { .. }), "{found}");
    }
    let twin = copy(original.path());
    fs::write(twin.path().join(segment::file_name(999_999)), "").expect("writes");
    assert_eq!(tampering(twin.path()).what, TamperingKind::SegmentUnknown);
    let twin = copy(original.path());
    let files = segments(twin.path());
    fs::rename(&files[1], twin.path().join("x")).expect("renames");
    fs::rename(&files[2], &files[1]).expect("renames");
    fs::rename(twin.path().join("x"), &files[2]).expect("renames");
    assert!(matches!(tampering(twin.path()).what, TamperingKind::LineMisplaced { .. }));
}

#[tokio::test]
async fn head_is_guarded_and_an_older_copy_of_it_is_noticed() {
    let dir = recorded(5).await;
    let older = copy(dir.path());
    let anchor = AuditLog::verify(older.path(), &KEY).expect("is untouched").anchor;
    record_into(dir.path(), 5).await;
    let newer = AuditLog::verify(dir.path(), &KEY).expect("is untouched").anchor;

    let twin = copy(dir.path());
    fs::remove_file(twin.path().join("HEAD")).expect("removes");
    assert_eq!(tampering(twin.path()).what, TamperingKind::HeadMissing);
    assert!(AuditLog::open(twin.path(), &KEY, options()).is_err());
    let twin = copy(dir.path());
    edit(&twin.path().join("HEAD"), |lines| lines[0] = lines[0].replace("\"open\":false", "\"open\":true"));
    assert_eq!(tampering(twin.path()).what, TamperingKind::HeadAltered);

    // An older HEAD alone: there are lines that it does not know of.
    let twin = copy(dir.path());
    fs::copy(older.path().join("HEAD"), twin.path().join("HEAD")).expect("copies");
    assert_eq!(tampering(twin.path()).what, TamperingKind::HeadOutdated { last: 6 });

    // An older HEAD and its lines: a trail like any other, but for an anchor.
    AuditLog::verify(older.path(), &KEY).expect("cannot be told");
    verify_includes(dir.path(), &KEY, &anchor).expect("has grown since");
    verify_includes(dir.path(), &KEY, &newer).expect("is the same");
    let Err(AuditError::Tampered { tampering, .. }) = verify_includes(older.path(), &KEY, &newer) else {
        panic!("went unnoticed")
    };
    assert_eq!(tampering.what, TamperingKind::RolledBack { last: 11 });
    // And with other records since.
    record_into(older.path(), 6).await;
    let Err(AuditError::Tampered { tampering, .. }) = verify_includes(older.path(), &KEY, &newer) else {
        panic!("went unnoticed")
    };
    assert_eq!(tampering.what, TamperingKind::ChainBroken);
}

/// The directory as a kill would leave it: the log is still open.
async fn killed_after(records: usize) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog::open(dir.path(), &KEY, options()).expect("opens");
    for number in 0..records {
        log.record(event(number)).expect("is taken");
    }
    log.flush().await.expect("is durable");
    copy(dir.path())
}

#[tokio::test]
async fn a_line_torn_by_a_kill_is_removed_and_told() {
    for torn in [&b"{\"sequence\":7,\"prev"[..], b"{", &[0; 4096], b"\0\0\n\0\0\n"] {
        let dir = killed_after(5).await;
        let file = segments(dir.path())[0].clone();
        let whole = fs::read(&file).expect("reads");
        fs::write(&file, [&whole, torn].concat()).expect("writes");
        let verified = AuditLog::verify(dir.path(), &KEY).expect("is no tampering");
        assert_eq!((verified.records, verified.torn_bytes), (6, torn.len() as u64));

        record_into(dir.path(), 1).await;
        let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
        assert_eq!((verified.records, verified.torn_bytes), (8, 0));
        assert_eq!(names(dir.path())[5..], ["Call4", "RecoverAuditTrail", "Call0"]);
        let line: Value = serde_json::from_str(&lines(&file)[6]).expect("is JSON");
        assert_eq!(line["record"]["additionalEventData"]["removedTornLine"]["bytes"], torn.len());
        assert_eq!(line["record"]["eventType"], "AwsServiceEvent");
    }
}

#[tokio::test]
async fn lines_that_head_does_not_know_of_survive_a_kill() {
    let dir = killed_after(2).await;
    let earlier = fs::read(dir.path().join("HEAD")).expect("reads");
    let twin = killed_after_more(dir.path(), 10).await;
    // As if killed before HEAD was written again.
    fs::write(twin.path().join("HEAD"), earlier).expect("writes");
    let verified = AuditLog::verify(twin.path(), &KEY).expect("is no tampering");
    assert_eq!(verified.records, 3 + 1 + 10);
    record_into(twin.path(), 0).await;
    let line: Value =
        serde_json::from_str(lines(&segments(twin.path())[0]).last().expect("has lines")).expect("JSON");
    assert_eq!(line["record"]["additionalEventData"]["recordsAfterHead"], 11);

    // But not more of them than a writer ever leaves.
    let earlier = fs::read(dir.path().join("HEAD")).expect("reads");
    let more = killed_after_more(dir.path(), 1100).await;
    AuditLog::verify(more.path(), &KEY).expect("is untouched");
    fs::write(more.path().join("HEAD"), earlier).expect("writes");
    assert!(matches!(
        tampering(more.path()).what,
        TamperingKind::HeadOutdated { .. } | TamperingKind::SegmentUnknown
    ));
}

async fn killed_after_more(dir: &Path, records: usize) -> TempDir {
    let twin = copy(dir);
    let log = AuditLog::open(twin.path(), &KEY, options()).expect("opens");
    for number in 0..records {
        log.record(event(number)).expect("is taken");
    }
    log.flush().await.expect("is durable");
    copy(twin.path())
}

#[tokio::test]
async fn a_segment_that_head_names_and_nobody_made_yet_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = AuditKeys::derive(&KEY);
    head::Head::genesis(wall_clock::now()).write(dir.path(), &keys.head).expect("writes");
    assert_eq!(AuditLog::verify(dir.path(), &KEY).expect("is empty").records, 0);
    record_into(dir.path(), 1).await;
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
}

#[tokio::test]
async fn old_segments_go_by_number_and_the_rest_stays_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = AuditOptions { segments_max: 2, ..options() };
    let log = AuditLog::open(dir.path(), &KEY, options).expect("opens");
    for number in 0..RECORDS_OF_4_SEGMENTS {
        log.record(event(number)).expect("is taken");
    }
    log.flush().await.expect("is durable");
    let files = segments(dir.path());
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| fs::metadata(file).expect("is there").len() <= 512 * 1024));
    let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    assert!(verified.first > 1);
    assert_eq!(verified.first + verified.records - 1, RECORDS_OF_4_SEGMENTS as u64 + 1);
    // What expired and was left by a kill is no tampering, and goes.
    drop(log);
    fs::write(dir.path().join(segment::file_name(1)), "left").expect("writes");
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    record_into(dir.path(), 0).await;
    assert!(!dir.path().join(segment::file_name(1)).exists());
    // The oldest that is kept must be there.
    let twin = copy(dir.path());
    fs::remove_file(&segments(twin.path())[0]).expect("removes");
    assert_eq!(tampering(twin.path()).what, TamperingKind::SegmentMissing);
}

#[tokio::test]
async fn a_full_queue_refuses_and_the_trail_tells_how_often() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = AuditOptions { queue_records_max: 10, ..options() };
    let log = AuditLog::open(dir.path(), &KEY, options).expect("opens");
    let Backend::Files { index, .. } = &log.backend else { panic!("is in files") };
    let mut taken = 0;
    let refused = {
        // The writer cannot go on without the index.
        let _held = index.lock();
        loop {
            match log.record(event(taken)) {
                Ok(()) => taken += 1,
                Err(full) => break full,
            }
            assert!(taken <= 10 + 256 * 2, "the queue has no end");
        }
    };
    assert_eq!((refused.records, refused.failure), (10, None));
    assert_eq!(log.status().refused, 1);
    log.flush().await.expect("is durable");
    log.record(event(0)).expect("there is room again");
    log.flush().await.expect("is durable");
    let names = names(dir.path());
    assert_eq!(names.iter().filter(|name| name.starts_with("Call")).count(), taken + 1);
    assert_eq!(names.iter().filter(|name| *name == "RefuseAuditRecords").count(), 1);
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
}

#[tokio::test]
async fn on_a_disk_without_room_nothing_more_is_admitted_and_later_nothing_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Disk::default();
    let options = AuditOptions { disk: disk.clone(), ..options() };
    let log = Arc::new(AuditLog::open(dir.path(), &KEY, options).expect("opens"));
    log.record(event(1)).expect("is taken");
    log.flush().await.expect("is durable");
    assert!(disk.fill(wall_clock::now() + Duration::from_secs(3600)));
    log.record(event(2)).expect("it waits");
    log.flush().await.expect_err("there is no room");
    let full = log.admit().err().and_then(|full| full.failure).expect("nothing is done unrecorded");
    assert!(full.contains("No space left on device"), "{full}");
    disk.empty();
    log.flush().await.expect("is durable");
    drop(log.admit().expect("there is room again"));
    let names = names(dir.path());
    let calls: Vec<_> = names.iter().filter(|name| name.starts_with("Call")).collect();
    assert_eq!(calls, ["Call1", "Call2"]);
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
}

#[tokio::test]
async fn an_admitted_record_has_its_place_and_the_end_waits_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = AuditOptions { queue_records_max: 3, ..options() };
    let log = Arc::new(AuditLog::open(dir.path(), &KEY, options).expect("opens"));
    let mut admitted: Vec<_> = (0..3).map(|_| log.admit().expect("there is room")).collect();
    log.admit().expect_err("all places are taken");
    log.record(event(1)).expect_err("all places are taken");
    admitted.truncate(1);
    log.record(event(2)).expect("a place was given back");
    log.flush().await.expect("is durable");

    let closing = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || log.close())
    };
    while log.admit().is_ok() {
        std::thread::yield_now();
    }
    assert!(!closing.is_finished(), "the end does not wait for a call that is being carried out");
    admitted.remove(0).record(event(3)).expect("is taken");
    closing.join().expect("is closed");
    log.record(event(4)).expect_err("is closed");
    let names = names(dir.path());
    let calls: Vec<_> = names.iter().filter(|name| name.starts_with("Call")).collect();
    assert_eq!(calls, ["Call2", "Call3"]);
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
}

#[tokio::test]
async fn a_flush_waits_for_all_that_was_recorded_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog::open(dir.path(), &KEY, options()).expect("opens");
    let Backend::Files { index, .. } = &log.backend else { panic!("is in files") };
    let mut flush = std::pin::pin!(log.flush());
    {
        // The writer cannot go on without the index.
        let _held = index.lock();
        (0..2000).for_each(|number| log.record(event(number)).expect("is taken"));
        assert!(flush.as_mut().now_or_never().is_none());
    }
    flush.await.expect("is durable");
    assert_eq!(log.anchor().expect("is in files").sequence, 2001);
}

#[tokio::test]
async fn a_file_taken_away_under_the_writer_is_an_error_and_nothing_is_lost_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog::open(dir.path(), &KEY, options()).expect("opens");
    let (file, away) = (segments(dir.path())[0].clone(), dir.path().join("away"));
    fs::rename(&file, &away).expect("renames");
    log.record(event(0)).expect("is taken");
    let error = log.flush().await.expect_err("is not in its place");
    assert!(error.to_string().contains("removed, replaced or cut"), "{error}");
    assert!(log.status().failure.is_some());
    log.record(event(1)).expect("is taken");
    fs::rename(&away, &file).expect("renames");
    let two_more = async {
        while log.anchor().is_none_or(|anchor| anchor.sequence < 3) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), two_more).await.expect("is tried again by itself");
    log.flush().await.expect("is back");
    assert_eq!(log.status().failure, None);
    assert_eq!(names(dir.path()), ["BeginAuditTrail", "Call0", "Call1"]);
    drop(log);
    AuditLog::verify(dir.path(), &KEY).expect("is untouched");
}

#[tokio::test]
async fn files_are_the_owners_and_hold_no_secret() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("audit");
    let log = AuditLog::open(&dir, &KEY, options()).expect("opens");
    let mut secret = event(0);
    secret.request_parameters =
        Some(json!({"a": [{"b": "{\"SecretString\": \"hunter-2\"}"}], "OwnName": "hunter-2"}));
    secret.response_elements = Some(json!({"credentials": {"SecretAccessKey": "hunter-2"}}));
    secret.outcome = AuditOutcome::Error { code: "Bad".into(), message: "no hunter-2 here".into() };
    secret.secret_parameters = vec!["ownName".into()];
    log.record(secret).expect("is taken");
    drop(log);
    assert_eq!(fs::metadata(&dir).expect("is there").permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).expect("lists") {
        let path = entry.expect("lists").path();
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).expect("reads").contains("hunter-2"), "{}", path.display());
    }
    assert_eq!(names(&dir).len(), 2);
}

#[test]
fn options_out_of_range_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for options in [
        AuditOptions { segment_bytes_max: 1, ..AuditOptions::default() },
        AuditOptions { segments_max: 1, ..AuditOptions::default() },
        AuditOptions { queue_records_max: 0, ..AuditOptions::default() },
        AuditOptions { queue_bytes_max: 1, ..AuditOptions::default() },
    ] {
        assert!(matches!(AuditLog::open(dir.path(), &KEY, options), Err(AuditError::Option { .. })));
    }
}

//! What is kept, and what becomes of it when the process or its disk fails.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::*;
use crate::store::conformance;

#[test]
fn conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    let count = std::cell::Cell::new(0);
    conformance::all(&|log| {
        count.set(count.get() + 1);
        let path = directory.path().join(format!("{}.redb", count.get()));
        Box::new(EmbeddedStore::open_with(path, Disk::default(), log).expect("opens"))
    });
}

#[test]
fn keeps_everything_when_reopened_and_its_file_is_private() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = EmbeddedStore::open(&path).expect("opens");
    store.commit(conformance::put("a", "1")).expect("commits");
    store.commit(conformance::put("b", "2")).expect("commits");
    let before = store.list("").expect("lists");
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::InUse { .. })));
    drop(store);

    let store = EmbeddedStore::open(&path).expect("opens");
    assert_eq!(store.list("").expect("lists"), before);
    assert_eq!(store.watch("", 1).err(), Some(WatchError::Compacted { oldest: 2 }));
    assert_eq!(store.commit(conformance::put("c", "3")).expect("commits"), 3);
    let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!directory.path().join("store.redb.new").exists());
}

#[test]
fn refuses_what_is_not_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("text");
    std::fs::write(&path, "a file of somebody else, which is left alone").expect("writes");
    let error = EmbeddedStore::open(&path).expect_err("not a store");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    std::fs::write(&path, "").expect("writes");
    let error = EmbeddedStore::open(&path).expect_err("an empty file is a store that was lost");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");

    let path = directory.path().join("later.redb");
    drop(EmbeddedStore::open(&path).expect("opens"));
    let database = Database::open(&path).expect("opens");
    let write = database.begin_write().expect("begins");
    write.open_table(META).expect("is there").insert(META_FORMAT, FORMAT + 1).expect("writes");
    write.commit().expect("commits");
    drop(database);
    let error = EmbeddedStore::open(&path).expect_err("another format");
    assert!(matches!(error, StoreError::Format { found: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn a_disk_without_room_takes_nothing_and_the_store_goes_on_when_it_has_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Disk::default();
    let path = directory.path().join("store.redb");
    let store = EmbeddedStore::open_with(&path, disk.clone(), LogLimits::default()).expect("opens");
    store.commit(conformance::put("a", "1")).expect("commits");
    let before = store.list("").expect("lists");
    assert!(disk.fill(bowline_plumbing::wall_clock::now() + std::time::Duration::from_secs(3600)));
    for _ in 0..3 {
        let error = store.commit(conformance::put("a", "2")).expect_err("there is no room");
        assert!(bowline_plumbing::disk::is_full(&error), "{error:?}");
    }
    disk.empty();
    assert_eq!(store.list("").expect("lists"), before, "nothing of it is there");
    let mut watch = store.watch("", before.revision).expect("is kept");
    assert_eq!(store.commit(conformance::put("b", "3")).expect("commits"), before.revision + 1);
    let events = watch.next().await.expect("is told");
    assert_eq!(events.iter().map(|event| event.key()).collect::<Vec<_>>(), ["b"]);
    drop((store, watch));
    let store = EmbeddedStore::open(&path).expect("opens");
    assert_eq!(store.get("a").expect("reads").map(|entry| entry.value), Some(b"1".to_vec()));
}

#[test]
fn a_transaction_that_was_reported_as_failed_counts_for_nothing_though_it_is_in_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path().join("store.redb")).expect("opens");
    store.commit(conformance::put("a", "1")).expect("commits");
    store.commit(conformance::put("b", "1")).expect("commits");
    let before = store.list("").expect("lists");
    let mut doubt = None;
    let put = |key: &str| Change::Put { key: key.to_owned(), value: b"2".to_vec() };
    let changes = vec![put("a"), put("c"), Change::Delete { key: "b".to_owned() }];
    let transaction = Transaction { conditions: Vec::new(), changes };
    assert!(store.apply(transaction, &mut doubt).is_ok());
    store.recover(store.writing(), doubt);
    assert_eq!(store.list("").expect("lists"), before);
    assert_eq!(store.commit(conformance::put("d", "3")).expect("commits"), before.revision + 1);
}

#[test]
fn a_draft_left_by_a_crash_is_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    std::fs::write(directory.path().join("store.redb.new"), "half").expect("writes");
    EmbeddedStore::open(&path).expect("opens");
}

#[test]
fn a_watch_waits_for_a_commit_that_was_listed_before_it_was_logged() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path().join("store.redb")).expect("opens");
    let writing = store.writing.lock().expect("nobody panicked");
    let Ok((revision, events)) = store.apply(conformance::put("a", "1"), &mut None) else {
        panic!("does not apply")
    };
    let listed = store.list("").expect("lists").revision;
    assert_eq!(listed, revision);
    std::thread::scope(|scope| {
        let (started, result) = std::sync::mpsc::channel();
        let store = &store;
        scope.spawn(move || started.send(store.watch("", listed).map(|watch| watch.revision())));
        // No answer can come before the log has it, however long this waits.
        let early = result.recv_timeout(std::time::Duration::from_millis(50));
        store.log.append(revision, events);
        drop(writing);
        assert!(early.is_err(), "{early:?}");
        assert_eq!(result.recv().expect("answers"), Ok(listed));
    });
}

const KILLED_STORE: &str = "BOWLINE_TEST_KILLED_STORE";

/// Runs again as its own child: the writer that is killed.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(path) = std::env::var_os(KILLED_STORE) {
        write_until_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let mut acknowledged = 0;
    for lines in [1, 2, 17, 40, 3] {
        let mut writer = Command::new(std::env::current_exe().expect("has a path"))
            .args(["--exact", "store::embedded::tests::what_was_acknowledged_survives_kill_9"])
            .args(["--nocapture", "--test-threads=1"])
            .env(KILLED_STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut seen = 0;
        // To the end, not just `lines`: what was printed before the kill
        // was acknowledged too.
        for line in BufReader::new(writer.stdout.take().expect("is piped")).lines() {
            // The test harness may have begun the line.
            let line = line.expect("reads");
            let Some((_, revision)) = line.split_once("acknowledged ") else { continue };
            let revision: u64 = revision.trim().parse().expect("is a number");
            assert!(revision > acknowledged, "revision {revision} after {acknowledged}");
            acknowledged = revision;
            seen += 1;
            if seen == lines {
                writer.kill().expect("kills");
            }
        }
        writer.wait().expect("ends");
        assert!(seen >= lines, "the writer ended by itself after {seen} lines");

        let store = EmbeddedStore::open(&path).expect("opens after a kill");
        let listing = store.list("").expect("lists");
        assert!(listing.revision >= acknowledged, "{} < {acknowledged}", listing.revision);
        // Of the last transaction, acknowledged or not: all or nothing.
        for key in ["left", "right"] {
            let entry = store.get(key).expect("reads").expect("is there");
            assert_eq!((entry.revision, entry.value), (listing.revision, number(listing.revision)));
        }
        let rows = store.list("row/").expect("lists").entries;
        assert_eq!(rows.len() as u64, listing.revision, "a row is missing");
        for (row, revision) in rows.iter().zip(1..) {
            assert_eq!((row.revision, &row.value), (revision, &number(revision)));
        }
    }
}

fn write_until_killed(path: &Path) -> ! {
    let store = EmbeddedStore::open(path).expect("opens");
    let mut revision = store.list("").expect("lists").revision;
    loop {
        let next = revision + 1;
        let put = |key: String| Change::Put { key, value: number(next) };
        let changes = vec![put("left".into()), put(format!("row/{next:08}")), put("right".into())];
        revision = store.commit(Transaction { conditions: Vec::new(), changes }).expect("commits");
        let mut stdout = std::io::stdout().lock();
        // When the parent is gone, so is this.
        if writeln!(stdout, "acknowledged {revision}").and_then(|()| stdout.flush()).is_err() {
            std::process::exit(1);
        }
    }
}

fn number(revision: u64) -> Vec<u8> {
    // Large enough that a commit spans pages.
    revision.to_be_bytes().repeat(200)
}

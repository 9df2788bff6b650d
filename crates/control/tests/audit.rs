//! A process that records and is killed at any instant loses nothing that was
//! flushed, and leaves a trail that verifies and opens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bowline_control::audit::{AuditEvent, AuditLog, AuditOptions};
use bowline_plumbing::wall_clock;

const KEY: [u8; 32] = [3; 32];
const DIR: &str = "BOWLINE_TEST_AUDIT_DIR";

/// The process that is killed; not a test by itself.
#[tokio::test]
#[ignore = "run by the test beside it"]
async fn records_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let options = AuditOptions { segment_bytes_max: 512 * 1024, ..AuditOptions::default() };
    let log = AuditLog::open(Path::new(&dir), &KEY, options).expect("opens");
    for round in 0_u64.. {
        for _ in 0..97 {
            let mut event = AuditEvent::new(wall_clock::now(), "ecs.amazonaws.com", "CreateService");
            event.request_parameters = Some(serde_json::json!({"round": round, "text": "x".repeat(500)}));
            while log.record(event.clone()).is_err() {
                log.flush().await.expect("is durable");
            }
        }
        log.flush().await.expect("is durable");
        println!("flushed {}", log.anchor().expect("is in files").sequence);
    }
}

#[test]
fn a_kill_loses_nothing_that_was_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut promised = 0;
    for lines in [1, 4, 2, 7, 3] {
        let mut child = Command::new(std::env::current_exe().expect("runs"))
            .args(["--exact", "records_until_killed", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        let flushed = output.lines().map_while(Result::ok).filter_map(|line| {
            let (_, sequence) = line.split_once("flushed ")?;
            sequence.parse::<u64>().ok()
        });
        let last = flushed.take(lines).last();
        child.kill().expect("is killed");
        child.wait().expect("has ended");
        let last = last.expect("has flushed");
        assert!(last > promised);
        promised = last;
        let verified = AuditLog::verify(dir.path(), &KEY).expect("is no tampering");
        assert!(verified.anchor.sequence >= promised, "{verified:?}, and {promised} were flushed");
    }
    drop(AuditLog::open(dir.path(), &KEY, AuditOptions::default()).expect("opens"));
    let verified = AuditLog::verify(dir.path(), &KEY).expect("is untouched");
    assert_eq!(verified.torn_bytes, 0);
    assert!(verified.anchor.sequence > promised);
}

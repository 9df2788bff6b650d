use std::fs::OpenOptions;

use proptest::prelude::*;

use super::*;

fn line(number: u64) -> Record {
    Record {
        at: Timestamp::from_millis(number),
        kind: RecordKind::Stdout,
        tag: String::new(),
        body: format!("line {number}").into_bytes(),
    }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch
        .records
        .iter()
        .map(|(number, record)| {
            assert_eq!(record, &line(*number), "a record is what was appended");
            *number
        })
        .collect()
}

fn all(directory: &Path) -> Batch {
    SpoolReader::open(directory, &["o".into()]).read(0, usize::MAX, u64::MAX).expect("it reads")
}

#[test]
fn what_was_appended_is_read_from_where_an_output_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = SpoolWriter::open(directory.path(), SpoolLimits::default()).expect("it opens");
    let outputs = ["a".to_owned(), "b".to_owned()];
    let mut reader = SpoolReader::open(directory.path(), &outputs);
    assert_eq!(reader.read(0, 10, 1000).expect("it reads"), Batch::default());
    (0..10).for_each(|number| writer.append(&line(number)));
    writer.flush().expect("it writes");
    let batch = reader.read(0, 4, u64::MAX).expect("it reads");
    assert_eq!((numbers(&batch), batch.next, batch.lost), (vec![0, 1, 2, 3], 4, 0));
    reader.commit("a", batch.next).expect("it is kept");
    // Another process, later.
    let mut reader = SpoolReader::open(directory.path(), &outputs);
    assert_eq!((reader.cursor("a"), reader.cursor("b")), (4, 0));
    (10..12).for_each(|number| writer.append(&line(number)));
    writer.close().expect("it closes");
    let batch = reader.read(reader.cursor("a"), usize::MAX, u64::MAX).expect("it reads");
    assert_eq!(numbers(&batch), (4..12).collect::<Vec<_>>());
    assert!(reader.is_ended());
    assert!(reader.queued_bytes("b") > 0);
    reader.commit("b", 12).expect("it is kept");
    assert_eq!(reader.queued_bytes("b"), 0);
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = SpoolLimits { bytes_max: 4_000, segment_bytes: 500 };
    let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
    for number in 0..1_000 {
        writer.append(&line(number));
        writer.flush().expect("it writes");
        let held: u64 = segments(directory.path()).expect("it lists").iter().map(|(_, bytes)| bytes).sum();
        assert!(held <= limits.bytes_max, "{held}");
    }
    let batch = all(directory.path());
    assert!(batch.lost > 0 && !batch.records.is_empty());
    assert_eq!(batch.lost + batch.records.len() as u64, 1_000);
    assert_eq!(numbers(&batch).last(), Some(&999));
}

#[test]
fn what_every_output_was_given_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = SpoolLimits { bytes_max: 1 << 20, segment_bytes: 300 };
    let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
    for number in 0..100 {
        writer.append(&line(number));
        writer.flush().expect("it writes");
    }
    let count = || segments(directory.path()).expect("it lists").len();
    let before = count();
    let mut reader = SpoolReader::open(directory.path(), &["a".into(), "b".into()]);
    reader.commit("a", 100).expect("it is kept");
    assert_eq!(count(), before, "the other output was given nothing yet");
    reader.commit("b", 100).expect("it is kept");
    assert_eq!(count(), 1, "one may be written to");
}

#[test]
fn lines_that_were_not_taken_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = SpoolWriter::open(directory.path(), SpoolLimits::default()).expect("it opens");
    writer.append(&line(0));
    writer.skip(5);
    writer.append(&line(6));
    writer.flush().expect("it writes");
    let batch = all(directory.path());
    assert_eq!((numbers(&batch), batch.lost), (vec![0, 6], 5));
}

#[test]
fn what_the_disk_does_not_take_is_lost_and_counted_and_later_lines_are_kept() {
    let root = tempfile::tempdir().expect("a directory");
    let (directory, away) = (root.path().join("spool"), root.path().join("away"));
    let limits = SpoolLimits { bytes_max: 1 << 20, segment_bytes: 1 };
    let mut writer = SpoolWriter::open(&directory, limits).expect("it opens");
    for number in 0..12 {
        // No segment can be begun meanwhile.
        match number {
            3 => fs::rename(&directory, &away).expect("it is renamed"),
            7 => fs::rename(&away, &directory).expect("it is renamed"),
            _ => {}
        }
        writer.append(&line(number));
        let _ = writer.flush();
    }
    let batch = all(&directory);
    assert_eq!((numbers(&batch), batch.lost), (vec![0, 1, 2, 7, 8, 9, 10, 11], 4));
}

#[tokio::test]
async fn a_full_queue_loses_or_waits_and_never_blocks() {
    let directory = tempfile::tempdir().expect("a directory");
    let spools = Spools::start(directory.path(), SyncPolicy::Always).expect("a thread");
    let source = spools.source("app", SpoolLimits::default(), 1_000);
    for number in 0..500 {
        source.push(line(number)).await;
    }
    source.written().await.expect("the disk takes it");
    assert_eq!(numbers(&all(&directory.path().join("app"))), (0..500).collect::<Vec<_>>());
    spools.close();
    let path = directory.path().join("app");
    assert!(SpoolReader::open(&path, &[]).is_ended());
}

/// Who writes makes room while who reads removes what it is done with: the same segments, at the same time.
#[test]
fn a_segment_that_both_remove_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = SpoolLimits { bytes_max: 2_000, segment_bytes: 200 };
    let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
    const RECORDS: u64 = 5_000;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reader = SpoolReader::open(directory.path(), &["o".into()]);
            let (mut read, mut lost) = (0, 0);
            loop {
                let is_last = reader.is_ended();
                let batch = reader.read(reader.cursor("o"), 50, u64::MAX).expect("it reads");
                read += numbers(&batch).len() as u64;
                lost += batch.lost;
                reader.commit("o", batch.next).expect("it is kept");
                if is_last && batch.records.is_empty() {
                    return (read, lost);
                }
            }
        });
        for number in 0..RECORDS {
            writer.append(&line(number));
            writer.flush().expect("it writes");
        }
        writer.close().expect("it closes");
        let (read, lost) = reading.join().expect("it read");
        assert_eq!(read + lost, RECORDS);
    });
}

/// A disk that takes no cursor costs a second delivery after a crash, and nothing before.
#[test]
fn a_cursor_that_is_not_kept_moves_on_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = SpoolWriter::open(directory.path(), SpoolLimits::default()).expect("it opens");
    (0..4).for_each(|number| writer.append(&line(number)));
    writer.flush().expect("it writes");
    // In its way: no file can be made of that name.
    std::fs::create_dir(directory.path().join("cursors.json.new")).expect("a directory");
    let mut reader = SpoolReader::open(directory.path(), &["o".into()]);
    reader.commit("o", 3).expect_err("nothing is kept");
    assert_eq!(reader.cursor("o"), 3);
    let batch = reader.read(reader.cursor("o"), 9, u64::MAX).expect("it reads");
    assert_eq!(numbers(&batch), [3]);
    assert_eq!(SpoolReader::open(directory.path(), &["o".into()]).cursor("o"), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a crash cuts the last segment, or spoils its end, whole records before it are read, and what is
    /// appended later is, too.
    #[test]
    fn a_torn_tail_is_cut(count in 1u64..40, cut in 0usize..4_000, garbage in prop::collection::vec(any::<u8>(), 0..40)) {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = SpoolLimits { bytes_max: 1 << 20, segment_bytes: 400 };
        let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
        for number in 0..count {
            writer.append(&line(number));
            writer.flush().expect("it writes");
        }
        drop(writer);
        let (first, bytes) = *segments(directory.path()).expect("it lists").last().expect("one");
        let path = segment_path(directory.path(), first);
        let file = OpenOptions::new().append(true).open(&path).expect("it opens");
        file.set_len(bytes.saturating_sub(cut as u64)).expect("it is cut");
        std::io::Write::write_all(&mut &file, &garbage).expect("it writes");
        let survived = all(directory.path());
        let kept = survived.records.len() as u64;
        prop_assert_eq!(numbers(&survived), (0..kept).collect::<Vec<_>>());
        prop_assert!(kept >= first);
        let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
        for number in kept..kept + 5 {
            writer.append(&line(number));
        }
        writer.flush().expect("it writes");
        let batch = all(directory.path());
        prop_assert_eq!(numbers(&batch), (0..kept + 5).collect::<Vec<_>>());
        prop_assert_eq!(batch.lost, 0);
    }

    #[test]
    fn reading_in_any_steps_gives_all(count in 0u64..200, steps in prop::collection::vec((1usize..20, 1u64..3_000), 1..8)) {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = SpoolLimits { bytes_max: 1 << 20, segment_bytes: 700 };
        let mut writer = SpoolWriter::open(directory.path(), limits).expect("it opens");
        let mut reader = SpoolReader::open(directory.path(), &["o".into()]);
        let mut read = Vec::new();
        let mut appended = 0;
        for (records, bytes) in steps.iter().cycle() {
            for _ in 0..10.min(count - appended) {
                writer.append(&line(appended));
                appended += 1;
            }
            writer.flush().expect("it writes");
            let batch = reader.read(reader.cursor("o"), *records, *bytes).expect("it reads");
            prop_assert_eq!(batch.lost, 0);
            read.extend(numbers(&batch));
            reader.commit("o", batch.next).expect("it is kept");
            if appended == count && batch.records.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_is_read_as_written_and_anything_else_is_none(
        tag in ".{0,20}", body in prop::collection::vec(any::<u8>(), 0..200), at in any::<u64>(),
        noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let record = Record { at: Timestamp::from_millis(at), kind: RecordKind::Object, tag, body };
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        let length = bytes.len();
        bytes.extend(&noise);
        prop_assert_eq!(decode(&bytes), Some((record, length)));
        prop_assert_eq!(decode(&bytes[..length - 1]), None);
        let _ = decode(&noise);
    }
}

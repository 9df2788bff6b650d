use std::{collections::BTreeSet, sync::Mutex};

use bowline_model::metric::{Datum, MetricId, Statistic, Unit};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(NOW + millis)
}

fn event(millis: u64, message: &str) -> LogEvent {
    LogEvent { at: at(millis), message: message.to_owned() }
}

fn open(directory: &Path, limits: LogLimits) -> LogStore {
    LogStore::open(directory, limits, Arc::new(|| at(0)), None).expect("opens")
}

fn small() -> LogLimits {
    LogLimits { segment_bytes: 300, ..LogLimits::default() }
}

fn all() -> Reading<'static> {
    Reading {
        streams: Streams::All,
        from: Timestamp::default(),
        until: Timestamp::from_millis(u64::MAX),
        after: None,
        before: None,
        is_forward: true,
        limit: 10_000,
        bytes: 1 << 20,
        takes: &|_| true,
    }
}

fn messages(store: &LogStore, group: &str) -> Vec<String> {
    let page = store.read(group, &all()).expect("reads");
    assert_eq!(page.rest, None);
    page.events.into_iter().map(|event| event.message).collect()
}

#[test]
fn what_was_put_is_there_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), small());
    assert_eq!(store.put("/g", "s", vec![event(0, "a")], false), Err(LogWriteError::NoGroup("/g".into())));
    for number in 0..20 {
        store.put("/g", "s", vec![event(number, &format!("one {number}"))], true).expect("puts");
        store.put("/g", "t", vec![event(number, &format!("two {number}"))], true).expect("puts");
    }
    let before =
        (messages(&store, "/g"), store.streams("/g").expect("streams"), store.groups(), store.bytes());
    assert_eq!(before.0.len(), 40);
    assert!(
        std::fs::read_dir(dir.path().join("group-00000001")).expect("reads").count() > 3,
        "several segments"
    );
    // Nothing is closed: what `put` returned for is there.
    std::mem::forget(store);
    let store = open(dir.path(), small());
    let after =
        (messages(&store, "/g"), store.streams("/g").expect("streams"), store.groups(), store.bytes());
    assert_eq!(before, after);
    store.put("/g", "s", vec![event(100, "last")], false).expect("puts");
    assert_eq!(messages(&store, "/g").last().map(String::as_str), Some("last"));
}

#[test]
fn a_torn_tail_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), LogLimits::default());
    store.put("/g", "s", vec![event(0, "a"), event(1, "b")], true).expect("puts");
    store.put("/g", "s", vec![event(2, "torn")], true).expect("puts");
    drop(store);
    let segment = dir.path().join("group-00000001/000000000001.segment");
    let whole = std::fs::read(&segment).expect("reads");
    for cut in 1..20 {
        std::fs::write(&segment, &whole[..whole.len() - cut]).expect("writes");
        let store = open(dir.path(), LogLimits::default());
        assert_eq!(messages(&store, "/g"), ["a", "b"], "{cut}");
        store.put("/g", "s", vec![event(3, "c")], false).expect("puts");
        assert_eq!(messages(&store, "/g"), ["a", "b", "c"], "{cut}");
    }
}

#[test]
fn what_is_too_old_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = Arc::new(Mutex::new(at(0)));
    let clock = Arc::clone(&now);
    let clock: Clock = Arc::new(move || *clock.lock().expect("no panic"));
    let store = LogStore::open(dir.path(), small(), clock, None).expect("opens");
    store.put("/bowline/c/s", "s", vec![event(0, &"x".repeat(300))], true).expect("puts");
    store.put("/app", "s", vec![event(0, "kept")], true).expect("puts");
    assert_eq!(store.describe("/bowline/c/s").map(|group| group.settings.retention_days), Some(Some(3)));
    assert_eq!(store.describe("/app").map(|group| group.settings.retention_days), Some(None));
    *now.lock().expect("no panic") = at(3 * 24 * 3600 * 1000 + 1);
    assert!(messages(&store, "/bowline/c/s").is_empty(), "before the segment goes");
    let before = store.bytes();
    store.tend();
    assert!(store.bytes() < before - 300);
    assert_eq!(messages(&store, "/app"), ["kept"]);
    assert_eq!(store.dropped(), DroppedLogs::default());
    store.put("/bowline/c/s", "s", vec![event(3 * 24 * 3600 * 1000, "new")], true).expect("puts");
    assert_eq!(messages(&store, "/bowline/c/s"), ["new"]);
}

#[test]
fn the_oldest_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = LogLimits { bytes_max: 2_000, ..small() };
    let store = open(dir.path(), limits);
    for number in 0..100 {
        let group = if number % 2 == 0 { "/a" } else { "/b" };
        store.put(group, "s", vec![event(number, &format!("{number:030}"))], true).expect("puts");
        assert!(store.bytes() <= 2_000);
    }
    let kept: BTreeSet<u64> = ["/a", "/b"]
        .iter()
        .flat_map(|group| messages(&store, group))
        .map(|message| message.parse().expect("a number"))
        .collect();
    assert!(kept.contains(&99) && kept.len() > 10 && !kept.contains(&0));
    assert_eq!(store.dropped().events, 100 - kept.len() as u64);
    let on_disk: u64 = store.groups().iter().map(|group| group.stored_bytes).sum();
    assert_eq!(on_disk, store.bytes());
}

#[test]
fn groups_and_streams_are_made_told_and_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), LogLimits { groups_max: 2, streams_max: 2, ..small() });
    let settings =
        GroupSettings { retention_days: Some(7), deletion_protected: true, ..GroupSettings::default() };
    store.create_group("g", settings.clone()).expect("makes");
    assert!(matches!(store.create_group("g", settings.clone()), Err(LogStoreError::GroupExists)));
    assert!(matches!(store.create_group("a b", GroupSettings::default()), Err(LogStoreError::Name(_))));
    assert!(matches!(store.delete_group("g"), Err(LogStoreError::Protected)));
    store.create_group("h", GroupSettings::default()).expect("makes");
    assert!(matches!(store.create_group("i", GroupSettings::default()), Err(LogStoreError::Limit)));
    store.create_stream("g", "one").expect("makes");
    assert!(matches!(store.create_stream("g", "one"), Err(LogStoreError::StreamExists)));
    assert!(matches!(store.create_stream("g", "o:ne"), Err(LogStoreError::Name(_))));
    assert!(matches!(store.append("g", "two", &[event(0, "a")]), Err(LogStoreError::NoStream)));
    store.put("g", "two", vec![event(0, "a")], false).expect("puts");
    // The one without events makes room.
    store.put("g", "three", vec![event(1, "b")], false).expect("puts");
    let names = |store: &LogStore| -> Vec<String> {
        store.streams("g").expect("streams").into_iter().map(|stream| stream.name).collect()
    };
    assert_eq!(names(&store), ["three", "two"]);
    // Then the one that was written to the longest time ago does.
    store.put("g", "four", vec![event(1, "c")], false).expect("puts");
    assert_eq!(names(&store), ["four", "three"]);
    store.delete_stream("g", "four").expect("deletes");
    assert_eq!(messages(&store, "g"), ["b"]);
    drop(store);
    let store = open(dir.path(), LogLimits { groups_max: 2, streams_max: 2, ..small() });
    assert_eq!(names(&store), ["three"]);
    assert_eq!(messages(&store, "g"), ["b"]);
    store
        .change_group::<LogStoreError>("g", |settings| {
            settings.deletion_protected = false;
            Ok(())
        })
        .expect("changes");
    store.delete_group("g").expect("deletes");
    assert_eq!((store.groups().len(), store.bytes()), (1, 0));
    drop(store);
    assert_eq!(open(dir.path(), small()).groups().len(), 1);
}

#[test]
fn the_tail_is_in_the_order_in_which_it_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), small());
    for number in (0..30).rev() {
        store.put("g", "s", vec![event(number, &number.to_string())], true).expect("puts");
    }
    let first = store.tail("g", 0, 10).expect("reads");
    assert_eq!(first.iter().map(|event| &*event.message).collect::<Vec<_>>()[..3], ["29", "28", "27"]);
    let last = first.last().expect("some").position.sequence;
    let rest = store.tail("g", last, 100).expect("reads");
    assert_eq!((rest.len(), &*rest[0].message, &*rest[19].message), (20, "19", "0"));
    let end = store.describe("g").expect("a group").last_sequence;
    assert!(store.tail("g", end, 100).expect("reads").is_empty());
}

struct Measured(Mutex<Vec<Datum>>);

impl MetricWriter for Measured {
    fn put(&self, data: Vec<Datum>) {
        self.0.lock().expect("no panic").extend(data);
    }
}

#[test]
fn metric_filters_make_values() {
    let dir = tempfile::tempdir().expect("a directory");
    let measured = Arc::new(Measured(Mutex::default()));
    let store = LogStore::open(dir.path(), small(), Arc::new(|| at(0)), Some(Arc::clone(&measured) as _))
        .expect("opens");
    store.create_group("g", GroupSettings::default()).expect("makes");
    let filter = MetricFilter {
        name: "latency".into(),
        pattern: "{ $.status = 5* }".into(),
        transformations: vec![MetricTransformation {
            namespace: "App".into(),
            metric: "Latency".into(),
            value: Value::parse("$.ms").expect("a selector"),
            default_value: None,
            dimensions: BTreeMap::from([("Path".to_owned(), "$.path".to_owned())]),
            unit: Unit::Milliseconds,
        }],
        created_at: at(0),
        declared: false,
    };
    filter.check().expect("a filter");
    store.put_metric_filter("g", filter).expect("puts");
    drop(store);
    let store = LogStore::open(dir.path(), small(), Arc::new(|| at(0)), Some(Arc::clone(&measured) as _))
        .expect("opens");
    let events = [
        r#"{"status": 503, "ms": 4, "path": "/a"}"#,
        r#"{"status": 500, "ms": 6, "path": "/a"}"#,
        r#"{"status": 200, "ms": 9, "path": "/a"}"#,
        r#"{"status": 500, "ms": "slow", "path": "/a"}"#,
        r#"{"status": 500, "ms": 1}"#,
    ];
    store.put("g", "s", events.map(|message| event(1, message)).to_vec(), false).expect("puts");
    let data = measured.0.lock().expect("no panic");
    assert_eq!(data.len(), 1);
    assert_eq!(data[0].metric, MetricId::new("App", "Latency", [("Path", "/a")]));
    let values = &data[0].values;
    assert_eq!(
        (values.statistic(Statistic::Sum), values.count(), data[0].unit),
        (Some(10.0), 2.0, Unit::Milliseconds)
    );
}

#[test]
fn what_is_declared_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), small());
    store.create_group("own", GroupSettings::default()).expect("makes");
    let settings =
        GroupSettings { retention_days: Some(1), declaration: Some("1".into()), ..GroupSettings::default() };
    let one = DeclaredGroup { settings: Some(settings), metric_filters: Vec::new() };
    let mut declared = BTreeMap::from([("stack".to_owned(), one)]);
    store.declare(&declared).expect("declares");
    store.put("stack", "s", vec![event(0, "a")], false).expect("puts");
    let set = |days| {
        store.change_group::<LogStoreError>("stack", |settings| {
            settings.retention_days = Some(days);
            Ok(())
        })
    };
    set(5).expect("changes");
    store.declare(&declared).expect("declares");
    let days = || store.describe("stack").and_then(|group| group.settings.retention_days);
    assert_eq!(days(), Some(5), "nothing else is declared");
    if let Some(settings) = declared.get_mut("stack").and_then(|group| group.settings.as_mut()) {
        settings.declaration = Some("2".into());
    }
    store.declare(&declared).expect("declares");
    assert_eq!((days(), messages(&store, "stack")), (Some(1), vec!["a".to_owned()]));
    store.declare(&BTreeMap::new()).expect("declares");
    assert_eq!(store.groups().iter().map(|group| &*group.name).collect::<Vec<_>>(), ["own"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pages_together_are_all(
        puts in prop::collection::vec((0..3usize, prop::collection::vec(0..50u64, 1..4)), 1..40),
        limit in 1..9usize,
        bytes in 27..400usize,
        is_forward: bool,
        from in 0..30u64,
        stream in 0..4usize,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path(), small());
        let names = ["a", "b", "ab"];
        let mut expected = Vec::new();
        let mut number = 0;
        for (stream_of, times) in &puts {
            let events: Vec<LogEvent> = times.iter().map(|time| { number += 1; event(*time, &format!("{number}")) }).collect();
            for one in &events {
                expected.push((one.at, number_of(&one.message), names[*stream_of]));
            }
            store.put("g", names[*stream_of], events, true).expect("puts");
        }
        expected.sort_unstable();
        let streams = if stream == 3 { Streams::All } else { Streams::Prefixed(names[stream].to_owned()) };
        expected.retain(|(time, _, name)| *time >= at(from) && streams_take(&streams, name));
        let mut told = Vec::new();
        let (mut after, mut before) = (None, None);
        loop {
            let reading = Reading { streams: streams.clone(), from: at(from), limit, bytes, is_forward, after, before, ..all() };
            let page = store.read("g", &reading).expect("reads");
            prop_assert!(page.events.len() <= limit);
            let keys: Vec<_> = page.events.iter().map(|it| (it.position.at, number_of(&it.message))).collect();
            match is_forward {
                true => { told.extend(keys); after = page.rest; }
                false => { told.splice(0..0, keys); before = page.rest; }
            }
            if page.rest.is_none() { break; }
            prop_assert!(!page.events.is_empty());
        }
        let expected: Vec<_> = expected.into_iter().map(|(time, number, _)| (time, number)).collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn positions_are_read_as_they_are_written(millis: u64, sequence: u64) {
        let position = Position { at: Timestamp::from_millis(millis), sequence };
        prop_assert_eq!(position.to_string().parse(), Ok(position));
        prop_assert_eq!(position.to_string().len(), 56);
    }

    #[test]
    fn any_segment_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path(), small());
        store.put("g", "s", vec![event(0, "a")], true).expect("puts");
        drop(store);
        std::fs::write(dir.path().join("group-00000001/000000000001.segment"), bytes).expect("writes");
        let store = open(dir.path(), small());
        let _ = messages(&store, "g");
        store.put("g", "s", vec![event(0, "b")], false).expect("puts");
    }
}

fn number_of(message: &str) -> u64 {
    message.parse().expect("a number")
}

fn streams_take(streams: &Streams, name: &str) -> bool {
    match streams {
        Streams::Prefixed(prefix) => name.starts_with(prefix.as_str()),
        _ => true,
    }
}

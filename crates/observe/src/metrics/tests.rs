//! The store as a whole.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 3600;
const NOW: u64 = 2_000 * DAY;

/// A clock that stands where it is put.
struct Stopped(Arc<AtomicU64>);

impl Stopped {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || Timestamp::from_secs(seconds.load(Ordering::Relaxed)))
    }

    fn put(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

fn open(directory: &Path, limits: MetricLimits, clock: &Stopped) -> MetricStore {
    MetricStore::open(directory, limits, clock.clock()).expect("opens")
}

fn metric(name: &str) -> MetricId {
    MetricId::new("Test", name, [("Service", "web")])
}

fn datum(name: &str, second: u64, value: f64) -> Datum {
    Datum {
        metric: metric(name),
        at: Timestamp::from_secs(second),
        unit: Unit::Count,
        values: Distribution::of(value),
        is_high_resolution: false,
    }
}

fn sums(store: &MetricStore, name: &str, period: u64, from: u64, until: u64) -> Vec<(u64, f64)> {
    let (from, until) = (Timestamp::from_secs(from), Timestamp::from_secs(until));
    let told = store.values(&metric(name), Statistic::Sum, Duration::from_secs(period), from, until);
    told.into_iter().map(|(at, sum)| (at.as_secs(), sum)).collect()
}

/// Waits until the keeper has done what it has to: it looks at once when it is woken.
fn until(store: &MetricStore, what: impl Fn(&MetricStore) -> bool) {
    for _ in 0..2_000 {
        store.shared.queue.wake();
        if what(store) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the keeper has not done it within 10 s");
}

fn blocks(store: &MetricStore) -> usize {
    store.shared.state().shelves.iter().map(Vec::len).sum()
}

fn is_written(store: &MetricStore) -> bool {
    let state = store.shared.state();
    state.entries.is_empty() && state.definitions.is_empty()
}

/// Cuts a block at every occasion.
fn eager() -> MetricLimits {
    MetricLimits { cut_every: Duration::ZERO, ..MetricLimits::default() }
}

#[test]
fn what_is_put_is_told_at_once_and_by_any_period() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), MetricLimits::default(), &Stopped::new());
    store.put(vec![datum("a", NOW - 600, 1.0), datum("a", NOW - 541, 2.0), datum("a", NOW - 540, 4.0)]);
    store.put(vec![datum("b", NOW, 8.0)]);
    assert_eq!(sums(&store, "a", 60, 0, NOW), [(NOW - 600, 3.0), (NOW - 540, 4.0)]);
    assert_eq!(sums(&store, "a", 60, NOW - 599, NOW), [(NOW - 540, 4.0)], "only what begins within");
    assert_eq!(sums(&store, "a", 60, 0, NOW - 540), [(NOW - 600, 3.0)]);
    assert_eq!(sums(&store, "a", 300, 0, NOW), [(NOW - 600, 7.0)]);
    assert_eq!(sums(&store, "a", DAY, 0, NOW), [(NOW - DAY, 7.0)]);
    assert_eq!(sums(&store, "a", 1, 0, NOW), [], "seconds are kept of high-resolution metrics alone");
    assert_eq!(sums(&store, "b", 60, 0, NOW), []);
    assert_eq!(sums(&store, "none", 60, 0, NOW), []);
    let offset = Periods {
        length: Duration::from_secs(300),
        offset: Duration::from_secs(60),
        from: Timestamp::from_secs(0),
        until: Timestamp::from_secs(NOW),
    };
    let told = store.distributions(&metric("a"), None, &offset);
    let told: Vec<_> = told.iter().map(|(at, values)| (at.as_secs(), values.sum())).collect();
    assert_eq!(told, [(NOW - 840, 3.0), (NOW - 540, 4.0)]);
}

#[test]
fn seconds_are_kept_for_hours_and_only_where_they_are_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), eager(), &clock);
    let high = |second, value| Datum { is_high_resolution: true, ..datum("a", second, value) };
    store.put(vec![high(NOW - 2, 1.0), high(NOW - 1, 2.0), high(NOW - 4 * 3600, 4.0)]);
    assert_eq!(sums(&store, "a", 1, 0, NOW), [(NOW - 2, 1.0), (NOW - 1, 2.0)]);
    assert_eq!(sums(&store, "a", 10, 0, NOW), [(NOW - 10, 3.0)]);
    assert_eq!(sums(&store, "a", 60, 0, NOW), [(NOW - 4 * 3600, 4.0), (NOW - 60, 3.0)]);
    until(&store, |store| blocks(store) > 0);
    clock.put(NOW + 3 * 3600 + 60);
    store.put(vec![datum("b", NOW, 1.0)]);
    until(&store, |store| sums(store, "a", 1, 0, NOW).is_empty());
    assert_eq!(sums(&store, "a", 60, 0, NOW).len(), 2, "the minutes stay");
}

#[test]
fn it_is_there_again_after_the_process_was_killed_and_a_torn_end_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), MetricLimits::default(), &clock);
    store.put(vec![datum("a", NOW - 60, 1.0)]);
    until(&store, is_written);
    store.put(vec![datum("a", NOW - 60, 2.0), datum("b", NOW - 60, 4.0)]);
    until(&store, is_written);
    // What a process leaves that is killed now.
    let killed = tempfile::tempdir().expect("a directory");
    let mut journal = None;
    for entry in std::fs::read_dir(dir.path()).expect("is read") {
        let entry = entry.expect("a file");
        let to = killed.path().join(entry.file_name());
        std::fs::copy(entry.path(), &to).expect("copies");
        if entry.file_name().to_string_lossy().ends_with(".journal") {
            journal = Some(to);
        }
    }
    let journal = journal.expect("there is a journal");
    let whole = std::fs::read(&journal).expect("reads");
    let again = open(killed.path(), MetricLimits::default(), &clock);
    assert_eq!(sums(&again, "a", 60, 0, NOW), [(NOW - 60, 3.0)]);
    assert_eq!(sums(&again, "b", 60, 0, NOW), [(NOW - 60, 4.0)]);
    drop(again);
    std::fs::write(&journal, &whole[..whole.len() - 1]).expect("writes");
    for restarts in 0..3 {
        let again = open(killed.path(), MetricLimits::default(), &clock);
        let there = sums(&again, "a", 60, 0, NOW);
        assert_eq!(there, [(NOW - 60, 1.0 + f64::from(restarts))], "all but the last frame, which was torn");
        again.put(vec![datum("a", NOW - 60, 1.0)]);
    }
}

#[test]
fn blocks_are_put_together_and_tell_what_they_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), eager(), &clock);
    let rounds = 3 * disk::TOGETHER as u64;
    for round in 0..rounds {
        let before = store.shared.state().shelves[3].iter().map(|block| block.name.last).max();
        // Every round adds to the same minute too: as late values do.
        store.put(vec![datum("a", NOW - 60 * round, 1.0), datum("a", NOW - 60, 1.0)]);
        until(&store, |store| {
            store.shared.state().shelves[3].iter().map(|block| block.name.last).max() > before
        });
    }
    until(&store, |store| store.shared.state().shelves[1].len() < disk::TOGETHER);
    let expected: Vec<_> = (1..rounds)
        .rev()
        .map(|round| (NOW - 60 * round, if round == 1 { 1.0 + rounds as f64 } else { 1.0 }))
        .collect();
    assert_eq!(sums(&store, "a", 60, 0, NOW), expected);
    store.close();
    let again = open(dir.path(), MetricLimits::default(), &clock);
    assert_eq!(sums(&again, "a", 60, 0, NOW), expected);
    assert_eq!(sums(&again, "a", 3600, 0, NOW), [(NOW - 3600, 2.0 * rounds as f64 - 1.0)]);
}

#[test]
fn a_cut_that_was_not_finished_is_undone_and_one_that_was_counts_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), MetricLimits::default(), &clock);
    store.put(vec![datum("a", NOW - 60, 1.0)]);
    store.close();
    let journal = journal::path(dir.path(), 1);
    let kept = std::fs::read(&journal).expect("there is a journal");
    let store = open(dir.path(), eager(), &clock);
    until(&store, |store| blocks(store) > 0);
    store.close();
    drop(store);
    // Killed after the last block had its name, and before the journal was removed.
    std::fs::write(&journal, &kept).expect("writes");
    let store = open(dir.path(), MetricLimits::default(), &clock);
    assert_eq!(sums(&store, "a", 60, 0, NOW), [(NOW - 60, 1.0)]);
    drop(store);
    // Killed before the last block had its name.
    std::fs::write(&journal, &kept).expect("writes");
    for name in std::fs::read_dir(dir.path()).expect("is read").map(|entry| entry.expect("a file").path()) {
        if name.to_string_lossy().contains("/3600-") {
            std::fs::remove_file(name).expect("removes");
        }
    }
    let store = open(dir.path(), MetricLimits::default(), &clock);
    assert_eq!(sums(&store, "a", 60, 0, NOW), [(NOW - 60, 1.0)]);
}

#[test]
fn late_values_are_taken_and_others_are_dropped_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), eager(), &Stopped::new());
    store.put(vec![datum("a", NOW - 14 * DAY, 1.0)]);
    until(&store, |store| blocks(store) > 0);
    store.put(vec![
        datum("a", NOW - 14 * DAY, 2.0),
        datum("a", NOW + 3600, 4.0),
        datum("a", NOW - 100 * DAY, 8.0),
    ]);
    assert_eq!(sums(&store, "a", 60, 0, NOW), [(NOW - 14 * DAY, 3.0)]);
    assert_eq!(sums(&store, "a", 3600, 0, 2 * NOW).len(), 3, "hours are kept longer than minutes");
    let mut long = datum("a", NOW, 1.0);
    long.metric.dimensions.insert("long".into(), "x".repeat(5_000));
    store.put(vec![datum("a", NOW + 3 * 3600, 1.0), datum("a", NOW - 500 * DAY, 1.0), long]);
    assert_eq!(store.dropped(), Dropped { out_of_range: 3, ..Dropped::default() });
}

#[test]
fn there_are_bounds_for_the_queue_and_for_series() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = MetricLimits { series_max: 2, queue_max: 4, ..MetricLimits::default() };
    let store = open(dir.path(), limits, &Stopped::new());
    // Nobody takes anything in meanwhile.
    let held = store.shared.state.lock().expect("is not poisoned");
    store.put(vec![datum("a", NOW, 1.0), datum("b", NOW, 1.0), datum("c", NOW, 1.0)]);
    store.put(vec![datum("a", NOW, 1.0), datum("a", NOW, 1.0)]);
    drop(held);
    assert_eq!(store.dropped(), Dropped { overflowing: 2, beyond_series: 1, ..Dropped::default() });
    assert_eq!(store.series(), 2);
    let named =
        MetricFilter { dimensions: vec![("Service".into(), Some("web".into()))], ..MetricFilter::default() };
    assert_eq!(store.list(&named), [metric("a"), metric("b")]);
    let other =
        MetricFilter { dimensions: vec![("Service".into(), Some("api".into()))], ..MetricFilter::default() };
    assert_eq!(store.list(&other), []);
    let since =
        |second| MetricFilter { since: Some(Timestamp::from_secs(second)), ..MetricFilter::default() };
    assert_eq!((store.list(&since(NOW)).len(), store.list(&since(NOW + 1)).len()), (2, 0));
}

#[test]
fn bytes_are_bounded_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let bytes_max = 4_000;
    let store = open(dir.path(), MetricLimits { bytes_max, ..eager() }, &clock);
    for hour in 0..40 {
        clock.put(NOW + hour * 3600);
        let before = store.shared.state().shelves[3].iter().map(|block| block.name.last).max();
        store.put((0..40).map(|minute| datum("a", NOW + hour * 3600 - minute * 60, 0.5)).collect());
        until(&store, |store| {
            store.shared.state().shelves[3].iter().map(|block| block.name.last).max() > before
        });
    }
    until(&store, |store| store.bytes() <= bytes_max);
    let told = sums(&store, "a", 60, 0, NOW + 40 * 3600);
    assert!(store.dropped().bytes > 0 && !told.is_empty());
    assert!(told[0].0 > NOW && told.last().expect("some").0 == NOW + 39 * 3600, "{told:?}");
    assert!(sums(&store, "a", 3600, 0, NOW + 40 * 3600).len() > told.len() / 40, "hours stay longest");
}

#[test]
fn all_can_be_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), eager(), &clock);
    store.put(vec![datum("a", NOW - 60, 1.0)]);
    until(&store, |store| blocks(store) > 0);
    store.put(vec![datum("a", NOW - 60, 1.0)]);
    store.clear();
    assert_eq!((store.list(&MetricFilter::default()), store.bytes()), (Vec::new(), 0));
    store.put(vec![datum("a", NOW - 60, 2.0)]);
    until(&store, |store| !store.shared.state().is_cleared && is_written(store));
    store.close();
    let again = open(dir.path(), MetricLimits::default(), &clock);
    assert_eq!(sums(&again, "a", 60, 0, NOW), [(NOW - 60, 2.0)]);
}

#[test]
fn series_without_values_are_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Stopped::new();
    let store = open(dir.path(), eager(), &clock);
    store.put(vec![datum("old", NOW, 1.0)]);
    until(&store, |store| blocks(store) > 0);
    clock.put(NOW + 456 * DAY);
    until(&store, |store| store.series() == 0);
    store.put(vec![datum("new", NOW + 456 * DAY, 1.0)]);
    until(&store, |store| blocks(store) > 0 && is_written(store));
    store.close();
    let again = open(dir.path(), MetricLimits::default(), &clock);
    assert_eq!(again.list(&MetricFilter::default()), [metric("new")]);
    assert_eq!(sums(&again, "new", 3600, 0, 2 * NOW).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is cut and reopened meanwhile, what is told is what was put.
    #[test]
    fn nothing_is_lost_or_counted_twice(
        steps in prop::collection::vec((prop::collection::vec((0..3usize, 0..7200u64), 1..20), 0..4u8), 1..12),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Stopped::new();
        let names = ["a", "b", "c"];
        let mut model: BTreeMap<(usize, u64), f64> = BTreeMap::new();
        let mut store = open(dir.path(), MetricLimits::default(), &clock);
        for (puts, then) in steps {
            let data = puts.iter().map(|(name, ago)| datum(names[*name], NOW - ago, 1.0));
            store.put(data.collect());
            for (name, ago) in puts {
                *model.entry((name, (NOW - ago) / 60 * 60)).or_default() += 1.0;
            }
            if then < 2 {
                store.close();
                drop(store);
                store = open(dir.path(), if then == 0 { eager() } else { MetricLimits::default() }, &clock);
            }
        }
        for (number, name) in names.iter().enumerate() {
            let expected: Vec<_> =
                model.iter().filter(|((of, _), _)| *of == number).map(|((_, at), sum)| (*at, *sum)).collect();
            prop_assert_eq!(sums(&store, name, 60, 0, NOW + 60), expected);
        }
    }
}

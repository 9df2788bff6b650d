//! What every [`Store`] must do, as one suite that takes the store to test.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Makes a new, empty store with a change log of the given limits.
pub(crate) type Make<'a> = &'a dyn Fn(LogLimits) -> Box<dyn Store>;

/// Runs the suite; panics at the first deviation.
pub(crate) fn all(make: Make<'_>) {
    let new = || make(LogLimits::default());
    reads_what_was_put(&*new());
    lists_by_prefix(&*new());
    compares_and_sets(&*new());
    is_all_or_nothing(&*new());
    keeps_its_limits(&*new());
    raises_the_revision_for_changes_only(&*new());
    watches(&*new());
    compacts(&*make(LogLimits { changes: 4, ..LogLimits::default() }));
    one_of_many_wins(&*new());
    does_as_the_model(make);
}

/// A transaction of one unconditional put.
pub(crate) fn put(key: &str, value: &str) -> Transaction {
    when(&[], &[(key, Some(value))])
}

/// A transaction with conditions and changes; a change to none deletes.
fn when(conditions: &[(&str, u64)], changes: &[(&str, Option<&str>)]) -> Transaction {
    Transaction {
        conditions: conditions
            .iter()
            .map(|&(key, revision)| Condition { key: key.into(), revision })
            .collect(),
        changes: changes
            .iter()
            .map(|&(key, value)| match value {
                Some(value) => Change::Put { key: key.into(), value: value.into() },
                None => Change::Delete { key: key.into() },
            })
            .collect(),
    }
}

fn contents(store: &dyn Store, prefix: &str) -> Vec<(String, String, u64)> {
    let entries = store.list(prefix).expect("lists").entries;
    let text = |value| String::from_utf8(value).expect("text was put");
    entries.into_iter().map(|entry| (entry.key, text(entry.value), entry.revision)).collect()
}

fn row(key: &str, value: &str, revision: u64) -> (String, String, u64) {
    (key.into(), value.into(), revision)
}

fn shown(watch: &mut Watch) -> Vec<String> {
    let show = |event: &Event| match event {
        Event::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Event::Deleted { key, .. } => format!("-{key}"),
    };
    let events = watch.poll().expect("is not behind");
    events.iter().map(|event| format!("{} {}", event.revision(), show(event))).collect()
}

fn reads_what_was_put(store: &dyn Store) {
    assert_eq!(store.list("").expect("lists"), Listing { revision: 0, entries: Vec::new() });
    assert_eq!(store.get("a").expect("reads"), None);
    assert_eq!(store.commit(put("a", "1")).expect("commits"), 1);
    assert_eq!(store.commit(put("b", "")).expect("commits"), 2);
    let entry = |key: &str, value: &str, revision| Entry { key: key.into(), value: value.into(), revision };
    assert_eq!(store.get("a").expect("reads"), Some(entry("a", "1", 1)));
    assert_eq!(store.get("b").expect("reads"), Some(entry("b", "", 2)));
    assert_eq!(store.commit(put("a", "2")).expect("commits"), 3);
    assert_eq!(store.get("a").expect("reads"), Some(entry("a", "2", 3)));
    assert_eq!(store.commit(when(&[], &[("a", None)])).expect("commits"), 4);
    assert_eq!(store.get("a").expect("reads"), None);
    assert_eq!(store.get("").expect("reads"), None);
}

fn lists_by_prefix(store: &dyn Store) {
    for key in ["a/2", "a/10", "a", "a0", "b/1", "é/1", "a/\u{10ffff}"] {
        store.commit(put(key, "v")).expect("commits");
    }
    let keys = |prefix| contents(store, prefix).into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
    assert_eq!(keys("a/"), ["a/10", "a/2", "a/\u{10ffff}"]);
    assert_eq!(keys("a"), ["a", "a/10", "a/2", "a/\u{10ffff}", "a0"]);
    assert_eq!(keys("é"), ["é/1"]);
    assert_eq!(keys("c"), Vec::<String>::new());
    assert_eq!(keys("").len(), 7);
    assert_eq!(store.list("c").expect("lists").revision, 7, "the revision is the store's");
}

fn compares_and_sets(store: &dyn Store) {
    let conflict = |transaction: Transaction| match store.commit(transaction) {
        Err(CommitError::Conflict { key, expected, actual }) => (key, expected, actual),
        other => panic!("{other:?} is no conflict"),
    };
    assert_eq!(store.commit(when(&[("a", 0)], &[("a", Some("1"))])).expect("did not exist"), 1);
    assert_eq!(conflict(when(&[("a", 0)], &[("a", Some("2"))])), ("a".into(), 0, 1));
    assert_eq!(store.commit(when(&[("a", 1)], &[("a", Some("2"))])).expect("is at 1"), 2);
    assert_eq!(conflict(when(&[("a", 1)], &[("a", None)])), ("a".into(), 1, 2));
    assert_eq!(conflict(when(&[("x", 1)], &[("a", None)])), ("x".into(), 1, 0));
    assert_eq!(store.commit(when(&[("a", 2)], &[("b", Some("1"))])).expect("is at 2"), 3);
    assert_eq!(contents(store, ""), [row("a", "2", 2), row("b", "1", 3)], "others stay at their revision");
    store.commit(when(&[], &[("a", None)])).expect("commits");
    assert_eq!(store.commit(when(&[("a", 0)], &[("a", Some("3"))])).expect("exists no more"), 5);
}

fn is_all_or_nothing(store: &dyn Store) {
    store.commit(when(&[], &[("a", Some("1")), ("b", Some("1"))])).expect("commits");
    let before = store.list("").expect("lists");
    assert_eq!(before.revision, 1, "a transaction has one revision");
    let changes = [("a", Some("2")), ("b", None), ("c", Some("2"))];
    assert!(store.commit(when(&[("a", 1), ("b", 7)], &changes)).is_err());
    assert_eq!(store.list("").expect("lists"), before);
    store.commit(when(&[("a", 1), ("b", 1)], &changes)).expect("commits");
    assert_eq!(contents(store, ""), [row("a", "2", 2), row("c", "2", 2)]);
}

fn keeps_its_limits(store: &dyn Store) {
    let longest = "k".repeat(MAX_KEY_BYTES);
    let change = |key: &str, bytes| Change::Put { key: key.into(), value: vec![7; bytes] };
    let transaction = |changes| Transaction { conditions: Vec::new(), changes };
    store.commit(transaction(vec![change(&longest, MAX_VALUE_BYTES)])).expect("is just allowed");
    assert_eq!(store.get(&longest).expect("reads").expect("is there").value.len(), MAX_VALUE_BYTES);
    let before = store.list("").expect("lists");
    let refused = |changes| store.commit(transaction(changes)).expect_err("is not allowed");

    let error = refused(vec![change("a", 1), change(&format!("{longest}k"), 1)]);
    assert!(matches!(error, CommitError::KeySize { bytes } if bytes == MAX_KEY_BYTES + 1), "{error:?}");
    let error = refused(vec![change("", 1)]);
    assert!(matches!(error, CommitError::KeySize { bytes: 0 }), "{error:?}");
    let error = refused(vec![change("a", 1), change("b", MAX_VALUE_BYTES + 1)]);
    assert!(matches!(&error, CommitError::ValueSize { key, .. } if key == "b"), "{error:?}");
    let error = refused(vec![change("a", 1), Change::Delete { key: "a".into() }]);
    assert!(matches!(&error, CommitError::ChangedTwice { key } if key == "a"), "{error:?}");
    let error = refused((0..=MAX_TRANSACTION_ITEMS).map(|n| change(&n.to_string(), 0)).collect());
    assert!(matches!(error, CommitError::TransactionSize { .. }), "{error:?}");
    let error = refused(
        (0..=MAX_TRANSACTION_BYTES / MAX_VALUE_BYTES)
            .map(|n| change(&n.to_string(), MAX_VALUE_BYTES))
            .collect(),
    );
    assert!(matches!(error, CommitError::TransactionSize { .. }), "{error:?}");
    assert_eq!(store.list("").expect("lists"), before);
}

fn raises_the_revision_for_changes_only(store: &dyn Store) {
    assert_eq!(store.commit(Transaction::default()).expect("commits"), 0);
    assert_eq!(store.commit(put("a", "1")).expect("commits"), 1);
    assert_eq!(store.commit(when(&[], &[("b", None)])).expect("commits"), 1);
    assert_eq!(store.commit(when(&[("a", 1)], &[])).expect("commits"), 1);
    assert!(store.commit(when(&[("a", 2)], &[])).is_err(), "conditions count without changes too");
    assert_eq!(store.commit(put("a", "1")).expect("commits"), 2, "the same value is a change");
    assert_eq!(shown(&mut store.watch("", 0).expect("starts")), ["1 a=1", "2 a=1"]);
}

fn watches(store: &dyn Store) {
    let mut everything = store.watch("", 0).expect("starts");
    let mut rows = store.watch("row/", 0).expect("starts");
    assert_eq!(shown(&mut everything), [""; 0]);
    store
        .commit(when(&[], &[("row/2", Some("x")), ("other", Some("y")), ("row/1", Some("z"))]))
        .expect("commits");
    store.commit(when(&[], &[("row/1", None), ("row/9", None)])).expect("commits");
    assert_eq!(shown(&mut everything), ["1 row/2=x", "1 other=y", "1 row/1=z", "2 -row/1"]);
    assert_eq!(shown(&mut rows), ["1 row/2=x", "1 row/1=z", "2 -row/1"]);
    assert_eq!(shown(&mut rows), [""; 0], "an event comes once");
    assert_eq!(shown(&mut store.watch("", 1).expect("starts")), ["2 -row/1"]);
    assert_eq!(store.watch("", 3).err(), Some(WatchError::Future { from: 3, latest: 2 }));
    assert!(store.commit(when(&[("row/2", 9)], &[("row/2", None)])).is_err());
    assert_eq!(shown(&mut rows), [""; 0], "what was refused is no event");

    // A watch that waits is woken, though only by its own prefix's changes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let wait = async {
                tokio::time::timeout(std::time::Duration::from_secs(20), rows.next()).await.expect("is woken")
            };
            runtime.block_on(wait).expect("is not behind")
        });
        store.commit(put("other", "1")).expect("commits");
        store.commit(put("row/5", "1")).expect("commits");
        let events = waiting.join().expect("does not panic");
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].key(), events[0].revision()), ("row/5", 4));
    });
}

/// The store's log takes 4 changes.
fn compacts(store: &dyn Store) {
    let mut slow = store.watch("", 0).expect("starts");
    for value in 1..=6 {
        store.commit(put("a", &value.to_string())).expect("commits");
    }
    assert_eq!(slow.poll(), Err(WatchError::Compacted { oldest: 2 }));
    assert_eq!(slow.poll(), Err(WatchError::Compacted { oldest: 2 }), "it stays so");
    assert_eq!(store.watch("", 1).err(), Some(WatchError::Compacted { oldest: 2 }));
    assert_eq!(shown(&mut store.watch("", 2).expect("starts")), ["3 a=3", "4 a=4", "5 a=5", "6 a=6"]);
    let listing = store.list("").expect("lists");
    assert_eq!(shown(&mut store.watch("", listing.revision).expect("starts")), [""; 0]);
}

/// Threads that count up one key by compare-and-set: no count is lost.
fn one_of_many_wins(store: &dyn Store) {
    const THREADS: u64 = 4;
    const COUNTS: u64 = 8;
    let count_up = || {
        let entry = store.get("count").expect("reads");
        let (revision, count) = entry.map_or((0, 0), |entry| {
            let text = String::from_utf8(entry.value).expect("text was put");
            (entry.revision, text.parse::<u64>().expect("is a number"))
        });
        let listing = store.list("").expect("lists");
        store.watch("", listing.revision).expect("a listing's revision can be watched");
        store.commit(when(&[("count", revision)], &[("count", Some(&(count + 1).to_string()))]))
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..COUNTS {
                    while let Err(error) = count_up() {
                        assert!(matches!(error, CommitError::Conflict { .. }), "{error:?}");
                    }
                }
            });
        }
    });
    let total = THREADS * COUNTS;
    assert_eq!(contents(store, ""), [row("count", &total.to_string(), total)]);
    let revisions: Vec<_> = store.watch("", 0).expect("starts").poll().expect("is kept");
    assert!(revisions.iter().map(|event| event.revision()).eq(1..=total), "one event a revision, in order");
}

/// Random transactions do what they do to a map, and the events replayed give
/// the same map.
fn does_as_the_model(make: Make<'_>) {
    type Step = (Vec<(u8, bool)>, BTreeMap<u8, Option<u8>>);
    let step = (
        prop::collection::vec((0..4_u8, prop::bool::weighted(0.8)), 0..2),
        prop::collection::btree_map(0..4_u8, prop::option::of(any::<u8>()), 0..3),
    );
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let check = |steps: Vec<Step>| {
        let store = make(LogLimits::default());
        let mut model: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
        let mut latest = 0;
        for (conditions, changes) in steps {
            let revision_of = |model: &BTreeMap<String, (Vec<u8>, u64)>, key: u8| {
                model.get(&format!("k{key}")).map_or(0, |(_, revision)| *revision)
            };
            let holds = conditions.iter().all(|(_, right)| *right);
            let transaction = Transaction {
                conditions: conditions
                    .iter()
                    .map(|&(key, right)| Condition {
                        key: format!("k{key}"),
                        revision: revision_of(&model, key) + u64::from(!right),
                    })
                    .collect(),
                changes: changes
                    .iter()
                    .map(|(key, value)| match value {
                        Some(value) => Change::Put { key: format!("k{key}"), value: vec![*value] },
                        None => Change::Delete { key: format!("k{key}") },
                    })
                    .collect(),
            };
            let result = store.commit(transaction);
            if holds {
                let mut changed = false;
                for (key, value) in changes {
                    let key = format!("k{key}");
                    changed |= match value {
                        Some(value) => {
                            model.insert(key, (vec![value], latest + 1));
                            true
                        }
                        None => model.remove(&key).is_some(),
                    };
                }
                latest += u64::from(changed);
                prop_assert_eq!(result.expect("conditions hold"), latest);
            } else {
                let refused = matches!(result, Err(CommitError::Conflict { .. }));
                prop_assert!(refused, "not refused");
            }
        }
        let of_store: BTreeMap<_, _> = store
            .list("")
            .expect("lists")
            .entries
            .into_iter()
            .map(|entry| (entry.key, (entry.value, entry.revision)))
            .collect();
        let mut replayed = BTreeMap::new();
        for event in store.watch("", 0).expect("starts").poll().expect("is kept") {
            match &*event {
                Event::Put(entry) => {
                    replayed.insert(entry.key.clone(), (entry.value.clone(), entry.revision))
                }
                Event::Deleted { key, .. } => replayed.remove(key),
            };
        }
        prop_assert_eq!(&of_store, &model);
        prop_assert_eq!(&replayed, &model);
        Ok(())
    };
    runner.run(&prop::collection::vec(step, 0..12), check).expect("does as the model");
}

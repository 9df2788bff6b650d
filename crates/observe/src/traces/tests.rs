use std::sync::atomic::{AtomicU64, Ordering};

use bowline_model::{
    clock::Timestamp,
    trace::{SpanId, SpanKind, SpanProtocol},
};
use proptest::prelude::*;

use super::*;

/// Where the tests' clock begins, in seconds.
const T0: u64 = 1_700_000_000;

pub(super) fn origin(service: &str) -> SpanOrigin {
    SpanOrigin { cluster: "c".into(), service: service.into(), task: "t1".into(), is_gateway: false }
}

fn trace_id(number: u64) -> TraceId {
    TraceId::new((u128::from(number) + (1 << 64)).to_be_bytes()).expect("an id")
}

/// The `id`th span of the trace of this number, which begins so many seconds after the start.
pub(super) fn span_of(trace: u64, id: u64) -> Span {
    Span {
        trace: trace_id(trace),
        id: SpanId::new((id + 1).to_be_bytes()).expect("an id"),
        parent: None,
        kind: SpanKind::Server,
        start_us: (T0 + trace) * 1_000_000 + id,
        duration_us: 1_000,
        protocol: SpanProtocol::Http1,
        discovery_name: "cart".into(),
        peer: "spiffe://bowline.local/ns/shop/c/c/s/web".into(),
        method: "GET".into(),
        path: "/items".into(),
        authority: "cart:80".into(),
        status: 200,
        grpc_status: None,
        flags: "-".into(),
        bytes_received: 0,
        bytes_sent: 5,
        upstream: None,
        events: Vec::new(),
        events_dropped: 0,
    }
}

/// A store whose time is told.
struct Fixture {
    dir: tempfile::TempDir,
    now: Arc<AtomicU64>,
    limits: TraceLimits,
}

impl Fixture {
    fn new(limits: TraceLimits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, now: Arc::new(AtomicU64::new(T0 * 1000)), limits }
    }

    fn open(&self) -> TraceStore {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)));
        TraceStore::open(self.dir.path(), self.limits, clock).expect("opens")
    }
}

fn ids(told: &[TraceSummary]) -> Vec<TraceId> {
    told.iter().map(|summary| summary.id).collect()
}

#[test]
fn what_is_put_is_read_before_and_after_a_restart() {
    let fixture = Fixture::new(TraceLimits::default());
    let store = fixture.open();
    store.put(&origin("web"), vec![span_of(1, 2), span_of(1, 1), span_of(2, 1)]);
    let document = TraceDocument {
        trace: trace_id(1),
        start_us: (T0 + 1) * 1_000_000,
        duration_us: 9_000,
        is_fault: true,
        bytes: b"{}".to_vec(),
    };
    store.put_documents(&[document]);
    let check = |store: &TraceStore| {
        let trace = store.trace(trace_id(1)).expect("kept");
        assert_eq!(
            trace.spans.iter().map(|kept| kept.span.clone()).collect::<Vec<_>>(),
            [span_of(1, 1), span_of(1, 2)]
        );
        assert_eq!((trace.spans[0].origin.clone(), trace.documents), (origin("web"), vec![b"{}".to_vec()]));
        let told = store.list(&TraceQuery::default());
        assert_eq!(ids(&told), [trace_id(2), trace_id(1)]);
        assert_eq!((told[1].duration_us, told[1].is_fault, told[1].records), (9_000, true, 3));
        let counts = store.counts();
        assert_eq!((counts.traces, counts.spans, counts.documents, counts.dropped), (2, 3, 1, 0));
        assert_eq!(store.trace(trace_id(3)), None);
    };
    check(&store);
    store.close();
    check(&store);
    drop(store);
    check(&fixture.open());
}

#[test]
fn half_a_record_is_cut_off() {
    let fixture = Fixture::new(TraceLimits::default());
    let store = fixture.open();
    store.put(&origin("web"), vec![span_of(1, 1), span_of(2, 1)]);
    drop(store);
    let path = segment::path(fixture.dir.path(), 1);
    let bytes = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &bytes[..bytes.len() - 3]).expect("writes");
    let store = fixture.open();
    assert_eq!(ids(&store.list(&TraceQuery::default())), [trace_id(1)]);
    store.put(&origin("web"), vec![span_of(3, 1)]);
    drop(store);
    let store = fixture.open();
    assert_eq!(ids(&store.list(&TraceQuery::default())), [trace_id(3), trace_id(1)]);
    assert!(store.trace(trace_id(3)).is_some());
}

#[test]
fn a_span_that_was_told_twice_is_there_once() {
    let store = Fixture::new(TraceLimits::default()).open();
    store.put(&origin("web"), vec![span_of(1, 1)]);
    store.put(&origin("web"), vec![span_of(1, 1)]);
    assert_eq!(store.trace(trace_id(1)).expect("kept").spans.len(), 1);
}

#[test]
fn the_oldest_go_for_newer_ones() {
    let fixture = Fixture::new(TraceLimits { bytes_max: 64 * 1024, ..TraceLimits::default() });
    let store = fixture.open();
    for number in 0..1_000 {
        store.put(&origin("web"), vec![span_of(number, 1)]);
    }
    let counts = store.counts();
    assert!(counts.bytes <= 64 * 1024 && counts.bytes > 48 * 1024, "{counts:?}");
    assert_eq!((counts.spans + counts.given_up, counts.taken, counts.dropped), (1_000, 1_000, 0));
    let told = store.list(&TraceQuery { limit: usize::MAX, ..TraceQuery::default() });
    assert_eq!(told.len() as u64, counts.spans);
    assert!(told.iter().all(|summary| store.trace(summary.id).is_some()), "what is listed can be read");
    assert_eq!(store.trace(trace_id(0)), None);
    store.close();
    let on_disk: u64 = std::fs::read_dir(fixture.dir.path())
        .expect("reads")
        .map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |found| found.len()))
        .sum();
    assert_eq!(on_disk, counts.bytes, "files that are given up are removed");
}

/// What 100,000 requests over two hops tell, at 100 % sampling, as a proxy batches it.
#[test]
#[ignore = "writes 100 MB"]
fn nothing_is_lost_of_100_000_requests() {
    const REQUESTS: u64 = 100_000;
    let fixture = Fixture::new(TraceLimits::default());
    let store = fixture.open();
    for batch in 0..REQUESTS / 250 {
        for hop in 0..4 {
            let spans = (batch * 250..(batch + 1) * 250).map(|number| span_of(number, hop));
            store.put(&origin("web"), spans.collect());
        }
    }
    let check = |store: &TraceStore| {
        let counts = store.counts();
        assert_eq!((counts.traces, counts.spans, counts.dropped), (REQUESTS, 4 * REQUESTS, 0), "{counts:?}");
        let told = store.list(&TraceQuery { limit: usize::MAX, ..TraceQuery::default() });
        assert_eq!(told.iter().map(|summary| summary.records as u64).sum::<u64>(), 4 * REQUESTS);
        assert_eq!(store.trace(trace_id(77_777)).expect("kept").spans.len(), 4);
    };
    check(&store);
    drop(store);
    check(&fixture.open());
}

#[test]
fn what_is_old_goes() {
    let fixture = Fixture::new(TraceLimits::default());
    let store = fixture.open();
    store.put(&origin("web"), vec![span_of(1, 1)]);
    fixture.now.fetch_add(20 * 3600 * 1000, Ordering::Relaxed);
    store.put(&origin("web"), vec![span_of(2, 1)]);
    assert_eq!(store.counts().traces, 2);
    fixture.now.fetch_add(5 * 3600 * 1000, Ordering::Relaxed);
    store.put(&origin("web"), vec![span_of(3, 1)]);
    assert_eq!(ids(&store.list(&TraceQuery::default())), [trace_id(3), trace_id(2)]);
    assert_eq!(store.counts().given_up, 1);
}

#[test]
fn there_are_bounds_on_records_and_on_what_waits() {
    let store = Fixture::new(TraceLimits { records_max: 160, ..TraceLimits::default() }).open();
    (0..1_000).for_each(|number| store.put(&origin("web"), vec![span_of(number, 1)]));
    assert!((140..=160).contains(&store.counts().spans), "{:?}", store.counts());

    let full = Fixture::new(TraceLimits { unwritten_max: 10, ..TraceLimits::default() }).open();
    full.put(&origin("web"), vec![span_of(1, 1)]);
    let counts = full.counts();
    assert_eq!((counts.spans, counts.taken, counts.dropped), (0, 1, 1));

    let one = Fixture::new(TraceLimits::default()).open();
    one.put(&origin("web"), (0..RECORDS_OF_TRACE_MAX as u64 + 5).map(|id| span_of(1, id)).collect());
    let counts = one.counts();
    assert_eq!((counts.spans, counts.dropped), (RECORDS_OF_TRACE_MAX as u64, 5));
}

#[test]
fn traces_are_told_by_time_fault_and_duration() {
    let store = Fixture::new(TraceLimits::default()).open();
    let failed = Span { status: 503, ..span_of(2, 1) };
    let slow = Span { duration_us: 250_000, ..span_of(3, 1) };
    store.put(&origin("web"), vec![span_of(1, 1), failed, slow]);
    let told = |query: TraceQuery| ids(&store.list(&query));
    assert_eq!(told(TraceQuery { failed: true, ..TraceQuery::default() }), [trace_id(2)]);
    assert_eq!(told(TraceQuery { slower_us: 100_000, ..TraceQuery::default() }), [trace_id(3)]);
    let at = |second: u64| (T0 + second) * 1_000_000;
    let between =
        TraceQuery { from_us: at(1), until_us: at(3), newest_first: false, ..TraceQuery::default() };
    assert_eq!(told(between), [trace_id(1), trace_id(2)]);
    assert_eq!(told(TraceQuery { from_us: at(3), until_us: at(1), ..between }), [], "no time at all");
}

#[test]
fn others_are_told_of_what_comes_in() {
    struct Counter(AtomicU64);
    impl SpanWriter for Counter {
        fn put(&self, _: &SpanOrigin, spans: Vec<Span>) {
            self.0.fetch_add(spans.len() as u64, Ordering::Relaxed);
        }
    }
    let store = Fixture::new(TraceLimits::default()).open();
    let counter = Arc::new(Counter(AtomicU64::new(0)));
    store.follow(Arc::clone(&counter) as _);
    store.put(&origin("web"), vec![span_of(1, 1), span_of(1, 2)]);
    assert_eq!(counter.0.load(Ordering::Relaxed), 2);
}

#[test]
fn everything_is_forgotten_when_told() {
    let fixture = Fixture::new(TraceLimits::default());
    let store = fixture.open();
    store.put(&origin("web"), vec![span_of(1, 1)]);
    store.clear();
    assert_eq!((store.counts().traces, store.trace(trace_id(1))), (0, None));
    drop(store);
    assert_eq!(fixture.open().counts().traces, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn pages_together_are_the_list(
        starts in prop::collection::vec(0u64..20, 1..40),
        size in 1usize..7,
        newest_first in any::<bool>(),
        window in (0u64..20, 0u64..22),
    ) {
        let store = Fixture::new(TraceLimits::default()).open();
        for (number, start) in (0..).zip(&starts) {
            let span = Span { trace: trace_id(number), ..span_of(*start, 1) };
            store.put(&origin("web"), vec![span]);
        }
        let at = |second: u64| (T0 + second) * 1_000_000;
        let mut query = TraceQuery {
            from_us: at(window.0), until_us: at(window.1), newest_first, limit: size, ..TraceQuery::default()
        };
        let all = store.list(&TraceQuery { limit: usize::MAX, ..query });
        let expected = starts.iter().filter(|start| (window.0..window.1).contains(start)).count();
        prop_assert_eq!(all.len(), expected);
        let mut paged = Vec::new();
        loop {
            let page = store.list(&query);
            let Some(last) = page.last() else { break };
            query.after = Some((last.start_us, last.id));
            paged.extend(page);
        }
        prop_assert_eq!(ids(&paged), ids(&all));
    }
}

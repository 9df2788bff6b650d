use std::{collections::BTreeSet, sync::Arc};

use bowline_discovery::introspection::{self as wire, TappedBatch};

use super::{tap::TapOrder, *};

fn task(number: u8) -> TaskId {
    TaskId::from_random([number; 16])
}

/// Who waits seldom, but for tests long enough.
fn hasty() -> Introspection {
    let times = Times {
        answer: Duration::from_millis(300),
        unread: Duration::from_millis(600),
        renewed: Duration::from_millis(100),
    };
    Introspection { times, ..Introspection::default() }
}

fn connect(introspection: &Introspection, task: &TaskId) -> mpsc::Receiver<ToProxy> {
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    introspection.connected(task, "1.0", 7, orders, Timestamp::default());
    receiver
}

fn order() -> TapOrder {
    let filter = bowline_model::tap::TapFilter::default();
    TapOrder { filter, max_per_second: 100, query: false, headers: false, shown_headers: vec![] }
}

fn request(path: &str) -> wire::Tapped {
    wire::Tapped {
        side: wire::Side::Inbound.into(),
        protocol: wire::Protocol::Http1.into(),
        security: wire::Security::MutualTls.into(),
        path: path.into(),
        status: 200,
        ..wire::Tapped::default()
    }
}

fn batch(tap: u64, requests: Vec<wire::Tapped>) -> FromProxy {
    FromProxy { report: Some(Report::Tapped(TappedBatch { tap, requests, ..TappedBatch::default() })) }
}

#[tokio::test]
async fn a_dump_comes_in_parts_of_the_proxy_that_was_asked() {
    let introspection = Arc::new(hasty());
    let (one, other) = (task(1), task(2));
    let mut orders = connect(&introspection, &one);
    let asking = {
        let (introspection, one) = (Arc::clone(&introspection), one.clone());
        tokio::spawn(async move { introspection.set_log_level(&one, "debug", Duration::from_secs(60)).await })
    };
    let Some(Order::LogLevel(asked)) = orders.recv().await.expect("asked").order else {
        panic!("another order")
    };
    assert_eq!((asked.filter.as_str(), asked.lasting_ms), ("debug", 60_000));
    let answer = |id, filter: &str| FromProxy {
        report: Some(Report::LogLevel(LogLevelSet { id, filter: filter.into(), ..LogLevelSet::default() })),
    };
    // Another one's answer is nobody's.
    introspection.told(&other, answer(asked.id, "forged"));
    introspection.told(&one, answer(asked.id, "bowline=debug"));
    assert_eq!(asking.await.expect("no panic").expect("answered").filter, "bowline=debug");

    let dumping = {
        let (introspection, one) = (Arc::clone(&introspection), one.clone());
        tokio::spawn(async move { introspection.dump(&one).await })
    };
    let Some(Order::Dump(asked)) = orders.recv().await.expect("asked").order else { panic!("another order") };
    let part = |json: &str, last| FromProxy {
        report: Some(Report::Dump(DumpPart { id: asked.id, json: json.into(), last, error: String::new() })),
    };
    introspection.told(&one, part("{\"proc", false));
    introspection.told(&one, part("ess\": 1}", true));
    assert_eq!(dumping.await.expect("no panic"), Err(IntrospectionError::Unreadable(one.clone())));
    // Whoever does not answer is not waited for, and leaves nothing behind.
    assert_eq!(introspection.dump(&one).await, Err(IntrospectionError::Timeout(one.clone())));
    assert_eq!(introspection.dump(&other).await, Err(IntrospectionError::NotConnected(other)));
    assert!(introspection.lock().questions.is_empty());
}

#[tokio::test]
async fn a_session_that_ends_ends_what_was_asked_and_not_the_one_after() {
    let introspection = Arc::new(Introspection::default());
    let one = task(1);
    let (orders, _kept) = mpsc::channel(ORDERS_MAX);
    let first = introspection.connected(&one, "1.0", 7, orders, Timestamp::default());
    let _second = connect(&introspection, &one);
    introspection.disconnected(&one, first);
    assert_eq!(introspection.processes().len(), 1, "the second one is open");
    let asking = {
        let (introspection, one) = (Arc::clone(&introspection), one.clone());
        tokio::spawn(async move { introspection.dump(&one).await })
    };
    tokio::task::yield_now().await;
    let session = introspection.lock().sessions[&one].id;
    introspection.disconnected(&one, session);
    assert_eq!(asking.await.expect("no panic"), Err(IntrospectionError::NotConnected(one)));
}

#[tokio::test]
async fn a_tap_gathers_of_all_its_proxies_and_ends_where_nobody_reads() {
    let introspection = hasty();
    let (one, other) = (task(1), task(2));
    let (mut first, mut second) = (connect(&introspection, &one), connect(&introspection, &other));
    let id = introspection.open_tap(order()).expect("opened");
    let tasks = BTreeSet::from([one.clone(), other.clone()]);
    let reading = introspection.read_tap(id, &tasks, Duration::ZERO).await.expect("read");
    assert_eq!((reading.proxies, reading.requests.len()), (2, 0));
    for orders in [&mut first, &mut second] {
        assert!(matches!(orders.try_recv().expect("asked").order, Some(Order::Tap(tap)) if tap.id == id));
    }
    introspection.told(&one, batch(id, vec![request("/a"), wire::Tapped::default()]));
    introspection.told(&other, batch(id, vec![request("/b")]));
    let reading = introspection.read_tap(id, &tasks, Duration::from_secs(1)).await.expect("read");
    let paths: Vec<_> = reading.requests.iter().map(|it| (&it.task, it.request.path.as_str())).collect();
    assert_eq!(paths, [(&one, "/a"), (&other, "/b")]);
    assert_eq!(reading.dropped, 1, "what cannot be read");
    // Told to go on while somebody reads; one that is none of them any more is told to end.
    while first.try_recv().is_ok() {}
    tokio::time::sleep(introspection.times.renewed).await;
    introspection.read_tap(id, &BTreeSet::from([one.clone()]), Duration::ZERO).await.expect("read");
    assert!(matches!(first.try_recv().expect("told").order, Some(Order::Tap(_))));
    while let Ok(order) = second.try_recv() {
        if let Some(Order::EndTap(_)) = order.order {
            second.close();
        }
    }
    assert!(second.is_closed(), "told to end");
    tokio::time::sleep(introspection.times.unread + Duration::from_millis(20)).await;
    let read = introspection.read_tap(id, &tasks, Duration::ZERO).await;
    assert_eq!(read, Err(tap::TapError::NoSuchTap));
    assert!(matches!(first.try_recv().expect("told").order, Some(Order::EndTap(_))));
    // A proxy that goes on all the same is told once more.
    introspection.told(&one, batch(id, vec![request("/late")]));
    assert!(matches!(first.try_recv().expect("told").order, Some(Order::EndTap(_))));
}

#[tokio::test]
async fn taps_are_bounded_in_number_and_in_what_they_hold() {
    let introspection = Introspection::default();
    let one = task(1);
    let _orders = connect(&introspection, &one);
    let ids: Vec<_> = (0..tap::TAPS_MAX).map(|_| introspection.open_tap(order()).expect("opened")).collect();
    assert_eq!(introspection.open_tap(order()), Err(tap::TapError::TooMany));
    introspection.end_tap(ids[0]);
    let id = introspection.open_tap(order()).expect("there is room again");
    let long = bowline_model::tap::TapFilter { methods: vec!["A".into(); 65], ..Default::default() };
    introspection.end_tap(ids[1]);
    assert_eq!(introspection.open_tap(TapOrder { filter: long, ..order() }), Err(tap::TapError::Filter));
    for _ in 0..3 {
        introspection.told(&one, batch(id, vec![request("/"); 60]));
    }
    let reading = introspection.read_tap(id, &BTreeSet::new(), Duration::ZERO).await.expect("read");
    assert_eq!((reading.requests.len(), reading.dropped), (100, 80), "a hundred a second");
}

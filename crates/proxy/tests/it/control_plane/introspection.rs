//! The control plane looks into a proxy that runs: live requests, what it goes by, the level of its log.

use std::time::Instant;

use bowline_discovery::introspection::{
    self as wire, Dump, DumpPart, EndTap, FromProxy, ToProxy, from_proxy::Report,
    introspection_server::Introspection, to_proxy::Order,
};
use bowline_model::diagnostics::ProxyDump;
use bowline_plumbing::telemetry::LogFilter;
use tokio::sync::mpsc::Sender;

use super::*;

/// What proxies tell over the stream, and how to ask them.
#[derive(Default)]
pub(super) struct Asked {
    told: Vec<Report>,
    orders: Option<Sender<Result<ToProxy, Status>>>,
}

#[tonic::async_trait]
impl Introspection for ControlPlane {
    type IntrospectStream = ReceiverStream<Result<ToProxy, Status>>;

    async fn introspect(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<tonic::Response<Self::IntrospectStream>, Status> {
        assert_eq!(request.extensions().get::<bool>(), Some(&true), "a certificate was shown");
        let mut reports = request.into_inner();
        let (sender, receiver) = mpsc::channel(16);
        self.seen.lock().expect("not poisoned").asked.orders = Some(sender);
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            while let Ok(Some(FromProxy { report: Some(report) })) = reports.message().await {
                seen.lock().expect("not poisoned").asked.told.push(report);
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

impl Task {
    fn order(&self, order: Order) {
        let sender = self.control_plane.seen.lock().expect("not poisoned").asked.orders.clone();
        let sender = sender.expect("a stream is open");
        sender.blocking_send(Ok(ToProxy { order: Some(order) })).expect("sent");
    }

    /// What was told that is wanted, once it is.
    fn told<T>(&self, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> T {
        let mut found = None;
        eventually(what, || {
            let seen = self.control_plane.seen.lock().expect("not poisoned");
            found = seen.asked.told.iter().find_map(&wanted);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    fn dump(&self, id: u64) -> ProxyDump {
        self.order(Order::Dump(Dump { id }));
        let is_last = |report: &Report| match report {
            Report::Dump(part) if part.id == id && part.last => Some(()),
            _ => None,
        };
        self.told("a dump", is_last);
        let seen = self.control_plane.seen.lock().expect("not poisoned");
        let parts = seen.asked.told.iter().filter_map(|report| match report {
            Report::Dump(DumpPart { id: of, json, error, .. }) if *of == id => {
                assert_eq!(error, "");
                Some(json.as_slice())
            }
            _ => None,
        });
        serde_json::from_slice(&parts.collect::<Vec<_>>().concat()).expect("a dump is read")
    }

    /// All requests that a tap has told of.
    fn tapped(&self, tap: u64) -> Vec<wire::Tapped> {
        let seen = self.control_plane.seen.lock().expect("not poisoned");
        let batches = seen.asked.told.iter().filter_map(|report| match report {
            Report::Tapped(batch) if batch.tap == tap => Some(batch.requests.clone()),
            _ => None,
        });
        batches.flatten().collect()
    }
}

/// A task whose proxy has opened its stream.
async fn start(options: ProxyOptions) -> Task {
    let application = application().await;
    tokio::task::spawn_blocking(move || {
        let task = Task::start_with(application, 3600, vec![], &options);
        let is_hello = |report: &Report| match report {
            Report::Hello(hello) => Some(hello.clone()),
            _ => None,
        };
        assert_eq!(task.told("who it is", is_hello).version, env!("CARGO_PKG_VERSION"));
        task
    })
    .await
    .expect("started")
}

fn tap(id: u64) -> wire::Tap {
    wire::Tap { id, max_per_second: 1_000, lifetime_ms: 30_000, ..wire::Tap::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_tells_of_requests_without_their_secrets_until_it_ends() {
    let task = start(options()).await;
    let caller = task.caller();
    let address = caller.address("out");
    tokio::task::block_in_place(|| {
        task.order(Order::Tap(wire::Tap { headers: true, ..tap(1) }));
        let shown_headers = vec!["authorization".to_owned()];
        task.order(Order::Tap(wire::Tap { headers: true, shown_headers, ..tap(2) }));
        let errors = wire::StatusRange { first: 500, last: 599 };
        let filter = wire::TapFilter { statuses: vec![errors], ..wire::TapFilter::default() };
        task.order(Order::Tap(wire::Tap { filter: Some(filter), ..tap(3) }));
        // Answered in turn: the taps are open.
        task.dump(9);
    });
    let url = format!("http://{address}/headers?token=S3CRET");
    let answered = curl(&["-s", "-H", "authorization: Bearer S3CRET", &url]).await;
    assert!(answered.contains("S3CRET"), "the application has it: {answered}");
    let (redacted, shown) = tokio::task::block_in_place(|| {
        eventually("both taps tell", || !task.tapped(1).is_empty() && !task.tapped(2).is_empty());
        (task.tapped(1), task.tapped(2))
    });
    assert_eq!((redacted.len(), shown.len()), (1, 1));
    let request = &redacted[0];
    assert_eq!((request.side(), request.security()), (wire::Side::Inbound, wire::Security::MutualTls));
    assert_eq!((request.caller.as_str(), request.called.as_str()), (id("a").as_str(), id("b").as_str()));
    assert_eq!((request.method.as_str(), request.path.as_str(), request.status), ("GET", "/headers", 200));
    assert!(!request.endpoint.is_empty() && request.bytes_sent > 0 && request.duration_us > 0);
    assert!(!format!("{request:?}").contains("S3CRET"), "{request:?}");
    let header = |request: &wire::Tapped| {
        let found = request.request_headers.iter().find(|header| header.name == "authorization");
        found.map(|header| (header.value.clone(), header.redacted))
    };
    assert_eq!(header(request), Some((String::new(), true)));
    assert_eq!(header(&shown[0]), Some(("Bearer S3CRET".to_owned(), false)));
    assert!(task.tapped(3).is_empty(), "its filter takes none of them");
    // Ended, it tells of nothing more.
    tokio::task::block_in_place(|| {
        task.order(Order::EndTap(EndTap { id: 1 }));
        task.dump(10);
    });
    assert_eq!(get(address, "/headers").await.0, 200);
    tokio::task::block_in_place(|| eventually("the other one tells", || task.tapped(2).len() == 2));
    assert_eq!(task.tapped(1).len(), 1);
    caller.handle.stop();
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_nobody_renews_ends_by_itself() {
    let task = start(options()).await;
    let caller = task.caller();
    let address = caller.address("out");
    tokio::task::block_in_place(|| {
        task.order(Order::Tap(wire::Tap { lifetime_ms: 200, ..tap(1) }));
        task.order(Order::Tap(tap(2)));
        task.dump(9);
    });
    let begin = Instant::now();
    // Long after its time is over, the other one is told alone.
    loop {
        assert_eq!(get(address, "/headers").await.0, 200);
        let (one, other) = (task.tapped(1).len(), task.tapped(2).len());
        if other > one + 5 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{one} {other}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    caller.handle.stop();
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_has_all_that_a_proxy_goes_by_what_it_refuses_and_no_key() {
    let task = start(options()).await;
    tokio::task::block_in_place(|| {
        let dump = task.dump(1);
        assert_eq!(dump.process.identity.as_deref(), Some(id("b").as_str()));
        assert_eq!(dump.refused, []);
        let inbound = dump.listeners.iter().find(|listener| listener.name == "in").expect("a listener");
        assert_eq!((inbound.security.as_str(), inbound.address), ("MUTUAL_TLS", task.proxy.address("in")));
        let certificate = dump.certificates.iter().find(|held| held.name == "mesh").expect("its own");
        assert_eq!(certificate.identity.as_deref(), Some(id("b").as_str()));
        let serials = task.control_plane.seen.lock().expect("not poisoned").serials.clone();
        // With every digit, as `bowline certs` has it.
        assert_eq!(certificate.serial, format!("0{}", serials.last().expect("one was issued")));
        assert_eq!(dump.trust[0].roots.len(), 1);
        assert!(dump.resources.iter().all(|held| held.version == "v1"), "{:?}", dump.resources);
        assert_eq!(dump.config.len(), dump.resources.len());
        let text = serde_json::to_string(&dump).expect("writes");
        assert!(!text.contains("PRIVATE KEY") && !text.contains("S3CRET"), "{text}");

        let bad = json!({"cluster": {"name": "app", "protocol": "HTTP", "kind": {"local": {"port": 0}}}});
        task.control_plane.push(response(ResourceType::Cluster, &[("v2".to_owned(), bad)], "second"));
        eventually("the answer came", || task.control_plane.answer_to("second").is_some());
        let dump = task.dump(2);
        let [refused] = dump.refused.as_slice() else { panic!("{:?}", dump.refused) };
        assert_eq!(
            (refused.kind.as_str(), refused.name.as_str(), refused.version.as_str()),
            ("Cluster", "app", "v2")
        );
        assert!(refused.reason.contains("local.port"), "{}", refused.reason);
        let held = dump.resources.iter().find(|held| held.kind == "Cluster" && held.name == "app");
        assert_eq!(held.map(|held| held.version.as_str()), Some("v1"), "the last good one stays");

        let good = json!({"cluster": {"name": "app", "protocol": "HTTP", "kind": {"local": {"port": 1}}}});
        task.control_plane.push(response(ResourceType::Cluster, &[("v3".to_owned(), good)], "third"));
        eventually("the answer came", || task.control_plane.answer_to("third").is_some());
        assert_eq!(task.dump(3).refused, [], "taken, it is refused no more");
    });
    task.proxy.stop();
    task.control_plane.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_returns_by_itself_though_the_control_plane_is_gone() {
    let (_layer, filter) = LogFilter::new("warn".parse().expect("a filter"));
    let task = start(ProxyOptions { log_filter: Some(filter.clone()), ..options() }).await;
    let own = filter.present();
    tokio::task::block_in_place(|| {
        let order = |id, filter: &str, lasting_ms| {
            Order::LogLevel(wire::LogLevel { id, filter: filter.to_owned(), lasting_ms })
        };
        let answer = |wanted: u64| {
            move |report: &Report| match report {
                Report::LogLevel(set) if set.id == wanted => Some(set.clone()),
                _ => None,
            }
        };
        task.order(order(1, "loud", 60_000));
        assert!(task.told("a refusal", answer(1)).error.contains("loud"));
        assert_eq!(filter.present(), own);
        task.order(order(2, "debug", 1_500));
        let set = task.told("an answer", answer(2));
        assert!(set.filter.contains("bowline=debug") && set.until_ms > 0, "{set:?}");
        assert_eq!(task.dump(9).log.filter, filter.present());
    });
    assert_ne!(filter.present(), own);
    task.control_plane.stop();
    tokio::task::block_in_place(|| eventually("it is the own one again", || filter.present() == own));
    task.proxy.stop();
}

//! What is faulty on purpose: a certificate that nobody must believe, a way that leads elsewhere, a renewal out of
//! turn. Each ends when it should, whatever has become of the control plane.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::*;

/// How long the faults of these tests last.
const LASTING: Duration = Duration::from_secs(3);

fn unix_ms(moment: SystemTime) -> u64 {
    let millis = moment.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    u64::try_from(millis).expect("before long")
}

/// A task of service b whose calls go to a sidecar of service c, and a sidecar of service a that calls it.
struct Three {
    task: Task,
    caller: Proxy,
    called: Proxy,
    called_at: SocketAddr,
}

impl Three {
    async fn start() -> Self {
        let application = application().await;
        let starting = move || {
            let task = Task::start(application, 3600, vec![]);
            let c = task.ca.issue("c", &Leaf::of(&id("c")));
            let mut resources = vec![task.ca.trust(), identity("mesh", &c)];
            resources.extend(inbound("HTTP", application, &[&id("b")]));
            let called = Proxy::start(&resources);
            let caller = task.caller();
            let called_at = called.address("in");
            let this = Self { task, caller, called, called_at };
            this.push(ResourceType::Endpoints, crate::harness::endpoints_of(&[called_at]), "calls");
            this
        };
        tokio::task::spawn_blocking(starting).await.expect("started")
    }

    /// Sends a resource, and waits until it is taken.
    fn push(&self, kind: ResourceType, resource: Value, nonce: &str) {
        let plane = &self.task.control_plane;
        plane.push(response(kind, &[(nonce.to_owned(), resource)], nonce));
        eventually("the answer came", || plane.answer_to(nonce).is_some());
        assert_eq!(plane.answer_to(nonce), Some(None), "an ACK");
    }

    /// The task's sidecar is to show an expired certificate; returns when it says that it does.
    fn stage(&self, per_million: u32, until: SystemTime) {
        let leaf = Leaf { expired: true, ..Leaf::of(&id("b")) };
        let (chain, key) = self.task.ca.issue("staged", &leaf);
        let chain = CertificateDer::from_pem_file(chain).expect("a certificate").to_vec();
        let key = PrivateKeyDer::from_pem_file(key).expect("a key").secret_der().to_vec();
        {
            let mut seen = self.task.control_plane.seen.lock().expect("not poisoned");
            seen.staged.insert("staged:v7".to_owned(), (chain, key));
        }
        let staged = json!({
            "version": "v7", "perMillion": per_million, "endsAtUnixMs": unix_ms(until), "shows": "Expired",
        });
        let identity = json!({"identity": {
            "name": "mesh", "spiffeId": id("b"), "source": {"issued": {}}, "staged": staged,
        }});
        self.push(ResourceType::Identity, identity, "staged");
        eventually("it says that it shows it", || {
            self.shown().last().is_some_and(|(_, staged)| staged == "v7")
        });
    }

    fn shown(&self) -> Vec<(String, String)> {
        self.task.control_plane.seen.lock().expect("not poisoned").shown.clone()
    }

    /// What a call to the task comes to, and one of its own: status, whose certificate is refused, and why.
    async fn calls(&self) -> [(u16, String); 2] {
        [call(self.caller.address("out")).await, call(self.out()).await]
    }

    fn out(&self) -> SocketAddr {
        self.task.proxy.address("out").expect("open")
    }

    fn stop(self) {
        self.caller.handle.stop();
        self.task.proxy.stop();
        self.called.handle.stop();
        self.task.control_plane.stop();
    }
}

async fn call(address: SocketAddr) -> (u16, String) {
    let (status, _, body) = get(address, "/headers").await;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let refused = match body["refused"].is_string() {
        true => format!("{}:{}", text("refused"), text("cause")),
        false => String::new(),
    };
    (status.as_u16(), refused)
}

fn good() -> [(u16, String); 2] {
    [(200, String::new()), (200, String::new())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_certificate_is_refused_until_its_deadline_though_the_control_plane_is_gone() {
    let three = Three::start().await;
    assert_eq!(three.calls().await, good());
    let (ends, until) = (Instant::now() + LASTING, SystemTime::now() + LASTING);
    tokio::task::block_in_place(|| three.stage(1_000_000, until));
    // What was made before was good: it is not used again.
    let expired = [(503, "server:expired".to_owned()), (403, "caller:expired".to_owned())];
    assert_eq!(three.calls().await, expired);
    let Three { task, caller, called, called_at } = three;
    let Task { ca, control_plane, shim, proxy, state } = task;
    control_plane.stop();
    let out = proxy.address("out").expect("open");
    let calls = async || [call(caller.address("out")).await, call(out).await];
    loop {
        let (before, got) = (Instant::now(), calls().await);
        if got == good() {
            assert!(Instant::now() >= ends, "it ended {:?} too early", ends - before);
            break;
        }
        assert!(before < ends + Duration::from_secs(2), "it goes on: {got:?}");
        if before < ends - Duration::from_millis(100) {
            assert_eq!(got, expired);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((ca, shim, state, called_at));
    caller.handle.stop();
    proxy.stop();
    called.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_answers_in_its_applications_place_until_its_end_and_then_tells_how_many_came() {
    let three = Three::start().await;
    assert_eq!(three.calls().await, good());
    let (ends, until) = (Instant::now() + LASTING, SystemTime::now() + LASTING);
    let disturbed = || three.task.control_plane.seen.lock().expect("not poisoned").disturbed.clone();
    let disturbance = json!({
        "version": "v8", "endsAtUnixMs": unix_ms(until), "status": 503, "afterMs": 5, "perMillion": 1_000_000,
    });
    let identity = json!({"identity": {
        "name": "mesh", "spiffeId": id("b"), "source": {"issued": {}}, "disturbance": disturbance,
    }});
    tokio::task::block_in_place(|| {
        three.push(ResourceType::Identity, identity, "disturbed");
        eventually("it says so", || disturbed().last().is_some_and(|(version, _)| version == "v8"));
    });
    // Whom it calls is another's affair.
    assert_eq!(three.calls().await, [(503, String::new()), (200, String::new())]);
    while call(three.caller.address("out")).await != (200, String::new()) {
        assert!(Instant::now() < ends + Duration::from_secs(2), "it goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(Instant::now() >= ends, "it ended too early");
    tokio::task::block_in_place(|| {
        eventually("it says how many came", || {
            disturbed().last().is_some_and(|(version, came)| version.is_empty() && *came >= 2)
        });
    });
    three.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_new_connections_is_shown_it_until_it_is_called_off() {
    const CALLS: usize = 200;
    let three = Three::start().await;
    let until = SystemTime::now() + Duration::from_secs(600);
    tokio::task::block_in_place(|| three.stage(500_000, until));
    let mut refused = 0;
    for _ in 0..CALLS {
        match call(three.out()).await {
            (200, _) => {}
            (403, why) if why == "caller:expired" => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // Four standard deviations to either side.
    assert!((72..=128).contains(&refused), "{refused} of {CALLS}");
    // Whoever calls the task makes new connections again and again, and loses nothing over good ones.
    let (began, mut refused, mut served) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(1) || served == 0 || refused == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "{served} {refused}");
        let address = three.caller.address("out");
        for got in futures::future::join_all((0..8).map(|_| call(address))).await {
            match got {
                (200, _) => served += 1,
                (503, why) if why == "server:expired" => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    let own = json!({"identity": {"name": "mesh", "spiffeId": id("b"), "source": {"issued": {}}}});
    tokio::task::block_in_place(|| three.push(ResourceType::Identity, own, "own"));
    // With the answer it is over.
    for _ in 0..20 {
        assert_eq!(call(three.out()).await.0, 200);
    }
    assert_eq!(call(three.caller.address("out")).await.0, 200);
    tokio::task::block_in_place(|| {
        eventually("it says so", || three.shown().last().is_some_and(|(_, staged)| staged.is_empty()));
    });
    three.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_leads_elsewhere_until_its_deadline_though_the_control_plane_is_gone() {
    let three = Three::start().await;
    assert_eq!(three.calls().await, good());
    // Nobody listens there.
    let (socket, dead) = tcp();
    drop(socket);
    let (ends, until) = (Instant::now() + LASTING, SystemTime::now() + LASTING);
    let mut led = crate::harness::endpoints_of(&[three.called_at]);
    led["endpoints"]["endpoints"][0]["divertedTo"] = json!(dead.to_string());
    led["endpoints"]["endpoints"][0]["divertedUntilUnixMs"] = json!(unix_ms(until));
    tokio::task::block_in_place(|| three.push(ResourceType::Endpoints, led, "led"));
    // The connection that there was is not used again.
    assert_eq!(call(three.out()).await.0, 503);
    let Three { task, caller, called, called_at } = three;
    let Task { ca, control_plane, shim, proxy, state } = task;
    control_plane.stop();
    let out = proxy.address("out").expect("open");
    loop {
        let (before, got) = (Instant::now(), call(out).await);
        if got.0 == 200 {
            assert!(Instant::now() >= ends, "it ended too early");
            break;
        }
        assert_eq!(got.0, 503);
        // What failed so often is ejected, and let in again when there is nothing else.
        assert!(before < ends + Duration::from_secs(2), "it goes on: {got:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop((ca, shim, state, called_at));
    caller.handle.stop();
    proxy.stop();
    called.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_once_when_it_is_asked_for() {
    let three = Three::start().await;
    tokio::task::block_in_place(|| {
        let ask = |word: &str, nonce: &str| {
            let source = json!({"issued": {"renewal": word}});
            let identity = json!({"identity": {"name": "mesh", "spiffeId": id("b"), "source": source}});
            three.push(ResourceType::Identity, identity, nonce);
        };
        let renewals = || three.task.control_plane.seen.lock().expect("not poisoned").renewals;
        let told = |count: usize| {
            eventually("it says what it shows", || {
                let latest =
                    three.task.control_plane.seen.lock().expect("not poisoned").serials.last().cloned();
                let latest = latest.expect("one was issued");
                let shown = three.shown();
                // The stream ends with the certificate that it was opened with.
                let streams = three.task.control_plane.seen.lock().expect("not poisoned").senders.len();
                shown.last().is_some_and(|(serial, _)| *serial == latest)
                    && renewals() == u32::try_from(count).expect("few")
                    && streams == 1 + count
            });
        };
        assert_eq!(renewals(), 0);
        ask("one", "first renewal");
        told(1);
        ask("one", "the same renewal");
        ask("two", "second renewal");
        told(2);
        ask("", "no renewal");
        assert_eq!(renewals(), 2);
    });
    assert_eq!(call(three.caller.address("out")).await.0, 200);
    three.stop();
}

//! Faults of every kind begin and end in a running mesh, and leave nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::eventually,
    leftovers,
    local_api::LocalApi,
    mesh::{MeshOptions, TestMesh},
};
use serde_json::{Value, json};

/// What the application answers to a path that it does not know: it was reached.
const REACHED: &str = "404";

/// Longest that what should come at once may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Two services, and how one calls the other.
struct Scene {
    mesh: TestMesh,
    api: LocalApi,
    callers: Vec<String>,
    called: Vec<String>,
    host: String,
    port: u64,
    cluster: String,
}

impl Scene {
    fn new(mesh: TestMesh) -> Self {
        let ids = |service: &str| {
            let tasks = mesh.service(service)["tasks"].as_array().expect("tasks");
            tasks.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
        };
        let aliases = mesh.service("service-a")["aliases"].as_array().expect("aliases");
        let alias = aliases
            .iter()
            .find(|alias| alias["service"].as_str().is_some_and(|service| service.ends_with("service-b")))
            .unwrap_or_else(|| panic!("service-a calls service-b: {aliases:?}"));
        Self {
            api: LocalApi::connect(mesh.state_dir()),
            callers: ids("service-a"),
            called: ids("service-b"),
            host: alias["names"][0].as_str().expect("a name").to_owned(),
            port: alias["port"].as_u64().expect("a port"),
            cluster: alias["cluster"].as_str().expect("a cluster").to_owned(),
            mesh,
        }
    }

    /// What a request from within the first caller is answered with, and after how long.
    fn call(&mut self) -> (String, Duration) {
        let begin = Instant::now();
        let probe = json!({"probe": {
            "task": self.callers[0], "host": self.host, "port": self.port, "mark": "x", "tcp": false,
        }});
        let answer = self.api.ask(&probe);
        (answer["probe"]["output"].as_str().unwrap_or_default().trim().to_owned(), begin.elapsed())
    }

    fn path(&self, harm: &Value) -> Value {
        json!({"path": {"callers": self.callers, "cluster": self.cluster, "called": [], "harm": harm}})
    }

    fn begin(&mut self, kind: &Value) -> String {
        let log = self.mesh.log();
        self.api.begin_fault(kind, 60).unwrap_or_else(|error| panic!("{kind}: {error}\n{log}"))
    }

    /// Ends a fault; the callers are served as before.
    fn end(&mut self, id: &str, what: &Value) -> Value {
        self.api.end_fault(id);
        eventually(&format!("after {what} all is as before"), LIMIT, || {
            let (status, took) = self.call();
            (status == REACHED && took < Duration::from_secs(1)).then_some(())
        });
        self.api.fault_evidence(id)
    }
}

/// Relays that `up` has started, threads of the mesh's processes by the network that they are in.
fn present(mesh: &TestMesh, state: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pid in children(mesh.pid()) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        found.insert(format!("child {pid} {}", words.get(1).map_or("", |word| word.as_ref())));
    }
    for pid in leftovers::processes_of(state) {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            if let Ok(namespace) = fs::read_link(thread.path().join("ns/net")) {
                found.insert(format!("network {}", namespace.display()));
            }
        }
    }
    found
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string()))
    };
    let names = fs::read_dir("/proc").expect("/proc is there").flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

fn millis(millis: u64) -> Value {
    json!({"secs": 0, "nanos": millis * 1_000_000})
}

#[test]
fn every_kind_of_fault_begins_and_ends_and_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let state = temporary.path().join("state");
    let mesh = TestMesh::up(&MeshOptions::example("two-services").state_dir(&state));
    let mut scene = Scene::new(mesh);
    assert_eq!(scene.call().0, REACHED);
    let before = present(&scene.mesh, &state);

    // Later, but there: two round trips of a handshake and one of the request.
    let delay = json!({"delay": {"each_way": millis(150), "jitter": millis(0), "handshake_only": false}});
    let id = scene.begin(&scene.path(&delay));
    let (status, took) = scene.call();
    assert_eq!(status, REACHED);
    assert!(took >= Duration::from_millis(600), "{took:?}");
    let evidence = scene.end(&id, &delay);
    assert!(evidence["connections"].as_u64() >= Some(1), "{evidence}");
    assert!(evidence["bytesToCalled"].as_u64() >= Some(500), "{evidence}");

    let handshake = json!({"delay": {"each_way": millis(150), "jitter": millis(0), "handshake_only": true}});
    let id = scene.begin(&scene.path(&handshake));
    assert!(scene.call().1 >= Duration::from_millis(500));
    eventually("pooled connections are as fast as ever", LIMIT, || {
        (scene.call().1 < Duration::from_millis(300)).then_some(())
    });
    scene.end(&id, &handshake);

    // With more, a connection may take longer to be made than the probe waits.
    let loss = json!({"loss": {"percent": 10}});
    let id = scene.begin(&scene.path(&loss));
    for _ in 0..20 {
        assert_eq!(scene.call().0, REACHED, "what is lost is sent again");
    }
    let evidence = scene.end(&id, &loss);
    assert!(evidence["packetsDropped"].as_u64() >= Some(1), "{evidence}");

    for harm in [
        json!("refuse"),
        json!({"reset": {"after_bytes": 0}}),
        json!({"reset": {"after_bytes": 100}}),
        json!("stall"),
        json!({"oneWay": {"after": {"secs": 0, "nanos": 0}}}),
    ] {
        let id = scene.begin(&scene.path(&harm));
        let (status, _) = scene.call();
        assert_ne!(status, REACHED, "{harm}");
        let evidence = scene.end(&id, &harm);
        assert!(evidence["harmed"].as_u64() >= Some(1), "{harm}: {evidence}");
    }

    for rogue in ["untrustedCa", "selfSigned", "plaintext", "oldTls"] {
        let harm = json!({"rogue": rogue});
        let id = scene.begin(&scene.path(&harm));
        let (status, _) = scene.call();
        assert_ne!(status, REACHED, "{harm}");
        let evidence = scene.end(&id, &harm);
        assert!(evidence["harmed"].as_u64() >= Some(1), "{harm}: {evidence}");
        for count in ["handshakes", "requests", "plaintextBytes"] {
            assert_eq!(evidence[count], 0, "{harm}: {evidence}");
        }
    }

    for shows in ["expired", "untrustedCa"] {
        let kind = json!({"certificate": {"tasks": scene.callers, "shows": shows}});
        let id = scene.begin(&kind);
        assert_eq!(scene.call().0, "403", "{kind}");
        scene.end(&id, &kind);
    }

    let spoof = json!({"name": {"name": "service-b.example", "address": "192.0.2.1"}});
    let id = scene.begin(&spoof);
    scene.end(&id, &spoof);

    for harm in [json!({"freeze": {"victims": "containers"}}), json!({"cpu": {"percent": 50, "workers": 1}})]
    {
        let kind = json!({"task": {"tasks": scene.called, "harm": harm}});
        let id = scene.begin(&kind);
        if harm.get("freeze").is_some() {
            assert_ne!(scene.call().0, REACHED, "nobody is awake");
        }
        scene.end(&id, &kind);
    }

    let refused = |scene: &mut Scene, kind: &Value| scene.api.begin_fault(kind, 60).expect_err("refused");
    let nobody = json!({"task": {"tasks": ["0".repeat(32)], "harm": {"memory": {"percent": 1}}}});
    assert!(refused(&mut scene, &nobody).contains("no task"));
    let nowhere = json!({"path": {"callers": scene.callers, "cluster": "x", "called": [], "harm": "stall"}});
    assert!(refused(&mut scene, &nowhere).contains("cluster x"));

    assert_eq!(scene.api.ask(&json!("faults"))["faults"], json!([]));
    eventually("everything is as before", LIMIT, || (present(&scene.mesh, &state) == before).then_some(()));

    // What is in force at the end is gone with all else.
    let id = scene.begin(&scene.path(&loss));
    assert_ne!(present(&scene.mesh, &state), before, "{id}: its relay is a process");
    let relays = children(scene.mesh.pid());
    assert_eq!(scene.mesh.interrupt(), Some(0));
    assert_eq!(leftovers::processes_of(&state), Vec::<u32>::new());
    let is_left = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    assert_eq!(relays.into_iter().filter(is_left).collect::<Vec<_>>(), Vec::<u32>::new());
}

#[test]
fn faults_end_though_everybody_who_began_them_was_killed() {
    const LASTING: u64 = 8;
    let options = MeshOptions::example("two-services");
    let mut scene = Scene::new(TestMesh::up(&options));
    let stall = scene.path(&json!("stall"));
    let relays_of = |pid: u32| {
        let is_relay = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command.ends_with(b"\0relay\0"))
        };
        children(pid).into_iter().filter(is_relay).collect::<Vec<_>>()
    };
    scene.api.begin_fault(&stall, LASTING).unwrap_or_else(|error| panic!("{error}"));
    let expired = json!({"certificate": {"tasks": scene.called, "shows": "expired"}});
    scene.api.begin_fault(&expired, LASTING).unwrap_or_else(|error| panic!("{error}"));
    let begin = Instant::now();
    let relays = relays_of(scene.mesh.pid());
    assert_eq!(relays.len(), 1);
    let (state, _temporary) = scene.mesh.kill();
    let again = TestMesh::up(&options.state_dir(&state));
    let mut scene = Scene::new(again);
    eventually("callers are served again", Duration::from_secs(LASTING) + LIMIT, || {
        (scene.call().0 == REACHED).then_some(())
    });
    println!("served again {:?} after faults of {LASTING} s began", begin.elapsed());
    assert_eq!(scene.api.ask(&json!("faults"))["faults"], json!([]));
    eventually("the relay is gone", Duration::from_secs(LASTING + 60) + LIMIT, || {
        relays.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

//! Whom a change reaches, what is shared between proxies, and what never is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::{
    clock::Timestamp,
    task::{DesiredStatus, HealthStatus, InboundSocket, TaskId, TaskReport, TaskStatus},
    traffic::{LoadBalancing, TrafficPolicy},
};
use bowline_stream::{
    directory::{Directory as _, Notice},
    resources::{ResourceSet, VersionedResource},
    standing::{Over, Standing},
};
use futures::FutureExt as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::Endpoint;
use crate::{
    core::{
        chaos::{Disturbed, PathDiversion, Stage, StagedKey},
        harm::HarmKind,
    },
    publish::{
        self,
        scope::{Reach, Scope, reach},
    },
    registry::{Registry, TaskRecord},
};

mod revocations;

/// Two namespaces, `n0` and `n1`, of two services each, `a` and `b`, whose two tasks each listen.
struct Mesh(Endpoint, RefCell<BTreeMap<TaskId, Standing>>);

impl Mesh {
    fn new() -> Self {
        let api = Endpoint::new();
        let containers = json!([{"name": "web", "image": "busybox",
            "portMappings": [{"name": "http", "containerPort": 8080, "appProtocol": "http"}]}]);
        let definition =
            json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": containers});
        api.ok("ecs", "RegisterTaskDefinition", definition);
        for namespace in ["n0", "n1"] {
            let defaults = json!({"namespace": namespace});
            api.ok(
                "ecs",
                "CreateCluster",
                json!({"clusterName": namespace, "serviceConnectDefaults": defaults}),
            );
            for name in ["a", "b"] {
                let connect = json!({"enabled": true, "services": [
                    {"portName": "http", "discoveryName": name, "clientAliases": [{"port": 80, "dnsName": name}]}]});
                let service = json!({"cluster": namespace, "serviceName": name, "taskDefinition": "web",
                    "desiredCount": 2, "serviceConnectConfiguration": connect});
                api.ok("ecs", "CreateService", service);
            }
        }
        api.finish_stack();
        let mesh = Self(api, RefCell::default());
        for (host, task) in mesh.registry().tasks.values().enumerate() {
            mesh.listen(&task.id, u8::try_from(host).expect("few tasks"));
        }
        mesh
    }

    fn registry(&self) -> Arc<Registry> {
        self.0.core.registry()
    }

    /// The tasks of a service of a namespace.
    fn tasks(&self, namespace: &str, name: &str) -> [TaskId; 2] {
        let registry = self.registry();
        let service = registry.services.values().find(|row| row.cluster == namespace && row.name == name);
        let tasks = registry.tasks_of_service(&service.expect("the service").arn);
        [tasks[0].id.clone(), tasks[1].id.clone()]
    }

    /// Its sidecar accepts calls there from now on.
    fn listen(&self, task: &TaskId, host: u8) {
        let report = TaskReport {
            id: task.clone(),
            at: Timestamp::from_secs(1),
            status: TaskStatus::Running,
            health: HealthStatus::Unknown,
            containers: Vec::new(),
            inbound: vec![InboundSocket {
                port_name: "http".into(),
                container_port: 8080,
                address: address(host),
            }],
            published: Vec::new(),
            proxy_ready: true,
            stopped_reason: None,
            stop_code: None,
            shim_pid: None,
            warnings: Vec::new(),
        };
        self.0.change(|registry| {
            registry.tasks.update(task.as_str(), |task| task.report = Some(Arc::new(report)));
        });
    }

    fn set(&self, task: &TaskId) -> Arc<ResourceSet> {
        self.0.core.resources(task).expect("it lives")
    }

    /// What a stream would have that was opened when this was first asked, and takes what is newer whenever it is
    /// woken.
    fn followed(&self, task: &TaskId) -> Arc<ResourceSet> {
        let core = &*self.0.core;
        let mut followed = self.1.borrow_mut();
        let standing =
            followed.entry(task.clone()).or_insert_with(|| Standing::of(core, task).expect("it lives"));
        if standing.changed().now_or_never().is_some() {
            standing.refresh(core, task).expect("it lives");
        }
        Arc::clone(standing.set())
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 8080))
}

/// The addresses of a cluster's endpoints: where calls go.
fn endpoints(set: &ResourceSet, cluster: &str) -> BTreeSet<String> {
    let held = set.get(ResourceType::Endpoints, cluster).expect("it can be called");
    let Resource::Endpoints(endpoints) = &*held.resource else { panic!("{:?}", held.resource) };
    let led = |one: &v1::Endpoint| match one.diverted_to.as_str() {
        "" => one.address.clone(),
        to => to.to_owned(),
    };
    endpoints.endpoints.iter().map(led).collect()
}

fn identity(set: &ResourceSet) -> v1::Identity {
    let held = set.get(ResourceType::Identity, "mesh").expect("it is a member");
    let Resource::Identity(identity) = &*held.resource else { panic!("{:?}", held.resource) };
    identity.clone()
}

#[test]
fn a_change_of_endpoints_wakes_those_of_its_namespace_alone() {
    let mesh = Mesh::new();
    let ([moved, _], [near, _], [far, _]) =
        (mesh.tasks("n0", "a"), mesh.tasks("n0", "b"), mesh.tasks("n1", "a"));
    let streams = [&near, &far].map(|task| mesh.0.core.notices(task));
    let told = |mut streams: [tokio::sync::watch::Receiver<Notice>; 2]| {
        streams.each_mut().map(|stream| stream.has_changed().expect("it lives"))
    };
    let before = [&near, &far].map(|task| mesh.set(task));
    mesh.listen(&moved, 77);
    assert_eq!(told(streams), [true, false]);
    let after = [&near, &far].map(|task| mesh.set(task));
    assert!(endpoints(&after[0], "a.n0").contains("10.0.0.77"));
    assert!(!endpoints(&before[0], "a.n0").contains("10.0.0.77"));
    assert!(Arc::ptr_eq(&before[1], &after[1]), "nothing of it was made anew");
    // Of what did not change, nothing is another one.
    for kind in ResourceType::ALL.into_iter().filter(|kind| *kind != ResourceType::Endpoints) {
        assert!(Arc::ptr_eq(before[0].of(kind), after[0].of(kind)), "{kind:?}");
    }

    // What everybody has reaches everybody.
    let streams = [&near, &far].map(|task| mesh.0.core.notices(task));
    mesh.0.change(|registry| {
        registry.namespaces.update("n0", |namespace| namespace.private_dns = !namespace.private_dns);
    });
    assert_eq!(told(streams), [true, true]);
}

#[test]
fn what_others_have_nothing_of_reaches_nobody() {
    let mesh = Mesh::new();
    let [task, _] = mesh.tasks("n0", "a");
    let reach_of = |change: &dyn Fn(&mut Registry)| {
        let before = mesh.registry();
        let mut after = Registry::clone(&before);
        change(&mut after);
        match reach(&before, &after) {
            Reach::Everybody => panic!("everybody"),
            Reach::Scopes { changed, left } => (changed, left),
        }
    };
    let reached = |change: &dyn Fn(&mut Registry)| reach_of(change).0;
    let left = |change: &dyn Fn(&mut Registry)| reach_of(change).1;
    let of_task = |change: fn(&mut crate::registry::TaskRecord)| {
        reached(&|registry| registry.tasks.update(task.as_str(), change))
    };
    let here = BTreeSet::from([Scope::Namespace("n0".into())]);
    assert_eq!(of_task(|task| task.was_healthy = !task.was_healthy), BTreeSet::new());
    assert_eq!(of_task(|task| task.serving_since = Some(Timestamp::from_secs(9))), BTreeSet::new());
    assert_eq!(of_task(|task| task.draining_since = Some(Timestamp::from_secs(9))), here);
    assert_eq!(of_task(|task| task.desired = DesiredStatus::Stopped), here);
    assert_eq!(of_task(|task| task.report = None), here);
    assert_eq!(of_task(|task| task.zone = Some("z".into())), here);
    assert_eq!(reached(&|registry| registry.tasks.remove(task.as_str())), here);
    assert_eq!(reached(&|registry| registry.certificates.retain(|_, _| false)), BTreeSet::new());
    // Only who is elsewhere now, or over, or like others, is looked up again.
    assert_eq!(
        left(&|registry| registry.tasks.update(task.as_str(), |task| task.report = None)),
        BTreeSet::new()
    );
    let in_zone = |registry: &mut Registry| {
        registry.tasks.update(task.as_str(), |task| task.zone = Some("z".into()));
    };
    assert_eq!(left(&in_zone), here);
    assert_eq!(left(&|registry| registry.tasks.remove(task.as_str())), here);
    let elsewhere = |registry: &mut Registry| {
        let owner = registry.tasks.get(mesh.tasks("n1", "a")[0].as_str()).expect("it lives").owner.clone();
        registry.tasks.update(task.as_str(), |task| task.owner = owner.clone());
    };
    let both = BTreeSet::from(["n0", "n1"].map(|name| Scope::Namespace(name.into())));
    assert_eq!(reach_of(&elsewhere), (both, here.clone()));
    let new = |serves: bool| {
        reached(&|registry| {
            let mut record = (**registry.tasks.get(task.as_str()).expect("the task")).clone();
            record.id = TaskId::from_random([9; 16]);
            record.report = record.report.filter(|_| serves);
            registry.tasks.put(record.id.clone().as_str(), record);
        })
    };
    assert_eq!((new(false), new(true)), (BTreeSet::new(), here));
    // Behind a gateway others call it too.
    mesh.0.change(|registry| {
        let services: Vec<_> = registry.services.values().map(|service| service.arn.clone()).collect();
        let group = services[0].clone();
        for arn in services {
            registry.services.update(arn.as_str(), |service| {
                service.targets.push(bowline_model::service::TargetBinding {
                    target_group: group.clone(),
                    container: "web".into(),
                    container_port: 8080,
                    alternate: None,
                    test_rule: None,
                });
            });
        }
    });
    let gateways = BTreeSet::from([Scope::Namespace("n0".into()), Scope::Gateways]);
    assert_eq!(of_task(|task| task.report = None), gateways);
}

#[test]
fn tasks_of_a_deployment_share_one_set() {
    let mesh = Mesh::new();
    let ([one, other], [callee, _]) = (mesh.tasks("n0", "a"), mesh.tasks("n0", "b"));
    assert!(Arc::ptr_eq(&mesh.set(&one), &mesh.set(&other)));
    let (own, others) = (mesh.set(&one), mesh.set(&callee));
    assert_ne!(identity(&own).spiffe_id, identity(&others).spiffe_id);
    assert!(Arc::ptr_eq(own.of(ResourceType::Endpoints), others.of(ResourceType::Endpoints)));
    // A task elsewhere is not alike.
    mesh.0.change(|registry| registry.tasks.update(one.as_str(), |task| task.zone = Some("z".into())));
    assert!(!Arc::ptr_eq(&mesh.set(&one), &mesh.set(&other)));
}

#[test]
fn a_fault_is_told_to_those_whose_it_is() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let [one, other] = mesh.tasks("n0", "a");
    let before = mesh.set(&other);
    let until = Timestamp::from_secs(u64::MAX / 4_000);

    let told = v1::StagedCertificate { version: "1".into(), ..v1::StagedCertificate::default() };
    let key = StagedKey { chain_der: vec![b"leaf".to_vec()], key: Zeroizing::new(b"key".to_vec()) };
    let held = BTreeMap::from([(one.clone(), key)]);
    let stage = core.stage(Stage { told, until, held, believable: Vec::new() }).expect("no other");
    assert_eq!(identity(&mesh.set(&one)).staged.map(|staged| staged.version), Some("1".into()));
    assert!(
        Arc::ptr_eq(&mesh.set(&other), &before),
        "another task of the same deployment hears nothing of it"
    );
    assert!(core.fetch(&one, "staged:1").is_ok() && core.fetch(&other, "staged:1").is_err());
    core.unstage(stage).expect("it was in force");
    assert!(Arc::ptr_eq(&mesh.set(&one), &before));

    let host = |task: &TaskId| {
        let registry = mesh.registry();
        registry.tasks.get(task.as_str()).expect("the task").report.as_ref().expect("it listens").inbound[0]
            .address
    };
    let [callee, _] = mesh.tasks("n0", "b");
    let path = core
        .divert_paths(PathDiversion {
            callers: BTreeSet::from([one.clone()]),
            cluster: "b.n0".into(),
            to: BTreeMap::from([(host(&callee), address(99))]),
            until,
        })
        .expect("no other");
    assert!(endpoints(&mesh.set(&one), "b.n0").contains("10.0.0.99:8080"));
    assert!(Arc::ptr_eq(&mesh.set(&other), &before));
    core.end_diverted_paths(path).expect("it was in force");
    assert!(Arc::ptr_eq(&mesh.set(&one), &before));

    core.divert(&one, "b.n0", Some((address(98), Instant::now())));
    assert_eq!(endpoints(&mesh.set(&one), "b.n0"), BTreeSet::from(["10.0.0.98".to_owned()]));
    assert!(Arc::ptr_eq(&mesh.set(&other), &before));
    core.divert(&one, "b.n0", None);

    core.ask_for_renewal(std::slice::from_ref(&one), "now");
    let asked = |task: &TaskId| match identity(&mesh.set(task)).source {
        Some(v1::identity::Source::Issued(issued)) => issued.renewal,
        other => panic!("{other:?}"),
    };
    assert_eq!((asked(&one), asked(&other)), ("now".into(), String::new()));
    core.ask_no_more(std::slice::from_ref(&one), "now");
    assert!(Arc::ptr_eq(&mesh.set(&one), &mesh.set(&other)));
}

#[test]
fn what_is_unusable_or_disturbed_on_purpose_is_so_at_one_proxy() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let [one, other] = mesh.tasks("n0", "a");
    let before = mesh.set(&other);
    let until = Timestamp::from_secs(u64::MAX / 4_000);

    let garbage = HarmKind::Garbage(BTreeSet::new());
    let (harm, _) = core.begin_harm(std::slice::from_ref(&one), garbage, until).expect("no other");
    let unusable = mesh.set(&one);
    let is_usable = |(kind, name, held): (ResourceType, &Arc<str>, &VersionedResource)| {
        Resource::decode(kind, &held.encoded).is_ok_and(|read| read.name() == &**name)
    };
    assert_eq!(unusable.iter().count(), before.iter().count());
    assert!(!unusable.iter().any(is_usable) && before.iter().all(is_usable));
    assert!(Arc::ptr_eq(&mesh.set(&other), &before));
    core.end_harm(harm).expect("it was in force");
    assert!(Arc::ptr_eq(&mesh.set(&one), &before));

    let told = v1::Disturbance { version: "1".into(), ..v1::Disturbance::default() };
    let tasks = BTreeSet::from([one.clone()]);
    let disturbance = core.disturb(Disturbed { told, until, tasks }).expect("no other");
    assert!(!Arc::ptr_eq(&mesh.set(&one), &before));
    assert!(Arc::ptr_eq(&mesh.set(&other), &before));
    core.end_disturbance(disturbance).expect("it was in force");
    assert!(Arc::ptr_eq(&mesh.set(&one), &before));
}

#[test]
fn a_proxy_is_waited_for_only_where_its_endpoints_are_others() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let [one, other] = mesh.tasks("n0", "a");
    let since = |task: &TaskId| core.endpoints_since(task).expect("it lives");
    let first = (since(&one), since(&other));
    core.ask_for_renewal(std::slice::from_ref(&one), "now");
    assert_eq!((since(&one), since(&other)), first, "endpoints are what they were");
    core.ask_no_more(std::slice::from_ref(&one), "now");
    assert_eq!((since(&one), since(&other)), first);
    core.divert(&one, "b.n0", Some((address(98), Instant::now())));
    let diverted = since(&one);
    assert!(diverted > first.0 && diverted <= core.notices(&one).borrow().generation);
    core.divert(&one, "b.n0", None);
    assert!(since(&one) > diverted, "what it had before is news again");
    assert_eq!(since(&other), first.1);
}

#[test]
fn who_sees_a_change_waits_for_it_though_it_is_not_published_yet() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let ([caller, _], [callee, _]) = (mesh.tasks("n0", "a"), mesh.tasks("n0", "b"));
    let before = core.endpoints_since(&caller).expect("it lives");
    let mut standing = Standing::of(&**core, &caller).expect("it lives");
    core.change_untold(|registry| registry.tasks.update(callee.as_str(), |task| task.draining_since = None))
        .expect("kept");
    assert_eq!(core.endpoints_since(&caller), Some(before), "of that nobody is told");
    let end = |task: &mut TaskRecord| task.draining_since = Some(Timestamp::from_secs(1));
    core.change_untold(|registry| registry.tasks.update(callee.as_str(), end)).expect("kept");
    assert!(standing.changed().now_or_never().is_none());
    assert!(core.endpoints_since(&caller) > Some(before));
    assert!(standing.changed().now_or_never().is_some(), "who asks has it published");
}

/// What each proxy has is what would be made for it alone, from nothing.
fn assert_made_as_alone(mesh: &Mesh) {
    let registry = mesh.registry();
    for task in registry.tasks.values() {
        let shared = mesh.set(&task.id);
        let options = mesh.0.core.options_of(&task.id);
        let alone = publish::resources(&registry, &options, task).expect("it lives");
        assert_eq!(*shared, alone);
        assert_eq!(*mesh.followed(&task.id), alone);
    }
}

#[test]
fn a_set_that_is_shared_is_what_is_made_for_a_task_alone() {
    let mesh = Mesh::new();
    assert_made_as_alone(&mesh);
    let (a, b) = (mesh.tasks("n0", "a"), mesh.tasks("n0", "b"));
    let changes: [(&TaskId, u8); 5] = [(&a[0], 44), (&b[1], 45), (&a[0], 46), (&a[0], 46), (&b[1], 47)];
    // Callers of `a` go over to `b` where it fails, or are all sent there.
    let failover =
        json!({"balancing": LoadBalancing { failover: vec!["b".into()], ..LoadBalancing::default() }});
    let route =
        json!({"routes": [{"targets": [["b", 1]], "matches": {"headers": [], "query": []}, "sticky": []}]});
    for policy in [None, Some(failover), Some(route), None] {
        mesh.0.change(|registry| match &policy {
            Some(policy) => registry.traffic_policies.put("stack/policy", traffic_policy(policy)),
            None => registry.traffic_policies.remove("stack/policy"),
        });
        assert_made_as_alone(&mesh);
        for (task, host) in changes {
            mesh.listen(task, host);
            assert_made_as_alone(&mesh);
        }
        mesh.0.change(|registry| {
            registry.tasks.update(b[0].as_str(), |task| task.desired = DesiredStatus::Stopped);
        });
        assert_made_as_alone(&mesh);
        mesh.0.change(|registry| {
            registry.tasks.update(b[0].as_str(), |task| task.desired = DesiredStatus::Running);
        });
        assert_made_as_alone(&mesh);
    }
    // One more member, which was not among its service's before.
    let newcomer = TaskId::from_random([7; 16]);
    mesh.0.change(|registry| {
        let mut task = registry.tasks.get(a[0].as_str()).expect("it is there").as_ref().clone();
        task.id = newcomer.clone();
        registry.tasks.put(newcomer.as_str(), task);
    });
    assert_made_as_alone(&mesh);
    mesh.0.change(|registry| registry.tasks.remove(newcomer.as_str()));
    assert_made_as_alone(&mesh);
}

/// Of `a` of the first namespace, with these parts.
fn traffic_policy(parts: &serde_json::Value) -> TrafficPolicy {
    let mut policy = json!({"name": "policy", "namespace": "n0", "discovery_name": "a"});
    let policy_parts = policy.as_object_mut().expect("an object");
    policy_parts.extend(parts.as_object().expect("an object").clone());
    serde_json::from_value(policy).expect("a policy")
}

#[test]
fn a_stream_follows_its_task_wherever_it_goes() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let ([one, other], [stranger, _]) = (mesh.tasks("n0", "a"), mesh.tasks("n1", "b"));
    let agree = || {
        // Whoever is first has made what those have who are like it.
        for task in [&other, &one, &other] {
            assert!(Arc::ptr_eq(&mesh.followed(task), &mesh.set(task)));
        }
    };
    agree();
    mesh.listen(&other, 71);
    agree();
    assert!(Arc::ptr_eq(&mesh.followed(&one), &mesh.followed(&other)));

    // It has something of its own for a while.
    core.divert(&one, "b.n0", Some((address(98), Instant::now())));
    agree();
    mesh.listen(&other, 72);
    agree();
    core.divert(&one, "b.n0", None);
    agree();

    // It is elsewhere.
    let registry = mesh.registry();
    let owner = registry.tasks.get(stranger.as_str()).expect("it lives").owner.clone();
    mesh.0.change(|registry| registry.tasks.update(one.as_str(), |task| task.owner = owner.clone()));
    agree();
    assert!(Arc::ptr_eq(&mesh.followed(&one), &mesh.set(&stranger)));
    mesh.listen(&stranger, 73);
    agree();
    assert!(endpoints(&mesh.followed(&one), "b.n1").contains("10.0.0.73"));

    // It is over; the others of its place are not.
    let mut standing = Standing::of(&**core, &one).expect("it lives");
    mesh.0.change(|registry| registry.tasks.remove(one.as_str()));
    assert!(standing.changed().now_or_never().is_some(), "it hears of that at once");
    // And sees it, though those that were like it have theirs already.
    mesh.set(&stranger);
    assert_eq!(standing.refresh(&**core, &one), Err(Over));
    assert_eq!(Standing::of(&**core, &one).err(), Some(Over));
    assert!(Arc::ptr_eq(&mesh.followed(&stranger), &mesh.set(&stranger)));
}

#[test]
fn streams_end_with_the_latest_though_changes_come_while_they_look() {
    let mesh = Mesh::new();
    let tasks: Vec<_> = ["a", "b"].iter().flat_map(|name| mesh.tasks("n0", name)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = tasks
        .iter()
        .map(|task| {
            let (core, task, over) = (Arc::clone(&mesh.0.core), task.clone(), Arc::clone(&over));
            let mut standing = Standing::of(&*core, &task).expect("it lives");
            std::thread::spawn(move || {
                loop {
                    let was_over = over.load(Ordering::SeqCst);
                    while standing.changed().now_or_never().is_some() {
                        standing.refresh(&*core, &task).expect("it lives");
                    }
                    if was_over {
                        return (Arc::clone(standing.set()), standing.generation());
                    }
                }
            })
        })
        .collect();
    for host in 0..200 {
        mesh.listen(&tasks[usize::from(host) % tasks.len()], host);
        // Others look as well, and may have it made first.
        mesh.0.core.endpoints_since(&tasks[0]).expect("it lives");
    }
    over.store(true, Ordering::SeqCst);
    for (task, follower) in tasks.iter().zip(followers) {
        let (set, generation) = follower.join().expect("no panic");
        assert!(Arc::ptr_eq(&set, &mesh.set(task)));
        assert_eq!(
            generation,
            mesh.0.core.notices(task).borrow().generation,
            "who waits for it waits for that"
        );
    }
}

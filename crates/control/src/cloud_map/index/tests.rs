use bowline_model::arn::Scope;
use proptest::prelude::*;

use super::*;
use crate::registry::Namespace;

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn registry() -> Registry {
    let mut registry = Registry { generation: 1, ..Registry::default() };
    for (id, name) in [("ns-1", "shop"), ("ns-2", "back")] {
        let namespace = Namespace {
            arn: Scope::default().arn("servicediscovery", format_args!("namespace/{id}")),
            id: id.into(),
            name: name.into(),
            private_dns: false,
            description: None,
            tags: Vec::new(),
            created_at: NOW,
            vpc: None,
            hosted_zone_id: None,
            soa_ttl: None,
            creator_request_id: None,
        };
        registry.namespaces.put(name, namespace);
    }
    registry
}

fn service(number: u8, revision: u64) -> DiscoveryService {
    let id = format!("srv-{number}");
    DiscoveryService {
        arn: Scope::default().arn("servicediscovery", format_args!("service/{id}")),
        id,
        namespace_id: format!("ns-{}", number % 2 + 1),
        name: format!("s{number}"),
        description: None,
        dns_config: None,
        health_check_config: None,
        health_check_custom: false,
        service_type: None,
        attributes: BTreeMap::new(),
        tags: Vec::new(),
        created_at: NOW,
        creator_request_id: None,
        revision,
    }
}

/// What callers are told, for comparison.
fn told(index: &DiscoveryIndex) -> BTreeMap<String, (String, Vec<String>, u64)> {
    let services = index.all().map(|service| {
        let ids = service.instances.iter().map(|instance| instance.id().to_owned()).collect();
        (service.row.id.clone(), (service.row.name.clone(), ids, service.revision))
    });
    let told: BTreeMap<_, _> = services.collect();
    for (namespace, services) in &index.by_name {
        for (name, service) in &**services {
            let found = index.named(namespace, name).expect("is there");
            assert!(Arc::ptr_eq(found, service) && index.with_id(&service.row.id).is_some());
        }
    }
    assert_eq!(index.by_name.values().map(|services| services.len()).sum::<usize>(), told.len());
    told
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Remove(u8),
    Register(u8, u8),
    Deregister(u8, u8),
    Elsewhere,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Put),
        (0..6_u8).prop_map(Step::Remove),
        (0..6_u8, 0..4_u8).prop_map(|(service, id)| Step::Register(service, id)),
        (0..6_u8, 0..4_u8).prop_map(|(service, id)| Step::Deregister(service, id)),
        Just(Step::Elsewhere),
    ]
}

fn take(registry: &mut Registry, step: &Step) {
    registry.generation += 1;
    let key = |service: u8, id: u8| Instance::key(&format!("srv-{service}"), &format!("i{id}"));
    let generation = registry.generation;
    let touch = |registry: &mut Registry, number: u8| {
        registry.discovery_services.update(&format!("srv-{number}"), |row| row.revision = generation);
    };
    match step {
        Step::Put(number) => {
            registry.discovery_services.put(format!("srv-{number}"), service(*number, generation));
        }
        Step::Remove(number) => {
            registry.discovery_services.remove(&format!("srv-{number}"));
            registry.instances.retain(|_, row| row.service_id != format!("srv-{number}"));
        }
        Step::Register(number, id) => {
            let row = Instance {
                id: format!("i{id}"),
                service_id: format!("srv-{number}"),
                attributes: BTreeMap::new(),
                creator_request_id: None,
                custom_health: None,
                registered_at: NOW,
            };
            registry.instances.put(key(*number, *id), row);
            touch(registry, *number);
        }
        Step::Deregister(number, id) => {
            registry.instances.remove(&key(*number, *id));
            touch(registry, *number);
        }
        Step::Elsewhere => {
            registry.settings.put("other", crate::registry::Settings::default());
        }
    }
}

#[test]
fn what_no_change_touched_is_the_same() {
    let mut registry = registry();
    take(&mut registry, &Step::Put(1));
    take(&mut registry, &Step::Put(2));
    let before = DiscoveryIndex::new(&registry, &DiscoveryIndex::default(), NOW);
    take(&mut registry, &Step::Register(1, 0));
    let after = before.advanced_to(&registry, NOW).expect("only an instance came");
    let same = |id: &str| {
        let [before, after] = [&before, &after].map(|index| index.with_id(id).expect("is there"));
        Arc::ptr_eq(before, after)
    };
    assert_eq!((same("srv-1"), same("srv-2")), (false, true));
    assert!(after.with_id("srv-1").expect("is there").instance("i0").is_some());
    assert!(Arc::ptr_eq(&before.by_name["shop"], &after.by_name["shop"]), "its namespace is not touched");
}

proptest! {
    #[test]
    fn an_index_that_is_advanced_is_that_which_is_made_anew(steps in prop::collection::vec(step(), 1..30)) {
        let mut registry = registry();
        let mut advanced = DiscoveryIndex::new(&registry, &DiscoveryIndex::default(), NOW);
        for step in steps {
            take(&mut registry, &step);
            // Revisions remember what was before, so it is made anew from the same past.
            let (by_name, by_id) = (advanced.by_name.clone(), Arc::clone(&advanced.by_id));
            let blind = DiscoveryIndex { generation: 0, of: Registry::default(), by_name, by_id };
            let anew = DiscoveryIndex::new(&registry, &blind, NOW);
            advanced = DiscoveryIndex::new(&registry, &advanced, NOW);
            prop_assert_eq!(told(&advanced), told(&anew));
        }
    }
}

//! Tasks are spread over the zones of their subnets, and call in their own first.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    mesh::Mesh,
    server::{Client, load},
    template::Template,
};

const ALIAS: &str = "outbound:cart:80";

/// Requests that the applications of a service have had, by their zones.
fn by_zone(mesh: &Mesh, service: &str) -> BTreeMap<String, u32> {
    let registry = mesh.control.snapshot();
    let mut counts = BTreeMap::new();
    for (id, backend) in mesh.backends(service) {
        let zone = registry.tasks.get(id.as_str()).and_then(|task| task.zone.clone()).expect("a zone");
        *counts.entry(zone).or_default() += backend.count();
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_stay_in_their_zone_until_too_little_of_it_is_left() {
    let aware = "LoadBalancing: {ZoneAware: true}";
    let ejects = "OutlierDetection: {MaxServerErrors: 1, BaseEjectionDuration: {Unit: s, Value: 60}}";
    let template = Template::new()
        .service("caller", 2, "1", "{}")
        .service("cart", 6, "1", "{}")
        .policy("cart", &[aware, ejects])
        .in_two_zones();
    let mesh = Mesh::start(&template).await;
    let registry = mesh.control.snapshot();
    let zone_of = |id: &str| registry.tasks.get(id).and_then(|task| task.zone.clone()).expect("a zone");
    let mut of_cart: Vec<String> = mesh.backends("cart").iter().map(|(id, _)| zone_of(id.as_str())).collect();
    of_cart.sort();
    assert_eq!(of_cart, ["us-east-1a"; 3].into_iter().chain(["us-east-1b"; 3]).collect::<Vec<_>>());
    let callers: Vec<_> = mesh.backends("caller").into_iter().map(|(id, _)| id.clone()).collect();
    let mut zones: Vec<String> = callers.iter().map(|id| zone_of(id.as_str())).collect();
    for (caller, zone) in callers.iter().zip(&zones) {
        let proxy = mesh.proxy_of(caller);
        let before = by_zone(&mesh, "cart");
        load(proxy.address(ALIAS), "/", 60).await;
        let after = by_zone(&mesh, "cart");
        for (name, count) in &after {
            let expected = if name == zone { 60 } else { 0 };
            assert_eq!(count - before[name], expected, "a caller in {zone}, tasks in {name}");
        }
    }
    // One of three fails: a third of the zone's share goes to the other one.
    let (caller, zone) = (&callers[0], &zones[0]);
    let proxy = mesh.proxy_of(caller);
    let backends = mesh.backends("cart");
    let failing = backends.iter().find(|(id, _)| zone_of(id.as_str()) == *zone).expect("one of the zone");
    failing.1.answers(500, Duration::ZERO);
    let client = Client::of(proxy.address(ALIAS)).await;
    while client.get("/", &[]).await.status == 200 {}
    let before = by_zone(&mesh, "cart");
    load(proxy.address(ALIAS), "/", 500).await;
    let after = by_zone(&mesh, "cart");
    let elsewhere: u32 =
        after.iter().filter(|(name, _)| *name != zone).map(|(name, count)| count - before[name]).sum();
    // The zone has 2 of 5, and its callers half of all: a fifth is too much for it.
    assert!((75..=125).contains(&elsewhere), "{elsewhere} of 500");
    zones.sort();
    assert_eq!(zones, ["us-east-1a", "us-east-1b"], "the callers are spread as well");
    mesh.stop().await;
}

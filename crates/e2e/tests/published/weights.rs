//! Shares of the traffic, as templates and deployments have them, met over real proxies.

use std::collections::HashMap;

use bowline_control::registry::TaskOwner;

use crate::{
    mesh::Mesh,
    server::{Client, load},
    template::Template,
};

const ALIAS: &str = "outbound:cart:80";

#[tokio::test(flavor = "multi_thread")]
async fn targets_get_their_weights_and_clients_stay_with_theirs() {
    let services = || {
        Template::new()
            .service("caller", 1, "1", "{}")
            .service("cart", 2, "1", "{}")
            .service("cart-v2", 1, "1", "{}")
    };
    let routes = "[
        {Priority: 1, Match: {Prefix: /beta}, Action: {WeightedTargets: [{VirtualNode: cart-v2, Weight: 1}]}},
        {Priority: 2, Match: {Headers: [{Name: x-build, Match: {Prefix: rc-}}]}, Action: {WeightedTargets: [{VirtualNode: cart-v2, Weight: 1}]}},
        {Priority: 3, Match: {Prefix: /sticky}, Sticky: [{Header: x-user}], Action: {WeightedTargets: [{VirtualNode: cart, Weight: 50}, {VirtualNode: cart-v2, Weight: 50}]}},
        {Action: {WeightedTargets: [{VirtualNode: cart, Weight: 93}, {VirtualNode: cart-v2, Weight: 7}]}}]";
    let routes = format!("Routes: {}", routes.replace('\n', " "));
    let mesh = Mesh::start(&services().policy("cart", &[&routes])).await;
    let proxy = mesh.proxy("caller");
    let address = proxy.address(ALIAS);
    load(address, "/", 10_000).await;
    let beside = mesh.count("cart-v2");
    assert!(beside.abs_diff(700) <= 100, "within 1 %: {beside} of 10,000");
    assert_eq!(mesh.count("cart") + beside, 10_000);

    let client = Client::of(address).await;
    let v2 = mesh.backends("cart-v2")[0].0.as_str().to_owned();
    for _ in 0..20 {
        assert_eq!(client.get("/beta/x", &[]).await.task, v2);
        assert_eq!(client.get("/", &[("x-build", "rc-7")]).await.task, v2);
    }
    // Each of many clients stays on its side; both sides have about half of them.
    let mut of_user: HashMap<String, bool> = HashMap::new();
    for turn in 0..400 {
        let user = format!("user-{}", turn % 100);
        let is_v2 = client.get("/sticky", &[("x-user", &user)]).await.task == v2;
        assert_eq!(*of_user.entry(user).or_insert(is_v2), is_v2);
    }
    let on_v2 = of_user.values().filter(|is_v2| **is_v2).count();
    assert!((30..=70).contains(&on_v2), "{on_v2} of 100");

    // Another division is taken up by a proxy that goes on.
    mesh.apply(
        &services().policy("cart", &[&routes.replace("93", "20").replace("Weight: 7}", "Weight: 80}")]),
    );
    mesh.refresh(&proxy);
    let before = mesh.count("cart-v2");
    load(address, "/", 2_000).await;
    assert!((mesh.count("cart-v2") - before).abs_diff(1_600) <= 20);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_gets_its_share_of_callers_and_gateways_and_its_test_traffic() {
    let canary = "{Strategy: CANARY, BakeTimeInMinutes: 60, \
                   CanaryConfiguration: {CanaryPercent: 12.5, CanaryBakeTimeInMinutes: 60}}";
    let template = |version: &str| {
        Template::new().load_balancer().service("caller", 1, "1", "{}").service("cart", 2, version, canary)
    };
    let mut mesh = Mesh::start(&template("1")).await;
    mesh.apply(&template("2"));
    mesh.until("the canary has its share", |registry| {
        registry
            .services
            .values()
            .any(|service| service.shift.as_ref().is_some_and(|shift| shift.production.tenths() == 125))
    })
    .await;
    let registry = mesh.control.snapshot();
    let cart = registry.services.values().find(|service| service.name == "cart").expect("the service");
    let green = cart.shift.as_ref().expect("a shift").green.deployment.clone();
    let of_green = |mesh: &Mesh| -> u32 {
        let is_green = |task: &str| match registry.tasks.get(task).map(|task| &task.owner) {
            Some(TaskOwner::Service { deployment, .. }) => *deployment == green,
            _ => false,
        };
        let its = mesh.backends("cart").into_iter().filter(|(id, _)| is_green(id.as_str()));
        its.map(|(_, backend)| backend.count()).sum()
    };
    let callers = [
        (mesh.proxy("caller"), ALIAS, "/", 10_000),
        (mesh.proxy("front"), "public:front:80", "/cart", 2_000),
    ];
    for (proxy, listener, path, count) in callers {
        let (before, all) = (of_green(&mesh), mesh.count("cart"));
        load(proxy.address(listener), path, count).await;
        let share = of_green(&mesh) - before;
        let off = share.abs_diff(count / 8);
        assert!(off <= count / 100, "{listener}: {share} of {count}, within 1 %");
        assert_eq!(mesh.count("cart") - all, count);
    }
    mesh.stop().await;
}

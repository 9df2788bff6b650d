use proptest::prelude::*;

use super::{
    Call, Callers, Effect, HttpCall, Rule, Rules,
    policy::{AuthorizationPolicy, CalledPort, DefaultCallers, PolicyRule},
};
use crate::{identity::SpiffeId, wildcard::Wildcard};

fn caller(namespace: &str, service: &str) -> SpiffeId {
    SpiffeId::of_service("d", namespace, "c", service)
}

fn call<'a>(caller: Option<&'a SpiffeId>, method: &'a str, path: &'a str) -> Call<'a> {
    Call { caller, source: [10, 1, 2, 3].into(), request: Some(HttpCall { method, path }) }
}

fn rule(effect: Effect, identity: &str, methods: &[&str], paths: &[&str]) -> Rule {
    Rule {
        name: "r".into(),
        effect,
        callers: match identity {
            "anyone" => Callers::Anyone,
            pattern => Callers::Of(vec![pattern.parse().expect("a pattern")]),
        },
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        paths: paths.iter().filter_map(|path| Wildcard::new(path, false)).collect(),
        sources: Vec::new(),
    }
}

fn allowed(rules: &[Rule], call: &Call<'_>) -> bool {
    Rules::new(rules.to_vec()).decide(call).allowed
}

#[test]
fn deny_is_the_default_and_wins() {
    let caller = caller("a", "s");
    let of_a = |effect, methods: &[&str], paths: &[&str]| rule(effect, "spiffe://d/ns/a/*", methods, paths);
    let get = call(Some(&caller), "GET", "/x");
    assert!(!allowed(&[], &get));
    assert!(!allowed(&[of_a(Effect::Audit, &[], &[])], &get));
    assert!(!allowed(&[rule(Effect::Allow, "spiffe://d/ns/b/*", &[], &[])], &get));
    let rules = [of_a(Effect::Allow, &[], &[]), of_a(Effect::Deny, &["DELETE"], &["/admin*"])];
    assert!(allowed(&rules, &get));
    assert!(allowed(&rules, &call(Some(&caller), "DELETE", "/x")));
    assert!(!allowed(&rules, &call(Some(&caller), "DELETE", "/admin/1")));
    assert!(!allowed(&rules, &call(Some(&caller), "DELETE", "/x/%2e%2e/%61dmin")), "spelled otherwise");
    // A TCP connection: the denial holds, a permission of methods does not.
    let tcp = Call { request: None, ..get };
    assert!(!allowed(&rules, &tcp));
    assert!(allowed(&[of_a(Effect::Allow, &[], &[])], &tcp));
    assert!(!allowed(&[of_a(Effect::Allow, &["GET"], &[])], &tcp));
    // A permission must cover every reading of the path.
    let public = [of_a(Effect::Allow, &[], &["/public/*"])];
    assert!(allowed(&public, &call(Some(&caller), "GET", "/public/x")));
    assert!(!allowed(&public, &call(Some(&caller), "GET", "/public/../admin")));
}

#[test]
fn addresses_and_callers_without_identity() {
    let anyone_here = Rule {
        sources: vec!["10.0.0.0/8".parse().expect("a range")],
        ..rule(Effect::Allow, "anyone", &[], &[])
    };
    assert!(allowed(std::slice::from_ref(&anyone_here), &call(None, "GET", "/")));
    let elsewhere = Call { source: [192, 0, 2, 1].into(), ..call(None, "GET", "/") };
    assert!(!allowed(&[anyone_here], &elsewhere));
    assert!(!allowed(&[rule(Effect::Allow, "spiffe://d/*", &[], &[])], &call(None, "GET", "/")));
}

fn policy(default: DefaultCallers, rules: Vec<PolicyRule>) -> AuthorizationPolicy {
    AuthorizationPolicy {
        name: "p".into(),
        namespace: Some("a".into()),
        services: vec!["s".into()],
        default,
        rules,
    }
}

fn of_namespace(effect: Effect, namespace: &str, ports: &[u16]) -> PolicyRule {
    PolicyRule {
        name: "r".into(),
        effect,
        identities: Vec::new(),
        namespaces: vec![namespace.into()],
        methods: Vec::new(),
        paths: Vec::new(),
        ports: ports.to_vec(),
        sources: Vec::new(),
    }
}

fn port(gateways: &[SpiffeId]) -> CalledPort<'_> {
    CalledPort {
        trust_domain: "d",
        service: "s",
        namespace: Some("a"),
        port: 80,
        offered: true,
        gateways,
        proves_callers: true,
    }
}

#[test]
fn the_default_is_the_namespace_and_can_be_nobody() {
    let gateway = [SpiffeId::of_gateway("d", "alb")];
    let (own, other) = (caller("a", "x"), caller("b", "x"));
    let decides = |policies: &[AuthorizationPolicy], caller: &SpiffeId| {
        let rules = port(&gateway).rules(policies);
        let decision = rules.decide(&call(Some(caller), "GET", "/"));
        (decision.allowed, decision.rule.map(|rule| rule.name.clone()))
    };
    let by = |name: &str| Some(name.to_owned());
    assert_eq!(decides(&[], &own), (true, by("default: members of a")));
    assert_eq!(decides(&[], &other), (false, None));
    assert_eq!(decides(&[], &gateway[0]), (true, by("default: gateways of its target groups")));
    let nobody = [policy(DefaultCallers::Nobody, Vec::new())];
    assert_eq!(decides(&nobody, &own), (false, None));
    assert!(decides(&nobody, &gateway[0]).0, "a target group is a permission");
    let across = [policy(DefaultCallers::Namespace, vec![of_namespace(Effect::Allow, "b", &[])])];
    assert_eq!(decides(&across, &other), (true, by("p/r")));
    assert!(decides(&across, &own).0);
    let denied = [policy(DefaultCallers::Namespace, vec![of_namespace(Effect::Deny, "a", &[80])])];
    assert_eq!(decides(&denied, &own), (false, by("p/r")));
    let other_port = [policy(DefaultCallers::Namespace, vec![of_namespace(Effect::Deny, "a", &[81])])];
    assert!(decides(&other_port, &own).0);
    let of_another = AuthorizationPolicy { services: vec!["t".into()], ..denied[0].clone() };
    assert!(decides(&[of_another], &own).0);
}

#[test]
fn a_port_that_proves_no_caller_serves_anyone_unless_told_otherwise() {
    let port = CalledPort { proves_callers: false, ..port(&[]) };
    assert!(port.rules([]).decide(&call(None, "GET", "/")).allowed);
    let nobody = policy(DefaultCallers::Nobody, Vec::new());
    assert!(!port.rules([&nobody]).decide(&call(None, "GET", "/")).allowed);
}

#[test]
fn where_no_caller_is_proved_a_rule_that_names_callers_shuts_the_others_out() {
    let unproved = CalledPort { proves_callers: false, ..port(&[]) };
    let allowed = |port: &CalledPort<'_>, caller: Option<&SpiffeId>, rules: Vec<PolicyRule>| {
        let policy = policy(DefaultCallers::Namespace, rules);
        port.rules([&policy]).decide(&call(caller, "GET", "/")).allowed
    };
    let anyone = || PolicyRule { namespaces: Vec::new(), ..of_namespace(Effect::Allow, "a", &[]) };
    let [permits, denies] = [Effect::Allow, Effect::Deny].map(|effect| of_namespace(effect, "b", &[]));
    assert!(!allowed(&unproved, None, vec![permits.clone()]));
    assert!(!allowed(&unproved, None, vec![denies.clone()]));
    assert!(allowed(&unproved, None, vec![permits.clone(), anyone()]));
    assert!(!allowed(&unproved, None, vec![denies.clone(), anyone()]), "it may be one of those denied");
    assert!(allowed(&unproved, None, vec![of_namespace(Effect::Audit, "b", &[])]), "it only logs");
    // The twin: the same rules, and the caller proves who it is.
    let own = caller("a", "x");
    for rule in [permits, denies] {
        assert!(allowed(&port(&[]), Some(&own), vec![rule]));
    }
}

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::Allow), Just(Effect::Deny), Just(Effect::Audit)]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let identity =
        prop::sample::select(vec!["anyone", "spiffe://d/ns/a/*", "spiffe://d/ns/b/*", "spiffe://d/*"]);
    let methods = prop::sample::subsequence(vec!["GET", "POST"], 0..=2);
    let paths = prop::sample::subsequence(vec!["/a*", "/b", "*"], 0..=2);
    (any_effect(), identity, methods, paths)
        .prop_map(|(effect, identity, methods, paths)| rule(effect, identity, &methods, &paths))
}

fn any_call() -> impl Strategy<Value = (Option<SpiffeId>, Option<(&'static str, &'static str)>)> {
    let caller =
        prop::option::of(prop::sample::select(vec![caller("a", "s"), caller("b", "s"), caller("c", "s")]));
    let request = (
        prop::sample::select(vec!["GET", "POST", "PUT"]),
        prop::sample::select(vec!["/a/x", "/b", "/c", "/c/../a"]),
    );
    (caller, prop::option::of(request))
}

proptest! {
    #[test]
    fn order_is_irrelevant_and_deny_wins(
        rules in prop::collection::vec(any_rule(), 0..8).prop_shuffle(),
        (caller, request) in any_call(),
    ) {
        let request = request.map(|(method, path)| HttpCall { method, path });
        let call = Call { caller: caller.as_ref(), source: [10, 0, 0, 1].into(), request };
        let (forwards, mut backwards) = (Rules::new(rules.clone()), rules.clone());
        backwards.reverse();
        let decision = forwards.decide(&call);
        prop_assert_eq!(decision.allowed, Rules::new(backwards).decide(&call).allowed);
        // Each rule alone says whether it matches; the verdict follows from that.
        let effect_of = |effect| rules.iter().any(|rule| {
            let alone = Rules::new(vec![rule.clone()]);
            let decision = alone.decide(&call);
            rule.effect == effect && (decision.rule.is_some() || !decision.audits.is_empty())
        });
        prop_assert_eq!(decision.allowed, effect_of(Effect::Allow) && !effect_of(Effect::Deny));
        prop_assert_eq!(!decision.audits.is_empty(), effect_of(Effect::Audit));
        if decision.allowed {
            prop_assert_eq!(decision.rule.map(|rule| rule.effect), Some(Effect::Allow));
        }
    }

    #[test]
    fn a_denial_more_never_allows_and_an_audit_more_changes_nothing(
        rules in prop::collection::vec(any_rule(), 0..6),
        more in any_rule(),
        (caller, request) in any_call(),
    ) {
        let request = request.map(|(method, path)| HttpCall { method, path });
        let call = Call { caller: caller.as_ref(), source: [10, 0, 0, 1].into(), request };
        let before = allowed(&rules, &call);
        let mut after = rules;
        after.push(more.clone());
        let after = allowed(&after, &call);
        match more.effect {
            Effect::Allow => prop_assert!(after || !before || !allowed(&[more], &call)),
            Effect::Deny => prop_assert!(before || !after),
            Effect::Audit => prop_assert_eq!(before, after),
        }
    }

    #[test]
    fn across_namespaces_nothing_is_allowed_by_default(namespace in "[a-z]{1,3}", service in "[a-z]{1,3}") {
        let caller = SpiffeId::of_service("d", &namespace, "c", &service);
        let decision = port(&[]).rules([]).decide(&call(Some(&caller), "GET", "/")).allowed;
        prop_assert_eq!(decision, namespace == "a");
    }
}

use super::*;
use crate::check::Outcome;

const NOW: Timestamp = Timestamp::from_secs(2_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn proxy() -> ProxyFact {
    ProxyFact {
        task: TaskId::from_random([1; 16]),
        owner: "web".into(),
        connected: true,
        has_latest: true,
        refused: vec![],
        version: Some("1".into()),
        serving_since: Some(NOW - DAY),
        reported: Some(NOW - Duration::from_secs(9)),
        access_log_dropped: 0,
    }
}

fn service() -> ServiceFact {
    ServiceFact {
        name: "web".into(),
        desired: 2,
        available: 2,
        unhealthy: 0,
        mode: Some("MUTUAL_TLS".into()),
        warnings: vec![],
    }
}

fn certificate() -> CertificateFact {
    CertificateFact {
        owner: "web".into(),
        what: "mesh of task t".into(),
        not_before: NOW - DAY / 2,
        not_after: NOW + DAY / 2,
        renews_at: Some(NOW + DAY / 6),
        warnings: vec![],
    }
}

fn good() -> MeshFacts {
    MeshFacts {
        version: "1".into(),
        now: NOW,
        began: NOW - DAY,
        reconciled: Some((NOW - Duration::from_secs(8), false)),
        authorities: vec![AuthorityFact {
            name: "mesh".into(),
            signs: true,
            not_after: Some(NOW + 365 * DAY),
        }],
        certificates: vec![certificate()],
        proxies: vec![proxy()],
        services: vec![service()],
        gateways: vec![("lb".into(), true)],
        alarms: vec![],
        alarms_total: 1,
    }
}

fn endpoint() -> (String, Option<String>) {
    ("http://127.0.0.1:4566".into(), None)
}

/// The worst of a check's outcomes.
fn worst(facts: &MeshFacts, id: &str) -> Outcome {
    let groups = judge(facts, &endpoint(), "1");
    let checks = groups.iter().flat_map(|group| &group.checks).filter(|check| check.id == id);
    checks.map(|check| check.outcome).max().unwrap_or_else(|| panic!("no {id}: {groups:?}"))
}

#[test]
fn a_good_mesh_has_nothing_to_say() {
    let groups = judge(&good(), &endpoint(), "1");
    let checks: Vec<_> = groups.iter().flat_map(|group| &group.checks).collect();
    assert!(checks.iter().all(|check| check.outcome == Outcome::Ok && check.hint.is_none()), "{checks:#?}");
    assert_eq!(groups.iter().map(|group| group.checks.len()).collect::<Vec<_>>(), [4, 2, 3, 3, 2, 1]);
}

#[test]
fn each_thing_that_is_wrong_is_told_with_what_to_do() {
    let authority = |left: i64| {
        let end = if left < 0 { NOW - DAY } else { NOW + DAY * u32::try_from(left).expect("days") };
        vec![AuthorityFact { name: "mesh".into(), signs: true, not_after: Some(end) }]
    };
    let (warning, failure) = (Outcome::Warning, Outcome::Failure);
    let with_proxy = |proxy| MeshFacts { proxies: vec![proxy], ..good() };
    let with_service = |service| MeshFacts { services: vec![service], ..good() };
    let with_certificate = |certificate| MeshFacts { certificates: vec![certificate], ..good() };
    for (id, facts, wanted) in [
        ("control-store", MeshFacts { reconciled: Some((NOW, true)), ..good() }, failure),
        ("control-store", MeshFacts { reconciled: Some((NOW - DAY, false)), ..good() }, failure),
        ("control-store", MeshFacts { reconciled: None, ..good() }, warning),
        ("control-version", MeshFacts { version: "2".into(), ..good() }, warning),
        ("certificates-authorities", MeshFacts { authorities: authority(-1), ..good() }, failure),
        ("certificates-authorities", MeshFacts { authorities: authority(29), ..good() }, warning),
        ("certificates-authorities", MeshFacts { authorities: authority(31), ..good() }, Outcome::Ok),
        (
            "certificates-leaves",
            with_certificate(CertificateFact { not_after: NOW, ..certificate() }),
            failure,
        ),
        (
            "certificates-leaves",
            with_certificate(CertificateFact { renews_at: Some(NOW - DAY / 5), ..certificate() }),
            warning,
        ),
        (
            "certificates-leaves",
            with_certificate(CertificateFact { renews_at: Some(NOW - DAY / 20), ..certificate() }),
            Outcome::Ok,
        ),
        (
            "certificates-leaves",
            with_certificate(CertificateFact { warnings: vec!["it ends".into()], ..certificate() }),
            warning,
        ),
        ("proxies-connected", with_proxy(ProxyFact { connected: false, ..proxy() }), failure),
        (
            "proxies-in-step",
            with_proxy(ProxyFact { refused: vec![("Route".into(), "bad".into())], ..proxy() }),
            failure,
        ),
        ("proxies-in-step", with_proxy(ProxyFact { has_latest: false, ..proxy() }), warning),
        ("proxies-version", with_proxy(ProxyFact { version: Some("0".into()), ..proxy() }), warning),
        ("proxies-version", with_proxy(ProxyFact { version: None, ..proxy() }), warning),
        ("services-running", with_service(ServiceFact { available: 1, ..service() }), failure),
        ("services-running", MeshFacts { gateways: vec![("lb".into(), false)], ..good() }, failure),
        ("services-healthy", with_service(ServiceFact { unhealthy: 1, ..service() }), failure),
        ("services-mutual-tls", with_service(ServiceFact { mode: Some("TLS".into()), ..service() }), warning),
        (
            "services-mutual-tls",
            with_service(ServiceFact { mode: Some("PLAINTEXT".into()), ..service() }),
            warning,
        ),
        (
            "services-weaker",
            with_service(ServiceFact { warnings: vec!["host".into()], ..service() }),
            warning,
        ),
        ("telemetry-reports", with_proxy(ProxyFact { reported: None, ..proxy() }), failure),
        ("telemetry-reports", with_proxy(ProxyFact { reported: Some(NOW - DAY), ..proxy() }), failure),
        ("telemetry-access-log", with_proxy(ProxyFact { access_log_dropped: 1, ..proxy() }), warning),
        ("alarms", MeshFacts { alarms: vec![("high".into(), "too much".into())], ..good() }, warning),
    ] {
        assert_eq!(worst(&facts, id), wanted, "{id}: {facts:#?}");
        let groups = judge(&facts, &endpoint(), "1");
        let mut checks = groups.iter().flat_map(|group| &group.checks);
        assert!(checks.all(|check| check.outcome == Outcome::Ok || check.hint.is_some()), "{id}: {groups:?}");
    }
    let gone = (endpoint().0, Some("connection refused".to_owned()));
    let groups = judge(&good(), &gone, "1");
    let mut failed = groups.iter().flat_map(|group| &group.checks).filter(|it| it.outcome == failure);
    assert_eq!(failed.next().map(|check| check.id), Some("control-endpoint"));
}

#[test]
fn a_task_that_has_just_come_is_given_time() {
    let new = ProxyFact { serving_since: Some(NOW - Duration::from_secs(3)), reported: None, ..proxy() };
    let facts = MeshFacts { proxies: vec![proxy(), new], ..good() };
    assert_eq!(worst(&facts, "telemetry-reports"), Outcome::Ok);
    let silent = || vec![ProxyFact { reported: None, ..proxy() }];
    let restarted = MeshFacts { began: NOW - Duration::from_secs(3), proxies: silent(), ..good() };
    let groups = judge(&restarted, &endpoint(), "1");
    assert!(groups.iter().all(|group| group.title != "telemetry" || group.checks.is_empty()), "{groups:?}");
    let starting = ProxyFact { serving_since: None, connected: false, ..proxy() };
    assert_eq!(worst(&MeshFacts { proxies: vec![starting], ..good() }, "proxies-connected"), Outcome::Ok);
}

#[test]
fn an_installation_without_services_has_fewer_checks() {
    let bare = MeshFacts { authorities: vec![], ..MeshFacts { version: "1".into(), ..good() } };
    let bare =
        MeshFacts { proxies: vec![], services: vec![], gateways: vec![], certificates: vec![], ..bare };
    let bare = MeshFacts { alarms_total: 0, ..bare };
    let groups = judge(&bare, &endpoint(), "1");
    let ids: Vec<_> = groups.iter().flat_map(|group| &group.checks).map(|check| check.id).collect();
    assert_eq!(
        ids,
        [
            "control-reachable",
            "control-store",
            "control-endpoint",
            "control-version",
            "certificates-authorities"
        ]
    );
}

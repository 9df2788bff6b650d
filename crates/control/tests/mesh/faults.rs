//! Faults of the mesh: what is wrong with certificates that are made for them, who is told, and that nothing is left.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use bowline_control::{
    control_plane::{ChaosError, RevocationTarget},
    revocation::RevocationReason,
};
use bowline_model::{
    fault::{ALL, FaultyCertificate, SidecarHarm},
    task::TaskId,
};
use bowline_plumbing::wall_clock;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::{CertificateError, Error};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{
    Mesh,
    proxy::{ARRIVED, Credentials, shake_hands},
};

const LATER: Duration = Duration::from_secs(600);

/// The one URI name of a leaf.
fn uri(leaf: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).expect("a certificate");
    let names = parsed.subject_alternative_name().expect("one extension")?;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_faulty_certificate_is_wrong_in_its_own_way_and_nowhere_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let (proxy, other) = (mesh.proxy(&a[0]).await, mesh.proxy(&b[0]).await);
    let roots = proxy.now().roots_pem;
    let (own, others) = (uri(&proxy.credentials.chain[0]), uri(&other.credentials.chain[0]));
    let before = mesh.control.snapshot();
    let lasting = Duration::from_secs(60);
    let forge = |shows: Option<&FaultyCertificate>| mesh.control.forge(&a[0], shows, lasting).expect("made");
    let judged = |credentials: &Credentials| {
        shake_hands((credentials, roots.as_str()), (&other.credentials, roots.as_str()))
    };
    let stolen = forge(None);
    let stolen_credentials = Credentials::of(stolen.chain_der.clone(), &stolen.key_pkcs8);
    judged(&stolen_credentials).expect("nothing is wrong with it");
    assert_eq!(uri(&stolen.chain_der[0]), own);
    // The stream and issuance know nobody by it.
    assert!(mesh.place.renewed(&stolen_credentials).await.is_err());

    for (shows, is_it) in [
        (
            FaultyCertificate::Expired,
            (|error| matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. }))
                as fn(&CertificateError) -> bool,
        ),
        (FaultyCertificate::NotYetValid, |error| {
            matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
        }),
        (FaultyCertificate::UntrustedCa, |error| *error == CertificateError::UnknownIssuer),
        (FaultyCertificate::SelfSigned, |error| *error == CertificateError::UnknownIssuer),
        (FaultyCertificate::InvalidChain, |error| matches!(error, CertificateError::Other(_))),
    ] {
        let forged = forge(Some(&shows));
        assert_eq!(uri(&forged.chain_der[0]), own, "{shows:?}");
        let error = judged(&Credentials::of(forged.chain_der, &forged.key_pkcs8)).expect_err("it is refused");
        match &error {
            Error::InvalidCertificate(error) if is_it(error) => {}
            _ => panic!("{shows:?}: {error:?}"),
        }
    }
    let nobody = forge(Some(&FaultyCertificate::NoIdentity));
    judged(&Credentials::of(nobody.chain_der.clone(), &nobody.key_pkcs8)).expect("its chain is good");
    assert_eq!(uri(&nobody.chain_der[0]), None);
    let id = others.expect("an id");
    let named = forge(Some(&FaultyCertificate::Identity(id.clone())));
    judged(&Credentials::of(named.chain_der.clone(), &named.key_pkcs8)).expect("its chain is good");
    assert_eq!(uri(&named.chain_der[0]), Some(id));
    let stranger = FaultyCertificate::Identity("spiffe://bowline.local/control-plane".to_owned());
    assert!(matches!(mesh.control.forge(&a[0], Some(&stranger), lasting), Err(ChaosError::NoService(_))));
    let mismatch = forge(Some(&FaultyCertificate::KeyMismatch));
    let (_, leaf) = X509Certificate::from_der(&mismatch.chain_der[0]).expect("a certificate");
    let key = KeyPair::try_from(mismatch.key_pkcs8.as_slice()).expect("a key");
    assert_ne!(leaf.public_key().subject_public_key.data.as_ref(), key.der_bytes());

    let after = mesh.control.snapshot();
    assert!(
        after.certificates.is_same(&before.certificates) && after.revocations.is_same(&before.revocations)
    );
    let revoked = forge(Some(&FaultyCertificate::Revoked));
    assert!(mesh.control.snapshot().revocations.get(&revoked.serial).is_some());
    mesh.control.end_forgery(&revoked.serial);
    // Somebody may have its key still.
    let kept = |serial: &str| {
        mesh.control.snapshot().revocations.get(serial).map(|it| (it.fault_until, it.not_after))
    };
    assert!(matches!(kept(&revoked.serial), Some((Some(until), not_after)) if until == not_after));
    let unused = forge(None);
    mesh.control.end_forgery(&unused.serial);
    assert!(kept(&unused.serial).is_some(), "genuine, and nobody's: it is refused from the end on");
    // What was stolen can be revoked as everything else.
    let target = RevocationTarget::Serial(stolen.serial.clone());
    let done = mesh.control.revoke(&target, RevocationReason::KeyCompromise).await.expect("revoked");
    assert_eq!((done.serials, done.proxies_refusing), (vec![stolen.serial.clone()], 2));
    assert!(proxy.now().serials.contains(&stolen.serial));
    mesh.control.end_forgery(&stolen.serial);
    assert!(mesh.control.snapshot().revocations.values().all(|it| it.fault_until.is_some()));
    let nobody = TaskId::from_random([9; 16]);
    assert!(matches!(mesh.control.forge(&nobody, None, lasting), Err(ChaosError::NoTask(_))));
    drop((proxy, other));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_shown_by_all_or_undone_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let mut proxies = vec![mesh.proxy(&b[0]).await, mesh.proxy(&b[1]).await];
    let mut caller = mesh.proxy(&a[0]).await;
    let before = mesh.control.snapshot();
    let until = || wall_clock::now() + LATER;

    let id =
        mesh.control.stage_certificate(&b, &FaultyCertificate::Revoked, ALL, until()).await.expect("shown");
    let mut shown = Vec::new();
    for proxy in &proxies {
        let (_, leaf) = proxy.now().staged.expect("it shows it");
        assert_eq!(uri(&leaf), uri(&proxy.credentials.chain[0]));
        let (_, parsed) = X509Certificate::from_der(&leaf).expect("a certificate");
        shown.push(parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    assert_ne!(shown[0], shown[1], "each has its own");
    let refused = caller.until(|refused| shown.iter().all(|serial| refused.serials.contains(serial))).await;
    assert_eq!(refused.staged, None);
    let second = mesh.control.stage_certificate(&b[..1], &FaultyCertificate::Expired, ALL, until()).await;
    assert!(matches!(second, Err(ChaosError::Conflict(_))));
    mesh.control.unstage_certificate(id).await.expect("ended");
    assert!(proxies.iter().all(|proxy| proxy.now().staged.is_none()));
    mesh.control.unstage_certificate(id).await.expect("it is over");
    // Whoever kept it has nothing: what was staged is refused until it ends.
    assert!(shown.iter().all(|serial| caller.now().serials.contains(serial)));

    // One that names another service would be believed, were it not refused from the end on.
    let id = mesh.control.snapshot().identity_of_service(
        mesh.control.snapshot().services.values().find(|it| it.name == "service-a").expect("a service"),
    );
    let named = FaultyCertificate::Identity(id.to_string());
    let stage = mesh.control.stage_certificate(&b[..1], &named, ALL, until()).await.expect("shown");
    let (_, leaf) = proxies[0].now().staged.expect("it shows it");
    let (_, parsed) = X509Certificate::from_der(&leaf).expect("a certificate");
    let serial = parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(!caller.now().serials.contains(&serial));
    mesh.control.unstage_certificate(stage).await.expect("ended");
    caller.until(|refused| refused.serials.contains(&serial)).await;

    // Whoever does not say that it shows it: nobody does, in the end.
    let (short, nobody_there) = (wall_clock::now() + Duration::from_millis(1_500), &a[1]);
    let tasks = [b[0].clone(), nobody_there.clone()];
    match mesh.control.stage_certificate(&tasks, &FaultyCertificate::Revoked, ALL, short).await {
        Err(ChaosError::NotTaken { tasks }) => assert_eq!(&tasks, std::slice::from_ref(nobody_there)),
        other => panic!("{other:?}"),
    }
    proxies[0].until(|refused| refused.staged.is_none()).await;

    // Nobody ends it: its deadline does.
    let soon = wall_clock::now() + Duration::from_secs(2);
    mesh.control.stage_certificate(&b, &FaultyCertificate::Revoked, ALL, soon).await.expect("shown");
    for proxy in &mut proxies {
        proxy.until(|refused| refused.staged.is_none()).await;
    }
    assert!(wall_clock::now() >= soon);

    let after = mesh.control.snapshot();
    // They go when the certificates end.
    assert!(after.revocations.values().all(|it| it.fault_until == Some(it.not_after)));
    assert!(after.certificates.is_same(&before.certificates));
    for (wrong, share) in [(wall_clock::now(), ALL), (wall_clock::now() + LATER * 100, ALL), (until(), 0)] {
        let refused = mesh.control.stage_certificate(&b, &FaultyCertificate::Expired, share, wrong).await;
        assert!(matches!(refused, Err(ChaosError::Invalid(_))));
    }
    drop((proxies, caller));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_led_elsewhere_and_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let (mut led, spared) = (mesh.proxy(&a[0]).await, mesh.proxy(&a[1]).await);
    let tasks_there = |cluster: &str| {
        let endpoints = mesh.control.endpoints_of(&a[0], cluster);
        endpoints.into_iter().map(|(task, _)| task).collect::<BTreeSet<_>>()
    };
    let wanted: BTreeSet<_> = b.iter().cloned().collect();
    let mut clusters = led.now().led.into_keys();
    let cluster = clusters.find(|cluster| tasks_there(cluster) == wanted).expect("it calls service-b");
    let endpoints = mesh.control.endpoints_of(&a[0], &cluster);
    assert_eq!(mesh.control.endpoints_of(&a[0], "nobody"), []);

    // The tasks of these tests have one address a service.
    let relay: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    let (to, all) = ([(endpoints[0].1, relay)], vec![relay.to_string(); b.len()]);
    let until = wall_clock::now() + LATER;
    let id = mesh.control.divert_path(&a[..1], &cluster, &to, until).await.expect("led");
    assert_eq!(led.now().led[&cluster], all);
    assert!(
        led.now().led.iter().all(|(other, led)| *other == cluster || led.is_empty()),
        "no other cluster is"
    );
    assert_eq!(mesh.control.endpoints_of(&a[0], &cluster), endpoints, "the true ones");
    let again = mesh.control.divert_path(&a, &cluster, &to, until).await;
    assert!(matches!(again, Err(ChaosError::Conflict(_))));
    let stranger = [("127.0.0.1:8".parse().expect("an address"), relay)];
    let unknown = mesh.control.divert_path(&a[..1], &cluster, &stranger, until).await;
    assert!(matches!(unknown, Err(ChaosError::NoEndpoint { .. })));
    mesh.control.end_path_diversion(id).await.expect("ended");
    assert_eq!(led.now().led[&cluster], [] as [String; 0]);
    mesh.control.end_path_diversion(id).await.expect("it is over");
    let soon = wall_clock::now() + Duration::from_secs(1);
    mesh.control.divert_path(&a[..1], &cluster, &to, soon).await.expect("led");
    led.until(|told| told.led[&cluster].is_empty()).await;
    assert!(wall_clock::now() >= soon, "by itself, not before");
    assert_eq!(spared.now().led[&cluster], [] as [String; 0]);
    drop((led, spared));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_is_wrong_with_sidecars_until_it_is_ended_or_its_time_has_come() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let mut proxies = vec![mesh.proxy(&b[0]).await, mesh.proxy(&b[1]).await];
    let spared = mesh.proxy(&a[0]).await;
    let until = || wall_clock::now() + LATER;
    let clock = SidecarHarm::Clock { ahead_ms: -7_200_000 };
    let id = mesh.control.disturb(&b, &clock, ALL, until()).await.expect("all have said so");
    for proxy in &proxies {
        let told = proxy.now().disturbance.expect("it was told");
        assert_eq!((told.clock_ahead_ms, told.status), (-7_200_000, 0));
    }
    assert_eq!(spared.now().disturbance, None);
    let again = mesh.control.disturb(&b[1..], &clock, ALL, until()).await;
    assert!(matches!(again, Err(ChaosError::Conflict(_))));
    mesh.control.end_disturbance(id).await.expect("ended");
    assert!(proxies.iter().all(|proxy| proxy.now().disturbance.is_none()));
    assert_eq!(mesh.control.arrived_during_disturbance(&b), 2 * ARRIVED);
    mesh.control.end_disturbance(id).await.expect("it is over");

    let soon = wall_clock::now() + Duration::from_secs(2);
    let answers = SidecarHarm::Answers { status: 503, after: Duration::ZERO };
    mesh.control.disturb(&b[..1], &answers, 5, soon).await.expect("it has said so");
    assert_eq!(proxies[0].now().disturbance.map(|told| told.per_million), Some(5));
    proxies[0].until(|told| told.disturbance.is_none()).await;
    assert!(wall_clock::now() >= soon, "by itself, not before");
    // One that does not say so: nobody is left with it.
    let silent = [a[1].clone(), b[1].clone()];
    let refused =
        mesh.control.disturb(&silent, &clock, ALL, wall_clock::now() + Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(ChaosError::NotTaken { tasks }) if tasks == silent[..1]));
    proxies[1].until(|told| told.disturbance.is_none()).await;
    drop((proxies, spared));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_renew_when_they_are_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let b = mesh.tasks_of("service-b");
    let proxies = [mesh.proxy(&b[0]).await, mesh.proxy(&b[1]).await];
    let before: Vec<_> = b.iter().map(|task| mesh.serial_of(task)).collect();
    assert_eq!(mesh.control.renew_certificates(&b, Duration::from_secs(20)).await.expect("renewed"), 2);
    for (task, before) in b.iter().zip(&before) {
        let of_task = mesh.control.certificates();
        let count = of_task.iter().filter(|view| view.record.task == *task).count();
        assert_eq!(count, 2, "{before} and another one, once");
    }
    let silent = mesh.tasks_of("service-a");
    let limit = Duration::from_millis(200);
    assert!(matches!(
        mesh.control.renew_certificates(&silent[..1], limit).await,
        Err(ChaosError::NotTaken { .. })
    ));
    drop(proxies);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_elsewhere_until_it_is_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let server = mesh.control.dns_addresses()[0];
    let dig = move |name: &'static str| {
        let asked = tokio::task::spawn_blocking(move || {
            let (host, port) = (format!("@{}", server.ip()), server.port().to_string());
            let arguments = ["-r", &host, "-p", &port, "+tries=1", "+time=10", "+short", "A", name];
            Command::new("dig").args(arguments).output().expect("dig is there")
        });
        async move { String::from_utf8(asked.await.expect("asked").stdout).expect("text").trim().to_owned() }
    };
    let until = wall_clock::now() + LATER;
    assert_eq!(dig("bank.example").await, "");
    let id = mesh.control.spoof_name("Bank.example.", IpAddr::from([192, 0, 2, 66]), until).expect("spoofed");
    assert_eq!(dig("bank.example").await, "192.0.2.66");
    assert_eq!(dig("shop.example").await, "");
    mesh.control.end_spoof(id);
    assert_eq!(dig("bank.example").await, "");
    assert!(mesh.control.spoof_name("not..a.name", IpAddr::from([192, 0, 2, 66]), until).is_err());
    mesh.stop().await;
}

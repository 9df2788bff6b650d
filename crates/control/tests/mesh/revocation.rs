//! Revocation: who is refused, who gets another certificate, what the CRL says, and how soon everybody
//! knows.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use bowline_control::{
    control_plane::{
        AllowTarget, CertificateStatus, ControlConfig, ControlPlane, RevocationTarget, RevokeError,
    },
    revocation::RevocationReason,
};
use bowline_model::task::TaskId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::{Mesh, pem};

fn task_target(task: &TaskId) -> RevocationTarget {
    RevocationTarget::Task(task.as_str()[..12].to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_task_is_refused_by_all_and_gets_nothing_until_it_is_allowed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let mut others = [mesh.proxy(&a[0]).await, mesh.proxy(&a[1]).await, mesh.proxy(&b[1]).await];
    let mut bad = mesh.proxy(&b[0]).await;
    // The twin of what follows: whoever is not revoked renews.
    let renewed = mesh.place.renewed(&bad.credentials).await.expect("another one");
    let serials: Vec<_> = mesh
        .control
        .certificates()
        .into_iter()
        .filter(|view| view.record.task == b[0])
        .map(|view| view.record.serial)
        .collect();
    assert_eq!(serials.len(), 2);

    let reason = RevocationReason::KeyCompromise;
    let revoked = mesh.control.revoke(&task_target(&b[0]), reason).await.expect("revoked");
    assert_eq!((revoked.serials.len(), revoked.proxies_refusing, revoked.proxies_connected), (2, 3, 3));
    for other in &mut others {
        let refused = other.now();
        assert!(serials.iter().all(|serial| refused.serials.contains(serial)), "{refused:?}");
        assert_eq!(refused.ended, None);
    }
    assert_eq!(bad.until(|refused| refused.ended.is_some()).await.ended, Some(Code::Unauthenticated));
    for credentials in [&bad.credentials, &renewed] {
        let refused = mesh.place.renewed(credentials).await.expect_err("it is revoked");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unauthenticated, "the certificate is revoked")
        );
    }
    assert_eq!(mesh.by_token(&b[0]).await.expect_err("it is barred"), Code::PermissionDenied);
    assert!(mesh.place.renewed(&others[2].credentials).await.is_ok(), "its neighbour renews");

    // Again is no error, and changes nothing.
    let again = mesh.control.revoke(&task_target(&b[0]), RevocationReason::Superseded).await.expect("done");
    assert!(again.serials.is_empty());
    let registry = mesh.control.snapshot();
    let record = registry.revocations.get(&serials[0]).expect("kept");
    assert_eq!((record.reason, record.task.as_ref()), (reason, Some(&b[0])));
    assert_eq!(mesh.status_of(&serials[0]), CertificateStatus::Revoked);

    mesh.control.allow(&AllowTarget::Task(b[0].to_string())).expect("allowed");
    assert!(matches!(
        mesh.control.allow(&AllowTarget::Task(b[0].to_string())),
        Err(RevokeError::NotBarred(_))
    ));
    assert!(mesh.by_token(&b[0]).await.is_ok());
    assert!(mesh.place.renewed(&renewed).await.is_err(), "what was revoked stays so");
    assert_eq!(mesh.status_of(&mesh.serial_of(&b[0])), CertificateStatus::InUse);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_service_bars_all_its_tasks_and_a_serial_number_only_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let proxies = [mesh.proxy(&a[0]).await, mesh.proxy(&b[0]).await, mesh.proxy(&b[1]).await];
    let by_serial = mesh.serial_of(&a[0]);
    let spaced = by_serial.to_uppercase().chars().enumerate().fold(String::new(), |mut text, (at, digit)| {
        if at > 0 && at % 2 == 0 {
            text.push(':');
        }
        text.push(digit);
        text
    });
    // As openssl writes it.
    let target = RevocationTarget::Serial(spaced);
    let revoked = mesh.control.revoke(&target, RevocationReason::Unspecified).await.expect("revoked");
    assert_eq!((revoked.serials, revoked.barred), (vec![by_serial.clone()], None));
    assert!(mesh.place.renewed(&proxies[0].credentials).await.is_err());
    assert!(mesh.by_token(&a[0]).await.is_ok(), "the task gets another certificate");

    let service = RevocationTarget::Service("service-b".into());
    let revoked = mesh.control.revoke(&service, RevocationReason::PrivilegeWithdrawn).await.expect("revoked");
    assert_eq!(revoked.serials.len(), 2);
    for task in &b {
        assert_eq!(mesh.by_token(task).await.expect_err("barred"), Code::PermissionDenied);
    }
    assert!(mesh.by_token(&a[1]).await.is_ok(), "the other service is not");
    mesh.control.allow(&AllowTarget::Service("service-b".into())).expect("allowed");
    assert!(mesh.by_token(&b[0]).await.is_ok());

    for (target, text) in [
        (RevocationTarget::Serial("00".into()), "no certificate"),
        (RevocationTarget::Task(String::new()), "tasks have ids"),
        (RevocationTarget::Task("zz".into()), "0 tasks"),
        (RevocationTarget::Service("nobody".into()), "0 services"),
    ] {
        let error = mesh.control.revoke(&target, RevocationReason::Unspecified).await.expect_err("nothing");
        assert!(error.to_string().contains(text), "{error}");
    }
    drop(proxies);
    mesh.stop().await;
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is there");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Head and body of an answer.
async fn http(address: std::net::SocketAddr, method: &str, path: &str, more: &str) -> (String, Vec<u8>) {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("text"), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crl_convinces_openssl_is_served_and_outlives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let mesh = Mesh::start(&state, 2).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    mesh.control.serve_api(listener, None).expect("it serves");
    let tasks = mesh.tasks_of("service-a");
    let (good, bad) = (mesh.proxy(&tasks[0]).await, mesh.proxy(&tasks[1]).await);

    // The template's own authority.
    let views = mesh.control.certificates();
    let issuer = views.iter().find(|view| view.record.task == tasks[1]).expect("listed").authority.clone();
    let name = issuer.resource_name().to_owned();
    let registry = mesh.control.snapshot();
    let root = pem(&registry.authorities.get(issuer.as_str()).expect("the authority").certificate_der);
    let served = format!("/_bowline/crl/{name}.crl");

    // Without what is revoked there is a CRL, too, and the leaf is fine by it.
    let empty = mesh.control.crl(Some(&name)).expect("a CRL");
    assert_eq!((empty.number, empty.serials.len()), (1, 0));
    assert_eq!(mesh.control.crl(Some(issuer.as_str())).expect("the same"), empty, "it is kept");
    for (name, text) in [
        ("root.pem", root),
        ("good.pem", good.credentials.pem()),
        ("bad.pem", bad.credentials.pem()),
        ("empty.crl", empty.pem.clone()),
    ] {
        std::fs::write(path(name), text).expect("written");
    }
    let verify = |crl: &str, leaf: &str| {
        let (root, crl, leaf) = (path("root.pem"), path(crl), path(leaf));
        openssl(&["verify", "-CAfile", &root, "-CRLfile", &crl, "-crl_check", &leaf])
    };
    let text = verify("empty.crl", "bad.pem");
    assert!(text.contains("bad.pem: OK"), "{text}");

    let reason = RevocationReason::KeyCompromise;
    mesh.control.revoke(&task_target(&tasks[1]), reason).await.expect("revoked");
    let (head, der) = http(address, "GET", &served, "").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/pkix-crl"), "{head}");
    assert!(head.contains("etag: \"2\"") && head.contains("cache-control: public, max-age=60"), "{head}");
    std::fs::write(path("der.crl"), &der).expect("written");
    let text = openssl(&[
        "crl",
        "-inform",
        "DER",
        "-in",
        &path("der.crl"),
        "-CAfile",
        &path("root.pem"),
        "-text",
        "-verify",
        "-out",
        &path("bad.crl"),
    ]);
    assert!(text.contains("verify OK"), "{text}");
    let text = openssl(&["crl", "-in", &path("bad.crl"), "-noout", "-text"]);
    let serial = mesh.serial_of(&tasks[1]).to_uppercase();
    for expected in
        ["Version 2", "Key Compromise", "X509v3 CRL Number", "X509v3 Authority Key Identifier", &serial]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let key_id = |text: &str, after: &str| {
        let line = text.split(after).nth(1).and_then(|rest| rest.lines().nth(1)).unwrap_or_default();
        line.trim().trim_start_matches("keyid:").to_owned()
    };
    let root = openssl(&["x509", "-in", &path("root.pem"), "-noout", "-text"]);
    let of_root = key_id(&root, "Subject Key Identifier:");
    assert_eq!(
        (key_id(&text, "Authority Key Identifier:"), of_root.is_empty()),
        (of_root, false),
        "{root}{text}"
    );
    assert!(verify("bad.crl", "bad.pem").contains("certificate revoked"));
    assert!(verify("bad.crl", "good.pem").contains("good.pem: OK"));

    let (head, body) = http(address, "GET", "/_bowline/crl/bowline-mesh.pem", "").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.starts_with(b"-----BEGIN X509 CRL-----"), "{head}");
    let (head, body) = http(address, "GET", &served, "If-None-Match: \"2\"\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304") && body.is_empty(), "{head}");
    let (head, body) = http(address, "HEAD", &served, "").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");
    for (method, path, status) in [
        ("POST", "/_bowline/crl/bowline-mesh.crl", "405"),
        ("GET", "/_bowline/crl/nobody.crl", "404"),
        ("GET", "/_bowline/crl/bowline-mesh", "404"),
        ("GET", "/_bowline/crl/../../etc/passwd.pem", "404"),
    ] {
        let (head, _) = http(address, method, path, "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {head}");
    }
    let serial = mesh.serial_of(&tasks[1]);
    drop((good, bad));
    mesh.stop().await;

    let control = ControlPlane::start(ControlConfig::new(&state)).await.expect("starts again");
    let kept = control.crl(Some(&name)).expect("a CRL");
    assert_eq!((kept.number, kept.serials), (2, vec![serial.clone()]));
    assert!(control.snapshot().revocations.get(&serial).is_some(), "it stays refused");
    assert!(control.crl(None).expect("the mesh's own").serials.is_empty(), "each has its own");
    assert!(matches!(control.crl(Some("nobody")), Err(RevokeError::NoAuthority(_))));
    control.shutdown().await;
}

/// Connects so many proxies, revokes the certificate of one more, and returns how long it took
/// until the last of them refused, and until the call returned.
async fn time_to_refuse(proxies: usize) -> (Duration, Duration, Vec<Duration>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), proxies.div_ceil(2)).await;
    let tasks: Vec<_> = mesh.tasks_of("service-a").into_iter().chain(mesh.tasks_of("service-b")).collect();
    let mut all = Vec::new();
    for chunk in tasks.chunks(32) {
        all.extend(futures::future::join_all(chunk.iter().map(|task| mesh.proxy(task))).await);
    }
    let bad = all.pop().expect("a task");
    let (serial, task) = (mesh.serial_of(&bad.task), bad.task.clone());
    let began = Instant::now();
    let revoked =
        mesh.control.revoke(&task_target(&task), RevocationReason::KeyCompromise).await.expect("revoked");
    let answered = began.elapsed();
    let mut times = Vec::new();
    for proxy in &mut all {
        let refused = proxy.until(|refused| refused.serials.contains(&serial)).await;
        times.push(refused.since.expect("told").duration_since(began));
    }
    assert_eq!((revoked.proxies_refusing, revoked.proxies_connected), (all.len(), all.len()));
    times.sort_unstable();
    drop((all, bad));
    mesh.stop().await;
    (times.last().copied().unwrap_or_default(), answered, times)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_refuses_soon() {
    let (last, _, times) = time_to_refuse(16).await;
    assert_eq!(times.len(), 15);
    assert!(last < Duration::from_secs(5), "{last:?}");
}

/// The benchmark: `bench/revoke` runs it in a release build.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: bench/revoke"]
async fn a_thousand_proxies_refuse_within_a_second() {
    let count = std::env::var("BOWLINE_PROXIES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_002);
    let (last, answered, times) = time_to_refuse(count).await;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "proxies {} median_ms {:.1} p90_ms {:.1} last_ms {:.1} call_ms {:.1}",
        times.len(),
        millis(times[times.len() / 2]),
        millis(times[times.len() * 9 / 10]),
        millis(last),
        millis(answered)
    );
    assert!(last < Duration::from_secs(1), "{last:?}");
}

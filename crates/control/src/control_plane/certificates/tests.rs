use super::*;
use crate::control_plane::ControlConfig;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn certificate() -> CertificateRecord {
    CertificateRecord {
        serial: "01".into(),
        task: TaskId::from_random([1; 16]),
        name: "mesh".into(),
        spiffe_id: None,
        not_before: NOW,
        not_after: NOW + 3 * HOUR,
        authority: None,
        chain_pem: String::new(),
        issued_at: NOW,
    }
}

#[test]
fn warns_of_what_ends_without_another_one_and_of_nothing_else() {
    let record = certificate();
    let far = Some(NOW + 1_000 * HOUR);
    let of = |ends, connected, bar: Option<&BarRecord>, now| warnings(&record, ends, connected, bar, now);
    assert!(of(far, true, None, NOW + HOUR).is_empty());
    assert!(of(far, true, None, NOW + 2 * HOUR).is_empty(), "renewed a little later than planned is fine");
    let bar = BarRecord {
        subject: BarSubject::Task(record.task.clone()),
        reason: RevocationReason::KeyCompromise,
        since: NOW,
    };
    for (warned, text) in [
        (of(far, true, None, NOW + 5 * HOUR / 2), "its renewal was due"),
        (of(far, false, None, NOW + 5 * HOUR / 2), "the proxy is not connected"),
        (of(far, false, None, NOW + HOUR), "not connected to the control plane"),
        (of(far, true, Some(&bar), NOW), "certs allow"),
        (of(None, true, None, NOW), "is no more"),
        (of(Some(NOW + HOUR), true, None, NOW), "ends before that"),
        (of(Some(NOW + 4 * HOUR), true, None, NOW), "the next certificate is shorter"),
    ] {
        assert!(warned.len() == 1 && warned[0].contains(text), "{text}: {warned:?}");
    }
    assert_eq!(renews_at(&record), NOW + 2 * HOUR);
}

#[tokio::test]
async fn of_two_certificates_of_the_same_second_the_one_issued_later_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let config = ControlConfig { ephemeral: true, dns: None, ..ControlConfig::new(directory.path()) };
    let control = ControlPlane::start(config).await.unwrap();
    let now = wall_clock::now();
    for (later, earlier) in [("01", "02"), ("04", "03")] {
        let task = crate::random::task_id();
        let kept = |serial: &str, life, issued_at| CertificateRecord {
            serial: serial.to_owned(),
            task: task.clone(),
            not_before: now,
            not_after: now + life,
            issued_at,
            ..certificate()
        };
        let (short, long) =
            (kept(later, HOUR / 60, now), kept(earlier, HOUR, now - Duration::from_millis(1)));
        let put = |registry: &mut Registry| {
            for record in [short, long] {
                registry.certificates.put(record.serial.clone(), record);
            }
            Ok::<_, RegistryError>(())
        };
        control.core.change(put).unwrap();
        assert_eq!(control.certificate_of(&task).expect("it has two").serial, later);
    }
}

#[tokio::test]
async fn what_is_refused_or_done_is_in_the_audit_trail() {
    let directory = tempfile::tempdir().unwrap();
    let config = ControlConfig { ephemeral: true, dns: None, ..ControlConfig::new(directory.path()) };
    let control = ControlPlane::start(config).await.unwrap();
    let record = certificate();
    let now = wall_clock::now();
    let record = CertificateRecord { not_before: now, not_after: now + HOUR, ..record };
    control
        .core
        .change::<_, RegistryError>(|registry| {
            registry.certificates.put("01", record);
            Ok(())
        })
        .unwrap();
    for (serial, refused) in [("01", false), ("02", true)] {
        let target = RevocationTarget::Serial(serial.into());
        let done = control.revoke(&target, RevocationReason::KeyCompromise).await;
        assert_eq!(done.is_err(), refused);
    }
    assert!(control.allow(&AllowTarget::Service("nobody".into())).is_err());
    let page = control.core.audit().lookup(&crate::audit::LookupQuery::default()).unwrap();
    let texts: Vec<String> = page.events.iter().map(|event| format!("{event:?}")).collect();
    for (name, marks) in [
        ("RevokeCertificates", ["KEY_COMPROMISE", "01"]),
        ("RevokeCertificates", ["ResourceNotFoundException", "02"]),
        ("AllowCertificates", ["ResourceNotFoundException", "nobody"]),
    ] {
        let found =
            texts.iter().any(|text| text.contains(name) && marks.iter().all(|mark| text.contains(mark)));
        assert!(found, "{name} {marks:?}: {texts:?}");
    }
    control.shutdown().await;
}

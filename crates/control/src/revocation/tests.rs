use bowline_model::arn::Scope;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn certificate(serial: &str) -> CertificateRecord {
    CertificateRecord {
        serial: serial.to_owned(),
        task: TaskId::from_random([1; 16]),
        name: "mesh".into(),
        spiffe_id: Some("spiffe://d/ns/n/cluster/c/svc/s".parse().unwrap()),
        not_before: NOW,
        not_after: NOW + Duration::from_secs(3_600),
        authority: None,
        chain_pem: String::new(),
        issued_at: NOW,
    }
}

#[test]
fn reasons_are_acm_pcas_words_whatever_their_case() {
    for (reason, word) in RevocationReason::ALL {
        assert_eq!(reason.as_str(), word);
        assert_eq!(word.parse(), Ok(reason));
        assert_eq!(word.to_lowercase().replace('_', "-").parse(), Ok(reason));
        assert_eq!(serde_json::to_value(reason).unwrap(), word);
    }
    let error = "because".parse::<RevocationReason>().unwrap_err();
    assert!(error.to_string().contains("KEY_COMPROMISE"), "{error}");
}

#[test]
fn each_authority_lists_its_own_and_proxies_refuse_all() {
    let mut registry = Registry::default();
    let other = Scope::default().arn("acm-pca", format_args!("certificate-authority/other"));
    let of_other = CertificateRecord { authority: Some(other.clone()), ..certificate("02") };
    assert!(revoke(&mut registry, &certificate("01"), RevocationReason::KeyCompromise, NOW));
    assert!(revoke(&mut registry, &of_other, RevocationReason::Superseded, NOW));
    // A second time keeps the first reason.
    assert!(!revoke(&mut registry, &certificate("01"), RevocationReason::Superseded, NOW));
    let own = registry.authority_of(&certificate("01"));
    assert_eq!(own.resource_name(), "bowline-mesh");
    let listed = |authority: &Arn| -> Vec<_> {
        revoked_of(&registry, authority).into_iter().map(|entry| (entry.serial, entry.reason)).collect()
    };
    assert_eq!(listed(&own), [("01".to_owned(), RevocationReason::KeyCompromise)]);
    assert_eq!(listed(&other), [("02".to_owned(), RevocationReason::Superseded)]);
    assert_eq!(refused_serials(&registry), ["01", "02"]);
}

#[test]
fn a_revocation_is_kept_until_one_crl_after_its_certificate() {
    let mut registry = Registry::default();
    let one = certificate("01");
    revoke(&mut registry, &one, RevocationReason::Unspecified, NOW);
    let subject = BarSubject::Task(one.task.clone());
    let bar = BarRecord { subject: subject.clone(), reason: RevocationReason::Unspecified, since: NOW };
    registry.bars.put(subject.key(), bar);
    sweep(&mut registry, one.not_after + CRL_VALIDITY - Duration::from_secs(1));
    assert!(is_revoked(&registry, "01"));
    assert!(registry.bars.is_empty(), "of a task that is no more");
    sweep(&mut registry, one.not_after + CRL_VALIDITY);
    assert!(!is_revoked(&registry, "01"));
}

#[test]
fn a_revocation_of_a_fault_is_forgotten_at_the_faults_end_though_nobody_ends_it() {
    let mut registry = Registry::default();
    for serial in ["01", "02"] {
        revoke(&mut registry, &certificate(serial), RevocationReason::Unspecified, NOW);
    }
    let until = NOW + Duration::from_secs(30);
    registry.revocations.update("02", |record| record.fault_until = Some(until));
    sweep(&mut registry, NOW);
    assert_eq!(refused_serials(&registry), ["01", "02"]);
    sweep(&mut registry, until);
    assert_eq!(refused_serials(&registry), ["01"], "others are told of for as long as a CRL lives");
    assert!(!is_revoked(&registry, "02"));
}

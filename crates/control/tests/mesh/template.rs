//! Authorities of templates: signed, activated, constrained, as their resources say.

use std::process::Command;

use bowline_aws::acmpca::CertificateAuthorityStatus;
use bowline_control::{
    control_plane::{ControlConfig, ControlPlane},
    registry::AuthorityRecord,
};

use super::{Mesh, apply, example, pem};

const MARK: &str = "  # ---------------------------------------------------------------- roles and logs\n";

/// The example with other authorities.
fn with(authorities: &str) -> String {
    let text = example();
    let (before, after) = text.split_once("  CertificateAuthority:\n").expect("its authority");
    let (_, after) = after.split_once(MARK).expect("what follows");
    let text = format!("{before}{authorities}\n{MARK}{after}");
    match authorities.contains("  CertificateAuthorityActivation:\n") {
        true => text,
        false => text.replace("      - CertificateAuthorityActivation\n", ""),
    }
}

/// A root, and an authority below it which services name.
const TWO_TIERS: &str = "
  RootAuthority:
    Type: AWS::ACMPCA::CertificateAuthority
    Properties:
      Type: ROOT
      KeyAlgorithm: EC_secp384r1
      SigningAlgorithm: SHA512WITHECDSA
      Subject: {Organization: Example, CommonName: Example root}
  RootCertificate:
    Type: AWS::ACMPCA::Certificate
    Properties:
      CertificateAuthorityArn: !Ref RootAuthority
      CertificateSigningRequest: !GetAtt RootAuthority.CertificateSigningRequest
      SigningAlgorithm: SHA512WITHECDSA
      TemplateArn: !Sub arn:${AWS::Partition}:acm-pca:::template/RootCACertificate/V1
      Validity: {Type: YEARS, Value: 10}
  RootActivation:
    Type: AWS::ACMPCA::CertificateAuthorityActivation
    Properties:
      CertificateAuthorityArn: !Ref RootAuthority
      Certificate: !GetAtt RootCertificate.Certificate
  CertificateAuthority:
    Type: AWS::ACMPCA::CertificateAuthority
    Properties:
      Type: SUBORDINATE
      UsageMode: SHORT_LIVED_CERTIFICATE
      KeyAlgorithm: EC_prime256v1
      SigningAlgorithm: SHA384WITHECDSA
      Subject: {Organization: Example, CommonName: Example services}
  CertificateAuthorityCertificate:
    Type: AWS::ACMPCA::Certificate
    DependsOn: RootActivation
    Properties:
      CertificateAuthorityArn: !Ref RootAuthority
      CertificateSigningRequest: !GetAtt CertificateAuthority.CertificateSigningRequest
      SigningAlgorithm: SHA512WITHECDSA
      TemplateArn: !Sub arn:${AWS::Partition}:acm-pca:::template/SubordinateCACertificate_PathLen0/V1
      Validity: {Type: YEARS, Value: 5}
  CertificateAuthorityActivation:
    Type: AWS::ACMPCA::CertificateAuthorityActivation
    Properties:
      CertificateAuthorityArn: !Ref CertificateAuthority
      Certificate: !GetAtt CertificateAuthorityCertificate.Certificate
      CertificateChain: !GetAtt RootActivation.CompleteCertificateChain
      Status: ACTIVE
";

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is there");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The authorities that templates made.
fn of_templates(control: &ControlPlane) -> Vec<AuthorityRecord> {
    let registry = control.snapshot();
    let rows = registry.authorities.values().filter(|row| row.private.is_some());
    rows.map(|row| AuthorityRecord::clone(row)).collect()
}

fn named(control: &ControlPlane, common_name: &str) -> AuthorityRecord {
    let all = of_templates(control).into_iter();
    let subject =
        |row: &AuthorityRecord| row.private.as_ref().map(|it| it.configuration.subject.common_name.clone());
    let mut found = all.filter(|row| subject(row).flatten().as_deref() == Some(common_name));
    found.next().expect("there is one")
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_certified_by_a_subordinate_of_the_templates_root() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let mesh = Mesh::start_template(&directory.path().join("state"), with(TWO_TIERS), 1).await;
    let control = &mesh.control;
    let (root, services) = (named(control, "Example root"), named(control, "Example services"));
    assert_eq!((root.trusted, services.trusted), (false, true), "what services name is trusted");
    let chain = &services.private.as_ref().expect("of a template").chain;
    assert_eq!(chain.as_slice(), std::slice::from_ref(&root.certificate_der));
    let registry = control.snapshot();
    assert_eq!(registry.private_certificates.len(), 2);
    for (arn, issued) in registry.private_certificates.iter() {
        assert!(arn.ends_with(&issued.serial), "the ARN says the serial number: {arn}");
    }

    let proxy = mesh.proxy(&mesh.tasks_of("service-a")[0]).await;
    let [leaf, between] = &proxy.credentials.chain[..] else { panic!("the root is not sent") };
    assert_eq!(*between, services.certificate_der);
    for (name, der) in [("leaf.pem", leaf), ("between.pem", between), ("root.pem", &root.certificate_der)] {
        std::fs::write(path(name), pem(der)).expect("written");
    }
    let (root_pem, between_pem, leaf_pem) = (path("root.pem"), path("between.pem"), path("leaf.pem"));
    let verify = ["verify", "-x509_strict", "-CAfile", &root_pem, "-untrusted", &between_pem, &leaf_pem];
    let text = openssl(&verify);
    assert!(text.contains("leaf.pem: OK"), "{text}");
    assert!(
        !openssl(&["verify", "-CAfile", &root_pem, &leaf_pem]).contains("leaf.pem: OK"),
        "not without what is between"
    );
    let text = openssl(&["x509", "-in", &leaf_pem, "-noout", "-text"]);
    assert!(text.contains("Signature Algorithm: ecdsa-with-SHA384"), "as the authority was asked to: {text}");
    let text = openssl(&["x509", "-in", &between_pem, "-noout", "-text"]);
    assert!(text.contains("ecdsa-with-SHA512") && text.contains("pathlen:0"), "{text}");

    // Again changes nothing.
    let before = of_templates(control);
    apply(control, with(TWO_TIERS).replace("DesiredCount: 2", "DesiredCount: 1")).expect("applies");
    assert_eq!(of_templates(control), before);
    // Without its activation it is disabled.
    let (kept, _) = TWO_TIERS.split_once("  CertificateAuthorityActivation:\n").expect("it");
    apply(control, with(kept)).expect("applies");
    let status = named(control, "Example services").private.map(|private| private.status);
    assert_eq!(status, Some(CertificateAuthorityStatus::Disabled));
    drop(proxy);
    mesh.stop().await;
}

const ALONE: &str = "
  CertificateAuthority:
    Type: AWS::ACMPCA::CertificateAuthority
    Properties:
      Type: ROOT
      KeyAlgorithm: EC_prime256v1
      SigningAlgorithm: SHA256WITHECDSA
      Subject: {CommonName: Example alone}
      Tags: [{Key: AmazonECSManaged, Value: 'true'}]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_certificate_is_not_named_and_a_root_alone_is_activated() {
    let directory = tempfile::tempdir().expect("a directory");
    let control =
        ControlPlane::start(ControlConfig::new(directory.path().join("state"))).await.expect("starts");
    let error = apply(&control, with(&ALONE.replace("ROOT", "SUBORDINATE"))).expect_err("it waits");
    assert!(error.to_string().contains("PENDING_CERTIFICATE"), "{error}");
    assert!(of_templates(&control).is_empty(), "nothing was changed");

    // Twice a breach of what a request for a certificate must be.
    let wrong = TWO_TIERS.replace(
        "CertificateSigningRequest: !GetAtt CertificateAuthority.CertificateSigningRequest",
        "CertificateSigningRequest: no request",
    );
    let error = apply(&control, with(&wrong)).expect_err("no request");
    assert!(
        error.to_string().contains("CertificateAuthorityCertificate: The certificate signing request"),
        "{error}"
    );
    let wrong = TWO_TIERS.replace("!GetAtt RootActivation.CompleteCertificateChain", "''");
    let error = apply(&control, with(&wrong)).expect_err("no chain");
    assert!(error.to_string().contains("needs a certificate chain"), "{error}");

    let notes = apply(&control, with(ALONE)).expect("applies");
    assert!(notes.iter().any(|note| note.message.contains("signs its own certificate")), "{notes:?}");
    let root = named(&control, "Example alone");
    assert_eq!(constraints(&root), Some("fast-api-namespace".into()), "its services' namespace");
    // What follows it is constrained as well, and one that is not managed is not.
    let next = control.next_authority(Some(root.arn.as_str()), None, None).await.expect("made").authority.arn;
    let registry = control.snapshot();
    let next = registry.authorities.get(next.as_str()).expect("it is there");
    assert_eq!(constraints(next), Some("fast-api-namespace".into()));
    control.shutdown().await;

    let control =
        ControlPlane::start(ControlConfig::new(directory.path().join("other"))).await.expect("starts");
    apply(&control, with(&ALONE.replace("'true'", "'false'"))).expect("applies");
    assert_eq!(constraints(&named(&control, "Example alone")), None);
    control.shutdown().await;
}

/// The DNS names that an authority is constrained to.
fn constraints(authority: &AuthorityRecord) -> Option<String> {
    let (_, read) = x509_parser::parse_x509_certificate(&authority.certificate_der).expect("a certificate");
    let found = read.name_constraints().expect("readable")?;
    assert!(found.critical);
    let names = found.value.permitted_subtrees.iter().flatten().map(|subtree| match &subtree.base {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other:?}"),
    });
    Some(names.collect::<Vec<_>>().join(" "))
}

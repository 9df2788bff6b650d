//! AWS Private CA and Certificate Manager, where they meet the mesh and templates.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bowline_model::identity::SpiffeId;
use serde_json::{Value, json};
use x509_parser::extensions::ParsedExtension;

use super::Endpoint;
use crate::{
    authorities::{AuthoritiesError, LeafOrder},
    ca::{CaError, CheckedCsr},
    registry::{CertificateRecord, SETTINGS},
    x509::{
        algorithm::{KeyType, SignatureAlgorithm, verify_signed},
        certificate, chain, csr,
        key::PrivateKey,
        name, pem,
    },
};

fn ok(api: &Endpoint, name: &str, request: Value) -> Value {
    api.ok("acm-pca", name, request)
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("{member} of {answer}"))
}

fn authority(api: &Endpoint, kind: &str, key: &str, signing: &str) -> String {
    let configuration = json!({"KeyAlgorithm": key, "SigningAlgorithm": signing, "Subject": {"CommonName": format!("{kind} {key}")}});
    let request =
        json!({"CertificateAuthorityType": kind, "CertificateAuthorityConfiguration": configuration});
    text(&ok(api, "CreateCertificateAuthority", request), "CertificateAuthorityArn").to_owned()
}

/// Has `by` sign the request of `arn`, and imports what it signed.
fn activate(api: &Endpoint, arn: &str, by: &str, signing: &str, template: &str, days: u32) {
    let csr = ok(api, "GetCertificateAuthorityCsr", json!({"CertificateAuthorityArn": arn}));
    let issued = ok(
        api,
        "IssueCertificate",
        json!({"CertificateAuthorityArn": by, "Csr": STANDARD.encode(text(&csr, "Csr")), "SigningAlgorithm": signing,
            "TemplateArn": format!("arn:aws:acm-pca:::template/{template}/V1"),
            "Validity": {"Type": "DAYS", "Value": days}}),
    );
    let got = ok(
        api,
        "GetCertificate",
        json!({"CertificateAuthorityArn": by, "CertificateArn": text(&issued, "CertificateArn")}),
    );
    let mut request =
        json!({"CertificateAuthorityArn": arn, "Certificate": STANDARD.encode(text(&got, "Certificate"))});
    if let Some(above) = got["CertificateChain"].as_str() {
        request["CertificateChain"] = STANDARD.encode(above).into();
    }
    ok(api, "ImportCertificateAuthorityCertificate", request);
}

fn order(arn: &str) -> LeafOrder {
    LeafOrder {
        authority: Some(arn.parse().unwrap()),
        spiffe_id: Some(SpiffeId::of_control_plane("test.local")),
        dns_names: Vec::new(),
        addresses: Vec::new(),
        ttl: std::time::Duration::from_secs(60),
        public: false,
    }
}

fn task_request() -> CheckedCsr {
    let key = rcgen::KeyPair::generate().unwrap();
    CheckedCsr::parse(rcgen::CertificateParams::default().serialize_request(&key).unwrap().der()).unwrap()
}

#[test]
fn authorities_of_the_api_sign_tasks_certificates_while_they_are_active() {
    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "RSA_2048", "SHA256WITHRSA");
    let csr = task_request();
    let authorities = api.core.authorities();
    let issue = |arn: &str| authorities.issue(&order(arn), &csr, api.now());
    assert!(issue(&root).is_err(), "it has no certificate yet");
    activate(&api, &root, &root, "SHA256WITHRSA", "RootCACertificate", 100);
    let by_root = issue(&root).unwrap();
    assert_eq!(by_root.chain_der.len(), 1, "its peers have the root");

    let below = authority(&api, "SUBORDINATE", "EC_secp384r1", "SHA384WITHECDSA");
    activate(&api, &below, &root, "SHA256WITHRSA", "SubordinateCACertificate_PathLen0", 50);
    let by_below = issue(&below).unwrap();
    assert_eq!(by_below.chain_der.len(), 2, "with the authority's own certificate");
    let (leaf, own) = (&by_below.chain_der[0], chain::parse(&by_below.chain_der[1]).unwrap());
    assert_eq!(verify_signed(leaf, own.public_key().raw), Ok(()));
    let registry = api.core.registry();
    let root_row = registry.authorities.get(&root).unwrap();
    let root_der = chain::parse(&root_row.certificate_der).unwrap();
    assert_eq!(verify_signed(&by_below.chain_der[1], root_der.public_key().raw), Ok(()));

    let update = |status: &str| json!({"CertificateAuthorityArn": below, "Status": status});
    ok(&api, "UpdateCertificateAuthority", update("DISABLED"));
    assert!(issue(&below).is_err());
    ok(&api, "UpdateCertificateAuthority", update("ACTIVE"));
    assert!(issue(&below).is_ok());
}

#[test]
fn only_authorities_that_services_name_are_believed() {
    let api = Endpoint::new();
    let [named, other] = ["EC_prime256v1", "EC_secp384r1"].map(|key| {
        let arn = authority(&api, "ROOT", key, "SHA256WITHECDSA");
        activate(&api, &arn, &arn, "SHA256WITHECDSA", "RootCACertificate", 100);
        arn
    });
    let bundle = || pem::certificates(api.core.roots_pem().as_bytes()).unwrap();
    let before = bundle();
    assert_eq!(before.len(), 1, "the mesh's own");
    let service = json!({"cluster": "c", "namespace": "n"});
    api.ok(
        "ecs",
        "CreateCluster",
        json!({"clusterName": service["cluster"],
        "serviceConnectDefaults": {"namespace": service["namespace"]}}),
    );
    let containers = json!([{"name": "web", "image": "busybox",
        "portMappings": [{"name": "http", "containerPort": 8080, "appProtocol": "http"}]}]);
    api.ok("ecs", "RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": containers}));
    let tls = json!({"issuerCertificateAuthority": {"awsPcaAuthorityArn": named}});
    let connect = json!({"enabled": true, "services": [{"portName": "http",
        "clientAliases": [{"port": 80, "dnsName": "web"}], "tls": tls}]});
    api.ok(
        "ecs",
        "CreateService",
        json!({"cluster": "c", "serviceName": "web", "taskDefinition": "web",
        "desiredCount": 0, "serviceConnectConfiguration": connect}),
    );
    let registry = api.core.registry();
    let row = |arn: &str| registry.authorities.get(arn).unwrap();
    assert!(row(&named).trusted && !row(&other).trusted);
    assert_eq!(bundle().len(), 2);
    assert!(bundle().contains(&row(&named).certificate_der));
}

#[test]
fn a_tasks_certificate_is_revoked_by_its_authority_alone() {
    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "EC_prime256v1", "SHA256WITHECDSA");
    activate(&api, &root, &root, "SHA256WITHECDSA", "RootCACertificate", 100);
    let issued = api.core.authorities().issue(&order(&root), &task_request(), api.now()).unwrap();
    let keep = |serial: &str, authority: Option<&str>| {
        let record = CertificateRecord {
            chain_pem: String::new(),
            serial: serial.to_owned(),
            task: crate::random::task_id(),
            name: "mesh".into(),
            spiffe_id: None,
            not_before: issued.not_before,
            not_after: issued.not_after,
            issued_at: api.now(),
            authority: authority.map(|arn| arn.parse().unwrap()),
        };
        api.change(|registry| registry.certificates.put(serial, record));
    };
    let anothers = "4".repeat(32);
    keep(&issued.serial, Some(&root));
    keep(&anothers, None);
    let revoke = |serial: &str| json!({"CertificateAuthorityArn": root, "CertificateSerial": serial, "RevocationReason": "SUPERSEDED"});
    let fault = api.fault("acm-pca", "RevokeCertificate", revoke(&anothers));
    assert_eq!(fault.code, "ResourceNotFoundException");
    ok(&api, "RevokeCertificate", revoke(&issued.serial));
    let registry = api.core.registry();
    let [row] = registry.revocations.values().collect::<Vec<_>>()[..] else { panic!("one revocation") };
    assert_eq!((row.serial.as_str(), row.authority.as_str()), (issued.serial.as_str(), root.as_str()));
    // Proxies refuse it, and the authority's CRL lists it.
    assert_eq!(crate::revocation::refused_serials(&registry), [issued.serial.as_str()]);
    assert!(crate::revocation::is_revoked(&registry, &issued.serial));
    assert_eq!(crate::revocation::revoked_of(&registry, &row.authority)[0].serial, issued.serial);
    // Forgotten when it has been on a CRL after its end (RFC 5280 §3.3).
    let listed = issued.not_after + crate::revocation::CRL_VALIDITY;
    api.change(|registry| crate::revocation::sweep(registry, issued.not_after));
    assert!(!api.core.registry().revocations.is_empty());
    api.change(|registry| crate::revocation::sweep(registry, listed));
    assert!(api.core.registry().revocations.is_empty());
}

/// Has an authority issue for a DNS name; the certificate, or the fault's code.
fn issue_for(api: &Endpoint, by: &str, name: &str) -> Result<Vec<u8>, String> {
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    let names = certificate::dns_names([name]);
    let csr = csr::make(&name::of_common_name("x"), &key, SignatureAlgorithm::EcdsaSha256, &[names]).unwrap();
    let request = json!({"CertificateAuthorityArn": by, "Csr": STANDARD.encode(csr), "SigningAlgorithm": "SHA256WITHECDSA",
        "Validity": {"Type": "DAYS", "Value": 1}});
    if let Err(fault) = api.call("acm-pca", "IssueCertificate", &request) {
        return Err(fault.code);
    }
    let issued = ok(api, "IssueCertificate", request);
    let got = ok(
        api,
        "GetCertificate",
        json!({"CertificateAuthorityArn": by, "CertificateArn": text(&issued, "CertificateArn")}),
    );
    Ok(pem::certificates(text(&got, "Certificate").as_bytes()).unwrap().remove(0))
}

#[test]
fn name_constraints_that_are_passed_through_hold_for_all_below() {
    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "EC_prime256v1", "SHA256WITHECDSA");
    let csr = ok(&api, "GetCertificateAuthorityCsr", json!({"CertificateAuthorityArn": root}));
    let permitted = certificate::permitted_dns(&["shop.example".to_owned()]);
    // A blank template says of itself what its holder may do.
    let extensions = json!({
        "CustomExtensions": [{"ObjectIdentifier": "2.5.29.30", "Critical": true, "Value": STANDARD.encode(&permitted.value)}],
        "KeyUsage": {"KeyCertSign": true, "CRLSign": true, "DigitalSignature": true}});
    let issued = ok(
        &api,
        "IssueCertificate",
        json!({"CertificateAuthorityArn": root, "Csr": STANDARD.encode(text(&csr, "Csr")),
            "SigningAlgorithm": "SHA256WITHECDSA", "ApiPassthrough": {"Extensions": extensions},
            "TemplateArn": "arn:aws:acm-pca:::template/BlankRootCACertificate_PathLen1_APIPassthrough/V1",
            "Validity": {"Type": "DAYS", "Value": 100}}),
    );
    let got = ok(
        &api,
        "GetCertificate",
        json!({"CertificateAuthorityArn": root, "CertificateArn": text(&issued, "CertificateArn")}),
    );
    let certificate = STANDARD.encode(text(&got, "Certificate"));
    ok(
        &api,
        "ImportCertificateAuthorityCertificate",
        json!({"CertificateAuthorityArn": root, "Certificate": certificate}),
    );
    let below = authority(&api, "SUBORDINATE", "EC_secp384r1", "SHA384WITHECDSA");
    activate(&api, &below, &root, "SHA256WITHECDSA", "SubordinateCACertificate_PathLen0", 50);
    issue_for(&api, &root, "a.shop.example").unwrap();
    assert_eq!(issue_for(&api, &root, "a.other.example"), Err("InvalidArgsException".into()));
    // Tasks' certificates are verified up to the root, too.
    let authorities = api.core.authorities();
    let of_task = |by: &str, names: &[&str]| {
        let dns_names = names.iter().map(|name| (*name).to_owned()).collect();
        authorities.issue(&LeafOrder { dns_names, ..order(by) }, &task_request(), api.now())
    };
    for by in [&root, &below] {
        of_task(by, &[]).unwrap();
        of_task(by, &["a.shop.example"]).unwrap();
        assert!(matches!(
            of_task(by, &["a.other.example"]).unwrap_err(),
            AuthoritiesError::Ca(CaError::NameConstraints)
        ));
    }
}

/// The URLs of a certificate's CRLs.
fn crl_urls(certificate: &[u8]) -> Vec<String> {
    let read = chain::parse(certificate).unwrap();
    let urls = read.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(format!("{points:?}")),
        _ => None,
    });
    urls.map(|text| text.split('"').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn certificates_tell_where_the_crl_is_as_the_authority_is_configured() {
    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "EC_prime256v1", "SHA384WITHECDSA");
    activate(&api, &root, &root, "SHA256WITHECDSA", "RootCACertificate", 100);
    let name = root.rsplit('/').next().unwrap();
    let told = |configuration: Value| {
        let configuration = json!({"CrlConfiguration": configuration});
        let request = json!({"CertificateAuthorityArn": root, "RevocationConfiguration": configuration});
        ok(&api, "UpdateCertificateAuthority", request);
        let shown = ok(&api, "DescribeCertificateAuthority", json!({"CertificateAuthorityArn": root}));
        assert_eq!(shown["CertificateAuthority"]["RevocationConfiguration"], configuration);
        let by_api = crl_urls(&issue_for(&api, &root, "a.example").unwrap());
        let of_task = api.core.authorities().issue(&order(&root), &task_request(), api.now()).unwrap();
        assert_eq!(crl_urls(&of_task.chain_der[0]), by_api);
        by_api
    };
    let none = Vec::<String>::new();
    assert_eq!(told(json!({"Enabled": true, "S3BucketName": "crls"})), none, "no endpoint is served");
    api.change(|registry| {
        registry.settings.update(SETTINGS, |settings| {
            settings.crl_base = Some("http://127.0.0.1:4566/_bowline/crl/".into());
        });
    });
    api.core.reload_authorities().unwrap();
    for (configuration, expected) in [
        (
            json!({"Enabled": true, "S3BucketName": "crls"}),
            vec![format!("http://127.0.0.1:4566/_bowline/crl/{name}.crl")],
        ),
        (
            json!({"Enabled": true, "S3BucketName": "crls", "CustomCname": "crl.example"}),
            vec![format!("http://crl.example/_bowline/crl/{name}.crl")],
        ),
        (
            json!({"Enabled": true, "S3BucketName": "crls", "CustomCname": "crl.example", "CustomPath": "lists/of"}),
            vec![format!("http://crl.example/lists/of/{name}.crl")],
        ),
        (
            json!({"Enabled": true, "S3BucketName": "crls", "CrlDistributionPointExtensionConfiguration": {"OmitExtension": true}}),
            none.clone(),
        ),
        (json!({"Enabled": false}), none.clone()),
    ] {
        assert_eq!(told(configuration.clone()), expected, "{configuration}");
    }
}

#[test]
fn short_lived_means_seven_days_for_tasks_as_well() {
    let api = Endpoint::new();
    let lives = |usage_mode: &str| {
        let configuration = json!({"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": usage_mode}});
        let request = json!({"CertificateAuthorityType": "ROOT", "CertificateAuthorityConfiguration": configuration,
            "UsageMode": usage_mode});
        let arn = ok(&api, "CreateCertificateAuthority", request);
        let arn = text(&arn, "CertificateAuthorityArn");
        activate(&api, arn, arn, "SHA256WITHECDSA", "RootCACertificate", 100);
        let ttl = std::time::Duration::from_secs(30 * 24 * 3600);
        let leaf = api.core.authorities().issue(&LeafOrder { ttl, ..order(arn) }, &task_request(), api.now());
        // To the nearest day: times in certificates are whole seconds.
        (leaf.unwrap().not_after.since(api.now()).as_secs() + 60) / (24 * 3600)
    };
    assert_eq!(lives("SHORT_LIVED_CERTIFICATE"), 7);
    assert_eq!(lives("GENERAL_PURPOSE"), 30);
}

#[test]
fn a_templates_authority_and_certificate_are_the_apis() {
    let api = Endpoint::new();
    let template = json!({"Resources": {
        "Ca": {"Type": "AWS::ACMPCA::CertificateAuthority", "Properties": {"Type": "ROOT",
            "KeyAlgorithm": "RSA_2048", "SigningAlgorithm": "SHA256WITHRSA", "Subject": {"CommonName": "Shop"}}},
        "Private": {"Type": "AWS::CertificateManager::Certificate",
            "Properties": {"DomainName": "a.example", "CertificateAuthorityArn": {"Ref": "Ca"}}},
        "Public": {"Type": "AWS::CertificateManager::Certificate",
            "Properties": {"DomainName": "www.example.com", "ValidationMethod": "DNS"}},
    }});
    api.ok("cloudformation", "CreateStack", json!({"StackName": "s", "TemplateBody": template.to_string()}));
    api.finish_stack();
    let listed = ok(&api, "ListCertificateAuthorities", json!({}));
    let [authority] = &listed["CertificateAuthorities"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((text(authority, "Status"), text(authority, "Type")), ("ACTIVE", "ROOT"));
    let listed =
        api.ok("acm", "ListCertificates", json!({"Includes": {"keyTypes": ["RSA_2048", "EC_prime256v1"]}}));
    let certificates = listed["CertificateSummaryList"].as_array().unwrap();
    let told: Vec<_> =
        certificates.iter().map(|row| (text(row, "DomainName"), text(row, "Status"))).collect();
    assert!(
        told.contains(&("a.example", "ISSUED")) && told.contains(&("www.example.com", "ISSUED")),
        "{told:?}"
    );
    for row in certificates {
        let arn = text(row, "CertificateArn");
        let got = api.ok("acm", "GetCertificate", json!({"CertificateArn": arn}));
        assert!(got["CertificateChain"].is_string(), "{got}");
        let tags = api.ok("acm", "ListTagsForCertificate", json!({"CertificateArn": arn}));
        assert_eq!(tags["Tags"], json!([]));
    }
    let arn = text(authority, "Arn").to_owned();
    api.ok("cloudformation", "DeleteStack", json!({"StackName": "s"}));
    api.finish_stack();
    let told = ok(&api, "DescribeCertificateAuthority", json!({"CertificateAuthorityArn": arn}));
    assert_eq!(text(&told["CertificateAuthority"], "Status"), "DELETED");
    let left =
        api.ok("acm", "ListCertificates", json!({"Includes": {"keyTypes": ["RSA_2048", "EC_prime256v1"]}}));
    assert_eq!(left["CertificateSummaryList"], json!([]));
}

#[test]
fn a_certificate_that_a_listener_names_is_in_use() {
    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "EC_prime256v1", "SHA256WITHECDSA");
    activate(&api, &root, &root, "SHA256WITHECDSA", "RootCACertificate", 100);
    let made = api.ok(
        "acm",
        "RequestCertificate",
        json!({"DomainName": "a.example", "CertificateAuthorityArn": root, "KeyAlgorithm": "EC_prime256v1"}),
    );
    let arn = text(&made, "CertificateArn");
    let balancer = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/alb/1";
    api.change(|registry| {
        let listener = bowline_model::load_balancer::GatewayListener {
            arn: format!("{}/2", balancer.replace("loadbalancer", "listener")).parse().unwrap(),
            load_balancer: balancer.parse().unwrap(),
            port: 443,
            protocol: bowline_model::load_balancer::GatewayProtocol::Http,
            certificates: vec![arn.to_owned()],
            default_action: bowline_model::load_balancer::GatewayAction::Forward(Vec::new()),
        };
        registry.listeners.put("listener", listener);
    });
    let told = api.ok("acm", "DescribeCertificate", json!({"CertificateArn": arn}));
    assert_eq!(told["Certificate"]["InUseBy"], json!([balancer]));
    let fault = api.fault("acm", "DeleteCertificate", json!({"CertificateArn": arn}));
    assert_eq!(fault.code, "ResourceInUseException");
    api.change(|registry| registry.listeners.remove("listener"));
    api.ok("acm", "DeleteCertificate", json!({"CertificateArn": arn}));
}

#[test]
fn what_is_issued_here_and_in_use_is_renewed_before_it_ends() {
    use std::time::Duration;

    use crate::acm::renewal;

    let api = Endpoint::new();
    let root = authority(&api, "ROOT", "EC_prime256v1", "SHA256WITHECDSA");
    activate(&api, &root, &root, "SHA256WITHECDSA", "RootCACertificate", 3650);
    let made = api.ok(
        "acm",
        "RequestCertificate",
        json!({"DomainName": "a.example", "CertificateAuthorityArn": root, "KeyAlgorithm": "EC_prime256v1"}),
    );
    let arn = text(&made, "CertificateArn");
    let told = || api.ok("acm", "DescribeCertificate", json!({"CertificateArn": arn}))["Certificate"].take();
    let row = || api.core.registry().acm_certificates.get(arn).unwrap().clone();
    let plan = |now| renewal::plan(&api.core.registry(), now);
    let soon = || renewal::next_attempt(&row()).unwrap();
    // Nothing uses it.
    assert_eq!(text(&told(), "RenewalEligibility"), "INELIGIBLE");
    assert_eq!(plan(soon()), (Vec::new(), None));
    api.change(|registry| registry.acm_certificates.update(arn, |row| row.exported = true));
    assert_eq!(text(&told(), "RenewalEligibility"), "ELIGIBLE");
    assert!(told()["RenewalSummary"].is_null());
    let first = soon();
    assert_eq!(plan(first - Duration::from_secs(1)), (Vec::new(), Some(first)));
    assert_eq!(plan(first), (vec![row().arn.clone()], None));

    // The authority is away: what was issued stays, and it is tried again, less and less often.
    let before = row();
    let update = |status: &str| json!({"CertificateAuthorityArn": root, "Status": status});
    ok(&api, "UpdateCertificateAuthority", update("DISABLED"));
    let mut now = api.now().max(first);
    let mut waits = Vec::new();
    for _ in 0..4 {
        api.core.renew(&before.arn, now);
        let next = soon();
        assert!(next > now);
        assert_eq!(plan(now), (Vec::new(), Some(next)));
        waits.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(waits, [60, 120, 240, 480]);
    let summary = told()["RenewalSummary"].take();
    assert_eq!(
        (text(&summary, "RenewalStatus"), text(&summary, "RenewalStatusReason")),
        ("FAILED", "PCA_INVALID_STATE")
    );
    assert_eq!((text(&told(), "Status"), &row().certificate_der), ("ISSUED", &before.certificate_der));

    // It is back. Tags that were added meanwhile stay.
    ok(&api, "UpdateCertificateAuthority", update("ACTIVE"));
    let tags = json!({"CertificateArn": arn, "Tags": [{"Key": "a", "Value": "b"}]});
    api.ok("acm", "AddTagsToCertificate", tags);
    api.core.renew(&before.arn, api.now());
    let after = row();
    assert_ne!(after.certificate_der, before.certificate_der);
    assert_ne!(after.sealed_key, before.sealed_key, "with another key");
    assert_eq!((after.failed_renewal, after.tags.len()), (None, 1));
    assert_eq!(text(&told()["RenewalSummary"].take(), "RenewalStatus"), "SUCCESS");
    assert_eq!(
        after.rollover.as_ref().map(|rollover| rollover.earlier.len()),
        Some(1),
        "peers learn of it first"
    );
}

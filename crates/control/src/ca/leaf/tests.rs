use std::{path::Path, process::Command, time::Instant};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::ca::{KeyAlgorithm, RootParams};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

type Change<'a> = &'a dyn Fn(&mut CertificateParams);

fn root(key_algorithm: KeyAlgorithm) -> Authority {
    let common_name = "Bowline tests' root".to_owned();
    let params = RootParams { common_name, key_algorithm, validity: 24 * HOUR, ..RootParams::default() };
    Authority::create_root(&params, NOW).unwrap()
}

/// A request that asks for `names` for itself.
fn csr(key_algorithm: KeyAlgorithm, names: Vec<SanType>) -> CheckedCsr {
    let key = KeyPair::generate_for(key_algorithm.signature()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "somebody-else");
    params.subject_alt_names = names;
    CheckedCsr::parse(params.serialize_request(&key).unwrap().der()).unwrap()
}

fn service(name: &str) -> SpiffeId {
    SpiffeId::of_service("bowline.local", "shop", "default", name)
}

fn of_service(public_key: &CheckedCsr) -> LeafRequest<'_> {
    LeafRequest {
        public_key,
        spiffe_id: Some(service("orders")),
        dns_names: Vec::new(),
        addresses: Vec::new(),
        crl_url: None,
        usage: Usage::Both,
        ttl: HOUR,
    }
}

fn of_names<'a>(public_key: &'a CheckedCsr, names: &[&str]) -> LeafRequest<'a> {
    LeafRequest {
        spiffe_id: None,
        dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
        // By both encoders: a server's certificate tells, too.
        crl_url: Some("http://crl.example/a.crl"),
        usage: Usage::Server,
        ..of_service(public_key)
    }
}

fn openssl(arguments: &[&str], directory: &Path) -> String {
    let ran = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = ran.expect("this test needs the openssl program as an independent verifier");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn openssl_accepts_what_is_issued() {
    use KeyAlgorithm::{EcP256, EcP384};
    for (root_key, leaf_key) in [(EcP256, EcP256), (EcP384, EcP384), (EcP384, EcP256)] {
        let (authority, key) = (root(root_key), csr(leaf_key, Vec::new()));
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        std::fs::write(directory.join("root.pem"), authority.certificate_pem()).unwrap();
        let at = NOW.as_secs().to_string();
        let verify = |leaf: &IssuedLeaf, purpose: &str| {
            std::fs::write(directory.join("leaf.der"), &leaf.certificate_der).unwrap();
            openssl(&["x509", "-inform", "DER", "-in", "leaf.der", "-out", "leaf.pem"], directory);
            let verified = openssl(
                &["verify", "-x509_strict", "-check_ss_sig", "-attime", &at, "-purpose", purpose]
                    .into_iter()
                    .chain(["-CAfile", "root.pem", "leaf.pem"])
                    .collect::<Vec<_>>(),
                directory,
            );
            assert_eq!(verified, "leaf.pem: OK\n");
            openssl(&["x509", "-in", "leaf.pem", "-noout", "-text", "-serial"], directory)
        };

        let workload = authority.issue(&of_service(&key), NOW).unwrap();
        let text = verify(&workload, "sslserver");
        verify(&workload, "sslclient");
        let id = "URI:spiffe://bowline.local/ns/shop/cluster/default/svc/orders\n";
        let digest = if root_key == EcP256 { "ecdsa-with-SHA256" } else { "ecdsa-with-SHA384" };
        let serial = format!("serial={}\n", workload.serial_hex.to_uppercase());
        for expected in [id, digest, "TLS Web Server Authentication, TLS Web Client Authentication", &serial]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("CN = somebody-else") && text.contains("Subject: O = Bowline\n"), "{text}");

        let gateway = authority.issue(&of_names(&key, &["shop.example", "*.shop.example"]), NOW).unwrap();
        let text = verify(&gateway, "sslserver");
        assert!(text.contains("DNS:*.shop.example, DNS:shop.example\n"), "{text}");
        assert!(text.contains("Subject: O = Bowline, CN = shop.example\n"), "{text}");

        let text = openssl(&["x509", "-in", "root.pem", "-noout", "-text"], directory);
        for expected in
            ["critical\n                CA:TRUE, pathlen:0\n", "Certificate Sign, CRL Sign", digest]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}

#[test]
fn a_requests_own_names_are_not_signed() {
    let victim = service("payments");
    let names = vec![
        SanType::URI(victim.as_str().try_into().unwrap()),
        SanType::DnsName("payments.shop".try_into().unwrap()),
    ];
    let key = csr(KeyAlgorithm::EcP256, names);
    let leaf = root(KeyAlgorithm::EcP256).issue(&of_service(&key), NOW).unwrap();
    let der = CertificateDer::from(leaf.certificate_der.as_slice());
    let read = webpki::EndEntityCert::try_from(&der).unwrap();
    assert_eq!(read.valid_uri_names().collect::<Vec<_>>(), [service("orders").as_str()]);
    assert_eq!(read.valid_dns_names().count(), 0);
    let bytes = leaf.certificate_der.as_slice();
    for foreign in ["payments", "somebody-else"] {
        assert!(!bytes.windows(foreign.len()).any(|window| window == foreign.as_bytes()), "{foreign}");
    }
}

#[test]
fn validity_is_of_the_request_within_the_authoritys() {
    let (authority, key) = (root(KeyAlgorithm::EcP256), csr(KeyAlgorithm::EcP256, Vec::new()));
    let issue = |ttl, now| authority.issue(&LeafRequest { ttl, ..of_service(&key) }, now);
    let leaf = issue(HOUR, NOW + HOUR).unwrap();
    assert_eq!(leaf.not_before, NOW + HOUR - Duration::from_secs(60));
    assert_eq!(leaf.not_after, NOW + 2 * HOUR);
    let leaf = issue(HOUR, NOW + 24 * HOUR - Duration::from_secs(1)).unwrap();
    assert_eq!(leaf.not_after, authority.not_after());
    // The first second of the authority's life: not a second before it.
    assert_eq!(issue(HOUR, authority.not_before()).unwrap().not_before, authority.not_before());

    for outside in [authority.not_after() + Duration::from_secs(1), NOW - HOUR] {
        assert!(matches!(issue(HOUR, outside).unwrap_err(), CaError::OutsideValidity { .. }));
    }
    assert!(matches!(issue(Duration::ZERO, NOW).unwrap_err(), CaError::Validity { .. }));
    assert!(matches!(issue(Duration::MAX, NOW).unwrap_err(), CaError::Validity { .. }));

    let loaded = Authority::from_parts(authority.certificate_der(), &authority.key_pkcs8_der()).unwrap();
    assert_eq!(loaded.not_after(), NOW + 24 * HOUR, "an expired authority still loads");
}

#[test]
fn usages_are_those_asked_for() {
    let (authority, key) = (root(KeyAlgorithm::EcP256), csr(KeyAlgorithm::EcP256, Vec::new()));
    let anchors = [webpki::anchor_from_trusted_cert(authority.certificate_der()).unwrap()];
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs()));
    for usage in [Usage::Server, Usage::Client, Usage::Both] {
        let leaf = authority.issue(&LeafRequest { usage, ..of_service(&key) }, NOW).unwrap();
        let der = CertificateDer::from(leaf.certificate_der.as_slice());
        let read = webpki::EndEntityCert::try_from(&der).unwrap();
        let allows = |needed: webpki::KeyUsage| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            read.verify_for_usage(algorithms, &anchors, &[], time, needed, None, None).is_ok()
        };
        assert_eq!(allows(webpki::KeyUsage::server_auth()), usage.server());
        assert_eq!(allows(webpki::KeyUsage::client_auth()), usage.client());
    }
}

#[test]
fn refuses_names_a_certificate_cannot_carry() {
    let (authority, key) = (root(KeyAlgorithm::EcP256), csr(KeyAlgorithm::EcP256, Vec::new()));
    for name in
        ["", "*", "*.", "a.*.b", "a..b", "a.b.", "10.0.0.1", "ä.example", "a b", "a\0.b", &"a.".repeat(127)]
    {
        let refused = authority.issue(&of_names(&key, &[name]), NOW).unwrap_err();
        assert!(matches!(refused, CaError::DnsName { .. }), "{name:?}: {refused}");
    }
    assert!(matches!(authority.issue(&of_names(&key, &[]), NOW).unwrap_err(), CaError::NoName));
    let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let of =
        |addresses: &[std::net::IpAddr]| LeafRequest { addresses: addresses.to_vec(), ..of_names(&key, &[]) };
    authority.issue(&of(&addresses), NOW).expect("addresses are names enough");
    let many = vec![addresses[1]; 3];
    authority.issue(&of(&many), NOW).expect("doubles are written once");
    let many = vec!["a.example"; DNS_NAMES_MAX + 1];
    assert!(matches!(
        authority.issue(&of_names(&key, &many), NOW).unwrap_err(),
        CaError::TooManyDnsNames { .. }
    ));
    let malformed = Some(SpiffeId::of_control_plane("Not A Domain"));
    let refused =
        authority.issue(&LeafRequest { spiffe_id: malformed, ..of_service(&key) }, NOW).unwrap_err();
    assert!(matches!(refused, CaError::SpiffeId(_)));
    authority.issue(&of_names(&key, &many[1..]), NOW).unwrap();
}

#[test]
fn a_long_first_name_is_no_common_name() {
    let (authority, key) = (root(KeyAlgorithm::EcP256), csr(KeyAlgorithm::EcP256, Vec::new()));
    let long = format!("{}.example", "a".repeat(60));
    let leaf = authority.issue(&of_names(&key, &[&long]), NOW).unwrap();
    let (_, read) = x509_parser::parse_x509_certificate(&leaf.certificate_der).unwrap();
    assert_eq!(read.subject().to_string(), "O=Bowline");
}

/// The check after signing is what stands between a defect above and a wrong identity.
#[test]
fn the_check_refuses_a_certificate_of_another_content() {
    let (authority, other) = (root(KeyAlgorithm::EcP256), root(KeyAlgorithm::EcP256));
    let [key, another_key] = [0, 1].map(|_| csr(KeyAlgorithm::EcP256, Vec::new()));
    let expected = || Expected {
        addresses: BTreeSet::new(),
        public_key: &key,
        spiffe_id: Some("spiffe://bowline.local/ns/shop/cluster/default/svc/orders"),
        dns_names: BTreeSet::from(["orders.shop"]),
        crl_url: Some("http://crl.example/a.crl"),
        usage: Usage::Server,
        serial: [0x41; 16],
        validity: Validity::starting(NOW, HOUR).unwrap(),
    };
    let refused = |by: &Authority, key: &CheckedCsr, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params_of(&expected(), None).unwrap();
        change(&mut params);
        let signed = params.signed_by(key.key(), by.issuer()).unwrap();
        issued::check(signed.der(), &expected(), (authority.certificate_der(), &[]), NOW)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(&authority, &key, &|_| ()), None);
    assert!(refused(&other, &key, &|_| ()).unwrap().contains("does not verify"));
    assert!(refused(&authority, &another_key, &|_| ()).unwrap().contains("its key is another"));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let changes: [(&str, Change<'_>); 12] = [
        ("CRL", &|leaf| leaf.crl_distribution_points.clear()),
        ("CRL", &|leaf| leaf.crl_distribution_points[0].uris[0].push('x')),
        ("SPIFFE id", &|leaf| leaf.subject_alt_names[0] = uri("spiffe://bowline.local/control-plane")),
        ("SPIFFE id", &|leaf| leaf.subject_alt_names.push(uri("spiffe://bowline.local/control-plane"))),
        ("DNS names", &|leaf| leaf.subject_alt_names.truncate(1)),
        ("addresses", &|leaf| leaf.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()))),
        ("another kind", &|leaf| {
            leaf.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
        }),
        ("authority", &|leaf| leaf.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        ("keyUsage", &|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ("extKeyUsage", &|leaf| leaf.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth)),
        ("validity", &|leaf| leaf.not_after += HOUR),
        ("serial", &|leaf| leaf.serial_number = Some(SerialNumber::from(vec![7]))),
    ];
    for (expected, change) in changes {
        let reason = refused(&authority, &key, change).unwrap_or_else(|| panic!("{expected}: accepted"));
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

/// Prints, and asserts nothing of, the rate: a debug build on a busy machine says little.
#[test]
fn issue_rate() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384] {
        let (authority, key) = (root(algorithm), csr(KeyAlgorithm::EcP256, Vec::new()));
        let (request, started, count) = (of_service(&key), Instant::now(), 100);
        for _ in 0..count {
            authority.issue(&request, NOW).unwrap();
        }
        println!(
            "{algorithm:?} root: {:.0} leaves a second",
            f64::from(count) / started.elapsed().as_secs_f64()
        );
    }
}

#[test]
fn what_an_authority_is_asked_to_sign_with_is_what_it_signs_with() {
    use crate::x509::algorithm::SignatureAlgorithm::{
        EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaSha256, RsaSha384, RsaSha512,
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let proxies = provider.signature_verification_algorithms.all;
    let of_task = csr(KeyAlgorithm::EcP256, Vec::new());
    for (key, algorithms) in [
        (KeyAlgorithm::EcP256, [EcdsaSha256, EcdsaSha384, EcdsaSha512]),
        (KeyAlgorithm::EcP384, [EcdsaSha256, EcdsaSha384, EcdsaSha512]),
        (KeyAlgorithm::Rsa, [RsaSha256, RsaSha384, RsaSha512]),
    ] {
        let made = root(key);
        for algorithm in algorithms {
            let der = made.certificate_der();
            let authority = Authority::below(der, &[], &made.key_pkcs8_der(), Some(algorithm)).unwrap();
            let request = LeafRequest {
                dns_names: vec!["orders.shop".to_owned()],
                addresses: vec![IpAddr::from([127, 0, 0, 1])],
                crl_url: Some("http://127.0.0.1:1/crl/a.crl"),
                ..of_service(&of_task)
            };
            let leaf = authority.issue(&request, NOW).unwrap();
            let (_, read) = X509Certificate::from_der(&leaf.certificate_der).unwrap();
            let name = crate::x509::algorithm::signature_name(&read.signature_algorithm);
            let (hash, family) = format!("{algorithm:?}")
                .split_once("Sha")
                .map(|(a, b)| (b.to_owned(), a.to_owned()))
                .unwrap();
            assert_eq!(name, format!("SHA{hash}WITH{}", family.to_uppercase()), "{key:?}");
            // As the proxies' library verifies.
            let certificate = CertificateDer::from(leaf.certificate_der.as_slice());
            let anchor = webpki::anchor_from_trusted_cert(der).unwrap();
            let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs()));
            let end = webpki::EndEntityCert::try_from(&certificate).unwrap();
            let usage = webpki::KeyUsage::client_auth();
            end.verify_for_usage(proxies, &[anchor], &[], time, usage, None, None).unwrap();
        }
        let other = if key == KeyAlgorithm::Rsa { EcdsaSha256 } else { RsaSha512 };
        let refused = Authority::below(made.certificate_der(), &[], &made.key_pkcs8_der(), Some(other));
        assert!(matches!(refused.unwrap_err(), CaError::AuthorityKey));
    }
}

use rcgen::KeyPair;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

type Change = &'static dyn Fn(&mut RootParams);

fn params(key_algorithm: KeyAlgorithm) -> RootParams {
    RootParams {
        common_name: "Bowline tests' root".to_owned(),
        organization: Some("Größe & Söhne".to_owned()),
        organizational_unit: Some("Platform".to_owned()),
        country: Some("DE".to_owned()),
        key_algorithm,
        validity: 10 * YEAR,
    }
}

#[test]
fn a_root_survives_its_store() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384] {
        let made = Authority::create_root(&params(algorithm), NOW).unwrap();
        let loaded = Authority::from_parts(made.certificate_der(), &made.key_pkcs8_der()).unwrap();
        assert_eq!(loaded.certificate_der(), made.certificate_der());
        assert_eq!(*loaded.key_pkcs8_der(), *made.key_pkcs8_der());
        assert_eq!(loaded.key_algorithm(), algorithm);
        assert_eq!(loaded.not_before(), NOW - Duration::from_secs(60));
        assert_eq!(loaded.not_after(), NOW + 10 * YEAR);
    }
}

#[test]
fn pem_is_the_der() {
    let authority = Authority::create_root(&params(KeyAlgorithm::EcP256), NOW).unwrap();
    let pem = authority.certificate_pem();
    let (_, read) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert_eq!(read.contents, authority.certificate_der().as_ref());
    assert!(pem.ends_with("-----END CERTIFICATE-----\n") && pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn refuses_another_authoritys_key() {
    let [one, other] = [0, 1].map(|_| Authority::create_root(&params(KeyAlgorithm::EcP256), NOW).unwrap());
    let mixed = Authority::from_parts(one.certificate_der(), &other.key_pkcs8_der());
    assert!(matches!(mixed.unwrap_err(), CaError::KeyMismatch));
    let p384 = Authority::create_root(&params(KeyAlgorithm::EcP384), NOW).unwrap();
    let mixed = Authority::from_parts(one.certificate_der(), &p384.key_pkcs8_der());
    assert!(matches!(mixed.unwrap_err(), CaError::AuthorityKey));
}

#[test]
fn refuses_certificates_it_must_not_sign_with() {
    let key = KeyPair::generate().unwrap();
    let load = |change: &dyn Fn(&mut CertificateParams)| {
        let mut certificate = CertificateParams::default();
        certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut certificate);
        let signed = certificate.self_signed(&key).unwrap();
        Authority::from_parts(signed.der(), key.serialized_der())
    };
    load(&|_| ()).unwrap();
    let reason = |result: Result<Authority, CaError>| match result.unwrap_err() {
        CaError::AuthorityCertificate { reason } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(reason(load(&|root| root.is_ca = IsCa::ExplicitNoCa)), "is not one of an authority");
    assert_eq!(
        reason(load(&|root| root.key_usages = vec![KeyUsagePurpose::CrlSign])),
        "does not allow its key to sign certificates"
    );

    // The proof finds what no list of checks names: here, ids that it may not sign.
    let constrained = |names: &[u8]| {
        load(&|root| {
            let mut constraints = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 30], names.to_vec());
            constraints.set_criticality(true);
            root.custom_extensions.push(constraints);
        })
    };
    let of_uris = b"\x30\x0b\xa0\x09\x30\x07\x86\x05a.org";
    assert!(matches!(constrained(of_uris).unwrap_err(), CaError::NameConstraints));
    let of_dns = b"\x30\x0b\xa0\x09\x30\x07\x82\x05a.org";
    constrained(of_dns).unwrap();

    let mut altered = load(&|_| ()).unwrap().certificate_der().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(reason(Authority::from_parts(&altered, key.serialized_der())), "is not signed by its own key");
    assert_eq!(reason(Authority::from_parts(b"junk", b"")), "is not an X.509 certificate");
}

#[test]
fn refuses_subjects_x520_does_not_allow() {
    let create = |change: &dyn Fn(&mut RootParams)| {
        let mut params = params(KeyAlgorithm::EcP256);
        change(&mut params);
        Authority::create_root(&params, NOW)
    };
    let changes: [(&str, Change); 5] = [
        ("common name", &|root| root.common_name.clear()),
        ("common name", &|root| root.common_name = "x".repeat(65)),
        ("organization", &|root| root.organization = Some("a\0b".to_owned())),
        ("country", &|root| root.country = Some("Germany".to_owned())),
        ("organizational unit", &|root| root.organizational_unit = Some("ü".repeat(65))),
    ];
    for (expected, change) in changes {
        match create(change).unwrap_err() {
            CaError::Subject { field, .. } => assert_eq!(field, expected),
            other => panic!("{expected}: {other}"),
        }
    }
    create(&|root| root.common_name = "ü".repeat(64)).unwrap();
}

#[test]
fn refuses_validities_x509_cannot_write() {
    for validity in [Duration::ZERO, Duration::from_millis(999), Duration::MAX, 8_000 * YEAR] {
        let refused = Authority::create_root(&RootParams { validity, ..params(KeyAlgorithm::EcP256) }, NOW);
        assert!(matches!(refused.unwrap_err(), CaError::Validity { .. }), "{validity:?}");
    }
    // Past 2050, where X.509 changes the encoding of time.
    let late = RootParams { validity: 100 * YEAR, ..params(KeyAlgorithm::EcP256) };
    assert_eq!(Authority::create_root(&late, NOW).unwrap().not_after(), NOW + 100 * YEAR);
}

#[test]
fn shows_no_key() {
    let authority = Authority::create_root(&params(KeyAlgorithm::EcP256), NOW).unwrap();
    let shown = format!("{authority:?}");
    assert!(shown.starts_with("Authority") && shown.len() < 200, "{shown}");
}

#[test]
fn serial_numbers_are_sixteen_octets_and_differ() {
    let serials: std::collections::BTreeSet<_> = (0..1_000).map(|_| random_serial().unwrap()).collect();
    assert_eq!(serials.len(), 1_000);
    assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial[0])));
}

#[test]
fn a_constrained_authority_signs_no_other_names_which_peers_would_refuse() {
    let key = KeyPair::generate().unwrap();
    let load = |constraints: Option<rcgen::NameConstraints>| {
        let mut certificate = CertificateParams::default();
        certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        certificate.name_constraints = constraints;
        Authority::from_parts(certificate.self_signed(&key).unwrap().der(), key.serialized_der()).unwrap()
    };
    let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName("shop.internal".to_owned())];
    let constrained =
        load(Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }));
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let public_key = CheckedCsr::parse(csr.der()).unwrap();
    let order = |name: &str| LeafRequest {
        public_key: &public_key,
        spiffe_id: Some(SpiffeId::of_control_plane("bowline.local")),
        dns_names: vec![name.to_owned()],
        addresses: Vec::new(),
        crl_url: None,
        usage: Usage::Both,
        ttl: Duration::from_secs(60),
    };
    let now = constrained.not_before() + Duration::from_secs(3_600);
    for name in ["shop.internal", "cart.shop.internal"] {
        constrained.issue(&order(name), now).unwrap();
    }
    for name in ["internal", "xshop.internal", "shop.internal.example"] {
        assert!(
            matches!(constrained.issue(&order(name), now).unwrap_err(), CaError::NameConstraints),
            "{name}"
        );
    }
    // The twin: signed without the check, as here by the same key and name, nobody believes it.
    let signed = load(None).issue(&order("internal"), now).unwrap();
    let above = [constrained.certificate_der().to_vec()];
    assert_eq!(
        crate::x509::chain::verify_end_entity(&signed.certificate_der, &above, now),
        Err(webpki::Error::NameConstraintViolation)
    );
}

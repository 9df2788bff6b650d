use std::time::Duration;

use proptest::prelude::*;
use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::ca::{KeyAlgorithm, RootParams};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn authority(key_algorithm: KeyAlgorithm) -> Authority {
    Authority::create_root(&RootParams { key_algorithm, ..RootParams::default() }, NOW).unwrap()
}

fn revoked(serial: &str, reason: RevocationReason) -> RevokedSerial {
    RevokedSerial { serial: serial.to_owned(), revoked_at: NOW, reason }
}

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

#[test]
fn lists_what_was_revoked_under_the_authoritys_key() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384] {
        let authority = authority(algorithm);
        let entries =
            [revoked("4f00", RevocationReason::KeyCompromise), revoked("abc", RevocationReason::Unspecified)];
        let pem = authority.sign_crl(&entries, 7, NOW, NOW + DAY).unwrap();
        let der = der(&pem);
        let (_, crl) = CertificateRevocationList::from_der(&der).unwrap();
        let (_, root) = X509Certificate::from_der(authority.certificate_der()).unwrap();
        crl.verify_signature(root.public_key()).unwrap();
        assert_eq!(crl.issuer(), root.subject());
        assert_eq!(crl.crl_number().unwrap().to_string(), "7");
        assert_eq!(crl.last_update().timestamp(), NOW.as_secs() as i64);
        assert_eq!(crl.next_update().unwrap().timestamp(), (NOW + DAY).as_secs() as i64);
        let listed: Vec<_> = crl
            .iter_revoked_certificates()
            .map(|entry| (entry.raw_serial_as_string(), entry.reason_code().map(|(_, code)| code.0)))
            .collect();
        // A serial number whose top bit is set gets an octet of zeros before it (X.690 §8.3).
        assert_eq!(listed, [("4f:00".to_owned(), Some(1)), ("0a:bc".to_owned(), None)]);
        let id_of = |extensions: &[x509_parser::extensions::X509Extension<'_>]| {
            extensions.iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
        };
        assert_eq!(id_of(crl.extensions()), id_of(root.extensions()));
        assert!(id_of(crl.extensions()).is_some());
    }
}

#[test]
fn an_empty_one_has_no_list() {
    let pem = authority(KeyAlgorithm::EcP256).sign_crl(&[], 1, NOW, NOW + DAY).unwrap();
    let der = der(&pem);
    let (_, crl) = CertificateRevocationList::from_der(&der).unwrap();
    assert_eq!(crl.iter_revoked_certificates().count(), 0);
}

#[test]
fn another_key_does_not_verify_and_an_expired_authority_does_not_sign() {
    let [one, other] = [0, 1].map(|_| authority(KeyAlgorithm::EcP256));
    let pem = one.sign_crl(&[], 1, NOW, NOW + DAY).unwrap();
    assert!(one.check_crl(&der(&pem), 0).is_ok());
    assert!(other.check_crl(&der(&pem), 0).is_err());
    assert!(one.check_crl(&der(&pem), 1).is_err());
    let late = NOW + 20 * 365 * DAY;
    assert!(matches!(one.sign_crl(&[], 1, late, late + DAY), Err(CaError::OutsideValidity { .. })));
    for serial in ["", "xyz", "+1", &"1".repeat(41)] {
        let entries = [revoked(serial, RevocationReason::Unspecified)];
        assert!(matches!(one.sign_crl(&entries, 1, NOW, NOW + DAY), Err(CaError::Crl { .. })), "{serial:?}");
    }
}

proptest! {
    #[test]
    fn serial_numbers_are_read_as_they_are_written(octets in prop::collection::vec(any::<u8>(), 1..=20)) {
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        prop_assert_eq!(serial_octets(&text).unwrap(), octets);
    }

    #[test]
    fn no_text_is_a_panic(text in ".{0,60}") {
        let _ = serial_octets(&text);
    }
}

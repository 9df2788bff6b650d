//! Certificate signing requests: bytes of a stranger, of which one thing is taken.

use rcgen::{PublicKeyData as _, SubjectPublicKeyInfo};
use thiserror::Error;
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384},
    prelude::FromDer as _,
};

use super::KeyAlgorithm;

/// Longest request read, in bytes. One for a P-384 key takes about 300.
pub const CSR_BYTES_MAX: usize = 8 * 1024;

/// Why a request was refused. All of these are its sender's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Longer than [`CSR_BYTES_MAX`].
    #[error("a certificate signing request of {bytes} bytes; at most {CSR_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a PKCS#10 request in DER, or more than one.
    #[error("not a PKCS#10 certificate signing request in DER")]
    Malformed,
    /// The key is not on P-256 or P-384, or not an uncompressed point.
    #[error("the request's key must be an uncompressed point on P-256 or P-384")]
    Key,
    /// Signed by another algorithm than ECDSA with SHA-256 or SHA-384.
    #[error("the request must be signed by ECDSA with SHA-256 or SHA-384")]
    SignatureAlgorithm,
    /// The sender does not hold the key, or the request was altered.
    #[error("the request's signature does not verify under its own key")]
    Signature,
}

/// A public key whose private half the requester has shown to hold.
///
/// This is all that is kept of a PKCS#10 request (RFC 2986). The subject and
/// the names that it asks for are not read: the control plane knows from its
/// own records who is asking.
#[derive(Clone, Debug)]
pub struct CheckedCsr {
    key: SubjectPublicKeyInfo,
    algorithm: KeyAlgorithm,
}

impl CheckedCsr {
    /// Reads a request in DER and verifies its signature by its own key.
    ///
    /// # Errors
    /// [`CsrError`], the sender's fault in every case.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLong { bytes: der.len() });
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
            .map_err(|_| CsrError::Key)?;
        let algorithm = KeyAlgorithm::of(key.algorithm()).ok_or(CsrError::Key)?;
        // One encoding per key, so that equal keys are equal bytes (RFC 5480 §2.2 obliges us to no other).
        let point = key.der_bytes();
        if Some(point.len()) != algorithm.point_bytes() || point.first() != Some(&4) {
            return Err(CsrError::Key);
        }
        // The verifier knows RSA and SHA-1 too; nothing of a stranger's reaches those.
        let signed_by = &request.signature_algorithm.algorithm;
        if ![OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384].contains(signed_by) {
            return Err(CsrError::SignatureAlgorithm);
        }
        // Shows as well that the point is on the curve.
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        Ok(Self { key, algorithm })
    }

    /// The key's algorithm.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public key as a DER `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    pub fn subject_public_key_info_der(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(super) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn csr_by(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn takes_p256_and_p384_only() {
        let p256 = CheckedCsr::parse(&csr_by(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
        assert_eq!(p256.key_algorithm(), KeyAlgorithm::EcP256);
        let p384 = CheckedCsr::parse(&csr_by(&rcgen::PKCS_ECDSA_P384_SHA384)).unwrap();
        assert_eq!(p384.key_algorithm(), KeyAlgorithm::EcP384);
        for refused in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_RSA_SHA256] {
            assert_eq!(CheckedCsr::parse(&csr_by(refused)).unwrap_err(), CsrError::Key);
        }
    }

    #[test]
    fn refuses_a_signature_of_another_key() {
        // The attacker puts a victim's public key into a request of its own.
        let (own, victim) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut der = CertificateParams::default().serialize_request(&own).unwrap().der().to_vec();
        let at = der.windows(65).position(|window| window == own.public_key_raw()).unwrap();
        der[at..at + 65].copy_from_slice(victim.public_key_raw());
        assert_eq!(CheckedCsr::parse(&der).unwrap_err(), CsrError::Signature);
    }

    #[test]
    fn refuses_what_is_long_or_trailed() {
        let mut der = csr_by(&rcgen::PKCS_ECDSA_P256_SHA256);
        der.push(0);
        assert_eq!(CheckedCsr::parse(&der).unwrap_err(), CsrError::Malformed);
        let long = vec![0x30; CSR_BYTES_MAX + 1];
        assert_eq!(CheckedCsr::parse(&long).unwrap_err(), CsrError::TooLong { bytes: CSR_BYTES_MAX + 1 });
        // As deeply nested as its length allows.
        let deep: Vec<u8> = std::iter::repeat_n([0x30, 0x80], CSR_BYTES_MAX / 2).flatten().collect();
        assert_eq!(CheckedCsr::parse(&deep).unwrap_err(), CsrError::Malformed);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(CheckedCsr::parse(&bytes).is_err());
        }

        /// The parser is lenient about tags outside the signed part; what is taken is inside it.
        #[test]
        fn an_altered_request_yields_no_other_key(at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
            static REQUEST: LazyLock<Vec<u8>> = LazyLock::new(|| csr_by(&rcgen::PKCS_ECDSA_P256_SHA256));
            let (_, original) = X509CertificationRequest::from_der(&REQUEST).unwrap();
            let signed = original.certification_request_info.raw;
            let signed_at = REQUEST.windows(signed.len()).position(|window| window == signed).unwrap();
            let at = at.index(REQUEST.len());
            let mut altered = REQUEST.clone();
            altered[at] ^= flip;
            if let Ok(read) = CheckedCsr::parse(&altered) {
                prop_assert!(!(signed_at..signed_at + signed.len()).contains(&at), "byte {at} by {flip:#x}");
                let key = CheckedCsr::parse(&REQUEST).unwrap().subject_public_key_info_der();
                prop_assert_eq!(read.subject_public_key_info_der(), key);
            }
        }
    }
}

//! Algorithms of keys and signatures: AWS's names, their encodings, and who verifies them.

use aws_lc_rs::digest;
use bowline_aws::acmpca::{KeyAlgorithm as AwsKeyAlgorithm, SigningAlgorithm};
use rustls_pki_types::SignatureVerificationAlgorithm;
use serde::{Deserialize, Serialize};
use x509_parser::x509::AlgorithmIdentifier;

use super::der::{self, tag};

/// A key that can be made and signed with here. AWS Private CA's names, of those that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum KeyType {
    /// `EC_prime256v1`
    P256,
    /// `EC_secp384r1`
    P384,
    /// `RSA_2048`
    Rsa2048,
    /// `RSA_3072`
    Rsa3072,
    /// `RSA_4096`
    Rsa4096,
}

impl KeyType {
    /// AWS's name, of those that are made here.
    pub(crate) fn of_aws(name: AwsKeyAlgorithm) -> Option<Self> {
        Some(match name {
            AwsKeyAlgorithm::EcPrime256v1 => Self::P256,
            AwsKeyAlgorithm::EcSecp384r1 => Self::P384,
            AwsKeyAlgorithm::Rsa2048 => Self::Rsa2048,
            AwsKeyAlgorithm::Rsa3072 => Self::Rsa3072,
            AwsKeyAlgorithm::Rsa4096 => Self::Rsa4096,
            _ => return None,
        })
    }

    pub(crate) fn is_rsa(self) -> bool {
        !matches!(self, Self::P256 | Self::P384)
    }

    /// Whether its keys can sign so.
    pub(crate) fn signs(self, algorithm: SignatureAlgorithm) -> bool {
        self.is_rsa() == algorithm.is_rsa()
    }
}

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SignatureAlgorithm {
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    RsaSha256,
    RsaSha384,
    RsaSha512,
}

impl SignatureAlgorithm {
    /// AWS's name, of those that are signed with here.
    pub(crate) fn of_aws(name: SigningAlgorithm) -> Option<Self> {
        Some(match name {
            SigningAlgorithm::Sha256withecdsa => Self::EcdsaSha256,
            SigningAlgorithm::Sha384withecdsa => Self::EcdsaSha384,
            SigningAlgorithm::Sha512withecdsa => Self::EcdsaSha512,
            SigningAlgorithm::Sha256withrsa => Self::RsaSha256,
            SigningAlgorithm::Sha384withrsa => Self::RsaSha384,
            SigningAlgorithm::Sha512withrsa => Self::RsaSha512,
            _ => return None,
        })
    }

    /// The usual one of a key.
    pub(crate) fn usual(key: KeyType) -> Self {
        match key {
            KeyType::P256 => Self::EcdsaSha256,
            KeyType::P384 => Self::EcdsaSha384,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => Self::RsaSha256,
        }
    }

    pub(crate) fn is_rsa(self) -> bool {
        matches!(self, Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512)
    }

    pub(crate) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::EcdsaSha256 | Self::RsaSha256 => &digest::SHA256,
            Self::EcdsaSha384 | Self::RsaSha384 => &digest::SHA384,
            Self::EcdsaSha512 | Self::RsaSha512 => &digest::SHA512,
        }
    }

    /// Its `AlgorithmIdentifier` (RFC 5758 §3.2, RFC 4055 §5).
    pub(crate) fn identifier(self) -> Vec<u8> {
        let dotted = match self {
            Self::EcdsaSha256 => "1.2.840.10045.4.3.2",
            Self::EcdsaSha384 => "1.2.840.10045.4.3.3",
            Self::EcdsaSha512 => "1.2.840.10045.4.3.4",
            Self::RsaSha256 => "1.2.840.113549.1.1.11",
            Self::RsaSha384 => "1.2.840.113549.1.1.12",
            Self::RsaSha512 => "1.2.840.113549.1.1.13",
        };
        let oid = der::known_oid(dotted);
        match self.is_rsa() {
            true => der::sequence([oid, der::null()]),
            false => der::sequence([oid]),
        }
    }
}

/// A name for a signature's algorithm, as ACM tells it: `SHA256WITHRSA`.
pub(crate) fn signature_name(identifier: &AlgorithmIdentifier<'_>) -> &'static str {
    match identifier.algorithm.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => "SHA256WITHECDSA",
        "1.2.840.10045.4.3.3" => "SHA384WITHECDSA",
        "1.2.840.10045.4.3.4" => "SHA512WITHECDSA",
        "1.2.840.113549.1.1.5" => "SHA1WITHRSA",
        "1.2.840.113549.1.1.11" => "SHA256WITHRSA",
        "1.2.840.113549.1.1.12" => "SHA384WITHRSA",
        "1.2.840.113549.1.1.13" => "SHA512WITHRSA",
        "1.3.101.112" => "ED25519",
        _ => "OTHER",
    }
}

/// A signature was not made by that key, or by an algorithm that is not trusted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSignature;

/// Verifies a signature as webpki does: no SHA-1, no RSA key of fewer than 2,048 bits.
///
/// `key_algorithm` and `algorithm` are the contents of the two `AlgorithmIdentifier`s.
pub(crate) fn verify(
    key_algorithm: &[u8],
    key: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let fits = |candidate: &&&dyn SignatureVerificationAlgorithm| {
        candidate.public_key_alg_id().as_ref() == key_algorithm
            && candidate.signature_alg_id().as_ref() == algorithm
    };
    let found = webpki::ALL_VERIFICATION_ALGS.iter().find(fits).ok_or(BadSignature)?;
    found.verify_signature(key, message, signature).map_err(|_| BadSignature)
}

/// Verifies what X.509 signs, `SEQUENCE { what, algorithm, signature }`, under a
/// `SubjectPublicKeyInfo`.
pub(crate) fn verify_signed(signed: &[u8], public_key_info: &[u8]) -> Result<(), BadSignature> {
    let outer = der::only(signed, tag::SEQUENCE).ok_or(BadSignature)?;
    let parts = der::elements(outer.content, 3).ok_or(BadSignature)?;
    let [what, algorithm, signature] = parts.as_slice() else { return Err(BadSignature) };
    let info = der::only(public_key_info, tag::SEQUENCE).ok_or(BadSignature)?;
    let info = der::elements(info.content, 2).ok_or(BadSignature)?;
    let [key_algorithm, key] = info.as_slice() else { return Err(BadSignature) };
    // The first octet of a bit string counts its unused bits.
    let ([0, key @ ..], [0, signature @ ..]) = (key.content, signature.content) else {
        return Err(BadSignature);
    };
    verify(key_algorithm.content, key, algorithm.content, what.whole, signature)
}

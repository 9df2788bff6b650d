//! The authority's key, and the algorithms of all keys.

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
    SigningKey,
};
use zeroize::Zeroizing;

use super::CaError;
use crate::x509::{
    algorithm::{KeyType, SignatureAlgorithm as Signature},
    key::PrivateKey,
};

/// The kinds of key that Bowline signs with and signs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on NIST P-256; signs with SHA-256. AWS Private CA's `EC_prime256v1`.
    EcP256,
    /// ECDSA on NIST P-384; signs with SHA-384. AWS Private CA's `EC_secp384r1`.
    EcP384,
    /// RSA of 2,048 to 4,096 bits; signs with SHA-256. An authority's only: tasks' keys are made at
    /// every start.
    Rsa,
}

impl KeyAlgorithm {
    pub(super) fn of(algorithm: &SignatureAlgorithm) -> Option<Self> {
        [Self::EcP256, Self::EcP384, Self::Rsa]
            .into_iter()
            .find(|candidate| candidate.signature() == algorithm)
    }

    pub(super) fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcP256 => &PKCS_ECDSA_P256_SHA256,
            Self::EcP384 => &PKCS_ECDSA_P384_SHA384,
            Self::Rsa => &PKCS_RSA_SHA256,
        }
    }

    /// Length of a public key as an uncompressed point (SEC 1 §2.3.3); RSA has none.
    pub(super) fn point_bytes(self) -> Option<usize> {
        match self {
            Self::EcP256 => Some(1 + 2 * 32),
            Self::EcP384 => Some(1 + 2 * 48),
            Self::Rsa => None,
        }
    }
}

/// An authority's private key.
///
/// Not rcgen's `KeyPair`: that keeps its encoding of the private key in a plain
/// vector which nothing clears when it is dropped.
pub(super) struct CaKey {
    algorithm: KeyAlgorithm,
    key: PrivateKey,
}

impl CaKey {
    pub(super) fn generate(algorithm: KeyAlgorithm) -> Result<Self, CaError> {
        let kind = match algorithm {
            KeyAlgorithm::EcP256 => KeyType::P256,
            KeyAlgorithm::EcP384 => KeyType::P384,
            KeyAlgorithm::Rsa => KeyType::Rsa2048,
        };
        let key = PrivateKey::generate(kind).map_err(|_| CaError::Crypto { what: "a key" })?;
        Ok(Self { algorithm, key })
    }

    pub(super) fn from_pkcs8(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Self, CaError> {
        let key = PrivateKey::from_pkcs8(der).ok_or(CaError::AuthorityKey)?;
        let kind = match key.kind() {
            KeyType::P256 => KeyAlgorithm::EcP256,
            KeyType::P384 => KeyAlgorithm::EcP384,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => KeyAlgorithm::Rsa,
        };
        if kind == algorithm { Ok(Self { algorithm, key }) } else { Err(CaError::AuthorityKey) }
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.key
    }

    pub(super) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        self.key.pkcs8()
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm.signature()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = Signature::usual(self.key.kind());
        self.key.sign(signature, message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

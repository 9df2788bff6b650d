//! The authority's key, and the algorithms of all keys.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        KeyPair as _,
    },
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::CaError;

/// The kinds of key that Bowline signs with and signs for.
///
/// RSA is left out on purpose: keys are made per task, at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on NIST P-256; signs with SHA-256. AWS Private CA's `EC_prime256v1`.
    EcP256,
    /// ECDSA on NIST P-384; signs with SHA-384. AWS Private CA's `EC_secp384r1`.
    EcP384,
}

impl KeyAlgorithm {
    pub(super) fn of(algorithm: &SignatureAlgorithm) -> Option<Self> {
        [Self::EcP256, Self::EcP384].into_iter().find(|candidate| candidate.signature() == algorithm)
    }

    pub(super) fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcP256 => &PKCS_ECDSA_P256_SHA256,
            Self::EcP384 => &PKCS_ECDSA_P384_SHA384,
        }
    }

    /// Length of a public key as an uncompressed point (SEC 1 §2.3.3).
    pub(super) fn point_bytes(self) -> usize {
        match self {
            Self::EcP256 => 1 + 2 * 32,
            Self::EcP384 => 1 + 2 * 48,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::EcP256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::EcP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }
}

/// An authority's private key.
///
/// Not rcgen's `KeyPair`: that keeps its encoding of the private key in a plain
/// vector which nothing clears when it is dropped.
pub(super) struct CaKey {
    algorithm: KeyAlgorithm,
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl CaKey {
    pub(super) fn generate(algorithm: KeyAlgorithm) -> Result<Self, CaError> {
        let failed = |_| CaError::Crypto { what: "a key" };
        let pair = EcdsaKeyPair::generate(algorithm.signing()).map_err(failed)?;
        let document = pair.to_pkcs8v1().map_err(failed)?;
        Ok(Self { algorithm, pair, pkcs8: Zeroizing::new(document.as_ref().to_vec()) })
    }

    pub(super) fn from_pkcs8(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Self, CaError> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm.signing(), der).map_err(CaError::AuthorityKey)?;
        Ok(Self { algorithm, pair, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    pub(super) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm.signature()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

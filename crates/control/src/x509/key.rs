//! Private keys: made, sealed by others, and signed with.

use aws_lc_rs::{
    digest::{self, Digest},
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
    },
};
use zeroize::Zeroizing;

use super::{
    algorithm::{KeyType, SignatureAlgorithm},
    der,
};

/// A key could not be made, or signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub(crate) struct KeyError;

/// A private key.
pub(crate) struct PrivateKey {
    kind: KeyType,
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Makes one. RSA takes its time: up to seconds for 4,096 bits.
    pub(crate) fn generate(kind: KeyType) -> Result<Self, KeyError> {
        let size = match kind {
            KeyType::P256 | KeyType::P384 => {
                let signing = match kind {
                    KeyType::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                    _ => &ECDSA_P384_SHA384_ASN1_SIGNING,
                };
                let pair = EcdsaKeyPair::generate(signing).map_err(|_| KeyError)?;
                let document = pair.to_pkcs8v1().map_err(|_| KeyError)?;
                let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
                return Ok(Self { kind, pair: Pair::Ec(pair), pkcs8 });
            }
            KeyType::Rsa2048 => KeySize::Rsa2048,
            KeyType::Rsa3072 => KeySize::Rsa3072,
            KeyType::Rsa4096 => KeySize::Rsa4096,
        };
        let pair = RsaKeyPair::generate(size).map_err(|_| KeyError)?;
        let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        Ok(Self { kind, pair: Pair::Rsa(pair), pkcs8 })
    }

    /// One that was unsealed, or comes from outside; `None` where it is of no kind that is known.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pkcs8 = || Zeroizing::new(der.to_vec());
        let curves = [
            (KeyType::P256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            (KeyType::P384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        ];
        for (kind, signing) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, der) {
                return Some(Self { kind, pair: Pair::Ec(pair), pkcs8: pkcs8() });
            }
        }
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        let kind = match pair.public_modulus_len() {
            256 => KeyType::Rsa2048,
            384 => KeyType::Rsa3072,
            512 => KeyType::Rsa4096,
            _ => return None,
        };
        Some(Self { kind, pair: Pair::Rsa(pair), pkcs8: pkcs8() })
    }

    pub(crate) fn kind(&self) -> KeyType {
        self.kind
    }

    /// The key in PKCS#8, to be sealed. Cleared when dropped.
    pub(crate) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }

    /// Its public half: what stands in the bit string of a `SubjectPublicKeyInfo`.
    pub(crate) fn public_key(&self) -> &[u8] {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Its `SubjectPublicKeyInfo` (RFC 5480 §2, RFC 3279 §2.3.1).
    pub(crate) fn public_key_info(&self) -> Vec<u8> {
        let algorithm = match self.kind {
            KeyType::P256 | KeyType::P384 => {
                let curve = if self.kind == KeyType::P256 { "1.2.840.10045.3.1.7" } else { "1.3.132.0.34" };
                der::sequence([der::known_oid("1.2.840.10045.2.1"), der::known_oid(curve)])
            }
            _ => der::sequence([der::known_oid("1.2.840.113549.1.1.1"), der::null()]),
        };
        der::sequence([algorithm, der::bits(self.public_key())])
    }

    /// Signs; the algorithm must be one of its kind.
    pub(crate) fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match (&self.pair, algorithm) {
            (Pair::Ec(pair), _) if !algorithm.is_rsa() => {
                let (own, width) = match self.kind {
                    KeyType::P256 => (&digest::SHA256, 32),
                    _ => (&digest::SHA384, 48),
                };
                // ECDSA signs a number of the curve's width: the leftmost bits of a longer digest
                // (SEC 1 §4.1.3), all of a shorter one. The library ties a curve to one digest, so
                // the number is given as that.
                let hashed = digest::digest(algorithm.digest(), message);
                let mut number = vec![0_u8; width];
                let taken = hashed.as_ref().len().min(width);
                number[width - taken..].copy_from_slice(&hashed.as_ref()[..taken]);
                let number = Digest::import_less_safe(&number, own).map_err(|_| KeyError)?;
                Ok(pair.sign_digest(&number).map_err(|_| KeyError)?.as_ref().to_vec())
            }
            (Pair::Rsa(pair), _) if algorithm.is_rsa() => {
                let padding = match algorithm {
                    SignatureAlgorithm::RsaSha384 => &RSA_PKCS1_SHA384,
                    SignatureAlgorithm::RsaSha512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature).map_err(|_| KeyError)?;
                Ok(signature)
            }
            _ => Err(KeyError),
        }
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};

    use super::*;
    use crate::x509::algorithm::verify;

    /// The contents of a sequence.
    fn contents(sequence: &[u8]) -> &[u8] {
        &sequence[2..]
    }

    #[test]
    fn every_algorithm_signs_what_webpki_verifies() {
        use SignatureAlgorithm::{EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaSha256, RsaSha384, RsaSha512};
        for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            let key = PrivateKey::generate(kind).unwrap();
            let info = key.public_key_info();
            let (rest, read) = SubjectPublicKeyInfo::from_der(&info).unwrap();
            assert!(rest.is_empty() && read.subject_public_key.as_ref() == key.public_key());
            let again = PrivateKey::from_pkcs8(key.pkcs8()).unwrap();
            assert_eq!((again.kind(), again.public_key()), (kind, key.public_key()));
            // `SEQUENCE { algorithm, key }`: the algorithm is what follows the header.
            let header = if kind.is_rsa() { 4 } else { 2 };
            let length = usize::from(info[header + 1]);
            let algorithm_id = &info[header + 2..header + 2 + length];
            for algorithm in [EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaSha256, RsaSha384, RsaSha512] {
                let signed = again.sign(algorithm, b"message");
                assert_eq!(signed.is_ok(), kind.signs(algorithm), "{kind:?} {algorithm:?}");
                let Ok(signature) = signed else { continue };
                let identifier = algorithm.identifier();
                let verified = |message: &[u8]| {
                    verify(algorithm_id, key.public_key(), contents(&identifier), message, &signature)
                };
                assert!(verified(b"message").is_ok(), "{kind:?} {algorithm:?}");
                assert!(verified(b"massage").is_err(), "{kind:?} {algorithm:?}");
            }
        }
        assert!(PrivateKey::from_pkcs8(b"no key").is_none());
    }
}

//! Encryption of what is kept on disk: AES-256-GCM, bound to a context.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf,
};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// First byte of every sealed text, so that the format can change.
const VERSION: u8 = 1;

/// A 256-bit key. Its bytes are wiped when it goes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// Not of this format, or cut short.
    #[error("the sealed data is damaged or of another format")]
    Format,
    /// The key is another one, the context is another one, or bytes changed.
    #[error("the sealed data does not open with this key: wrong key, or the data was changed")]
    Authentication,
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

impl SealKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SealError::Randomness)?;
        Ok(Self(bytes))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to hand to another process of the same trust.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key of its own for a salt and a purpose (HKDF-SHA-256, RFC 5869).
    pub fn derive(&self, salt: &[u8], purpose: &[u8]) -> Self {
        let mut key = Self([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(&self.0)
            .expand(&[purpose], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key.0))
            .expect("one block of HKDF is never too long");
        key
    }

    /// Encrypts `plain`. It opens only with the same `context` (what the data
    /// is and whose), so that one sealed text cannot stand in for another.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| SealError::Randomness)?;
        let mut cipher = plain.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(context), &mut cipher)
            .map_err(|_| SealError::Randomness)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + cipher.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut cipher);
        Ok(sealed)
    }

    /// Decrypts what [`SealKey::seal`] made.
    ///
    /// # Errors
    /// Not our format, another key, another context, or changed bytes.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError::Format)?;
        if version != VERSION || rest.len() < NONCE_LEN {
            return Err(SealError::Format);
        }
        let (nonce, cipher) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Format)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| SealError::Authentication)?;
        let mut buffer = cipher.to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(context), &mut buffer)
            .map_err(|_| SealError::Authentication)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_its_context_and_unchanged() {
        let key = SealKey::generate().expect("randomness");
        let sealed = key.seal(b"ca", b"private").expect("seals");
        assert_eq!(key.open(b"ca", &sealed).expect("opens"), b"private");
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        assert_eq!(key.open(b"other", &sealed), Err(SealError::Authentication));
        let other = SealKey::generate().expect("randomness");
        assert_eq!(other.open(b"ca", &sealed), Err(SealError::Authentication));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.open(b"ca", &changed).is_err(), "a change of byte {index} went unnoticed");
        }
        assert_eq!(key.open(b"ca", &sealed[..5]), Err(SealError::Format));
        assert_eq!(key.open(b"ca", &[]), Err(SealError::Format));
    }
}

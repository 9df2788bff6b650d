//! Something secret for one reader: HPKE (RFC 9180) in its base mode, with DHKEM(P-256,
//! HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.

use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of an uncompressed point of P-256, which public keys and encapsulated secrets are. Bytes.
pub const POINT_BYTES: usize = 65;

/// The suite as this module uses it.
static SUITE: &dyn Hpke = DH_KEM_P256_HKDF_SHA256_AES_256;

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HpkeError {
    /// The system gave no randomness.
    #[error("no key could be made")]
    Key,
    /// The public key is no point of the curve.
    #[error("the recipient's key cannot be used")]
    Recipient,
    /// It is for another recipient or another purpose, or bytes changed.
    #[error("what was sealed does not open with this key")]
    Open,
}

/// Something sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What the recipient makes the key from.
    pub encapsulated: Vec<u8>,
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

/// Seals `plain` for who has the private key of `recipient`. `purpose` and `context` have to be
/// the same for opening.
///
/// # Errors
/// The recipient's key is none.
pub fn seal(recipient: &[u8], purpose: &[u8], context: &[u8], plain: &[u8]) -> Result<Sealed, HpkeError> {
    if recipient.len() != POINT_BYTES {
        return Err(HpkeError::Recipient);
    }
    let recipient = HpkePublicKey(recipient.to_vec());
    let (encapsulated, ciphertext) =
        SUITE.seal(purpose, context, plain, &recipient).map_err(|_| HpkeError::Recipient)?;
    Ok(Sealed { encapsulated: encapsulated.0, ciphertext })
}

/// Who something is sealed for. The private key is wiped when it goes.
pub struct Recipient {
    public: Vec<u8>,
    private: HpkePrivateKey,
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipient").finish_non_exhaustive()
    }
}

impl Recipient {
    /// With a fresh key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, HpkeError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| HpkeError::Key)?;
        Ok(Self { public: public.0, private })
    }

    /// The public key: an uncompressed point.
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Opens what [`seal`] made.
    ///
    /// # Errors
    /// [`HpkeError::Open`].
    pub fn open(
        &self,
        sealed: &Sealed,
        purpose: &[u8],
        context: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        if sealed.encapsulated.len() != POINT_BYTES {
            return Err(HpkeError::Open);
        }
        let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
        SUITE
            .open(&encapsulated, purpose, context, &sealed.ciphertext, &self.private)
            .map(Zeroizing::new)
            .map_err(|_| HpkeError::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_and_only_for_the_same_purpose() {
        let (recipient, other) = (Recipient::generate().unwrap(), Recipient::generate().unwrap());
        let sealed = seal(recipient.public_key(), b"p", b"c", b"secret").unwrap();
        assert!(!sealed.ciphertext.windows(6).any(|window| window == b"secret"));
        assert_eq!(**recipient.open(&sealed, b"p", b"c").unwrap(), b"secret"[..]);
        assert_eq!(other.open(&sealed, b"p", b"c"), Err(HpkeError::Open));
        assert_eq!(recipient.open(&sealed, b"q", b"c"), Err(HpkeError::Open));
        assert_eq!(recipient.open(&sealed, b"p", b"d"), Err(HpkeError::Open));
        for at in [0, sealed.ciphertext.len() - 1] {
            let mut changed = sealed.clone();
            changed.ciphertext[at] ^= 1;
            assert_eq!(recipient.open(&changed, b"p", b"c"), Err(HpkeError::Open));
        }
        let cut = Sealed { encapsulated: sealed.encapsulated[..64].to_vec(), ..sealed };
        assert_eq!(recipient.open(&cut, b"p", b"c"), Err(HpkeError::Open));
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for key in [&[][..], &[4; POINT_BYTES], &[0; POINT_BYTES + 1]] {
            assert_eq!(seal(key, b"p", b"c", b"x"), Err(HpkeError::Recipient));
        }
    }
}

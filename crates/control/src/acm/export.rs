//! A private key under a passphrase: PKCS#8's `EncryptedPrivateKeyInfo` by PBES2 (RFC 8018), with
//! PBKDF2 of HMAC-SHA-256 and AES-256-CBC, which openssl opens.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    pbkdf2,
};
use zeroize::Zeroizing;

use super::AcmError;
use crate::{
    random,
    x509::{
        der::{self, tag},
        pem,
    },
};

/// OWASP's password storage cheat sheet, PBKDF2-HMAC-SHA256.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// The key, encrypted, in PEM.
pub(crate) fn encrypt(pkcs8: &[u8], passphrase: &[u8]) -> Result<String, AcmError> {
    let failed = |_| AcmError::Internal("its key could not be encrypted".into());
    let salt: [u8; 16] = random::bytes();
    let mut key = Zeroizing::new([0_u8; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, passphrase, key.as_mut());
    let cipher = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(failed)?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).map_err(failed)?;
    // Room for the padding from the start: growing would leave a copy of the key behind.
    let mut text = Vec::with_capacity(pkcs8.len() + 16);
    text.extend_from_slice(pkcs8);
    let DecryptionContext::Iv128(iv) = cipher.encrypt(&mut text).map_err(failed)? else {
        return Err(AcmError::Internal("the cipher has another initialization vector".into()));
    };
    let hash = der::sequence([der::known_oid("1.2.840.113549.2.9"), der::null()]);
    let derivation =
        der::sequence([der::octets(&salt), der::small(u64::from(ITERATIONS.get())), der::small(32), hash]);
    let parameters = der::sequence([
        der::sequence([der::known_oid("1.2.840.113549.1.5.12"), derivation]),
        der::sequence([
            der::known_oid("2.16.840.1.101.3.4.1.42"),
            der::value(tag::OCTET_STRING, iv.as_ref()),
        ]),
    ]);
    let algorithm = der::sequence([der::known_oid("1.2.840.113549.1.5.13"), parameters]);
    let whole = der::sequence([algorithm, der::octets(&text)]);
    Ok(pem::write("ENCRYPTED PRIVATE KEY", &whole))
}

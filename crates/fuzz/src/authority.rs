//! What a proxy sends to become somebody.

use bowline_control::ca::{CSR_BYTES_MAX, CheckedCsr, KeyAlgorithm};

/// A certificate signing request in DER.
///
/// Whose possession was proved is a key on P-256 or P-384, in its one encoding.
pub fn csr(input: &[u8]) {
    let Ok(checked) = CheckedCsr::parse(input) else { return };
    assert!(input.len() <= CSR_BYTES_MAX);
    let key = checked.subject_public_key_info_der();
    let bytes = match checked.key_algorithm() {
        KeyAlgorithm::EcP256 => 91,
        KeyAlgorithm::EcP384 => 120,
        KeyAlgorithm::Rsa => unreachable!("tasks have no RSA keys"),
    };
    assert_eq!(key.len(), bytes, "a key has one encoding");
    assert!(input.windows(key.len()).any(|window| window == key), "the key is the request's own");
}

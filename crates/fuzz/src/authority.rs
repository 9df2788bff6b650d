//! What is sent to become somebody, or to bring certificates and keys of elsewhere.

use bowline_control::{
    ca::{CSR_BYTES_MAX, CheckedCsr, KeyAlgorithm},
    fuzzing,
};

/// A day in January 2027, on which the corpus's certificates are valid.
const NOW: u64 = 1_800_000_000;

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

/// The text of `ImportCertificate`: the first certificate, then those above it; blocks of other
/// labels are the key.
pub fn imported_certificate(input: &[u8]) {
    fuzzing::chain(input, NOW);
    let text = String::from_utf8_lossy(input);
    let (mut certificates, mut key) = (Vec::new(), String::new());
    for block in text.split_inclusive("-----\n").collect::<Vec<_>>().chunks(2).map(<[&str]>::concat) {
        match block.contains("CERTIFICATE") {
            true => certificates.push(block),
            false => key.push_str(&block),
        }
    }
    let Some((first, above)) = certificates.split_first() else { return };
    let above = above.concat();
    fuzzing::import(first.as_bytes(), key.as_bytes(), Some(above.as_bytes()), NOW);
}

/// A certificate signing request in PEM, as AWS Private CA's `IssueCertificate` takes it.
pub fn signing_request(input: &[u8]) {
    fuzzing::signing_request(input);
}

/// A `CiphertextBlob` of KMS.
pub fn ciphertext(input: &[u8]) {
    fuzzing::ciphertext(input);
}

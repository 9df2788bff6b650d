//! Certificates that come from outside, with their keys.

use bowline_aws::acm::CertificateKeyAlgorithm;
use bowline_model::clock::Timestamp;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, public_key::PublicKey, x509::X509Version,
};
use zeroize::Zeroizing;

use super::AcmError;
use crate::x509::{
    chain::{self, ChainError},
    der::{self, tag},
    key::PrivateKey,
    pem,
};

/// Longest certificate that is read. Source: `CertificateBodyBlob`.
const CERTIFICATE_BYTES_MAX: usize = 32_768;
/// Longest key. Source: `PrivateKeyBlob`.
const KEY_BYTES_MAX: usize = 8_192;

/// A certificate from outside that may be used.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) certificate_der: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: PrivateKey,
    pub(crate) key_algorithm: CertificateKeyAlgorithm,
    pub(crate) names: Vec<String>,
    pub(crate) validity: (Timestamp, Timestamp),
    pub(crate) pinned: bool,
}

fn refuse(message: impl Into<String>) -> AcmError {
    AcmError::Validation(message.into())
}

/// Reads and checks; every refusal says its reason.
pub(crate) fn check(
    certificate: &[u8],
    key: &[u8],
    above: Option<&[u8]>,
    now: Timestamp,
) -> Result<Imported, AcmError> {
    let above = above.filter(|above| !above.is_empty());
    let chain_max = CERTIFICATE_BYTES_MAX * chain::CHAIN_MAX;
    if certificate.len() > CERTIFICATE_BYTES_MAX
        || key.len() > KEY_BYTES_MAX
        || above.is_some_and(|above| above.len() > chain_max)
    {
        return Err(refuse("The certificate, its key or its chain is too long."));
    }
    let mut certificates =
        pem::certificates(certificate).map_err(|_| refuse("The certificate field is not in PEM."))?;
    let (Some(der), true) = (certificates.pop(), certificates.is_empty()) else {
        return Err(refuse(
            "The certificate field contains more than one certificate. You can specify only one certificate in this \
             field.",
        ));
    };
    let read =
        chain::parse(&der).ok_or_else(|| refuse("The certificate is not a valid X.509 certificate."))?;
    let key_algorithm = strong(&read)?;
    let key = private_key(key)?;
    if key.public_key() != &*read.public_key().subject_public_key.data {
        return Err(refuse("The certificate and the private key do not match."));
    }
    let mut chain = match above {
        None => Vec::new(),
        Some(above) => {
            pem::certificates(above).map_err(|_| refuse("The certificate chain is not in PEM."))?
        }
    };
    // A root that is given as its own chain adds nothing.
    if chain.first() == Some(&der) {
        chain.remove(0);
    }
    chain::check(&der, &chain, now).map_err(|error| match (&error, chain.is_empty()) {
        (ChainError::Incomplete, true) => refuse(
            "The certificate is not self-signed: give the certificates above it, up to the root, as CertificateChain.",
        ),
        _ => refuse(error.to_string()),
    })?;
    for above in &chain {
        strong(&chain::parse(above).ok_or_else(|| refuse("The certificate chain is malformed."))?)?;
    }
    let names = dns_names(&read);
    let pinned = read.version() == X509Version::V1 || names.is_empty();
    let names = match names.is_empty() {
        true => common_name(&read).into_iter().collect(),
        false => names,
    };
    let validity = chain::validity(&read);
    Ok(Imported { certificate_der: der, chain, key, key_algorithm, names, validity, pinned })
}

/// The DNS names of a certificate.
pub(crate) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|found| found.value.general_names.as_slice()).unwrap_or_default();
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

/// ACM's name of a key that is strong enough.
fn strong(certificate: &X509Certificate<'_>) -> Result<CertificateKeyAlgorithm, AcmError> {
    let parsed = certificate
        .public_key()
        .parsed()
        .map_err(|_| refuse("The public key of a certificate cannot be read."))?;
    match parsed {
        PublicKey::RSA(key) => match key.key_size() {
            2_048 => Ok(CertificateKeyAlgorithm::Rsa2048),
            3_072 => Ok(CertificateKeyAlgorithm::Rsa3072),
            4_096 => Ok(CertificateKeyAlgorithm::Rsa4096),
            bits if bits < 2_048 => {
                Err(refuse(format!("An RSA key of {bits} bits is too weak: at least 2048 are needed.")))
            }
            bits => Err(refuse(format!("An RSA key of {bits} bits is not supported: 2048, 3072 or 4096."))),
        },
        PublicKey::EC(key) => match key.key_size() {
            256 => Ok(CertificateKeyAlgorithm::EcPrime256v1),
            384 => Ok(CertificateKeyAlgorithm::EcSecp384r1),
            _ => Err(refuse("A key on this curve is not supported: P-256 or P-384.")),
        },
        _ => Err(refuse("A key of this algorithm is not supported: RSA, P-256 or P-384.")),
    }
}

/// A key in PEM: PKCS#8, or what openssl's older commands write.
fn private_key(text: &[u8]) -> Result<PrivateKey, AcmError> {
    let unreadable = || refuse("The private key is not supported, or not in PEM: give it unencrypted.");
    // `openssl ecparam -genkey` writes the curve first, as a block of its own.
    let mut blocks = pem::read(text).map_err(|_| unreadable())?;
    blocks.retain(|(label, _)| label != "EC PARAMETERS");
    let (Some((label, der)), true) = (blocks.pop(), blocks.is_empty()) else { return Err(unreadable()) };
    let pkcs8 = match label.as_str() {
        "PRIVATE KEY" => der,
        "RSA PRIVATE KEY" => {
            wrapped(der::sequence([der::known_oid("1.2.840.113549.1.1.1"), der::null()]), &der)
        }
        "EC PRIVATE KEY" => {
            let curve = curve_of(&der).ok_or_else(unreadable)?;
            wrapped(der::sequence([der::known_oid("1.2.840.10045.2.1"), curve]), &der)
        }
        "ENCRYPTED PRIVATE KEY" => return Err(refuse("The private key is encrypted: decrypt it first.")),
        _ => return Err(unreadable()),
    };
    PrivateKey::from_pkcs8(&pkcs8).ok_or_else(unreadable)
}

/// PKCS#8 around a key of an older form (RFC 5208 §5).
fn wrapped(algorithm: Vec<u8>, key: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new(der::octets(key));
    let content = Zeroizing::new(der::joined([&der::small(0), &algorithm, &*key]));
    Zeroizing::new(der::value(tag::SEQUENCE, &content))
}

/// `parameters` of an `ECPrivateKey` (RFC 5915 §3).
fn curve_of(der: &[u8]) -> Option<Vec<u8>> {
    let parts = der::elements(der::only(der, tag::SEQUENCE)?.content, 4)?;
    let parameters = parts.into_iter().find(|part| part.tag == tag::constructed(0))?;
    Some(parameters.content.to_vec())
}

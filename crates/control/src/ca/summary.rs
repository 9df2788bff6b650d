//! What a certificate says, in words for people.

use bowline_model::clock::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::OidRegistry, prelude::FromDer as _,
    public_key::PublicKey,
};

use super::{authority::certificate_pem, validity::Validity};

/// A certificate, as `bowline identity` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Its subject, as RFC 4514 nearly writes it.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Its names: `URI:…`, `DNS:…`, `IP:…`.
    pub names: Vec<String>,
    /// Its key: `EC 256 bit`.
    pub key: String,
    /// How it was signed: `ecdsa-with-SHA256`.
    pub signature: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// SHA-256 of its DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// The certificate.
    pub pem: String,
}

/// Reads every certificate in a text; what cannot be read is left out.
pub fn summaries(pem: &str) -> Vec<CertificateSummary> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .filter_map(|certificate| summary(&certificate.ok()?))
        .collect()
}

fn summary(der: &[u8]) -> Option<CertificateSummary> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let validity = Validity::of(parsed.validity());
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names).map(name_text).collect();
    let key = match parsed.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("EC {} bit", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA {} bit", key.key_size()),
        _ => parsed.public_key().algorithm.algorithm.to_string(),
    };
    let registry = OidRegistry::default().with_all_crypto();
    let algorithm = &parsed.signature_algorithm.algorithm;
    let signature =
        registry.get(algorithm).map_or_else(|| algorithm.to_string(), |entry| entry.sn().to_owned());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    Some(CertificateSummary {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: validity.not_before,
        not_after: validity.not_after,
        names,
        key,
        signature,
        is_authority: parsed.is_ca(),
        fingerprint: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        pem: certificate_pem(der),
    })
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
            Ok(v4) => format!("IP:{}", std::net::Ipv4Addr::from(v4)),
            Err(_) => <[u8; 16]>::try_from(*octets)
                .map_or_else(|_| "IP:?".to_owned(), |v6| format!("IP:{}", std::net::Ipv6Addr::from(v6))),
        },
        other => other.to_string(),
    }
}

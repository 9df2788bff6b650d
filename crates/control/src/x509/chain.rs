//! Certificates that come from outside, with the chain that they stand under.

use std::time::Duration;

use bowline_model::clock::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::algorithm::verify_signed;

/// Most certificates of a chain.
pub(crate) const CHAIN_MAX: usize = 10;

/// What is wrong with a certificate or its chain. For people; blames whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("{which} is not an X.509 certificate.")]
    Malformed { which: String },
    #[error("{which} is not valid before {not_before}.")]
    NotYetValid { which: String, not_before: Timestamp },
    #[error("{which} expired at {not_after}.")]
    Expired { which: String, not_after: Timestamp },
    #[error("{which} is not signed by the one that follows it in the chain.")]
    Broken { which: String },
    #[error("{which} is not a certificate authority's, or may not sign certificates.")]
    NoAuthority { which: String },
    #[error("{which} allows fewer certificate authorities below it than there are.")]
    PathLength { which: String },
    #[error(
        "The chain is incomplete: it does not end in a self-signed certificate, and the issuer of its last is missing."
    )]
    Incomplete,
    #[error("The chain has more than {CHAIN_MAX} certificates.")]
    TooLong,
}

/// Reads one certificate, and nothing after it.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, read)| read)
}

/// The first and last second at which a certificate is valid.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    // A time before 1970 reads as 1970: Bowline's clock knows none earlier.
    let read = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    (read(certificate.validity().not_before), read(certificate.validity().not_after))
}

/// Whether a certificate names itself as its issuer, and is signed by its own key.
pub(crate) fn is_self_signed(der: &[u8], certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
        && verify_signed(der, certificate.public_key().raw).is_ok()
}

/// Whether the holder may sign certificates. One of version 1 says nothing of it, and may.
pub(crate) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    if certificate.version() == x509_parser::x509::X509Version::V1 {
        return true;
    }
    let constraints = certificate.basic_constraints().ok().flatten();
    let usage = certificate.key_usage();
    constraints.is_some_and(|found| found.value.ca)
        && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// Checks a certificate and the chain above it, which ends in a root: each signed by the next, each
/// above the first an authority, all valid at `now`.
pub(crate) fn check(certificate: &[u8], chain: &[Vec<u8>], now: Timestamp) -> Result<(), ChainError> {
    if chain.len() > CHAIN_MAX {
        return Err(ChainError::TooLong);
    }
    let all: Vec<&[u8]> = std::iter::once(certificate).chain(chain.iter().map(Vec::as_slice)).collect();
    let which = |at: usize| match at {
        0 => "The certificate".to_owned(),
        at => format!("Certificate {at} of the chain"),
    };
    let mut read = Vec::new();
    for (at, der) in all.iter().enumerate() {
        let parsed = parse(der).ok_or_else(|| ChainError::Malformed { which: which(at) })?;
        valid_at(&parsed, &which(at), now)?;
        read.push(parsed);
    }
    for at in 0..read.len() {
        // Authorities between this one and the first.
        let below = at.saturating_sub(1);
        if at > 0 {
            if !may_sign(&read[at]) {
                return Err(ChainError::NoAuthority { which: which(at) });
            }
            let constraints = read[at].basic_constraints().ok().flatten();
            let allowed = constraints.and_then(|found| found.value.path_len_constraint);
            let first_is_authority = usize::from(is_authority(&read[0]));
            if allowed.is_some_and(|allowed| {
                usize::try_from(allowed).is_ok_and(|allowed| allowed < below + first_is_authority)
            }) {
                return Err(ChainError::PathLength { which: which(at) });
            }
        }
        let Some(issuer) = read.get(at + 1) else {
            return match is_self_signed(all[at], &read[at]) {
                true => Ok(()),
                false => Err(ChainError::Incomplete),
            };
        };
        let signed = read[at].issuer().as_raw() == issuer.subject().as_raw()
            && verify_signed(all[at], issuer.public_key().raw).is_ok();
        if !signed {
            return Err(ChainError::Broken { which: which(at) });
        }
    }
    Err(ChainError::Incomplete)
}

/// Verifies an end entity's certificate as peers will: by webpki, under the root that the chain ends in,
/// dates, purposes and name constraints included. `above` is the issuer's certificate and those above it, the
/// root last.
pub(crate) fn verify_end_entity(
    certificate: &[u8],
    above: &[Vec<u8>],
    at: Timestamp,
) -> Result<(), webpki::Error> {
    let (root, between) = above.split_last().ok_or(webpki::Error::UnknownIssuer)?;
    let der = CertificateDer::from(certificate);
    let root = CertificateDer::from(root.as_slice());
    let between: Vec<_> = between.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors = [webpki::anchor_from_trusted_cert(&root)?];
    let leaf = EndEntityCert::try_from(&der)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()));
    let read = parse(certificate).ok_or(webpki::Error::BadDer)?;
    // Of its purposes one is enough: what is verified besides is the same.
    let purposes = read.extended_key_usage().ok().flatten().map(|found| found.value);
    let usage = match purposes {
        Some(purposes) if !purposes.server_auth && purposes.client_auth => KeyUsage::client_auth(),
        Some(purposes) if purposes.server_auth => KeyUsage::server_auth(),
        None => KeyUsage::server_auth(),
        Some(_) => {
            let found = leaf.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &between,
                time,
                AnyPurpose,
                None,
                None,
            );
            return found.map(|_| ());
        }
    };
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &between, time, usage, None, None)
        .map(|_| ())
}

/// Takes every purpose: of code, or of time stamps.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Whether it says of itself that it is an authority's.
pub(crate) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca)
}

fn valid_at(certificate: &X509Certificate<'_>, which: &str, now: Timestamp) -> Result<(), ChainError> {
    let (not_before, not_after) = validity(certificate);
    let which = which.to_owned();
    match now.as_secs() {
        now if now < not_before.as_secs() => Err(ChainError::NotYetValid { which, not_before }),
        now if now > not_after.as_secs() => Err(ChainError::Expired { which, not_after }),
        _ => Ok(()),
    }
}

/// What a name says, whatever its text is encoded in; `None` where it cannot be read.
pub(crate) fn name_text(name: &[u8]) -> Option<String> {
    let (rest, name) = x509_parser::x509::X509Name::from_der(name).ok()?;
    rest.is_empty().then(|| name.to_string())
}

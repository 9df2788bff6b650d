//! What a certificate just signed must be before anybody sees it.
//!
//! It is read by another encoder's parser and verified by the verifier that
//! the proxies use, so that an error of one is not confirmed by itself.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bowline_model::clock::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{DistributionPointName, GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use super::{CaError, leaf::Expected, validity::Validity};

/// Verifies `certificate` at `now` under the root of the authority's chain, its own where none is above it, and
/// compares it with what was asked for.
pub(super) fn check(
    certificate: &CertificateDer<'_>,
    expected: &Expected<'_>,
    authority: (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: Timestamp,
) -> Result<(), CaError> {
    says(certificate, expected)?;
    verifies(certificate, expected, authority, now).map_err(|error| match error {
        webpki::Error::NameConstraintViolation => CaError::NameConstraints,
        error => CaError::IssuedUnverifiable(error),
    })
}

fn says(certificate: &CertificateDer<'_>, expected: &Expected<'_>) -> Result<(), CaError> {
    let refuse = |reason| CaError::Issued { reason };
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| refuse("it cannot be read"))?;
    let demand = |holds: bool, reason| if holds { Ok(()) } else { Err(refuse(reason)) };
    demand(rest.is_empty(), "it has bytes after its end")?;
    demand(parsed.raw_serial() == expected.serial, "its serial number is another")?;
    demand(Validity::of(parsed.validity()) == expected.validity, "its validity is another")?;
    let key = expected.public_key.subject_public_key_info_der();
    demand(parsed.public_key().raw == key, "its key is another")?;

    let constraints = parsed.basic_constraints().map_err(|_| refuse("doubled basicConstraints"))?;
    demand(constraints.is_some_and(|found| found.critical && !found.value.ca), "it may be an authority")?;
    let usage = parsed.key_usage().map_err(|_| refuse("doubled keyUsage"))?;
    // Bit 0 is digitalSignature; no other may be set.
    demand(usage.is_some_and(|found| found.critical && found.value.flags == 1), "its keyUsage is another")?;
    let extended = parsed.extended_key_usage().map_err(|_| refuse("doubled extKeyUsage"))?;
    let extended = extended.ok_or_else(|| refuse("it has no extKeyUsage"))?.value;
    let (server, client) = (expected.usage.server(), expected.usage.client());
    let as_asked = extended.server_auth == server && extended.client_auth == client;
    demand(as_asked && !extended.any && extended.other.is_empty(), "its extKeyUsage is another")?;

    let points = parsed.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
        _ => None,
    });
    let urls = points.flatten().map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => match &names[..] {
            [GeneralName::URI(url)] => Ok(*url),
            _ => Err(refuse("its CRL has names of other kinds")),
        },
        _ => Err(refuse("its CRL has no name")),
    });
    let urls: Vec<_> = urls.collect::<Result<_, _>>()?;
    demand(urls.into_iter().eq(expected.crl_url), "its CRL is another")?;

    let names = parsed.subject_alternative_name().map_err(|_| refuse("doubled subjectAltName"))?;
    let names = &names.ok_or_else(|| refuse("it has no names"))?.value.general_names;
    let (mut uris, mut dns_names, mut addresses) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => demand(dns_names.insert(*name), "it has a name twice")?,
            GeneralName::IPAddress(octets) => {
                let address = address(octets).ok_or_else(|| refuse("it has a malformed address"))?;
                demand(addresses.insert(address), "it has an address twice")?;
            }
            _ => return Err(refuse("it has a name of another kind")),
        }
    }
    demand(uris.iter().copied().eq(expected.spiffe_id), "its SPIFFE id is another")?;
    demand(dns_names == expected.dns_names, "its DNS names are others")?;
    demand(addresses == expected.addresses, "its addresses are others")
}

/// RFC 5280 §4.2.1.6: four octets or sixteen.
fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn verifies(
    certificate: &CertificateDer<'_>,
    expected: &Expected<'_>,
    (own, above): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: Timestamp,
) -> Result<(), webpki::Error> {
    let anchors = [webpki::anchor_from_trusted_cert(above.last().unwrap_or(own))?];
    let between: Vec<CertificateDer<'_>> = match above.split_last() {
        None => Vec::new(),
        Some((_root, between)) => {
            let all = std::iter::once(own).chain(between);
            all.map(|der| CertificateDer::from(der.as_ref())).collect()
        }
    };
    let leaf = EndEntityCert::try_from(certificate)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()));
    // One is enough, as it costs a signature's verification: `says` has compared both purposes.
    let usage = if expected.usage.server() { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &between, time, usage, None, None)?;
    Ok(())
}

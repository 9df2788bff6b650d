//! Certificates of workloads, gateways and the control plane itself.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bowline_aws::acmpca;
use bowline_model::{clock::Timestamp, identity::SpiffeId};
use rcgen::{
    CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, DnsName};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _};

use crate::x509::{
    algorithm::SignatureAlgorithm,
    certificate,
    der::{self, tag},
    name,
};

use super::{
    Authority, CaError, CheckedCsr,
    authority::{NAME_FIELD_MAX, random_serial},
    issued,
    validity::Validity,
};

/// Most DNS names of one certificate, as many as AWS Certificate Manager gives at most.
pub const DNS_NAMES_MAX: usize = 100;

/// The organization in every leaf's subject.
const ORGANIZATION: &str = "Bowline";

/// What the holder of a certificate may be in a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// `serverAuth` only.
    Server,
    /// `clientAuth` only.
    Client,
    /// Both, as X509-SVID §4.4 advises for workloads.
    Both,
}

impl Usage {
    /// Whether the holder may answer a handshake.
    pub fn server(self) -> bool {
        self != Self::Client
    }

    /// Whether the holder may begin one and be known by it.
    pub fn client(self) -> bool {
        self != Self::Server
    }
}

/// A certificate to be signed. Who may ask for it was decided before.
#[derive(Clone, Debug)]
pub struct LeafRequest<'a> {
    /// The key to certify.
    pub public_key: &'a CheckedCsr,
    /// The one URI name.
    pub spiffe_id: Option<SpiffeId>,
    /// The DNS names; the leftmost label may be `*`. Doubles are written once.
    pub dns_names: Vec<String>,
    /// The addresses, at most [`DNS_NAMES_MAX`]. Doubles are written once.
    pub addresses: Vec<IpAddr>,
    /// The extended key usage.
    pub usage: Usage,
    /// Where the authority's CRL is fetched, if the certificate is to tell. ASCII.
    pub crl_url: Option<&'a str>,
    /// How long from now it is to be valid; at least a second. Shortened to the authority's end.
    pub ttl: Duration,
}

/// A certificate, signed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedLeaf {
    /// The certificate in DER.
    pub certificate_der: Vec<u8>,
    /// Its serial number, as 32 lower-case hexadecimal digits.
    pub serial_hex: String,
    /// The first second at which it is valid, a minute before it was signed.
    pub not_before: Timestamp,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
}

/// What a leaf is going to say, for the check after signing to compare with.
pub(super) struct Expected<'a> {
    pub(super) public_key: &'a CheckedCsr,
    pub(super) spiffe_id: Option<&'a str>,
    pub(super) dns_names: BTreeSet<&'a str>,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) crl_url: Option<&'a str>,
    pub(super) usage: Usage,
    pub(super) serial: [u8; 16],
    pub(super) validity: Validity,
}

impl Authority {
    /// Signs a leaf and verifies it, as a peer would, before it is handed out.
    ///
    /// Profile: `CA:false`; keyUsage critical, `digitalSignature`; the names
    /// that were asked for and no other; both key identifiers. The subject is
    /// `O=Bowline`, and the first DNS name as `CN` where it fits.
    ///
    /// # Errors
    /// [`CaError::OutsideValidity`] where the authority has expired; the
    /// variants about names and lifetime are the caller's.
    pub fn issue(&self, request: &LeafRequest<'_>, now: Timestamp) -> Result<IssuedLeaf, CaError> {
        let (not_before, not_after) = (self.not_before(), self.not_after());
        if !self.validity().contains(now) {
            return Err(CaError::OutsideValidity { not_before, not_after, now });
        }
        if let Some(id) = &request.spiffe_id {
            // `SpiffeId`'s constructors take any trust domain; a certificate does not.
            id.as_str().parse::<SpiffeId>()?;
        }
        let validity = Validity::starting(now, request.ttl)?.within(self.validity());
        let expected = Expected::of(request, validity)?;
        let certificate = self.sign(request, &expected)?;
        issued::check(&certificate, &expected, (self.certificate_der(), self.above()), now)?;
        Ok(IssuedLeaf::of(&certificate, &expected))
    }

    /// Signs a leaf that is valid at another time than now, for a fault that is injected on purpose. It is not
    /// verified as a peer would, for a peer has to refuse it. `request.ttl` does not count.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub(crate) fn issue_out_of_time(
        &self,
        request: &LeafRequest<'_>,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<IssuedLeaf, CaError> {
        let lifetime = Duration::from_secs(not_after.as_secs().saturating_sub(not_before.as_secs()));
        // For its bounds.
        Validity::starting(not_before, lifetime)?;
        let second = |moment: Timestamp| Timestamp::from_secs(moment.as_secs());
        let validity = Validity { not_before: second(not_before), not_after: second(not_after) };
        let expected = Expected::of(request, validity)?;
        let certificate = self.sign(request, &expected)?;
        Ok(IssuedLeaf::of(&certificate, &expected))
    }

    fn sign(
        &self,
        request: &LeafRequest<'_>,
        leaf: &Expected<'_>,
    ) -> Result<CertificateDer<'static>, CaError> {
        let common_name = request.dns_names.first().filter(|name| name.len() <= NAME_FIELD_MAX);
        match self.signature() {
            None => {
                let params = params_of(leaf, common_name)?;
                Ok(params.signed_by(request.public_key.key(), self.issuer())?.der().clone())
            }
            Some(signature) => Ok(self.sign_otherwise(signature, leaf, common_name)?.into()),
        }
    }
}

impl<'a> Expected<'a> {
    fn of(request: &'a LeafRequest<'_>, validity: Validity) -> Result<Self, CaError> {
        let expected = Self {
            public_key: request.public_key,
            spiffe_id: request.spiffe_id.as_ref().map(SpiffeId::as_str),
            dns_names: checked_dns_names(&request.dns_names)?,
            addresses: request.addresses.iter().map(IpAddr::to_canonical).collect(),
            crl_url: request.crl_url,
            usage: request.usage,
            serial: random_serial()?,
            validity,
        };
        if expected.spiffe_id.is_none() && expected.dns_names.is_empty() && expected.addresses.is_empty() {
            return Err(CaError::NoName);
        }
        if expected.addresses.len() > DNS_NAMES_MAX {
            return Err(CaError::TooManyDnsNames { count: expected.addresses.len() });
        }
        Ok(expected)
    }
}

impl IssuedLeaf {
    fn of(certificate: &CertificateDer<'_>, leaf: &Expected<'_>) -> Self {
        Self {
            certificate_der: certificate.to_vec(),
            serial_hex: leaf.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: leaf.validity.not_before,
            not_after: leaf.validity.not_after,
        }
    }
}

impl Authority {
    /// Signs by an algorithm that rcgen has not for this key.
    fn sign_otherwise(
        &self,
        algorithm: SignatureAlgorithm,
        leaf: &Expected<'_>,
        common_name: Option<&String>,
    ) -> Result<Vec<u8>, CaError> {
        let unreadable = |_| CaError::AuthorityCertificate { reason: "is not an X.509 certificate" };
        let (_, own) = X509Certificate::from_der(self.certificate_der()).map_err(unreadable)?;
        let key = self.issuer().key().private();
        let named_by_others =
            own.iter_extensions().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        let authority_key = named_by_others.or_else(|| certificate::key_identifier(own.public_key().raw));
        let uri = leaf.spiffe_id.map(|id| der::value(tag::context(6), id.as_bytes()));
        let dns = leaf.dns_names.iter().map(|name| der::value(tag::context(2), name.as_bytes()));
        let addresses = leaf.addresses.iter().copied().map(certificate::address_name);
        let names = uri.into_iter().chain(dns).chain(addresses);
        let server = leaf.usage.server().then(|| der::known_oid(certificate::SERVER_AUTH));
        let client = leaf.usage.client().then(|| der::known_oid(certificate::CLIENT_AUTH));
        let purposes: Vec<_> = server.into_iter().chain(client).collect();
        let subject = acmpca::Subject {
            organization: Some(ORGANIZATION.to_owned()),
            common_name: common_name.cloned(),
            ..acmpca::Subject::default()
        };
        let subject_error = |_| CaError::Subject { field: "common name", reason: "cannot be written" };
        let mut extensions = vec![
            certificate::Extension::new(
                certificate::id::ALTERNATIVE_NAMES,
                false,
                der::sequence(names.collect::<Vec<_>>()),
            ),
            certificate::basic_constraints(false, None),
            certificate::key_usage(&certificate::SIGNING_USAGE),
            certificate::extended_key_usage(&purposes),
        ];
        extensions.extend(leaf.crl_url.map(certificate::crl_distribution_point));
        let order = certificate::Order {
            serial: leaf.serial,
            algorithm,
            issuer: own.subject().as_raw().to_vec(),
            not_before: leaf.validity.not_before,
            not_after: leaf.validity.not_after,
            subject: name::encode(&subject).map_err(subject_error)?,
            public_key_info: leaf.public_key.subject_public_key_info_der(),
            extensions,
            authority_key,
        };
        certificate::sign(&order, key, own.public_key().raw)
            .map_err(|certificate::Unsound(reason)| CaError::Issued { reason })
    }
}

fn params_of(leaf: &Expected<'_>, common_name: Option<&String>) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    if let Some(name) = common_name {
        subject.push(DnType::CommonName, name.as_str());
    }
    params.distinguished_name = subject;
    if let Some(id) = leaf.spiffe_id {
        params.subject_alt_names.push(SanType::URI(id.try_into()?));
    }
    for name in &leaf.dns_names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    params.subject_alt_names.extend(leaf.addresses.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if leaf.usage.server() {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if leaf.usage.client() {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    }
    if let Some(url) = leaf.crl_url {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
    }
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from(leaf.serial.to_vec()));
    leaf.validity.write_to(&mut params);
    Ok(params)
}

fn checked_dns_names(names: &[String]) -> Result<BTreeSet<&str>, CaError> {
    if names.len() > DNS_NAMES_MAX {
        return Err(CaError::TooManyDnsNames { count: names.len() });
    }
    let refuse = |name: &str| CaError::DnsName { name: name.chars().take(100).collect() };
    for name in names {
        let below = name.strip_prefix("*.").unwrap_or(name);
        // RFC 5280 §4.2.1.6: the preferred name syntax, which has no dot at the end.
        if name.len() > 253 || below.ends_with('.') || DnsName::try_from(below).is_err() {
            return Err(refuse(name));
        }
    }
    Ok(names.iter().map(String::as_str).collect())
}

#[cfg(test)]
mod tests;

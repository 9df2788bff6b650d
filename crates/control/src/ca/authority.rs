//! A root authority: its certificate and its key.

use std::{fmt, time::Duration};

use aws_lc_rs::rand;
use bowline_model::{clock::Timestamp, identity::SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData as _, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _};
use zeroize::Zeroizing;

use crate::x509::algorithm::{SignatureAlgorithm, verify_signed};

use super::{
    CaError, CheckedCsr, KeyAlgorithm, LeafRequest, Usage,
    key::CaKey,
    validity::{BACKDATE, Validity},
};

/// Longest common name, organization or unit, in characters (RFC 5280's `ub-common-name` and its like).
pub(super) const NAME_FIELD_MAX: usize = 64;

/// What a new root is to be.
///
/// The name's fields are those of AWS Private CA's `ASN1Subject`; their lengths
/// are X.520's (RFC 5280, appendix A.1).
#[derive(Clone, Debug)]
pub struct RootParams {
    /// `CN`, 1 to 64 characters.
    pub common_name: String,
    /// `O`, 1 to 64 characters.
    pub organization: Option<String>,
    /// `OU`, 1 to 64 characters.
    pub organizational_unit: Option<String>,
    /// `C`, two capital letters (ISO 3166).
    pub country: Option<String>,
    /// The key to make. Default: P-256.
    pub key_algorithm: KeyAlgorithm,
    /// How long from now the root is valid; at least a second. Default: ten years.
    pub validity: Duration,
}

impl Default for RootParams {
    fn default() -> Self {
        Self {
            common_name: "Bowline root".to_owned(),
            organization: None,
            organizational_unit: None,
            country: None,
            key_algorithm: KeyAlgorithm::EcP256,
            validity: Duration::from_secs(3_650 * 86_400),
        }
    }
}

impl RootParams {
    fn distinguished_name(&self) -> Result<DistinguishedName, CaError> {
        let mut name = DistinguishedName::new();
        if let Some(country) = &self.country {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(CaError::Subject { field: "country", reason: "is not two capital letters" });
            }
            name.push(DnType::CountryName, DnValue::PrintableString(country.as_str().try_into()?));
        }
        let fields = [
            (DnType::OrganizationName, "organization", self.organization.as_ref()),
            (DnType::OrganizationalUnitName, "organizational unit", self.organizational_unit.as_ref()),
            (DnType::CommonName, "common name", Some(&self.common_name)),
        ];
        for (kind, field, value) in fields {
            let Some(value) = value else { continue };
            let reason = if value.is_empty() {
                "is empty"
            } else if value.chars().count() > NAME_FIELD_MAX {
                "is longer than 64 characters"
            } else if value.chars().any(char::is_control) {
                "has a control character"
            } else {
                name.push(kind, DnValue::Utf8String(value.clone()));
                continue;
            };
            return Err(CaError::Subject { field, reason });
        }
        Ok(name)
    }
}

/// An authority's certificate with its key: it signs leaves, and no other authority.
pub struct Authority {
    certificate: CertificateDer<'static>,
    /// The certificates above its own, the root last; empty for a root.
    above: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, CaKey>,
    key_algorithm: KeyAlgorithm,
    validity: Validity,
    key_id: String,
    /// How it signs, where that is not as its key usually does.
    signature: Option<SignatureAlgorithm>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("key_algorithm", &self.key_algorithm)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a key and a root certificate for it, valid from a minute before `now`.
    ///
    /// Profile: basicConstraints critical, `CA:true`, path length 0; keyUsage
    /// critical, `keyCertSign` and `cRLSign`; a subject key identifier. No name
    /// constraints: webpki refuses every chain whose root constrains URIs.
    ///
    /// # Errors
    /// [`CaError::Subject`] and [`CaError::Validity`] are the caller's.
    pub fn create_root(params: &RootParams, now: Timestamp) -> Result<Self, CaError> {
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name = params.distinguished_name()?;
        certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        certificate.serial_number = Some(SerialNumber::from(random_serial()?.to_vec()));
        Validity::starting(now, params.validity)?.write_to(&mut certificate);
        let key = CaKey::generate(params.key_algorithm)?;
        let signed = certificate.self_signed(&key)?;
        // The way that it will be loaded later, with all of its checks.
        Self::assemble(signed.into(), &[], None, |algorithm| {
            debug_assert_eq!(algorithm, params.key_algorithm);
            Ok(key)
        })
    }

    /// Puts a stored certificate and its unsealed PKCS#8 key together again.
    ///
    /// An expired authority loads, so that it can be shown and rotated; it
    /// does not issue. Before it is returned a throwaway leaf is signed and
    /// verified, so that an authority which loads is one that works.
    ///
    /// # Errors
    /// [`CaError::AuthorityCertificate`], [`CaError::AuthorityKey`] or
    /// [`CaError::KeyMismatch`]: the store holds something else than was put there.
    pub fn from_parts(certificate_der: &[u8], key_pkcs8_der: &[u8]) -> Result<Self, CaError> {
        Self::below(certificate_der, &[], key_pkcs8_der, None)
    }

    /// As [`Authority::from_parts`], of one that stands below others: `above` are their certificates, the
    /// root last. What it signs is verified under that root, with all that those between constrain. It signs
    /// as `signature` says, by default as its key usually does.
    ///
    /// # Errors
    /// See there.
    pub(crate) fn below(
        certificate_der: &[u8],
        above: &[Vec<u8>],
        key_pkcs8_der: &[u8],
        signature: Option<SignatureAlgorithm>,
    ) -> Result<Self, CaError> {
        let certificate = CertificateDer::from(certificate_der.to_vec());
        Self::assemble(certificate, above, signature, |algorithm| CaKey::from_pkcs8(algorithm, key_pkcs8_der))
    }

    fn assemble(
        certificate: CertificateDer<'static>,
        above: &[Vec<u8>],
        signature: Option<SignatureAlgorithm>,
        key: impl FnOnce(KeyAlgorithm) -> Result<CaKey, CaError>,
    ) -> Result<Self, CaError> {
        let refuse = |reason| CaError::AuthorityCertificate { reason };
        let (rest, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| refuse("is not an X.509 certificate"))?;
        let issued_by_itself = parsed.issuer().as_raw() == parsed.subject().as_raw();
        if !rest.is_empty() {
            return Err(refuse("has bytes after its end"));
        }
        let constraints = parsed.basic_constraints().map_err(|_| refuse("has a doubled extension"))?;
        if !constraints.is_some_and(|constraints| constraints.value.ca) {
            return Err(refuse("is not one of an authority"));
        }
        let usage = parsed.key_usage().map_err(|_| refuse("has a doubled extension"))?;
        if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
            return Err(refuse("does not allow its key to sign certificates"));
        }
        // Of one below another the signature was verified when it came in; its key is, below.
        if issued_by_itself && verify_signed(&certificate, parsed.public_key().raw).is_err() {
            return Err(refuse("is not signed by its own key"));
        }
        // rcgen panics on an empty relative name.
        if parsed.subject().iter().any(|relative| relative.iter().next().is_none()) {
            return Err(refuse("has an empty name"));
        }
        let public = SubjectPublicKeyInfo::from_der(parsed.public_key().raw)?;
        let key_algorithm = KeyAlgorithm::of(public.algorithm())
            .ok_or_else(|| refuse("has a key that is neither RSA nor on P-256 or P-384"))?;
        let key = key(key_algorithm)?;
        if key.der_bytes() != public.der_bytes() {
            return Err(CaError::KeyMismatch);
        }
        let validity = Validity::of(parsed.validity());
        let signature =
            signature.filter(|signature| *signature != SignatureAlgorithm::usual(key.private().kind()));
        if signature.is_some_and(|signature| !key.private().kind().signs(signature)) {
            return Err(CaError::AuthorityKey);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let names_constrained = parsed.name_constraints().is_ok_and(|found| found.is_some());
        let above = above.iter().map(|der| CertificateDer::from(der.clone())).collect::<Vec<_>>();
        // Whoever may sign some names only may not sign one that is nobody's.
        let names = if names_constrained || !above.is_empty() {
            Vec::new()
        } else {
            vec!["proof.invalid".to_owned()]
        };
        let key_id = String::new();
        let mut authority = Self { certificate, above, issuer, key_algorithm, validity, key_id, signature };
        authority.key_id = authority.prove(names)?;
        Ok(authority)
    }

    /// Signs a leaf that nobody keeps: chain and names are checked by `issue`. What it calls the key.
    fn prove(&self, dns_names: Vec<String>) -> Result<String, CaError> {
        let key = rcgen::KeyPair::generate()?;
        let csr = CertificateParams::default().serialize_request(&key)?;
        let public_key =
            CheckedCsr::parse(csr.der()).map_err(|_| CaError::Issued { reason: "its own request" })?;
        let request = LeafRequest {
            public_key: &public_key,
            spiffe_id: Some(SpiffeId::of_control_plane("proof.invalid")),
            dns_names,
            addresses: Vec::new(),
            crl_url: None,
            usage: Usage::Both,
            ttl: Duration::from_secs(1),
        };
        // At its beginning, whatever the clock says: an expired authority is whole all the same.
        let within = (self.validity.not_before + BACKDATE).min(self.validity.not_after);
        let leaf = self.issue(&request, within)?;
        issuer_key_id(&leaf.certificate_der)
            .ok_or(CaError::Issued { reason: "it does not name its issuer's key" })
    }

    /// The certificate in PEM (RFC 7468), for bundles and files.
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key as PKCS#8, for the caller to seal. Cleared when dropped.
    pub fn key_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.issuer.key().pkcs8().clone()
    }

    /// The key's algorithm.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.key_algorithm
    }

    /// The `authorityKeyIdentifier` of what it signs, lower-case hexadecimal.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The first second at which the certificate is valid.
    pub fn not_before(&self) -> Timestamp {
        self.validity.not_before
    }

    /// The last second at which the certificate, or any that it signs, is valid.
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    pub(super) fn signature(&self) -> Option<SignatureAlgorithm> {
        self.signature
    }

    /// The certificates above its own, the root last.
    pub(super) fn above(&self) -> &[CertificateDer<'static>] {
        &self.above
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, CaKey> {
        &self.issuer
    }

    pub(super) fn validity(&self) -> Validity {
        self.validity
    }
}

/// What a certificate calls its issuer's key (RFC 5280 §4.2.1.1), lower-case hexadecimal.
fn issuer_key_id(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let id = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(id.0.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A certificate in PEM (RFC 7468).
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    let body = pem_body(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

fn pem_body(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    lines.map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

/// A random positive serial number of exactly 16 octets (RFC 5280 §4.1.2.2).
///
/// The two top bits are fixed: no sign octet is added and none is dropped, so
/// one certificate has one way to write its serial. 126 random bits remain,
/// where the CA/Browser Forum asks for 64.
pub(super) fn random_serial() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| CaError::Crypto { what: "a random number" })?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests;

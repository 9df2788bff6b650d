//! Certificates signed on request.

use bowline_aws::acmpca::{
    ApiPassthrough, CertificateAuthorityStatus, CertificateAuthorityType, IssueCertificateRequest, UsageMode,
};
use bowline_model::clock::Timestamp;

use super::{
    IDEMPOTENT_FOR, PrivateAuthority, PrivateCaError, PrivateCertificate, SHORT_LIVED_MAX,
    commands::{self, hex, internal},
    extensions, import,
    template::{Subject, Template},
    validity,
};
use crate::{
    master_key::MasterKey,
    random,
    registry::{AuthorityRecord, Registry},
    x509::{
        algorithm::SignatureAlgorithm,
        certificate::{self, AUTHORITY_USAGE, Extension, Order, basic_constraints, id, key_usage},
        chain,
        csr::{self, SigningRequest},
        der::{self, tag},
        key::PrivateKey,
        name,
    },
};

/// Signs what is asked for. Changes nothing: the caller keeps what is returned.
pub(crate) fn issue(
    master_key: &MasterKey,
    registry: &Registry,
    record: &AuthorityRecord,
    private: &PrivateAuthority,
    request: &IssueCertificateRequest,
    now: Timestamp,
) -> Result<PrivateCertificate, PrivateCaError> {
    issue_numbered(master_key, registry, (record, private), request, serial(), now)
}

/// As [`issue`], with this serial number, whose first bit must be 0 and whose second 1.
pub(crate) fn issue_numbered(
    master_key: &MasterKey,
    registry: &Registry,
    (record, private): (&AuthorityRecord, &PrivateAuthority),
    request: &IssueCertificateRequest,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<PrivateCertificate, PrivateCaError> {
    let args = |message: &str| PrivateCaError::Args(message.to_owned());
    let template = match &request.template_arn {
        None => Template::default(),
        Some(arn) => Template::parse(arn).ok_or_else(|| args("TemplateArn: there is no such template."))?,
    };
    let is_root = matches!(template.subject, Subject::Root { .. });
    let status = private.status_at(now);
    let may = match status {
        CertificateAuthorityStatus::Active => true,
        CertificateAuthorityStatus::PendingCertificate | CertificateAuthorityStatus::Expired => {
            is_root && private.kind == CertificateAuthorityType::Root
        }
        _ => false,
    };
    if !may {
        return Err(PrivateCaError::State(
            "The certificate authority is not in the correct state to issue the certificate.".into(),
        ));
    }
    if !template.fits(private.kind) {
        return Err(args("TemplateArn: only a root certificate authority issues by this template."));
    }
    let signature = SignatureAlgorithm::of_aws(request.signing_algorithm)
        .ok_or_else(|| args("SigningAlgorithm is not here."))?;
    let signing_request =
        SigningRequest::parse(&request.csr.0).map_err(|error| PrivateCaError::Csr(error.to_string()))?;
    let sealed = super::open_key(master_key, &record.arn, &record.sealed_key).map_err(internal)?;
    let key = PrivateKey::from_pkcs8(&sealed).ok_or_else(|| internal("its key cannot be read"))?;
    if !key.kind().signs(signature) {
        return Err(args("SigningAlgorithm: the key of the certificate authority does not sign so."));
    }
    if is_root && signing_request.public_key_info != key.public_key_info() {
        return Err(args(
            "TemplateArn: a root's certificate is for the key of the certificate authority itself.",
        ));
    }
    let (not_before, not_after) = period(private, &template, request, now)?;

    let none = ApiPassthrough::default();
    let api = match (&request.api_passthrough, template.api_passthrough) {
        (Some(_), false) => {
            return Err(args("ApiPassthrough: the template does not take it."));
        }
        (Some(api), true) => api,
        (None, _) => &none,
    };
    let subject = match &api.subject {
        Some(subject) => name::encode(subject).map_err(|error| PrivateCaError::Args(error.to_string()))?,
        None => signing_request.subject.clone(),
    };
    let passed = api.extensions.as_ref().map(extensions::of_api).transpose()?.unwrap_or_default();
    let mut extensions = template.compose(passed, signing_request.extensions.clone());
    let settings = registry.settings();
    no_identity(&extensions, &settings.trust_domain)?;
    let told = extensions.iter().any(|extension| extension.is(id::CRL_DISTRIBUTION_POINTS));
    let crl_url = super::crl_url(private, &record.arn, settings.crl_base.as_deref());
    // A root is on nobody's list.
    if let Some(url) = crl_url.filter(|_| !told && !is_root) {
        extensions.push(certificate::crl_distribution_point(&url));
    }

    let (issuer, authority_key, issuer_key_info) = match is_root {
        true => (subject.clone(), None, key.public_key_info()),
        false => {
            let own = chain::parse(&record.certificate_der)
                .ok_or_else(|| internal("its certificate cannot be read"))?;
            (own.subject().as_raw().to_vec(), Some(subject_key(&own, &key)?), own.public_key().raw.to_vec())
        }
    };
    if let Subject::Subordinate { path_length } = template.subject {
        fits_below(record, path_length)?;
    }
    let order = Order {
        serial,
        algorithm: signature,
        issuer,
        not_before,
        not_after,
        subject,
        public_key_info: signing_request.public_key_info,
        extensions,
        authority_key,
    };
    let certificate_der = certificate::sign(&order, &key, &issuer_key_info).map_err(|error| {
        tracing::warn!(authority = %record.arn, %error, "nothing was issued");
        PrivateCaError::Args(error.to_string())
    })?;
    if template.subject == Subject::EndEntity {
        verifies(&certificate_der, record, private, not_before.max(now))?;
    }
    let serial = hex(&serial);
    Ok(PrivateCertificate {
        arn: format!("{}/certificate/{serial}", record.arn).parse().map_err(internal)?,
        authority: record.arn.clone(),
        serial,
        certificate_der,
        not_after,
        issued_at: now,
        token: request.idempotency_token.clone(),
    })
}

/// Signs an authority's own certificate by its own key, and makes it active: what the template of a
/// stack, or the three calls of the API, do with a root. It may sign DNS names below `permitted_dns` alone;
/// any where none is given.
pub(crate) fn sign_itself(
    master_key: &MasterKey,
    record: &mut AuthorityRecord,
    lifetime: std::time::Duration,
    permitted_dns: &[String],
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    let mut private = *record.private.clone().ok_or_else(|| internal("it is the control plane's own"))?;
    let (_, algorithm) = commands::algorithms(&private.configuration)?;
    let sealed = super::open_key(master_key, &record.arn, &record.sealed_key).map_err(internal)?;
    let key = PrivateKey::from_pkcs8(&sealed).ok_or_else(|| internal("its key cannot be read"))?;
    let request = SigningRequest::parse(private.csr.as_bytes()).map_err(internal)?;
    let mut extensions = vec![basic_constraints(true, None), key_usage(&AUTHORITY_USAGE)];
    if !permitted_dns.is_empty() {
        extensions.push(certificate::permitted_dns(permitted_dns));
    }
    let order = Order {
        serial: serial(),
        algorithm,
        issuer: request.subject.clone(),
        not_before: Timestamp::from_secs((now - validity::BACKDATE).as_secs()),
        not_after: Timestamp::from_secs((now + lifetime).as_secs()),
        subject: request.subject,
        public_key_info: request.public_key_info.clone(),
        extensions,
        authority_key: None,
    };
    let certificate = certificate::sign(&order, &key, &request.public_key_info).map_err(internal)?;
    import::activate(record, &mut private, certificate, Vec::new(), now)?;
    record.private = Some(Box::new(private));
    Ok(())
}

/// Refuses what verifiers would: a name outside the constraints of an authority above, above all.
fn verifies(
    certificate: &[u8],
    record: &AuthorityRecord,
    private: &PrivateAuthority,
    at: Timestamp,
) -> Result<(), PrivateCaError> {
    let above: Vec<_> =
        std::iter::once(&record.certificate_der).chain(&private.chain).map(Vec::clone).collect();
    match chain::verify_end_entity(certificate, &above, at) {
        // What webpki does not know may be known to whoever it is for.
        Ok(()) | Err(webpki::Error::UnsupportedCriticalExtension) => Ok(()),
        Err(webpki::Error::NameConstraintViolation) => Err(PrivateCaError::Args(
            "A name of the certificate is outside the name constraints of the certificate authority, or of one above \
             it."
                .into(),
        )),
        Err(error) => {
            Err(PrivateCaError::Args(format!("The certificate would be refused by who verifies it: {error}.")))
        }
    }
}

/// Positive, and always of 16 octets: one certificate has one way to write its serial.
fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = random::bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// What the same request was answered a little while ago.
pub(crate) fn issued_before<'a>(
    registry: &'a Registry,
    record: &AuthorityRecord,
    token: Option<&str>,
    now: Timestamp,
) -> Option<&'a PrivateCertificate> {
    let token = token?;
    let prefix = format!("{}/certificate/", record.arn);
    let mut rows = registry.private_certificates.under(&prefix);
    let same = |row: &PrivateCertificate| {
        row.token.as_deref() == Some(token) && row.issued_at + IDEMPOTENT_FOR > now
    };
    rows.find(|(_, row)| same(row)).map(|(_, row)| &**row)
}

/// When the certificate is to be valid: within the authority's own time, and briefly where the
/// authority is for brief ones.
fn period(
    private: &PrivateAuthority,
    template: &Template,
    request: &IssueCertificateRequest,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), PrivateCaError> {
    let (mut not_before, not_after) =
        validity::of(&request.validity, request.validity_not_before.as_ref(), now)?;
    if matches!(template.subject, Subject::Root { .. }) {
        return Ok((not_before, not_after));
    }
    let (authority_from, authority_until) =
        private.validity.ok_or_else(|| internal("it has no certificate"))?;
    if request.validity_not_before.is_none() {
        not_before = not_before.max(authority_from);
    }
    if not_after.as_secs() > authority_until.as_secs() {
        return Err(PrivateCaError::Args(
            "The certificate validity specified exceeds the certificate authority validity.".into(),
        ));
    }
    let lifetime = not_after.since(not_before.max(now));
    if private.usage_mode == UsageMode::ShortLivedCertificate && lifetime > SHORT_LIVED_MAX {
        return Err(PrivateCaError::Args(
            "The certificate authority is in the SHORT_LIVED_CERTIFICATE mode: certificates are valid for at most 7 \
             days."
                .into(),
        ));
    }
    Ok((not_before, not_after))
}

/// The mesh's identities are the control plane's to give: a certificate with one would let its
/// holder be any service.
fn no_identity(extensions: &[Extension], trust_domain: &str) -> Result<(), PrivateCaError> {
    let Some(names) = extensions.iter().find(|extension| extension.is(id::ALTERNATIVE_NAMES)) else {
        return Ok(());
    };
    let uris = csr::uris(&names.value)
        .ok_or_else(|| PrivateCaError::Csr("The subject alternative names cannot be read.".into()))?;
    let own = |uri: &String| {
        let rest = uri.get(..9).filter(|scheme| scheme.eq_ignore_ascii_case("spiffe://"));
        rest.is_some_and(|_| {
            uri[9..].split('/').next().is_some_and(|domain| domain.eq_ignore_ascii_case(trust_domain))
        })
    };
    match uris.iter().any(own) {
        true => Err(PrivateCaError::Args(format!(
            "A SPIFFE id of spiffe://{trust_domain} cannot be requested: tasks are given theirs."
        ))),
        false => Ok(()),
    }
}

/// The `subjectKeyIdentifier` of the authority's certificate, or what one would be.
fn subject_key(
    own: &x509_parser::certificate::X509Certificate<'_>,
    key: &PrivateKey,
) -> Result<Vec<u8>, PrivateCaError> {
    let wanted = der::known_oid(id::SUBJECT_KEY);
    let said = own.extensions().iter().find_map(|extension| {
        let oid = der::value(tag::OID, extension.oid.as_bytes());
        (oid == wanted).then(|| der::only(extension.value, tag::OCTET_STRING))?
    });
    match said {
        Some(said) => Ok(said.content.to_vec()),
        None => certificate::key_identifier(&key.public_key_info())
            .ok_or_else(|| internal("its key cannot be read")),
    }
}

/// An authority below this one must have fewer below itself.
fn fits_below(record: &AuthorityRecord, path_length: u8) -> Result<(), PrivateCaError> {
    let own = chain::parse(&record.certificate_der)
        .and_then(|own| own.basic_constraints().ok()?.and_then(|found| found.value.path_len_constraint));
    match own {
        Some(most) if u32::from(path_length) >= most => Err(PrivateCaError::Args(
            "TemplateArn: the path length is too large for the certificate authority's own.".into(),
        )),
        _ => Ok(()),
    }
}

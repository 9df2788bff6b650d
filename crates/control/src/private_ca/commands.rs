//! What changes authorities: each checks, then changes the registry it is given, or refuses.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::acmpca::{
    CertificateAuthorityConfiguration, CertificateAuthorityStatus, CertificateAuthorityType,
    KeyStorageSecurityStandard, RevocationConfiguration, RevocationReason, UsageMode,
};
use bowline_model::{arn::Arn, clock::Timestamp};

use super::{
    AUTHORITIES_MAX, CERTIFICATES_MAX, IDEMPOTENT_FOR, PrivateAuthority, PrivateCaError, PrivateCertificate,
    TAGS_MAX, extensions, find,
};
use crate::{
    master_key::MasterKey,
    registry::{AuthorityPlace, AuthorityPurpose, AuthorityRecord, Registry},
    revocation::{REVOCATIONS_MAX, RevocationRecord},
    x509::{
        algorithm::{KeyType, SignatureAlgorithm},
        chain, csr,
        key::PrivateKey,
        name,
    },
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A new authority.
#[derive(Clone, Debug)]
pub(crate) struct NewAuthority {
    pub(crate) kind: CertificateAuthorityType,
    pub(crate) configuration: CertificateAuthorityConfiguration,
    pub(crate) revocation: Option<RevocationConfiguration>,
    pub(crate) usage_mode: UsageMode,
    pub(crate) key_storage: Option<KeyStorageSecurityStandard>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) token: Option<String>,
}

/// Kind of key and signature that are asked for; refuses what is not here.
pub(crate) fn algorithms(
    configuration: &CertificateAuthorityConfiguration,
) -> Result<(KeyType, SignatureAlgorithm), PrivateCaError> {
    let key = KeyType::of_aws(configuration.key_algorithm).ok_or_else(|| {
        PrivateCaError::Args(
            "KeyAlgorithm: RSA_2048, RSA_3072, RSA_4096, EC_prime256v1 and EC_secp384r1 are here.".into(),
        )
    })?;
    let signature = SignatureAlgorithm::of_aws(configuration.signing_algorithm);
    match signature.filter(|signature| key.signs(*signature)) {
        Some(signature) => Ok((key, signature)),
        None => Err(PrivateCaError::Args(
            "SigningAlgorithm: a key of this KeyAlgorithm does not sign so, or it is not here.".into(),
        )),
    }
}

/// Makes an authority with its key, which waits for its certificate. Slow for RSA: outside of any
/// change of the registry.
pub(crate) fn make(
    master_key: &MasterKey,
    arn: Arn,
    new: NewAuthority,
    now: Timestamp,
) -> Result<AuthorityRecord, PrivateCaError> {
    let (key_type, signature) = algorithms(&new.configuration)?;
    let subject =
        name::encode(&new.configuration.subject).map_err(|error| PrivateCaError::Args(error.to_string()))?;
    check_tags(&new.tags)?;
    check_revocation(new.revocation.as_ref())?;
    let wanted = new.configuration.csr_extensions.as_ref().map(extensions::of_csr).transpose()?;
    let key = PrivateKey::generate(key_type).map_err(internal)?;
    let csr =
        csr::make(&subject, &key, signature, wanted.as_deref().unwrap_or_default()).map_err(internal)?;
    let sealed_key = super::seal_key(master_key, &arn, key.pkcs8()).map_err(internal)?;
    let private = PrivateAuthority {
        kind: new.kind,
        status: CertificateAuthorityStatus::PendingCertificate,
        configuration: new.configuration,
        revocation: new.revocation,
        usage_mode: new.usage_mode,
        key_storage: new.key_storage,
        created_at: now,
        changed_at: now,
        restorable_until: None,
        validity: None,
        csr,
        chain: Vec::new(),
        tags: new.tags,
        permissions: BTreeMap::new(),
        policy: None,
        token: new.token,
    };
    Ok(AuthorityRecord {
        arn,
        purpose: AuthorityPurpose::Mesh,
        certificate_der: Vec::new(),
        sealed_key,
        trusted: false,
        private: Some(Box::new(private)),
        place: AuthorityPlace::default(),
    })
}

pub(crate) fn internal(error: impl std::fmt::Display) -> PrivateCaError {
    PrivateCaError::Internal(error.to_string())
}

/// The authority that the same request made a little while ago.
pub(crate) fn made_before(registry: &Registry, token: Option<&str>, now: Timestamp) -> Option<Arn> {
    let token = token?;
    let same = |record: &&std::sync::Arc<AuthorityRecord>| {
        record.private.as_ref().is_some_and(|private| {
            private.token.as_deref() == Some(token) && private.created_at + IDEMPOTENT_FOR > now
        })
    };
    registry.authorities.values().find(same).map(|record| record.arn.clone())
}

/// Whether there is room for one more.
pub(crate) fn check_room(registry: &Registry) -> Result<(), PrivateCaError> {
    let count = registry.authorities.values().filter(|record| record.private.is_some()).count();
    match count < AUTHORITIES_MAX {
        true => Ok(()),
        false => Err(PrivateCaError::Limit(format!(
            "There can be at most {AUTHORITIES_MAX} certificate authorities, deleted ones that can be restored included."
        ))),
    }
}

/// Changes an authority that is there.
pub(crate) fn change<R>(
    registry: &mut Registry,
    given: &str,
    now: Timestamp,
    change: impl FnOnce(&mut AuthorityRecord, &mut PrivateAuthority) -> Result<R, PrivateCaError>,
) -> Result<R, PrivateCaError> {
    let (record, private) = find(registry, given, now)?;
    let (mut record, mut private) = (record.clone(), private.clone());
    let result = change(&mut record, &mut private)?;
    record.private = Some(Box::new(private));
    registry.authorities.put(record.arn.to_string(), record);
    Ok(result)
}

/// Refuses a deleted one.
pub(crate) fn not_deleted(private: &PrivateAuthority) -> Result<(), PrivateCaError> {
    match private.status {
        CertificateAuthorityStatus::Deleted => {
            Err(PrivateCaError::State("The certificate authority is in the DELETED state.".into()))
        }
        _ => Ok(()),
    }
}

/// `UpdateCertificateAuthority`.
pub(crate) fn update(
    private: &mut PrivateAuthority,
    status: Option<CertificateAuthorityStatus>,
    revocation: Option<RevocationConfiguration>,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    use CertificateAuthorityStatus::{Active, Disabled};
    check_revocation(revocation.as_ref())?;
    let present = private.status_at(now);
    if !matches!(present, Active | Disabled) {
        return Err(PrivateCaError::State(
            "The certificate authority must be in the ACTIVE or DISABLED state to be updated.".into(),
        ));
    }
    match status {
        None => {}
        Some(wanted @ (Active | Disabled)) if private.status != wanted => {
            private.status = wanted;
            private.changed_at = now;
        }
        Some(Active | Disabled) => {}
        Some(_) => return Err(PrivateCaError::Args("Status must be ACTIVE or DISABLED.".into())),
    }
    if revocation.is_some() {
        private.revocation = revocation;
    }
    Ok(())
}

/// `DeleteCertificateAuthority`.
pub(crate) fn delete(
    private: &mut PrivateAuthority,
    days: Option<i64>,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    let days = match days {
        None => super::RECOVERY_DAYS_DEFAULT,
        Some(days) => u64::try_from(days).ok().filter(|days| (7..=30).contains(days)).ok_or_else(|| {
            // The operation has no InvalidArgsException.
            PrivateCaError::State("PermanentDeletionTimeInDays must be between 7 and 30.".into())
        })?,
    };
    match private.status_at(now) {
        CertificateAuthorityStatus::Active => Err(PrivateCaError::State(
            "The certificate authority is in the ACTIVE state: disable it before it is deleted.".into(),
        )),
        CertificateAuthorityStatus::Deleted => {
            Err(PrivateCaError::State("The certificate authority is in the DELETED state.".into()))
        }
        _ => {
            retire(private, Duration::from_secs(days * DAY.as_secs()), now);
            Ok(())
        }
    }
}

/// Marks as deleted, to be restored within a time.
pub(crate) fn retire(private: &mut PrivateAuthority, restorable_for: Duration, now: Timestamp) {
    private.status = CertificateAuthorityStatus::Deleted;
    private.changed_at = now;
    private.restorable_until = Some(now + restorable_for);
}

/// `RestoreCertificateAuthority`: it comes back disabled, or without a certificate as it was.
pub(crate) fn restore(
    record: &AuthorityRecord,
    private: &mut PrivateAuthority,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    if private.status != CertificateAuthorityStatus::Deleted {
        return Err(PrivateCaError::State("The certificate authority is not in the DELETED state.".into()));
    }
    private.status = match record.certificate_der.is_empty() {
        true => CertificateAuthorityStatus::PendingCertificate,
        false => CertificateAuthorityStatus::Disabled,
    };
    private.changed_at = now;
    private.restorable_until = None;
    Ok(())
}

/// Keeps an issued certificate. Of too many, expired ones go.
pub(crate) fn keep(
    registry: &mut Registry,
    certificate: PrivateCertificate,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    if registry.private_certificates.len() >= CERTIFICATES_MAX {
        registry.private_certificates.retain(|_, row| row.not_after > now);
    }
    if registry.private_certificates.len() >= CERTIFICATES_MAX {
        return Err(PrivateCaError::Limit(format!(
            "There can be at most {CERTIFICATES_MAX} certificates that have not expired."
        )));
    }
    registry.private_certificates.put(certificate.arn.to_string(), certificate);
    Ok(())
}

/// `RevokeCertificate`: of what the API issued, and of a task's.
pub(crate) fn revoke(
    registry: &mut Registry,
    given: &str,
    serial: &str,
    reason: RevocationReason,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    let (record, private) = find(registry, given, now)?;
    if !matches!(private.status, CertificateAuthorityStatus::Active | CertificateAuthorityStatus::Disabled) {
        return Err(PrivateCaError::State(
            "The certificate authority must be in the ACTIVE or DISABLED state to revoke a certificate."
                .into(),
        ));
    }
    // As openssl prints it, with colons, or without.
    let digits: String = serial.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 40 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(PrivateCaError::Request("CertificateSerial is not a hexadecimal number.".into()));
    }
    let serial = format!("{:0>32}", digits.to_ascii_lowercase().trim_start_matches('0'));
    let own = chain::parse(&record.certificate_der)
        .is_some_and(|read| hex(read.raw_serial()).trim_start_matches('0') == serial.trim_start_matches('0'));
    if own {
        return Err(PrivateCaError::Request(
            "A certificate authority's own certificate is revoked by the authority above it.".into(),
        ));
    }
    let arn = record.arn.clone();
    if registry.revocations.get(&serial).is_some_and(|revocation| revocation.authority == arn) {
        return Err(PrivateCaError::Processed("The certificate is revoked already.".into()));
    }
    let by_api = registry
        .private_certificates
        .get(&format!("{arn}/certificate/{serial}"))
        .map(|certificate| certificate.not_after);
    let of_task =
        registry.certificates.get(&serial).filter(|row| row.authority.as_ref() == Some(&arn)).cloned();
    let not_after = by_api.or(of_task.as_ref().map(|row| row.not_after)).ok_or_else(|| {
        PrivateCaError::NotFound(format!(
            "The certificate authority issued no certificate of the serial number {serial}."
        ))
    })?;
    if registry.revocations.len() >= REVOCATIONS_MAX {
        return Err(PrivateCaError::Limit(format!("There can be at most {REVOCATIONS_MAX} revocations.")));
    }
    let revocation = RevocationRecord {
        serial: serial.clone(),
        authority: arn,
        task: of_task.as_ref().map(|row| row.task.clone()),
        spiffe_id: of_task.and_then(|row| row.spiffe_id.clone()),
        reason: reason.into(),
        revoked_at: now,
        not_after,
        fault_until: None,
    };
    registry.revocations.put(serial, revocation);
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses tags that AWS does not take.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), PrivateCaError> {
    if tags.len() > TAGS_MAX {
        return Err(PrivateCaError::TooManyTags);
    }
    let allowed =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    for (key, value) in tags {
        let length = key.chars().count();
        if !(1..=128).contains(&length) || value.chars().count() > 256 || !allowed(key) || !allowed(value) {
            return Err(PrivateCaError::Tag(
                "A tag's key must have 1-128 characters and its value at most 256, of letters, digits, spaces and \
                 _.:/=+-@."
                    .into(),
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(PrivateCaError::Tag("Tag keys that begin with aws: are AWS's own.".into()));
        }
    }
    Ok(())
}

/// What is recorded of CRLs and OCSP must at least be in itself right.
fn check_revocation(given: Option<&RevocationConfiguration>) -> Result<(), PrivateCaError> {
    let Some(crl) = given.and_then(|given| given.crl_configuration.as_ref()) else { return Ok(()) };
    if crl.enabled && crl.s3_bucket_name.as_deref().unwrap_or_default().is_empty() {
        return Err(PrivateCaError::Args(
            "RevocationConfiguration: an enabled CrlConfiguration needs S3BucketName.".into(),
        ));
    }
    match crl.expiration_in_days {
        Some(days) if !(1..=5_000).contains(&days) => Err(PrivateCaError::Args(
            "RevocationConfiguration: ExpirationInDays must be between 1 and 5000.".into(),
        )),
        _ => Ok(()),
    }
}

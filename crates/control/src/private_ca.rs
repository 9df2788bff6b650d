//! AWS Private CA's rows: authorities, the certificates that they issued, and those revoked.
//!
//! - [`commands`] changes an authority's row, or refuses with a [`PrivateCaError`].
//! - [`import`] takes in an authority's own certificate.
//! - [`issue`] signs by a [`template`].
//! - [`validity`] reads when a certificate is to be valid.
//!
//! An authority of a template and one of the API are the same: a row of
//! [`Registry::authorities`](crate::registry::Registry) with a [`PrivateAuthority`]. Its key is
//! sealed there. The mesh's own authorities have none and are nobody's but the control plane's.
//!
//! Source of rules and limits: AWS Private CA user guide and API reference.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::acmpca::{
    ActionType, CertificateAuthorityConfiguration, CertificateAuthorityStatus, CertificateAuthorityType,
    KeyStorageSecurityStandard, RevocationConfiguration, UsageMode,
};
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::master_key::{MasterKey, RecordError};
use crate::registry::{AuthorityRecord, Registry};

pub(crate) mod commands;
pub(crate) mod extensions;
pub(crate) mod import;
pub(crate) mod issue;
pub(crate) mod template;
pub(crate) mod validity;

/// Most authorities of the API and of templates. AWS has 200 a region.
pub const AUTHORITIES_MAX: usize = 200;
/// Most issued certificates that are kept; of more, expired ones are forgotten. AWS has 1,000,000;
/// here each stands in memory.
pub const CERTIFICATES_MAX: usize = 20_000;
/// Most tags of an authority.
pub const TAGS_MAX: usize = 50;
/// Most permissions of an authority.
pub const PERMISSIONS_MAX: usize = 20;
/// A request with the same token is the same one for so long.
pub const IDEMPOTENT_FOR: Duration = Duration::from_secs(300);
/// How long a certificate of a `SHORT_LIVED_CERTIFICATE` authority may live.
pub const SHORT_LIVED_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The days that a deleted authority can be restored for, where nothing else is said.
pub const RECOVERY_DAYS_DEFAULT: u64 = 30;

/// What AWS Private CA knows of an authority besides its certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivateAuthority {
    /// Root or subordinate.
    pub kind: CertificateAuthorityType,
    /// Where it is in its life. One that is `ACTIVE` and whose certificate is over is told as
    /// `EXPIRED`: see [`PrivateAuthority::status_at`].
    pub status: CertificateAuthorityStatus,
    /// Key, signature and subject, as they were asked for.
    pub configuration: CertificateAuthorityConfiguration,
    /// CRL and OCSP, as they were asked for.
    pub revocation: Option<RevocationConfiguration>,
    /// How long its certificates may live.
    pub usage_mode: UsageMode,
    /// As it was asked for: keys are sealed under the master key whatever it says.
    pub key_storage: Option<KeyStorageSecurityStandard>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its status changed last.
    pub changed_at: Timestamp,
    /// Until when it can be restored, once it was deleted.
    pub restorable_until: Option<Timestamp>,
    /// Its certificate's first and last second.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// Its certificate signing request, PEM.
    pub csr: String,
    /// The certificates above its own, DER, the root last. Empty for a root.
    #[serde(default)]
    pub chain: Vec<Vec<u8>>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Who else may issue by it, by principal and account: recorded, and told.
    pub permissions: BTreeMap<String, PermissionRecord>,
    /// Its resource policy.
    pub policy: Option<String>,
    /// `IdempotencyToken` of the request that made it.
    pub token: Option<String>,
}

/// A permission of an AWS service to use an authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PermissionRecord {
    /// When it was given.
    pub created_at: Timestamp,
    /// The service: `acm.amazonaws.com`.
    pub principal: String,
    /// Whose account.
    pub source_account: String,
    /// What it may.
    pub actions: Vec<ActionType>,
}

/// A certificate that an authority issued through the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivateCertificate {
    /// The ARN.
    pub arn: Arn,
    /// Who signed.
    pub authority: Arn,
    /// Lower-case hexadecimal, 32 digits.
    pub serial: String,
    /// DER.
    pub certificate_der: Vec<u8>,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// `IdempotencyToken` of the request for it.
    pub token: Option<String>,
}

/// Why an authority was not made, changed or used. All but `Internal` are the caller's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrivateCaError {
    /// There is no such authority, or it has no such certificate or policy.
    #[error("{0}")]
    NotFound(String),
    /// An ARN is none, or of something else.
    #[error("{0} is not the ARN of a certificate authority.")]
    Arn(String),
    /// The authority's state does not allow it.
    #[error("{0}")]
    State(String),
    /// An argument is wrong.
    #[error("{0}")]
    Args(String),
    /// The certificate signing request is unusable.
    #[error("{0}")]
    Csr(String),
    /// A certificate or chain that was given is unusable.
    #[error("{0}")]
    Certificate(String),
    /// A certificate that was given is not for this authority's key.
    #[error("{0}")]
    Mismatch(String),
    /// The request cannot be carried out as it is.
    #[error("{0}")]
    Request(String),
    /// It was done before.
    #[error("{0}")]
    Processed(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(String),
    /// A tag is none.
    #[error("{0}")]
    Tag(String),
    /// An authority would have more than [`TAGS_MAX`] tags.
    #[error("A certificate authority can have at most {TAGS_MAX} tags.")]
    TooManyTags,
    /// A policy is none.
    #[error("{0}")]
    Policy(String),
    /// The principal has a permission already.
    #[error("The principal has a permission for this certificate authority already.")]
    PermissionExists,
    /// A key could not be made, sealed, opened or signed with.
    #[error("the certificate authority failed: {0}")]
    Internal(String),
}

impl PrivateAuthority {
    /// Where it is in its life at this moment.
    pub fn status_at(&self, now: Timestamp) -> CertificateAuthorityStatus {
        let over = self.validity.is_some_and(|(_, not_after)| not_after.as_secs() < now.as_secs());
        match self.status {
            CertificateAuthorityStatus::Active if over => CertificateAuthorityStatus::Expired,
            status => status,
        }
    }

    /// Whether its time to be restored is over.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.restorable_until.is_some_and(|until| until <= now)
    }
}

/// What an authority's sealed key is bound to.
fn key_context(authority: &Arn) -> String {
    format!("private key of certificate authority {authority}")
}

/// Seals an authority's key (PKCS#8).
pub(crate) fn seal_key(
    master_key: &MasterKey,
    authority: &Arn,
    pkcs8: &[u8],
) -> Result<Vec<u8>, RecordError> {
    master_key.seal(&key_context(authority), pkcs8)
}

/// Opens an authority's key. State directories of before bound it to the ARN alone, which nothing else of the
/// authority's is bound to.
pub(crate) fn open_key(
    master_key: &MasterKey,
    authority: &Arn,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    master_key
        .open(&key_context(authority), sealed)
        .or_else(|error| master_key.open(authority.as_str(), sealed).map_err(|_| error))
}

/// Where the CRL of an authority is fetched, for `cRLDistributionPoints` of what it signs: as its
/// `CrlConfiguration` says, by its `CustomCname` and `CustomPath`, else at the AWS endpoint. `None` where it has
/// no CRL, is not to tell, or there is no endpoint.
pub(crate) fn crl_url(private: &PrivateAuthority, authority: &Arn, base: Option<&str>) -> Option<String> {
    let crl = private.revocation.as_ref()?.crl_configuration.as_ref().filter(|crl| crl.enabled)?;
    if crl.crl_distribution_point_extension_configuration.as_ref().is_some_and(|it| it.omit_extension) {
        return None;
    }
    let file = format!("{}.crl", authority.resource_name());
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (given(&crl.custom_cname), given(&crl.custom_path)) {
        (Some(host), path) => {
            let path = path.unwrap_or_else(|| crate::api::CRL_PATH.to_owned());
            Some(match path.trim_matches('/') {
                "" => format!("http://{host}/{file}"),
                path => format!("http://{host}/{path}/{file}"),
            })
        }
        (None, _) => base.map(|base| format!("{base}{file}")),
    }
}

/// An authority that the API shows, with what it knows of it.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    given: &str,
    now: Timestamp,
) -> Result<(&'a AuthorityRecord, &'a PrivateAuthority), PrivateCaError> {
    check_arn(given)?;
    let record = registry.authorities.get(given).map(|record| &**record);
    record
        .and_then(|record| Some((record, record.private.as_deref()?)))
        .filter(|(_, private)| !private.is_gone(now))
        .ok_or_else(|| PrivateCaError::NotFound(format!("Could not find Certificate Authority {given}.")))
}

fn check_arn(given: &str) -> Result<(), PrivateCaError> {
    let refuse = || PrivateCaError::Arn(given.chars().take(200).collect());
    let arn: Arn = given.parse().map_err(|_| refuse())?;
    let name = arn.resource().strip_prefix("certificate-authority/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    match arn.service() == "acm-pca" && !name.is_empty() && given.len() <= 200 && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(refuse()),
    }
}

/// Forgets authorities that nobody can restore any more with their certificates, and revocations of
/// certificates that have expired.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    let gone: Vec<String> = registry
        .authorities
        .iter()
        .filter(|(_, record)| record.private.as_ref().is_some_and(|private| private.is_gone(now)))
        .map(|(arn, _)| arn.to_owned())
        .collect();
    for arn in &gone {
        registry.authorities.remove(arn);
    }
    if !gone.is_empty() {
        registry.private_certificates.retain(|_, row| !gone.iter().any(|arn| row.authority.as_str() == arn));
    }
}

//! AWS Certificate Manager's rows: certificates with their keys, imported, requested from a private
//! authority, or made for a gateway.
//!
//! - [`commands`] changes a registry, or refuses with an [`AcmError`].
//! - [`import`] checks what comes from outside.
//! - [`issue`] has a private authority sign, again at every renewal.
//! - [`export`] encrypts a key under a passphrase.
//!
//! Source of rules and limits: AWS Certificate Manager user guide and API reference.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::acm::{
    CertificateKeyAlgorithm, CertificateOptions, CertificateStatus, CertificateType, FailureReason,
    ValidationMethod,
};
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::{Registry, RegistryError};

pub use renewal::FailedRenewal;
pub use rollover::Rollover;

pub(crate) mod commands;
pub(crate) mod expiry;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod issue;
pub mod renewal;
pub mod rollover;
pub(crate) mod serving;
#[cfg(test)]
pub(crate) mod testing;

/// Most certificates. AWS has 2,500.
pub const CERTIFICATES_MAX: usize = 2_500;
/// Most names of a certificate. AWS allows 10, and more on request, up to 100.
pub const NAMES_MAX: usize = 100;
/// Most tags of a certificate.
pub const TAGS_MAX: usize = 50;
/// A request with the same token is the same one for so long.
pub const IDEMPOTENT_FOR: Duration = Duration::from_secs(3600);
/// How long a certificate of a private authority is valid: 13 months, as AWS has it.
pub const LIFETIME: Duration = Duration::from_secs(395 * 24 * 3600);
/// The days before a certificate's end at which AWS begins to tell of it, where nothing else is said.
pub const DAYS_BEFORE_EXPIRY_DEFAULT: i64 = 45;

/// A certificate of Certificate Manager.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AcmCertificate {
    /// The ARN.
    pub arn: Arn,
    /// Where it comes from.
    pub kind: CertificateType,
    /// Where it is in its life. An issued one whose time is over is told as `EXPIRED`.
    pub status: CertificateStatus,
    /// Why it was not issued.
    pub failure: Option<FailureReason>,
    /// The first name.
    pub domain: String,
    /// All names, the first one first.
    pub names: Vec<String>,
    /// The key's algorithm.
    pub key_algorithm: CertificateKeyAlgorithm,
    /// DER; empty as long as there is none.
    pub certificate_der: Vec<u8>,
    /// The certificates above it, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its key, PKCS#8, sealed under the master key and its ARN; empty as long as there is none.
    pub sealed_key: Vec<u8>,
    /// The private authority that signs it.
    pub authority: Option<Arn>,
    /// First and last second.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// It has no subject alternative name, or is of X.509 version 1, which verifiers of chains
    /// refuse: who shall believe it must be told its key's hash.
    pub pinned: bool,
    /// How the names were to be shown to be the requester's, of a public one.
    pub validation: Option<ValidationMethod>,
    /// When it was requested or first imported.
    pub created_at: Timestamp,
    /// When it was issued, or imported last.
    pub issued_at: Option<Timestamp>,
    /// When it was renewed last.
    pub renewed_at: Option<Timestamp>,
    /// What is believed besides it, while it comes into use in the place of another.
    #[serde(default)]
    pub rollover: Option<Rollover>,
    /// Managed renewal that did not succeed.
    #[serde(default)]
    pub failed_renewal: Option<FailedRenewal>,
    /// Whether its key was ever exported.
    pub exported: bool,
    /// As they were asked for.
    pub options: CertificateOptions,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `IdempotencyToken` of the request for it.
    pub token: Option<String>,
}

impl std::fmt::Debug for AcmCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcmCertificate")
            .field("arn", &self.arn)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl AcmCertificate {
    /// Where it is in its life at this moment.
    pub fn status_at(&self, now: Timestamp) -> CertificateStatus {
        let over = self.validity.is_some_and(|(_, not_after)| not_after.as_secs() < now.as_secs());
        match self.status {
            CertificateStatus::Issued if over => CertificateStatus::Expired,
            status => status,
        }
    }
}

/// Why a certificate was not made, changed or told. All but `Internal` are the caller's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcmError {
    /// There is no such certificate.
    #[error("Could not find certificate {0}.")]
    NotFound(String),
    /// An ARN is none, or of something else.
    #[error("{0} is not the ARN of a certificate.")]
    Arn(String),
    /// What was given breaks a rule.
    #[error("{0}")]
    Validation(String),
    /// A parameter is wrong.
    #[error("{0}")]
    Parameter(String),
    /// The certificate's state does not allow it.
    #[error("{0}")]
    State(String),
    /// It has not been issued yet.
    #[error("The certificate {0} has not been issued yet.")]
    InProgress(String),
    /// It is used.
    #[error("Certificate {0} is in use by {1}.")]
    InUse(String, String),
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(String),
    /// A tag is none.
    #[error("{0}")]
    Tag(String),
    /// It would have more than [`TAGS_MAX`] tags.
    #[error("A certificate can have at most {TAGS_MAX} tags.")]
    TooManyTags,
    /// A domain to validate by is not one of the certificate's.
    #[error("{0}")]
    Domains(String),
    /// A key could not be made, sealed or opened.
    #[error("the certificate could not be used: {0}")]
    Internal(String),
}

impl From<RegistryError> for AcmError {
    fn from(error: RegistryError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A certificate by its ARN.
pub(crate) fn find<'a>(registry: &'a Registry, given: &str) -> Result<&'a AcmCertificate, AcmError> {
    let refuse = || AcmError::Arn(given.chars().take(200).collect());
    let arn: Arn = given.parse().map_err(|_| refuse())?;
    let id = arn.resource().strip_prefix("certificate/").unwrap_or_default();
    if arn.service() != "acm" || id.is_empty() || id.contains('/') {
        return Err(refuse());
    }
    let found = registry.acm_certificates.get(given);
    found.map(|found| &**found).ok_or_else(|| AcmError::NotFound(given.to_owned()))
}

/// The load balancers and services that show a certificate.
pub(crate) fn in_use_by(registry: &Registry, arn: &Arn) -> Vec<String> {
    let services = serving::services_naming(registry, arn).map(|service| service.arn.to_string());
    let mut users: Vec<String> = registry
        .listeners
        .values()
        .filter(|listener| listener.certificates.iter().any(|used| used == arn.as_str()))
        .map(|listener| listener.load_balancer.to_string())
        .chain(services)
        .collect();
    users.sort();
    users.dedup();
    users
}

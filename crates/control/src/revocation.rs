//! Certificates that are refused before their end, and identities that get no more of them.
//!
//! A revocation is of a serial number: proxies are told of it (the stream's `Revocation`), and the
//! issuing authority's CRL lists it. A bar is of a task or a service: nothing is issued to it until
//! it is lifted. Revoking a task or a service does both, since a certificate alone would be
//! replaced at once; revoking a serial number does the first, and the task gets another certificate.

use std::{fmt, str::FromStr, time::Duration};

use bowline_aws::acmpca;
use bowline_model::{arn::Arn, clock::Timestamp, identity::SpiffeId, task::TaskId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::{CertificateRecord, Registry, TaskOwner, TaskRecord};

/// How long a CRL is good for: its `nextUpdate`. Another one is made at half of it.
pub const CRL_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Most serial numbers that are refused at once. Each goes to every proxy.
pub const REVOCATIONS_MAX: usize = 10_000;

/// Why a certificate was revoked: the reasons of RFC 5280 §5.3.1 that ACM PCA's `RevokeCertificate`
/// takes, in its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RevocationReason {
    /// Nothing was said. The CRL's entry has no reason code then (RFC 5280 §5.3.1).
    #[default]
    Unspecified,
    /// Somebody else has the key.
    KeyCompromise,
    /// Somebody else has the authority's key.
    CertificateAuthorityCompromise,
    /// What the certificate says of its holder has changed.
    AffiliationChanged,
    /// There is another one in its place.
    Superseded,
    /// It is needed no longer.
    CessationOfOperation,
    /// The holder may not do it any more.
    PrivilegeWithdrawn,
    /// An attribute authority's key is known to others.
    #[serde(rename = "A_A_COMPROMISE")]
    AttributeAuthorityCompromise,
}

impl From<acmpca::RevocationReason> for RevocationReason {
    fn from(reason: acmpca::RevocationReason) -> Self {
        match reason {
            acmpca::RevocationReason::Unspecified => Self::Unspecified,
            acmpca::RevocationReason::KeyCompromise => Self::KeyCompromise,
            acmpca::RevocationReason::CertificateAuthorityCompromise => Self::CertificateAuthorityCompromise,
            acmpca::RevocationReason::AffiliationChanged => Self::AffiliationChanged,
            acmpca::RevocationReason::Superseded => Self::Superseded,
            acmpca::RevocationReason::CessationOfOperation => Self::CessationOfOperation,
            acmpca::RevocationReason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
            acmpca::RevocationReason::AttributeAuthorityCompromise => Self::AttributeAuthorityCompromise,
        }
    }
}

impl RevocationReason {
    /// All of them with ACM PCA's words.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Unspecified, "UNSPECIFIED"),
        (Self::KeyCompromise, "KEY_COMPROMISE"),
        (Self::CertificateAuthorityCompromise, "CERTIFICATE_AUTHORITY_COMPROMISE"),
        (Self::AffiliationChanged, "AFFILIATION_CHANGED"),
        (Self::Superseded, "SUPERSEDED"),
        (Self::CessationOfOperation, "CESSATION_OF_OPERATION"),
        (Self::PrivilegeWithdrawn, "PRIVILEGE_WITHDRAWN"),
        (Self::AttributeAuthorityCompromise, "A_A_COMPROMISE"),
    ];

    /// ACM PCA's word.
    pub fn as_str(self) -> &'static str {
        // Every variant is in the table, which a test holds to.
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("UNSPECIFIED", |(_, word)| word)
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a reason to revoke for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no reason: use one of UNSPECIFIED, KEY_COMPROMISE, CERTIFICATE_AUTHORITY_COMPROMISE, \
         AFFILIATION_CHANGED, SUPERSEDED, CESSATION_OF_OPERATION, PRIVILEGE_WITHDRAWN, A_A_COMPROMISE"
)]
pub struct UnknownReason(pub String);

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    /// ACM PCA's words; case does not matter, and `-` is as good as `_`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.to_ascii_uppercase().replace('-', "_");
        let known = Self::ALL.iter().find(|(_, known)| *known == word);
        known.map(|(reason, _)| *reason).ok_or_else(|| UnknownReason(text.chars().take(100).collect()))
    }
}

/// A certificate that is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// Lower-case hexadecimal, as in [`CertificateRecord::serial`].
    pub serial: String,
    /// Who signed the certificate, and signs the CRL that it is on.
    pub authority: Arn,
    /// Whose it is; `None` for what an authority issued through the API.
    pub task: Option<TaskId>,
    /// The SPIFFE id in it; `None` for a public certificate.
    pub spiffe_id: Option<SpiffeId>,
    /// Why.
    pub reason: RevocationReason,
    /// Since when.
    pub revoked_at: Timestamp,
    /// The certificate's end.
    pub not_after: Timestamp,
    /// Of a certificate that was made for a fault: when the revocation is forgotten. `None` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_until: Option<Timestamp>,
}

/// A task or service that gets no certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BarRecord {
    /// Who.
    pub subject: BarSubject,
    /// Why.
    pub reason: RevocationReason,
    /// Since when.
    pub since: Timestamp,
}

/// Who can be barred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BarSubject {
    /// One task.
    Task(TaskId),
    /// Every task of a service, also those that are started later.
    Service(Arn),
}

impl BarSubject {
    /// The key in the registry's table.
    pub fn key(&self) -> String {
        match self {
            Self::Task(task) => format!("task/{task}"),
            Self::Service(arn) => format!("service/{arn}"),
        }
    }
}

impl fmt::Display for BarSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "task {task}"),
            Self::Service(arn) => write!(f, "service {arn}"),
        }
    }
}

/// What keeps a task from getting certificates, if anything does.
pub fn bar_on<'a>(registry: &'a Registry, task: &TaskRecord) -> Option<&'a BarRecord> {
    let own = registry.bars.get(&BarSubject::Task(task.id.clone()).key());
    let of_service = || match &task.owner {
        TaskOwner::Service { service, .. } => registry.bars.get(&BarSubject::Service(service.clone()).key()),
        TaskOwner::Standalone(_) | TaskOwner::Gateway { .. } => None,
    };
    own.or_else(of_service).map(|bar| &**bar)
}

/// A serial number on a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedSerial {
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Since when.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What an authority's CRL lists, by serial number: all that was revoked of what it signed. What
/// has ended meanwhile stays for one more CRL (RFC 5280 §3.3).
pub fn revoked_of(registry: &Registry, authority: &Arn) -> Vec<RevokedSerial> {
    let of_authority = registry.revocations.values().filter(|record| &record.authority == authority);
    of_authority
        .map(|record| RevokedSerial {
            serial: record.serial.clone(),
            revoked_at: record.revoked_at,
            reason: record.reason,
        })
        .collect()
}

/// What every proxy refuses: the serial numbers revoked of any authority, in order. A certificate
/// past its end is refused as such and needs no place here; the records go with
/// [`sweep`], which makes this a function of the registry alone.
pub fn refused_serials(registry: &Registry) -> Vec<String> {
    registry.revocations.values().map(|record| record.serial.clone()).collect()
}

/// Whether a serial number was revoked.
pub fn is_revoked(registry: &Registry, serial: &str) -> bool {
    registry.revocations.get(serial).is_some()
}

/// Revokes a certificate; one that is revoked already keeps its reason and time, and is not counted.
pub(crate) fn revoke(
    registry: &mut Registry,
    certificate: &CertificateRecord,
    reason: RevocationReason,
    now: Timestamp,
) -> bool {
    if is_revoked(registry, &certificate.serial) {
        return false;
    }
    let record = RevocationRecord {
        serial: certificate.serial.clone(),
        authority: registry.authority_of(certificate),
        task: Some(certificate.task.clone()),
        spiffe_id: certificate.spiffe_id.clone(),
        reason,
        revoked_at: now,
        not_after: certificate.not_after,
        fault_until: None,
    };
    registry.revocations.put(record.serial.clone(), record);
    true
}

/// Drops what has been over for as long as a CRL lives, and bars of what is no more.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    // Certificates of faults are nobody's: there is no CRL that has to tell of them after their end.
    registry.revocations.retain(|_, record| match record.fault_until {
        Some(until) => until > now,
        None => record.not_after + CRL_VALIDITY > now,
    });
    let over: Vec<String> = registry
        .bars
        .values()
        .filter(|bar| match &bar.subject {
            BarSubject::Task(task) => registry.tasks.get(task.as_str()).is_none(),
            BarSubject::Service(service) => registry.services.get(service.as_str()).is_none(),
        })
        .map(|bar| bar.subject.key())
        .collect();
    for key in over {
        registry.bars.remove(&key);
    }
}

#[cfg(test)]
mod tests;

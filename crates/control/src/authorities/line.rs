//! Lines of authorities that follow one another, in the registry: see [`bowline_model::succession`].

use std::{collections::BTreeSet, time::Duration};

use bowline_aws::acmpca::{CertificateAuthorityStatus, CertificateAuthorityType};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    succession::{Member, Slot, Succession, SuccessionRefused},
};
use thiserror::Error;

use super::{Authorities, AuthoritiesError, ROOT_VALIDITY};
use crate::{
    private_ca::{
        self, PrivateAuthority,
        commands::{self, NewAuthority},
    },
    random,
    registry::{AuthorityPlace, AuthorityPurpose, AuthorityRecord, Registry},
    x509::{certificate, chain},
};

/// How long one that was retired is shown at least.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Why an authority cannot become the next of a line.
#[derive(Debug, Error)]
pub enum NextError {
    /// The line does not allow it.
    #[error(transparent)]
    Refused(#[from] SuccessionRefused),
    /// Nobody in the mesh has certificates of the line.
    #[error("no service names {0}, so the mesh does not trust it and nothing is to be replaced")]
    NotOfTheMesh(Arn),
    /// One that another authority signed cannot be made here.
    #[error(
        "{0} is a subordinate: make the one that follows it with acm-pca, have it signed, and name it with --with"
    )]
    Subordinate(Arn),
    /// What is to follow cannot sign.
    #[error("{0} cannot be next: it is not ACTIVE, or tasks' certificates cannot stand under it")]
    Unusable(Arn),
    /// What is to follow has its own followers, or its own services.
    #[error("{0} cannot be next: services name it, or it is part of a line already")]
    Taken(Arn),
    /// It could not be made.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
}

/// What the line began with that an authority is of.
pub(crate) fn line_of(registry: &Registry, authority: &Arn) -> Arn {
    registry.authorities.get(authority.as_str()).map_or(authority, |record| record.line()).clone()
}

/// A line of the registry.
pub(crate) fn succession_of(registry: &Registry, line: &Arn) -> Succession {
    let mut rows: Vec<_> = registry.authorities.values().filter(|record| record.line() == line).collect();
    rows.sort_by_key(|record| record.place.number);
    let member = |record: &std::sync::Arc<AuthorityRecord>| Member {
        authority: record.arn.clone(),
        slot: record.place.slot,
        since: record.place.since,
    };
    Succession::new(rows.into_iter().map(member).collect())
}

/// Writes where each authority of a line is now.
pub(crate) fn put_back(registry: &mut Registry, line: &Succession) {
    for member in line.members() {
        registry.authorities.update(member.authority.as_str(), |record| {
            (record.place.slot, record.place.since) = (member.slot, member.since);
            record.trusted &= member.slot.is_trusted();
        });
    }
}

/// The authorities that services name.
fn named(registry: &Registry) -> BTreeSet<&Arn> {
    let connects = registry.services.values().filter_map(|service| service.connect.as_ref());
    connects.flat_map(|connect| &connect.services).filter_map(|offered| offered.authority.as_ref()).collect()
}

/// Trusts the authorities that services name, and those of their lines: what they sign are identities
/// of the mesh from now on, and stay so when no service names them any more, as leaves live on. One
/// that was retired is trusted no more.
pub(crate) fn trust_named(registry: &mut Registry) {
    let lines: BTreeSet<Arn> = named(registry).into_iter().map(|arn| line_of(registry, arn)).collect();
    let rows = registry.authorities.values().filter(|record| lines.contains(record.line()));
    let untrusted = rows.filter(|record| !record.trusted && record.place.slot.is_trusted());
    let untrusted: Vec<String> = untrusted.map(|record| record.arn.to_string()).collect();
    for arn in untrusted {
        registry.authorities.update(&arn, |authority| authority.trusted = true);
    }
}

/// Forgets the control plane's own authorities that were retired, with their keys, once no certificate of
/// theirs is left that a CRL might have to list. Those of the API are their owners' to delete.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    let is_over = |record: &AuthorityRecord| {
        let mut certificates = registry.certificates.values();
        record.private.is_none()
            && record.place.slot == Slot::Retired
            && now >= record.place.since + KEPT_FOR
            && !certificates.any(|row| row.not_after >= now && registry.authority_of(row) == record.arn)
    };
    let over = registry.authorities.values().filter(|record| is_over(record));
    let over: Vec<String> = over.map(|record| record.arn.to_string()).collect();
    for arn in over {
        registry.authorities.remove(&arn);
        registry.crls.remove(&arn);
    }
}

/// The DNS names that what follows a constrained authority may sign: those that it may sign itself, and the
/// namespaces of services that came to name it since. Whoever is not constrained is followed by one that is not.
fn permitted_names(registry: &Registry, line: &Arn, certificate: &[u8]) -> Vec<String> {
    let read = chain::parse(certificate);
    let Some(mut permitted) = read.as_ref().and_then(certificate::permitted_dns_of) else {
        return Vec::new();
    };
    let connects = registry.services.values().filter_map(|service| service.connect.as_ref());
    for connect in connects {
        let mut named = connect.services.iter().filter_map(|offered| offered.authority.as_ref());
        if named.any(|arn| line_of(registry, arn) == *line) && !permitted.contains(&connect.namespace) {
            permitted.push(connect.namespace.clone());
        }
    }
    permitted
}

impl Authorities {
    /// Makes what follows in a line, without a place in it: one of the control plane's own, or another
    /// like the line's present one. Slow for RSA: outside of any change of the registry.
    pub(crate) fn make_next(
        &self,
        registry: &Registry,
        line: &Arn,
        now: Timestamp,
    ) -> Result<AuthorityRecord, NextError> {
        let succession = succession_of(registry, line);
        let unknown = || NextError::Authorities(AuthoritiesError::Unknown(line.clone()));
        let current = succession.in_slot(Slot::Current).ok_or_else(unknown)?;
        let current = registry.authorities.get(current.as_str()).ok_or_else(unknown)?;
        // Asked again when it is put in place; here so that no key is made for nothing.
        if !current.trusted {
            return Err(NextError::NotOfTheMesh(line.clone()));
        }
        if let Some(next) = succession.in_slot(Slot::Next) {
            return Err(SuccessionRefused::NextExists(next.clone()).into());
        }
        let scope = &registry.settings().scope;
        let Some(private) = &current.private else {
            let number = current.place.number + 1;
            let name = format!("{}-{}", line.resource_name(), number + 1);
            let arn = scope.arn("acm-pca", format_args!("certificate-authority/{name}"));
            // Another name than the one before, so that people tell them apart.
            let common_name = match current.purpose {
                AuthorityPurpose::Mesh => format!("Bowline mesh root {}", number + 1),
                AuthorityPurpose::Public => {
                    format!("Bowline gateway root {} (this machine only)", number + 1)
                }
            };
            return Ok(self.create_own(&arn, current.purpose, common_name, now)?);
        };
        if private.kind == CertificateAuthorityType::Subordinate {
            return Err(NextError::Subordinate(line.clone()));
        }
        let arn = scope.arn("acm-pca", format_args!("certificate-authority/{}", random::uuid()));
        let permitted = permitted_names(registry, line, &current.certificate_der);
        Ok(self.make_like(arn, &current.arn, private, &permitted, now).map_err(AuthoritiesError::from)?)
    }

    /// A root as another one was asked for, with a key of its own.
    fn make_like(
        &self,
        arn: Arn,
        before: &Arn,
        like: &PrivateAuthority,
        permitted_dns: &[String],
        now: Timestamp,
    ) -> Result<AuthorityRecord, private_ca::PrivateCaError> {
        let new = NewAuthority {
            kind: like.kind,
            configuration: like.configuration.clone(),
            revocation: like.revocation.clone(),
            usage_mode: like.usage_mode,
            key_storage: like.key_storage,
            tags: like.tags.clone(),
            token: None,
        };
        // Who may use the one before may use this one.
        let policy = like.policy.as_ref().map(|policy| policy.replace(before.as_str(), arn.as_str()));
        let mut record = commands::make(&self.master_key, arn, new, now)?;
        private_ca::issue::sign_itself(&self.master_key, &mut record, ROOT_VALIDITY, permitted_dns, now)?;
        if let Some(private) = &mut record.private {
            private.permissions.clone_from(&like.permissions);
            private.policy = policy;
        }
        Ok(record)
    }

    /// Whether an authority of the API's can follow in a line.
    pub(crate) fn check_usable(
        &self,
        registry: &Registry,
        authority: &Arn,
        now: Timestamp,
    ) -> Result<(), NextError> {
        let record = registry.authorities.get(authority.as_str());
        let unknown = || NextError::Authorities(AuthoritiesError::Unknown(authority.clone()));
        let record = record.ok_or_else(unknown)?;
        let private = record.private.as_ref().ok_or_else(|| NextError::Taken(authority.clone()))?;
        let active = private.status_at(now) == CertificateAuthorityStatus::Active;
        if !active || self.opened().named(authority).is_none() {
            return Err(NextError::Unusable(authority.clone()));
        }
        let alone = record.place == AuthorityPlace::default()
            && succession_of(registry, authority).members().len() == 1;
        match alone && !named(registry).contains(authority) {
            true => Ok(()),
            false => Err(NextError::Taken(authority.clone())),
        }
    }
}

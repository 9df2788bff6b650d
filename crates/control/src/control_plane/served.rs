//! The certificates of Certificate Manager that sidecars and gateways show, for whoever owns the
//! state directory.

use std::{collections::BTreeSet, time::Duration};

use bowline_aws::acm::{CertificateType, FailureReason};
use bowline_model::{arn::Arn, clock::Timestamp};
use bowline_plumbing::wall_clock;

use super::ControlPlane;
use crate::{
    acm::{AcmCertificate, in_use_by, renewal, serving},
    private_ca::commands::hex,
    registry::Registry,
    x509::chain,
};

/// How long before the end of what is not renewed there are warnings. AWS tells of it 45 days before.
const WARNED_FOR: Duration = Duration::from_secs(45 * 24 * 3600);

/// A certificate of Certificate Manager that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedCertificate {
    /// The certificate.
    pub arn: Arn,
    /// Names of the services and load balancers that name it.
    pub used_by: Vec<String>,
    /// SPIFFE ids that it stands for between sidecars.
    pub identities: Vec<String>,
    /// The issuer as the certificate has it.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// When it is renewed; `None` of one that was imported.
    pub renews_at: Option<Timestamp>,
    /// Members are told its key: its chain cannot be checked.
    pub pinned: bool,
    /// What whoever runs this should know.
    pub warnings: Vec<String>,
}

impl ControlPlane {
    /// Every certificate of Certificate Manager that a service or a load balancer shows.
    pub fn served_certificates(&self) -> Vec<ServedCertificate> {
        let registry = self.snapshot();
        let now = wall_clock::now();
        registry.acm_certificates.values().filter_map(|row| view(&registry, row, now)).collect()
    }
}

/// As AWS writes it.
fn reason(failure: FailureReason) -> Option<String> {
    serde_json::to_value(failure).ok()?.as_str().map(str::to_owned)
}

fn view(registry: &Registry, row: &AcmCertificate, now: Timestamp) -> Option<ServedCertificate> {
    let used_by: Vec<String> = in_use_by(registry, &row.arn)
        .iter()
        .map(|user| match registry.load_balancers.get(user) {
            Some(balancer) => balancer.name.clone(),
            None => user.rsplit('/').next().unwrap_or(user).to_owned(),
        })
        .collect();
    let read = chain::parse(&row.certificate_der).filter(|_| !used_by.is_empty())?;
    let (not_before, not_after) = chain::validity(&read);
    let services: Vec<_> = serving::services_naming(registry, &row.arn).collect();
    let stands_for = services
        .iter()
        .filter(|service| serving::of_server(registry, service) == Some(&row.arn))
        .copied()
        .chain(serving::client_of(registry, &row.arn));
    let identities: BTreeSet<String> =
        stands_for.map(|service| registry.identity_of_service(service).to_string()).collect();
    // A gateway's clients have roots of their own.
    let pinned = serving::is_pinned(row) && !services.is_empty();
    let mut warnings = Vec::new();
    if pinned {
        let why = match row.pinned {
            true => "it has no subject alternative name, or is of X.509 version 1",
            false => "there is no authority above it",
        };
        warnings.push(format!(
            "it is pinned: {why}, so members are told the hash of its key in place of checking a chain. Sign one \
             with `openssl x509 -req … -extfile` and `subjectAltName=DNS:{}`, and import it under this ARN with its \
             chain",
            row.domain
        ));
    }
    let is_imported = row.kind == CertificateType::Imported;
    if now > not_after {
        warnings.push(format!("it expired at {not_after}: it is refused"));
    } else if is_imported && now + WARNED_FOR >= not_after {
        warnings.push(format!(
            "it ends at {not_after} and is not renewed, because it was imported: import another one under this ARN"
        ));
    } else if let Some(failed) = row.failed_renewal {
        warnings.push(format!(
            "its renewal has failed {} times, last at {}: {}",
            failed.failures,
            failed.at,
            row.failure.and_then(reason).unwrap_or_else(|| "the log says why".to_owned())
        ));
    }
    let names_as_client = services.iter().any(|service| {
        let connect = service.connect.as_ref();
        connect.is_some_and(|connect| connect.encryption.client_certificate.as_ref() == Some(&row.arn))
    });
    if names_as_client && serving::client_of(registry, &row.arn).is_none() {
        warnings.push(
            "several services could show it as callers, so none does: give each a certificate of its own"
                .into(),
        );
    }
    let serial: Vec<u8> = read.raw_serial().iter().copied().skip_while(|byte| *byte == 0).collect();
    Some(ServedCertificate {
        arn: row.arn.clone(),
        used_by,
        identities: identities.into_iter().collect(),
        issuer: read.issuer().to_string(),
        serial: hex(&serial),
        not_before,
        not_after,
        renews_at: renewal::next_attempt(row).filter(|_| renewal::is_eligible(registry, row)),
        pinned,
        warnings,
    })
}

//! Which of Certificate Manager's certificates sidecars and gateways show, and whom they stand for.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use bowline_discovery::v1;
use bowline_model::{
    arn::Arn,
    service::{Service, TlsMode},
};

use super::{AcmCertificate, import, rollover};
use crate::{
    ecs::record::DeploymentState,
    private_ca::commands::hex,
    registry::Registry,
    revocation::BarSubject,
    x509::{chain, pem},
};

/// Name on the stream of the identity that a certificate is.
pub(crate) fn identity_name(arn: &str) -> String {
    format!("acm:{arn}")
}

/// The certificate of such an identity.
pub(crate) fn certificate_named<'a>(registry: &'a Registry, identity: &str) -> Option<&'a AcmCertificate> {
    let arn = identity.strip_prefix("acm:")?;
    registry.acm_certificates.get(arn).map(|row| &**row).filter(|row| can_be_shown(row))
}

/// Whether there is a certificate, and a key to it.
pub(crate) fn can_be_shown(certificate: &AcmCertificate) -> bool {
    !certificate.certificate_der.is_empty() && !certificate.sealed_key.is_empty()
}

/// The identity as the stream has it; `None` where there is nothing to show.
pub(crate) fn identity(registry: &Registry, arn: &str) -> Option<v1::Identity> {
    let row = registry.acm_certificates.get(arn).filter(|row| can_be_shown(row))?;
    Some(v1::Identity {
        name: identity_name(arn),
        spiffe_id: String::new(),
        dns_names: row.names.clone(),
        source: Some(v1::identity::Source::Fetched(v1::FetchedCertificate {
            version: rollover::shown_version(row),
        })),
        staged: None,
        disturbance: None,
    })
}

/// What is sent in a handshake: the leaf, and what is above it but the root.
pub(crate) fn sent_chain(certificate: &AcmCertificate) -> Vec<Vec<u8>> {
    let between = certificate.chain.split_last().map(|(_root, between)| between).unwrap_or_default();
    std::iter::once(&certificate.certificate_der).chain(between).cloned().collect()
}

/// The certificate that a service's sidecars show to callers, in place of the mesh's.
pub(crate) fn of_server<'a>(registry: &Registry, service: &'a Service) -> Option<&'a Arn> {
    let arn = service.connect.as_ref()?.encryption.certificate.as_ref()?;
    registry.acm_certificates.get(arn.as_str()).filter(|row| can_be_shown(row))?;
    Some(arn)
}

/// The certificate that `caller`'s sidecars show to `callee`'s, in place of the mesh's.
///
/// `clientCertificateArn` of the called service names what its callers show. It is shown by the
/// service whose own certificate (`certificateArn`) it is; of a certificate that is nobody's, by
/// the service that names it, to whomever it calls. One that could be several services' is shown by
/// none: it would prove nothing. Nor is one shown while a deployment of the called service is under
/// way: all of its sidecars have to have learned of it.
pub(crate) fn of_client<'a>(registry: &'a Registry, caller: &Service, callee: &Service) -> Option<&'a Arn> {
    let named = |service: &Service| {
        let encryption = &service.connect.as_ref()?.encryption;
        encryption.client_certificate.clone().filter(|_| encryption.mode == TlsMode::MutualTls)
    };
    let is_settled = || {
        let latest = registry.service_records.get(callee.arn.as_str())?.deployments.first()?;
        Some(latest.state == DeploymentState::Completed)
    };
    let asks = callee.connect.as_ref()?.encryption.mode == TlsMode::MutualTls;
    let mut certificates = [named(callee), named(caller)].into_iter().flatten();
    certificates.find_map(|arn| {
        is_settled().filter(|settled| *settled && asks)?;
        let row = registry.acm_certificates.get(arn.as_str()).filter(|row| can_be_shown(row))?;
        (client_of(registry, &arn)?.arn == caller.arn).then_some(&row.arn)
    })
}

/// The service that a certificate stands for where callers show it.
pub(crate) fn client_of<'a>(registry: &'a Registry, arn: &Arn) -> Option<&'a Service> {
    let services = || registry.services.values().map(|service| &**service);
    let encryption = |service: &&Service| service.connect.as_ref().map(|connect| connect.encryption.clone());
    let names = |service: &&Service| {
        encryption(service).is_some_and(|it| it.client_certificate.as_ref() == Some(arn))
    };
    let owns =
        |service: &&Service| encryption(service).is_some_and(|it| it.certificate.as_ref() == Some(arn));
    if !services().any(|service| names(&service)) {
        return None;
    }
    let mut owners = services().filter(owns).peekable();
    if owners.peek().is_some() {
        return only(owners);
    }
    only(services().filter(names))
}

fn only<'a>(mut services: impl Iterator<Item = &'a Service>) -> Option<&'a Service> {
    let first = services.next();
    first.filter(|_| services.next().is_none())
}

/// Whether a service shows a certificate of Certificate Manager, to callers or as one: only then does
/// what is published depend on who is barred.
pub(crate) fn is_asked_for(registry: &Registry) -> bool {
    let connects = registry.services.values().filter_map(|service| service.connect.as_ref());
    let mut asked = connects.map(|connect| &connect.encryption);
    asked.any(|asked| asked.certificate.is_some() || asked.client_certificate.is_some())
}

/// Whether what is published depends on the state of deployments.
pub(crate) fn waits_for_deployments(registry: &Registry) -> bool {
    registry
        .services
        .values()
        .filter_map(|service| service.connect.as_ref())
        .any(|connect| connect.encryption.client_certificate.is_some())
}

/// The certificates that a service's sidecars hold besides the mesh's: what they show to callers,
/// and what they show as callers.
pub(crate) fn held_by(registry: &Registry, service: &Service, to_callers: Option<&Arn>) -> BTreeSet<String> {
    let own = to_callers.map(Arn::to_string);
    let shown = registry.services.values().filter_map(|callee| of_client(registry, service, callee));
    own.into_iter().chain(shown.map(Arn::to_string)).collect()
}

/// The services whose sidecars show a certificate, or that say so: their ARNs.
pub(crate) fn services_naming<'a>(registry: &'a Registry, arn: &'a Arn) -> impl Iterator<Item = &'a Service> {
    registry.services.values().map(|service| &**service).filter(move |service| {
        service.connect.as_ref().is_some_and(|connect| {
            let encryption = &connect.encryption;
            [&encryption.certificate, &encryption.client_certificate].contains(&&Some(arn.clone()))
        })
    })
}

/// What members believe of certificates that services show.
pub(crate) fn believed(registry: &Registry) -> Vec<v1::ImportedCertificate> {
    let named: BTreeSet<&Arn> = registry
        .services
        .values()
        .filter_map(|service| service.connect.as_ref())
        .flat_map(|connect| [&connect.encryption.certificate, &connect.encryption.client_certificate])
        .flatten()
        .collect();
    named.into_iter().filter_map(|arn| belief(registry, arn)).collect()
}

fn belief(registry: &Registry, arn: &Arn) -> Option<v1::ImportedCertificate> {
    let row = registry.acm_certificates.get(arn.as_str()).filter(|row| can_be_shown(row))?;
    // Whose certificates are revoked has none.
    let barred =
        |service: &&Service| registry.bars.get(&BarSubject::Service(service.arn.clone()).key()).is_some();
    let id = |service: &Service| registry.identity_of_service(service).to_string();
    let servers = registry.services.values().map(|service| &**service).filter(|service| {
        service.connect.as_ref().is_some_and(|connect| connect.encryption.certificate.as_ref() == Some(arn))
    });
    let mut message = v1::ImportedCertificate {
        name: arn.to_string(),
        server_ids: servers.filter(|service| !barred(service)).map(id).collect(),
        client_id: client_of(registry, arn).filter(|service| !barred(service)).map(id).unwrap_or_default(),
        spki_sha256: Vec::new(),
        chains: Vec::new(),
    };
    believe(&mut message, &row.certificate_der, &row.chain, row.pinned);
    for earlier in row.rollover.iter().flat_map(|rollover| &rollover.earlier) {
        believe(&mut message, &earlier.certificate_der, &earlier.chain, earlier.pinned);
    }
    Some(message)
}

/// By its key where no verifier of chains takes it, else by its chain and its names.
fn believe(message: &mut v1::ImportedCertificate, der: &[u8], above: &[Vec<u8>], pinned: bool) {
    let Some(read) = chain::parse(der) else { return };
    match above.last().filter(|_| !pinned) {
        Some(root) => {
            let roots_pem = pem::write("CERTIFICATE", root);
            let chain = v1::ImportedChain { roots_pem, dns_names: import::dns_names(&read) };
            if !message.chains.contains(&chain) {
                message.chains.push(chain);
            }
        }
        None => {
            let pin = hex(digest::digest(&digest::SHA256, read.public_key().raw).as_ref());
            if !message.spki_sha256.contains(&pin) {
                message.spki_sha256.push(pin);
            }
        }
    }
}

/// Whether peers have to be told its key: it has no names, is of version 1, or has nothing above it.
pub(crate) fn is_pinned(certificate: &AcmCertificate) -> bool {
    certificate.pinned || certificate.chain.is_empty()
}

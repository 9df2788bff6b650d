//! AWS Private CA's resources of a template: authorities, their certificates, and their activation.

use std::time::Duration;

use bowline_aws::{
    acmpca::{
        Certificate, CertificateAuthority, CertificateAuthorityActivation,
        CertificateAuthorityActivationStatus, CertificateAuthorityStatus, CertificateAuthorityType,
        IssueCertificateRequest,
    },
    cfn::{ResourceBody, StackResource},
    protocol::Blob,
};
use bowline_model::{arn::Arn, clock::Timestamp};

use super::{ApplyContext, ApplyError, Applying};
use crate::{
    authorities::ROOT_VALIDITY,
    private_ca::{
        self, PrivateCaError,
        commands::{self, internal},
        import, issue,
    },
    registry::{AuthorityPlace, AuthorityRecord, Registry},
    x509::pem,
};

const AUTHORITIES: &str = "authorities";
const CERTIFICATES: &str = "private-certificates";
const ACTIVATIONS: &str = "authority-activations";

/// How long the authority of a stack that is gone can be restored. As CloudFormation, which deletes
/// with AWS Private CA's default.
const RETIRED_FOR: Duration = Duration::from_secs(private_ca::RECOVERY_DAYS_DEFAULT * 24 * 3600);

/// The tag of authorities that are for Service Connect's certificates alone.
const MANAGED_TAG: &str = "AmazonECSManaged";

/// Removes what a stack made; whether it is of these tables.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str, now: Timestamp) -> bool {
    match table {
        // Certificates that it signed are still in use until they are renewed: it can be restored. What
        // followed it goes with it.
        AUTHORITIES => {
            let line = registry.authorities.values().filter(|record| record.line().as_str() == key);
            let line: Vec<String> = line.map(|record| record.arn.to_string()).collect();
            for arn in line {
                registry.authorities.update(&arn, |authority| {
                    if let Some(private) = &mut authority.private {
                        commands::retire(private, RETIRED_FOR, now);
                    }
                });
            }
        }
        // What was issued stays issued.
        CERTIFICATES => {}
        // As CloudFormation: without its activation an authority is disabled.
        ACTIVATIONS => registry.authorities.update(key, |authority| {
            if let Some(private) = &mut authority.private
                && private.status == CertificateAuthorityStatus::Active
            {
                (private.status, private.changed_at) = (CertificateAuthorityStatus::Disabled, now);
            }
        }),
        _ => return false,
    }
    true
}

impl Applying<'_> {
    /// Makes authorities, signs and activates, in the order in which they depend on each other.
    pub(super) fn all_authorities(
        &mut self,
        registry: &mut Registry,
        context: &mut ApplyContext<'_>,
    ) -> Result<(), ApplyError> {
        for resource in &self.stack.resources {
            match &resource.body {
                ResourceBody::CertificateAuthority(body) => {
                    self.authority(registry, resource, body, context)?;
                }
                ResourceBody::PrivateCertificate(body) => {
                    let Some(arn) = self.arn(resource) else { continue };
                    if let Err(error) = self.certificate(registry, &arn, body, context) {
                        self.fault(resource, error.to_string());
                    }
                    self.made(CERTIFICATES, arn.as_str());
                }
                ResourceBody::CertificateAuthorityActivation(body) => {
                    if let Err(error) = self.activation(registry, resource, body) {
                        self.fault(resource, error.to_string());
                    }
                    self.made(ACTIVATIONS, &body.certificate_authority_arn);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn authority(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &CertificateAuthority,
        context: &mut ApplyContext<'_>,
    ) -> Result<(), ApplyError> {
        let Some(arn) = self.arn(resource) else { return Ok(()) };
        self.made(AUTHORITIES, arn.as_str());
        let activated = self.stack.resources.iter().any(|other| {
            matches!(&other.body, ResourceBody::CertificateAuthorityActivation(activation)
                if activation.certificate_authority_arn == arn.as_str())
        });
        let signs_itself = body.r#type == CertificateAuthorityType::Root && !activated;
        if signs_itself {
            self.note(
                resource,
                "signs its own certificate, valid for ten years, as the template has no \
                 AWS::ACMPCA::CertificateAuthorityActivation for it: on AWS it would wait for one",
            );
        }
        let usable = registry.authorities.get(arn.as_str()).is_some_and(|present| {
            present.private.as_ref().is_none_or(|private| private.restorable_until.is_none())
        });
        if usable {
            return Ok(());
        }
        let mut record = (context.make_authority)(&arn, body)?;
        if signs_itself {
            let permitted = self.permitted_names(registry, &arn, body);
            let master_key = context.authorities.master_key();
            private_ca::issue::sign_itself(master_key, &mut record, ROOT_VALIDITY, &permitted, self.now)
                .map_err(|error| ApplyError::Authority(Box::new(error)))?;
        }
        // A root that others are below signs no identities itself: it is trusted once a service names it.
        record.trusted = signs_itself;
        begin_line(registry, &arn);
        registry.authorities.put(arn.as_str(), record);
        Ok(())
    }

    /// The DNS names that an authority is to be constrained to: of one that is tagged as Service Connect's
    /// own, the namespaces of all services of the stack that name it. None where any of that is not known
    /// beforehand.
    fn permitted_names(&self, registry: &Registry, arn: &Arn, body: &CertificateAuthority) -> Vec<String> {
        let managed = |tag: &bowline_aws::acmpca::Tag| {
            tag.key == MANAGED_TAG
                && tag.value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        // Certificate Manager's certificates have names of all kinds.
        let other_names = self.stack.resources.iter().any(|other| {
            matches!(&other.body, ResourceBody::AcmCertificate(certificate)
                if certificate.certificate_authority_arn.as_deref() == Some(arn.as_str()))
        });
        if !body.tags.iter().any(managed) || other_names {
            return Vec::new();
        }
        let mut names = Vec::new();
        for resource in &self.stack.resources {
            let ResourceBody::EcsService(service) = &resource.body else { continue };
            let Some(connect) = &service.service_connect_configuration else { continue };
            let names_it = connect.services.iter().filter_map(|offered| offered.tls.as_ref()).any(|tls| {
                tls.issuer_certificate_authority.aws_pca_authority_arn.as_deref() == Some(arn.as_str())
            });
            if !names_it {
                continue;
            }
            let name =
                connect.namespace.as_deref().and_then(|given| self.certifiable_namespace(registry, given));
            match name {
                Some(name) if names.contains(&name) => {}
                Some(name) => names.push(name),
                None => return Vec::new(),
            }
        }
        names
    }

    /// A namespace's name where it can stand in a certificate, by name, ARN or id.
    fn certifiable_namespace(&self, registry: &Registry, given: &str) -> Option<String> {
        let of_stack = self.stack.resources.iter().find_map(|resource| {
            let name = match &resource.body {
                ResourceBody::PrivateDnsNamespace(body) => &body.name,
                ResourceBody::HttpNamespace(body) => &body.name,
                _ => return None,
            };
            let meant = name == given
                || resource.physical_id == given
                || resource.attribute("Arn") == Some(given)
                || resource.attribute("Id") == Some(given);
            meant.then(|| name.clone())
        });
        let name =
            of_stack.or_else(|| registry.namespace_named(given).map(|namespace| namespace.name.clone()))?;
        rustls_pki_types::DnsName::try_from(name.as_str()).is_ok().then_some(name)
    }

    /// Issues a certificate, once: its ARN says the serial number.
    fn certificate(
        &mut self,
        registry: &mut Registry,
        arn: &Arn,
        body: &Certificate,
        context: &ApplyContext<'_>,
    ) -> Result<(), PrivateCaError> {
        if registry.private_certificates.get(arn.as_str()).is_some() {
            return Ok(());
        }
        let (record, private) = private_ca::find(registry, &body.certificate_authority_arn, self.now)?;
        let serial = arn.resource_name();
        let serial = u128::from_str_radix(serial, 16).map_err(internal)?.to_be_bytes();
        let request = IssueCertificateRequest {
            api_passthrough: body.api_passthrough.clone(),
            certificate_authority_arn: body.certificate_authority_arn.clone(),
            csr: Blob(resolved(registry, &body.certificate_signing_request)?.into_bytes()),
            signing_algorithm: body.signing_algorithm,
            template_arn: body.template_arn.clone(),
            validity: body.validity.clone(),
            validity_not_before: body.validity_not_before.clone(),
            idempotency_token: None,
        };
        let master_key = context.authorities.master_key();
        let issued =
            issue::issue_numbered(master_key, registry, (record, private), &request, serial, self.now)?;
        commands::keep(registry, issued, self.now)
    }

    /// Takes in an authority's certificate. One that has it already is left as it is.
    fn activation(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &CertificateAuthorityActivation,
    ) -> Result<(), PrivateCaError> {
        let certificate = resolved(registry, &body.certificate)?;
        let above = body.certificate_chain.as_deref().map(|chain| resolved(registry, chain)).transpose()?;
        let (given, now) = (&body.certificate_authority_arn, self.now);
        let (record, private) = private_ca::find(registry, given, now)?;
        let waits = private.status == CertificateAuthorityStatus::PendingCertificate;
        if !waits
            && pem::certificates(certificate.as_bytes())
                .is_ok_and(|all| all == [record.certificate_der.clone()])
        {
            return Ok(());
        }
        let disabled = body.status == Some(CertificateAuthorityActivationStatus::Disabled);
        commands::change(registry, given, now, |record, private| {
            import::import(
                record,
                private,
                certificate.as_bytes(),
                above.as_deref().map(str::as_bytes),
                now,
            )?;
            if disabled {
                private.status = CertificateAuthorityStatus::Disabled;
            }
            Ok(())
        })?;
        if disabled {
            self.note(resource, "leaves its certificate authority DISABLED: it signs nothing");
        }
        Ok(())
    }
}

/// What followed an authority that was removed, and is made anew, follows it no more: each is for itself.
fn begin_line(registry: &mut Registry, arn: &Arn) {
    let followers = registry.authorities.values().filter(|record| record.place.line.as_ref() == Some(arn));
    let followers: Vec<String> = followers.map(|record| record.arn.to_string()).collect();
    for follower in followers {
        registry.authorities.update(&follower, |record| record.place = AuthorityPlace::default());
    }
}

/// A property with what it asks of AWS Private CA's resources in its place.
fn resolved(registry: &Registry, text: &str) -> Result<String, PrivateCaError> {
    const BEGIN: &str = "{{resolve:acm-pca:";
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (reference, after) =
            after.split_once("}}").ok_or_else(|| PrivateCaError::Args(format!("{text} is not complete.")))?;
        made.push_str(before);
        made.push_str(&attribute(registry, reference)?);
        rest = after;
    }
    made.push_str(rest);
    Ok(made)
}

/// What `ARN:ATTRIBUTE` is.
fn attribute(registry: &Registry, reference: &str) -> Result<String, PrivateCaError> {
    let missing = || PrivateCaError::NotFound(format!("{reference} is not known yet."));
    let (arn, name) = reference.rsplit_once(':').ok_or_else(missing)?;
    let authority = || registry.authorities.get(arn).ok_or_else(missing);
    let private = |record: &AuthorityRecord| record.private.clone().ok_or_else(missing);
    match name {
        "CertificateSigningRequest" => Ok(private(authority()?)?.csr),
        "Certificate" => {
            let certificate = registry.private_certificates.get(arn).ok_or_else(missing)?;
            Ok(pem::write("CERTIFICATE", &certificate.certificate_der))
        }
        "CompleteCertificateChain" => {
            let record = authority()?;
            if record.certificate_der.is_empty() {
                return Err(missing());
            }
            let private = private(record)?;
            let all = std::iter::once(&record.certificate_der).chain(&private.chain);
            Ok(all.map(|der| pem::write("CERTIFICATE", der)).collect())
        }
        _ => Err(missing()),
    }
}

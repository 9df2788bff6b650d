//! Certificate Manager's certificates of a template.

use bowline_aws::cfn::ResourceBody;

use super::{ApplyContext, Applying};
use crate::{
    acm::{commands, issue},
    private_ca,
    registry::Registry,
};

const CERTIFICATES: &str = "acm-certificates";

impl Applying<'_> {
    /// Takes up every certificate. One stays as it is as long as its names and its authority do.
    pub(super) fn all_certificates(&mut self, registry: &mut Registry, context: &ApplyContext<'_>) {
        for resource in &self.stack.resources {
            let ResourceBody::AcmCertificate(body) = &resource.body else { continue };
            let Ok(arn) = resource.physical_id.parse() else {
                self.fault(resource, "it has no ARN");
                continue;
            };
            let wanted = commands::names(&body.domain_name, &body.subject_alternative_names);
            let same = registry.acm_certificates.get(&resource.physical_id).is_some_and(|present| {
                Ok(&present.names) == wanted.as_ref()
                    && present.authority.as_ref().map(|arn| arn.as_str())
                        == body.certificate_authority_arn.as_deref()
            });
            if !same {
                let made = issue::for_template(context.authorities, registry, &arn, body, self.now);
                let kept = made.and_then(|(certificate, issued)| {
                    commands::add(registry, certificate)?;
                    Ok(issued)
                });
                match kept {
                    Err(error) => {
                        self.fault(resource, error.to_string());
                        continue;
                    }
                    Ok(Some(issued)) => {
                        if let Err(error) = private_ca::commands::keep(registry, issued, self.now) {
                            self.fault(resource, error.to_string());
                        }
                    }
                    Ok(None) => {}
                }
            }
            self.made(CERTIFICATES, arn.as_str());
        }
    }
}

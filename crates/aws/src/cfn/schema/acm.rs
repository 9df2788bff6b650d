//! AWS Certificate Manager.

use super::shape::{STR, Shape, TAG, list, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::security;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

const DOMAIN_VALIDATION_OPTION: Shape =
    object(&[optional("DomainName", STR), optional("HostedZoneId", STR), optional("ValidationDomain", STR)]);

pub(super) static CERTIFICATE: ResourceType = resource(
    "AWS::CertificateManager::Certificate",
    &[
        optional("CertificateAuthorityArn", STR),
        optional("CertificateExport", STR.one_of(&["ENABLED", "DISABLED"])),
        optional("CertificateTransparencyLoggingPreference", STR.one_of(&["ENABLED", "DISABLED"])),
        required("DomainName", STR),
        optional("DomainValidationOptions", list(&DOMAIN_VALIDATION_OPTION)),
        optional("KeyAlgorithm", STR),
        optional("SubjectAlternativeNames", list(&STR)),
        optional("Tags", list(&TAG).items(1, 50)),
        optional("ValidationMethod", STR),
    ],
)
.attributes(&["CertificateArn"])
.identified_by(security::acm_certificate)
.typed_as(|value| Ok(ResourceBody::AcmCertificate(from_json(value)?)));

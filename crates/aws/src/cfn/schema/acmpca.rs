//! AWS Private CA: authorities, certificates, activation.

use super::shape::{BOOL, INT, STR, Shape, TAG, list, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::security;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

const CSR_EXTENSIONS: Shape = object(&[
    optional("KeyUsage", KEY_USAGE),
    optional("SubjectInformationAccess", list(&ACCESS_DESCRIPTION)),
]);

const KEY_USAGE: Shape = object(&[
    optional("CRLSign", BOOL),
    optional("DataEncipherment", BOOL),
    optional("DecipherOnly", BOOL),
    optional("DigitalSignature", BOOL),
    optional("EncipherOnly", BOOL),
    optional("KeyAgreement", BOOL),
    optional("KeyCertSign", BOOL),
    optional("KeyEncipherment", BOOL),
    optional("NonRepudiation", BOOL),
]);

const ACCESS_DESCRIPTION: Shape =
    object(&[required("AccessLocation", GENERAL_NAME), required("AccessMethod", ACCESS_METHOD)]);

const GENERAL_NAME: Shape = object(&[
    optional("DirectoryName", SUBJECT),
    optional("DnsName", STR),
    optional("EdiPartyName", EDI_PARTY_NAME),
    optional("IpAddress", STR),
    optional("OtherName", OTHER_NAME),
    optional("RegisteredId", STR),
    optional("Rfc822Name", STR),
    optional("UniformResourceIdentifier", STR),
]);

const SUBJECT: Shape = object(&[
    optional("CommonName", STR),
    optional("Country", STR),
    optional("CustomAttributes", list(&CUSTOM_ATTRIBUTE)),
    optional("DistinguishedNameQualifier", STR),
    optional("GenerationQualifier", STR),
    optional("GivenName", STR),
    optional("Initials", STR),
    optional("Locality", STR),
    optional("Organization", STR),
    optional("OrganizationalUnit", STR),
    optional("Pseudonym", STR),
    optional("SerialNumber", STR),
    optional("State", STR),
    optional("Surname", STR),
    optional("Title", STR),
]);

const CUSTOM_ATTRIBUTE: Shape = object(&[required("ObjectIdentifier", STR), required("Value", STR)]);

const EDI_PARTY_NAME: Shape = object(&[optional("NameAssigner", STR), required("PartyName", STR)]);

const OTHER_NAME: Shape = object(&[required("TypeId", STR), required("Value", STR)]);

const ACCESS_METHOD: Shape =
    object(&[optional("AccessMethodType", STR), optional("CustomObjectIdentifier", STR)]);

const REVOCATION_CONFIGURATION: Shape = object(&[
    optional("CrlConfiguration", CRL_CONFIGURATION),
    optional("OcspConfiguration", OCSP_CONFIGURATION),
]);

const CRL_CONFIGURATION: Shape = object(&[
    optional("CrlDistributionPointExtensionConfiguration", CRL_DISTRIBUTION_POINT_EXTENSION_CONFIGURATION),
    optional("CrlType", STR.one_of(&["COMPLETE", "PARTITIONED"])),
    optional("CustomCname", STR.pattern("^[-a-zA-Z0-9;/?:@&=+$,%_.!~*()']*$").len(0, 253)),
    optional(
        "CustomPath",
        STR.pattern("^(/|[-a-zA-Z0-9;?:@&=+$,%_.!~*()']+(/[-a-zA-Z0-9;?:@&=+$,%_.!~*()']+)*)$").len(0, 253),
    ),
    required("Enabled", BOOL),
    optional("ExpirationInDays", INT.range(1.0, 5000.0)),
    optional("S3BucketName", STR.pattern("^[-a-zA-Z0-9._/]+$").len(3, 255)),
    optional("S3ObjectAcl", STR.one_of(&["BUCKET_OWNER_FULL_CONTROL", "PUBLIC_READ"])),
]);

const CRL_DISTRIBUTION_POINT_EXTENSION_CONFIGURATION: Shape = object(&[required("OmitExtension", BOOL)]);

const OCSP_CONFIGURATION: Shape = object(&[
    required("Enabled", BOOL),
    optional("OcspCustomCname", STR.pattern("^[-a-zA-Z0-9;/?:@&=+$,%_.!~*()']*$").len(0, 253)),
]);

pub(super) static CERTIFICATE_AUTHORITY: ResourceType = resource(
    "AWS::ACMPCA::CertificateAuthority",
    &[
        optional("CsrExtensions", CSR_EXTENSIONS),
        required(
            "KeyAlgorithm",
            STR.one_of(&[
                "RSA_2048",
                "RSA_3072",
                "RSA_4096",
                "EC_prime256v1",
                "EC_secp384r1",
                "EC_secp521r1",
                "ML_DSA_44",
                "ML_DSA_65",
                "ML_DSA_87",
                "SM2",
            ]),
        ),
        optional(
            "KeyStorageSecurityStandard",
            STR.one_of(&[
                "CCPC_LEVEL_1_OR_HIGHER",
                "FIPS_140_2_LEVEL_2_OR_HIGHER",
                "FIPS_140_2_LEVEL_3_OR_HIGHER",
            ]),
        ),
        optional("RevocationConfiguration", REVOCATION_CONFIGURATION),
        required(
            "SigningAlgorithm",
            STR.one_of(&[
                "SHA256WITHECDSA",
                "SHA384WITHECDSA",
                "SHA512WITHECDSA",
                "SHA256WITHRSA",
                "SHA384WITHRSA",
                "SHA512WITHRSA",
                "SM3WITHSM2",
                "ML_DSA_44",
                "ML_DSA_65",
                "ML_DSA_87",
            ]),
        ),
        required("Subject", SUBJECT),
        optional("Tags", list(&TAG).items(0, 50)),
        required("Type", STR.one_of(&["ROOT", "SUBORDINATE"])),
        optional("UsageMode", STR.one_of(&["GENERAL_PURPOSE", "SHORT_LIVED_CERTIFICATE"])),
    ],
)
.attributes(&["Arn", "CertificateSigningRequest"])
.identified_by(security::certificate_authority)
.typed_as(|value| Ok(ResourceBody::CertificateAuthority(from_json(value)?)));

const API_PASSTHROUGH: Shape = object(&[optional("Extensions", EXTENSIONS), optional("Subject", SUBJECT)]);

const EXTENSIONS: Shape = object(&[
    optional("CertificatePolicies", list(&POLICY_INFORMATION)),
    optional("CustomExtensions", list(&CUSTOM_EXTENSION)),
    optional("ExtendedKeyUsage", list(&EXTENDED_KEY_USAGE)),
    optional("KeyUsage", KEY_USAGE),
    optional("SubjectAlternativeNames", list(&GENERAL_NAME)),
]);

const POLICY_INFORMATION: Shape =
    object(&[required("CertPolicyId", STR), optional("PolicyQualifiers", list(&POLICY_QUALIFIER_INFO))]);

const POLICY_QUALIFIER_INFO: Shape =
    object(&[required("PolicyQualifierId", STR), required("Qualifier", QUALIFIER)]);

const QUALIFIER: Shape = object(&[required("CpsUri", STR)]);

const CUSTOM_EXTENSION: Shape =
    object(&[optional("Critical", BOOL), required("ObjectIdentifier", STR), required("Value", STR)]);

const EXTENDED_KEY_USAGE: Shape =
    object(&[optional("ExtendedKeyUsageObjectIdentifier", STR), optional("ExtendedKeyUsageType", STR)]);

const VALIDITY: Shape = object(&[
    required("Type", STR.one_of(&["END_DATE", "ABSOLUTE", "DAYS", "MONTHS", "YEARS"])),
    required("Value", INT.range(1.0, f64::MAX)),
]);

pub(super) static CERTIFICATE: ResourceType = resource(
    "AWS::ACMPCA::Certificate",
    &[
        optional("ApiPassthrough", API_PASSTHROUGH),
        required("CertificateAuthorityArn", STR),
        required("CertificateSigningRequest", STR.len(1, u32::MAX)),
        required(
            "SigningAlgorithm",
            STR.one_of(&[
                "SHA256WITHECDSA",
                "SHA384WITHECDSA",
                "SHA512WITHECDSA",
                "SHA256WITHRSA",
                "SHA384WITHRSA",
                "SHA512WITHRSA",
                "SM3WITHSM2",
                "ML_DSA_44",
                "ML_DSA_65",
                "ML_DSA_87",
            ]),
        ),
        optional("TemplateArn", STR),
        required("Validity", VALIDITY),
        optional("ValidityNotBefore", VALIDITY),
    ],
)
.attributes(&["Arn", "Certificate"])
.identified_by(security::private_certificate)
.typed_as(|value| Ok(ResourceBody::PrivateCertificate(from_json(value)?)));

pub(super) static CERTIFICATE_AUTHORITY_ACTIVATION: ResourceType = resource(
    "AWS::ACMPCA::CertificateAuthorityActivation",
    &[
        required("Certificate", STR),
        required("CertificateAuthorityArn", STR),
        optional("CertificateChain", STR),
        optional("Status", STR.one_of(&["ACTIVE", "DISABLED"])),
    ],
)
.attributes(&["CompleteCertificateChain"])
.identified_by(security::certificate_authority_activation)
.typed_as(|value| Ok(ResourceBody::CertificateAuthorityActivation(from_json(value)?)));

//! AWS Private CA: authorities, certificates, activation.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

mod api;

pub use api::*;

/// `AWS::ACMPCA::CertificateAuthority`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateAuthority {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_extensions: Option<CsrExtensions>,
    pub key_algorithm: KeyAlgorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_storage_security_standard: Option<KeyStorageSecurityStandard>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_configuration: Option<RevocationConfiguration>,
    pub signing_algorithm: SigningAlgorithm,
    pub subject: Subject,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    pub r#type: CertificateAuthorityType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_mode: Option<UsageMode>,
}

/// `AWS::ACMPCA::Certificate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Certificate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_passthrough: Option<ApiPassthrough>,
    pub certificate_authority_arn: String,
    pub certificate_signing_request: String,
    pub signing_algorithm: SigningAlgorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_arn: Option<String>,
    pub validity: Validity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_not_before: Option<Validity>,
}

/// `AWS::ACMPCA::CertificateAuthorityActivation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateAuthorityActivation {
    pub certificate: String,
    pub certificate_authority_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateAuthorityActivationStatus>,
}

/// Property type `CsrExtensions` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CsrExtensions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<KeyUsage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_information_access: Vec<AccessDescription>,
}

/// Property type `KeyUsage` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyUsage {
    #[serde(rename = "CRLSign", default, skip_serializing_if = "Option::is_none")]
    pub crl_sign: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_encipherment: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decipher_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digital_signature: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encipher_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_agreement: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_cert_sign: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_encipherment: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_repudiation: Option<bool>,
}

/// Property type `AccessDescription` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessDescription {
    pub access_location: GeneralName,
    pub access_method: AccessMethod,
}

/// Property type `GeneralName` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GeneralName {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_name: Option<Subject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edi_party_name: Option<EdiPartyName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_name: Option<OtherName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc822_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uniform_resource_identifier: Option<String>,
}

/// Property type `Subject` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_attributes: Vec<CustomAttribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinguished_name_qualifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_qualifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initials: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Property type `CustomAttribute` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomAttribute {
    pub object_identifier: String,
    pub value: String,
}

/// Property type `EdiPartyName` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EdiPartyName {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_assigner: Option<String>,
    pub party_name: String,
}

/// Property type `OtherName` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OtherName {
    pub type_id: String,
    pub value: String,
}

/// Property type `AccessMethod` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessMethod {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_method_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_object_identifier: Option<String>,
}

/// What AWS allows for `CertificateAuthority.KeyAlgorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    #[serde(rename = "RSA_4096")]
    Rsa4096,
    #[serde(rename = "EC_prime256v1")]
    EcPrime256v1,
    #[serde(rename = "EC_secp384r1")]
    EcSecp384r1,
    #[serde(rename = "EC_secp521r1")]
    EcSecp521r1,
    #[serde(rename = "ML_DSA_44")]
    MlDsa44,
    #[serde(rename = "ML_DSA_65")]
    MlDsa65,
    #[serde(rename = "ML_DSA_87")]
    MlDsa87,
    #[serde(rename = "SM2")]
    Sm2,
}

/// What AWS allows for `CertificateAuthority.KeyStorageSecurityStandard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyStorageSecurityStandard {
    #[serde(rename = "CCPC_LEVEL_1_OR_HIGHER")]
    CcpcLevel1OrHigher,
    #[serde(rename = "FIPS_140_2_LEVEL_2_OR_HIGHER")]
    Fips1402Level2OrHigher,
    #[serde(rename = "FIPS_140_2_LEVEL_3_OR_HIGHER")]
    Fips1402Level3OrHigher,
}

/// Property type `RevocationConfiguration` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevocationConfiguration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_configuration: Option<CrlConfiguration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_configuration: Option<OcspConfiguration>,
}

/// Property type `CrlConfiguration` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CrlConfiguration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_distribution_point_extension_configuration: Option<CrlDistributionPointExtensionConfiguration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_type: Option<CrlType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_cname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_path: Option<String>,
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_in_days: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3_bucket_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3_object_acl: Option<S3ObjectAcl>,
}

/// Property type `CrlDistributionPointExtensionConfiguration` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CrlDistributionPointExtensionConfiguration {
    pub omit_extension: bool,
}

/// What AWS allows for `CrlConfiguration.CrlType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CrlType {
    #[serde(rename = "COMPLETE")]
    Complete,
    #[serde(rename = "PARTITIONED")]
    Partitioned,
}

/// What AWS allows for `CrlConfiguration.S3ObjectAcl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum S3ObjectAcl {
    #[serde(rename = "BUCKET_OWNER_FULL_CONTROL")]
    BucketOwnerFullControl,
    #[serde(rename = "PUBLIC_READ")]
    PublicRead,
}

/// Property type `OcspConfiguration` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OcspConfiguration {
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_custom_cname: Option<String>,
}

/// What AWS allows for `Certificate.SigningAlgorithm` and `CertificateAuthority.SigningAlgorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    #[serde(rename = "SHA256WITHECDSA")]
    Sha256withecdsa,
    #[serde(rename = "SHA384WITHECDSA")]
    Sha384withecdsa,
    #[serde(rename = "SHA512WITHECDSA")]
    Sha512withecdsa,
    #[serde(rename = "SHA256WITHRSA")]
    Sha256withrsa,
    #[serde(rename = "SHA384WITHRSA")]
    Sha384withrsa,
    #[serde(rename = "SHA512WITHRSA")]
    Sha512withrsa,
    #[serde(rename = "SM3WITHSM2")]
    Sm3withsm2,
    #[serde(rename = "ML_DSA_44")]
    MlDsa44,
    #[serde(rename = "ML_DSA_65")]
    MlDsa65,
    #[serde(rename = "ML_DSA_87")]
    MlDsa87,
}

/// Property type `Tag` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What AWS allows for `CertificateAuthority.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CertificateAuthorityType {
    #[serde(rename = "ROOT")]
    Root,
    #[serde(rename = "SUBORDINATE")]
    Subordinate,
}

/// What AWS allows for `CertificateAuthority.UsageMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UsageMode {
    #[serde(rename = "GENERAL_PURPOSE")]
    GeneralPurpose,
    #[serde(rename = "SHORT_LIVED_CERTIFICATE")]
    ShortLivedCertificate,
}

/// Property type `ApiPassthrough` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ApiPassthrough {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
}

/// Property type `Extensions` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Extensions {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_policies: Vec<PolicyInformation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_extensions: Vec<CustomExtension>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<KeyUsage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alternative_names: Vec<GeneralName>,
}

/// Property type `PolicyInformation` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyInformation {
    pub cert_policy_id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_qualifiers: Vec<PolicyQualifierInfo>,
}

/// Property type `PolicyQualifierInfo` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyQualifierInfo {
    pub policy_qualifier_id: String,
    pub qualifier: Qualifier,
}

/// Property type `Qualifier` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Qualifier {
    pub cps_uri: String,
}

/// Property type `CustomExtension` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomExtension {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    pub object_identifier: String,
    pub value: String,
}

/// Property type `ExtendedKeyUsage` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtendedKeyUsage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_key_usage_object_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_key_usage_type: Option<String>,
}

/// Property type `Validity` of the CloudFormation resource types of this module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Validity {
    pub r#type: ValidityType,
    pub value: i64,
}

/// What AWS allows for `Validity.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ValidityType {
    #[serde(rename = "END_DATE")]
    EndDate,
    #[serde(rename = "ABSOLUTE")]
    Absolute,
    #[serde(rename = "DAYS")]
    Days,
    #[serde(rename = "MONTHS")]
    Months,
    #[serde(rename = "YEARS")]
    Years,
}

/// What AWS allows for `CertificateAuthorityActivation.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CertificateAuthorityActivationStatus {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "DISABLED")]
    Disabled,
}

//! AWS Private CA: the shapes of its API.
//!
//! Source of names, shapes and limits: AWS Private CA API reference, 2017-08-22.

use serde::{Deserialize, Serialize};

use super::{
    ApiPassthrough, CertificateAuthorityType, CsrExtensions, KeyAlgorithm, KeyStorageSecurityStandard,
    RevocationConfiguration, SigningAlgorithm, Subject, Tag, UsageMode, Validity,
};
use crate::protocol::{Blob, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateAuthorityConfiguration {
    pub key_algorithm: KeyAlgorithm,
    pub signing_algorithm: SigningAlgorithm,
    pub subject: Subject,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_extensions: Option<CsrExtensions>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateCertificateAuthorityRequest {
    pub certificate_authority_configuration: CertificateAuthorityConfiguration,
    pub revocation_configuration: Option<RevocationConfiguration>,
    pub certificate_authority_type: CertificateAuthorityType,
    pub idempotency_token: Option<String>,
    pub key_storage_security_standard: Option<KeyStorageSecurityStandard>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub usage_mode: Option<UsageMode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateCertificateAuthorityResponse {
    pub certificate_authority_arn: String,
}

/// A request that names an authority and says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateAuthorityArnRequest {
    pub certificate_authority_arn: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateAuthorityStatus {
    #[serde(rename = "CREATING")]
    Creating,
    #[serde(rename = "PENDING_CERTIFICATE")]
    PendingCertificate,
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "DELETED")]
    Deleted,
    #[serde(rename = "DISABLED")]
    Disabled,
    #[serde(rename = "EXPIRED")]
    Expired,
    #[serde(rename = "FAILED")]
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateAuthorityDetail {
    pub arn: String,
    pub owner_account: String,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_state_change_at: Option<Timestamp>,
    pub r#type: CertificateAuthorityType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    pub status: CertificateAuthorityStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    pub certificate_authority_configuration: CertificateAuthorityConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_configuration: Option<RevocationConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_storage_security_standard: Option<KeyStorageSecurityStandard>,
    pub usage_mode: UsageMode,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeCertificateAuthorityResponse {
    pub certificate_authority: CertificateAuthorityDetail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ResourceOwner {
    #[serde(rename = "SELF")]
    Own,
    #[serde(rename = "OTHER_ACCOUNTS")]
    OtherAccounts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListCertificateAuthoritiesRequest {
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
    pub resource_owner: Option<ResourceOwner>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListCertificateAuthoritiesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub certificate_authorities: Vec<CertificateAuthorityDetail>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateCertificateAuthorityRequest {
    pub certificate_authority_arn: String,
    pub revocation_configuration: Option<RevocationConfiguration>,
    pub status: Option<CertificateAuthorityStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteCertificateAuthorityRequest {
    pub certificate_authority_arn: String,
    pub permanent_deletion_time_in_days: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetCertificateAuthorityCsrResponse {
    pub csr: String,
}

/// What `GetCertificate` and `GetCertificateAuthorityCertificate` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateResponse {
    pub certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImportCertificateAuthorityCertificateRequest {
    pub certificate_authority_arn: String,
    pub certificate: Blob,
    pub certificate_chain: Option<Blob>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IssueCertificateRequest {
    pub api_passthrough: Option<ApiPassthrough>,
    pub certificate_authority_arn: String,
    pub csr: Blob,
    pub signing_algorithm: SigningAlgorithm,
    pub template_arn: Option<String>,
    pub validity: Validity,
    pub validity_not_before: Option<Validity>,
    pub idempotency_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IssueCertificateResponse {
    pub certificate_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetCertificateRequest {
    pub certificate_authority_arn: String,
    pub certificate_arn: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationReason {
    #[serde(rename = "UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "KEY_COMPROMISE")]
    KeyCompromise,
    #[serde(rename = "CERTIFICATE_AUTHORITY_COMPROMISE")]
    CertificateAuthorityCompromise,
    #[serde(rename = "AFFILIATION_CHANGED")]
    AffiliationChanged,
    #[serde(rename = "SUPERSEDED")]
    Superseded,
    #[serde(rename = "CESSATION_OF_OPERATION")]
    CessationOfOperation,
    #[serde(rename = "PRIVILEGE_WITHDRAWN")]
    PrivilegeWithdrawn,
    #[serde(rename = "A_A_COMPROMISE")]
    AttributeAuthorityCompromise,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevokeCertificateRequest {
    pub certificate_authority_arn: String,
    pub certificate_serial: String,
    pub revocation_reason: RevocationReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagsRequest {
    pub certificate_authority_arn: String,
    pub tags: Vec<Tag>,
}

/// A page of what an authority has: its tags, its permissions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOfAuthorityRequest {
    pub certificate_authority_arn: String,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActionType {
    IssueCertificate,
    GetCertificate,
    ListPermissions,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePermissionRequest {
    pub certificate_authority_arn: String,
    pub principal: String,
    pub source_account: Option<String>,
    pub actions: Vec<ActionType>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeletePermissionRequest {
    pub certificate_authority_arn: String,
    pub principal: String,
    pub source_account: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Permission {
    pub certificate_authority_arn: String,
    pub created_at: Timestamp,
    pub principal: String,
    pub source_account: String,
    pub actions: Vec<ActionType>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListPermissionsResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub permissions: Vec<Permission>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutPolicyRequest {
    pub resource_arn: String,
    pub policy: String,
}

/// A request that names the resource of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceArnRequest {
    pub resource_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetPolicyResponse {
    pub policy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AuditReportResponseFormat {
    #[serde(rename = "JSON")]
    Json,
    #[serde(rename = "CSV")]
    Csv,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAuditReportRequest {
    pub certificate_authority_arn: String,
    #[serde(rename = "S3BucketName")]
    pub s3_bucket_name: String,
    pub audit_report_response_format: AuditReportResponseFormat,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAuditReportRequest {
    pub certificate_authority_arn: String,
    pub audit_report_id: String,
}

/// An answer without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}

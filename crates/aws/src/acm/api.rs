//! AWS Certificate Manager: the shapes of its API.
//!
//! Source of names, shapes and limits: AWS Certificate Manager API reference, 2015-12-08.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CertificateExport, CertificateTransparencyLoggingPreference};
use crate::protocol::{Blob, Timestamp};

/// A tag; its value may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateTag {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValidationMethod {
    #[serde(rename = "EMAIL")]
    Email,
    #[serde(rename = "DNS")]
    Dns,
    #[serde(rename = "HTTP")]
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateKeyAlgorithm {
    #[serde(rename = "RSA_1024")]
    Rsa1024,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateStatus {
    #[serde(rename = "PENDING_VALIDATION")]
    PendingValidation,
    #[serde(rename = "ISSUED")]
    Issued,
    #[serde(rename = "INACTIVE")]
    Inactive,
    #[serde(rename = "EXPIRED")]
    Expired,
    #[serde(rename = "VALIDATION_TIMED_OUT")]
    ValidationTimedOut,
    #[serde(rename = "REVOKED")]
    Revoked,
    #[serde(rename = "FAILED")]
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateType {
    #[serde(rename = "IMPORTED")]
    Imported,
    #[serde(rename = "AMAZON_ISSUED")]
    AmazonIssued,
    #[serde(rename = "PRIVATE")]
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    #[serde(rename = "PCA_LIMIT_EXCEEDED")]
    PcaLimitExceeded,
    #[serde(rename = "PCA_INVALID_STATE")]
    PcaInvalidState,
    #[serde(rename = "PCA_REQUEST_FAILED")]
    PcaRequestFailed,
    #[serde(rename = "PCA_RESOURCE_NOT_FOUND")]
    PcaResourceNotFound,
    #[serde(rename = "PCA_INVALID_ARGS")]
    PcaInvalidArgs,
    #[serde(rename = "PCA_INVALID_DURATION")]
    PcaInvalidDuration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_transparency_logging_preference: Option<CertificateTransparencyLoggingPreference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<CertificateExport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestedValidation {
    pub domain_name: String,
    pub validation_domain: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestCertificateRequest {
    pub domain_name: String,
    pub validation_method: Option<ValidationMethod>,
    #[serde(default)]
    pub subject_alternative_names: Vec<String>,
    pub idempotency_token: Option<String>,
    #[serde(default)]
    pub domain_validation_options: Vec<RequestedValidation>,
    pub options: Option<CertificateOptions>,
    pub certificate_authority_arn: Option<String>,
    #[serde(default)]
    pub tags: Vec<CertificateTag>,
    pub key_algorithm: Option<CertificateKeyAlgorithm>,
    pub managed_by: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImportCertificateRequest {
    pub certificate_arn: Option<String>,
    pub certificate: Blob,
    pub private_key: Blob,
    pub certificate_chain: Option<Blob>,
    #[serde(default)]
    pub tags: Vec<CertificateTag>,
}

impl fmt::Debug for ImportCertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportCertificateRequest")
            .field("certificate_arn", &self.certificate_arn)
            .finish_non_exhaustive()
    }
}

/// An answer that says which certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateArnResponse {
    pub certificate_arn: String,
}

/// A request that names a certificate and says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateArnRequest {
    pub certificate_arn: String,
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExportCertificateRequest {
    pub certificate_arn: String,
    pub passphrase: Blob,
}

impl fmt::Debug for ExportCertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportCertificateRequest")
            .field("certificate_arn", &self.certificate_arn)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExportCertificateResponse {
    pub certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<String>,
    pub private_key: String,
}

impl fmt::Debug for ExportCertificateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportCertificateResponse").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetCertificateResponse {
    pub certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceRecord {
    pub name: String,
    pub r#type: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DomainValidation {
    pub domain_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_domain: Option<String>,
    pub validation_status: CertificateStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_record: Option<ResourceRecord>,
    pub validation_method: ValidationMethod,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamedUsage {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtendedUsage {
    pub name: String,
    #[serde(rename = "OID")]
    pub oid: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RenewalSummary {
    pub renewal_status: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_status_reason: Option<FailureReason>,
    pub domain_validation_options: Vec<DomainValidation>,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateDetail {
    pub certificate_arn: String,
    pub domain_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alternative_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domain_validation_options: Vec<DomainValidation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Timestamp>,
    pub status: CertificateStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    pub key_algorithm: CertificateKeyAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<String>,
    pub in_use_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<FailureReason>,
    pub r#type: CertificateType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_summary: Option<RenewalSummary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_usages: Vec<NamedUsage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended_key_usages: Vec<ExtendedUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_arn: Option<String>,
    pub renewal_eligibility: String,
    pub options: CertificateOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeCertificateResponse {
    pub certificate: CertificateDetail,
}

/// `Filters`: its members begin with lower-case letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFilters {
    #[serde(default)]
    pub extended_key_usage: Vec<String>,
    #[serde(default)]
    pub key_usage: Vec<String>,
    #[serde(default)]
    pub key_types: Vec<CertificateKeyAlgorithm>,
    pub export_option: Option<CertificateExport>,
    pub managed_by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SortOrder {
    #[serde(rename = "ASCENDING")]
    Ascending,
    #[serde(rename = "DESCENDING")]
    Descending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SortBy {
    #[serde(rename = "CREATED_AT")]
    CreatedAt,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListCertificatesRequest {
    #[serde(default)]
    pub certificate_statuses: Vec<CertificateStatus>,
    pub includes: Option<CertificateFilters>,
    pub next_token: Option<String>,
    pub max_items: Option<i64>,
    pub sort_by: Option<SortBy>,
    pub sort_order: Option<SortOrder>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateSummary {
    pub certificate_arn: String,
    pub domain_name: String,
    pub subject_alternative_name_summaries: Vec<String>,
    pub has_additional_subject_alternative_names: bool,
    pub status: CertificateStatus,
    pub r#type: CertificateType,
    pub key_algorithm: CertificateKeyAlgorithm,
    pub key_usages: Vec<String>,
    pub extended_key_usages: Vec<String>,
    pub in_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported: Option<bool>,
    pub renewal_eligibility: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListCertificatesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub certificate_summary_list: Vec<CertificateSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateTagsRequest {
    pub certificate_arn: String,
    pub tags: Vec<CertificateTag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForCertificateResponse {
    pub tags: Vec<CertificateTag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateCertificateOptionsRequest {
    pub certificate_arn: String,
    pub options: CertificateOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExpiryEventsConfiguration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_before_expiry: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutAccountConfigurationRequest {
    pub expiry_events: Option<ExpiryEventsConfiguration>,
    pub idempotency_token: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAccountConfigurationResponse {
    pub expiry_events: ExpiryEventsConfiguration,
}

/// A request, or an answer, without members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

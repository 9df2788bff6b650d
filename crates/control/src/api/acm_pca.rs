//! AWS Private CA (`acm-pca`).
//!
//! Source of names, shapes and errors: AWS Private CA API reference. Audit reports are refused:
//! they are written to S3, which is not here.

pub(super) mod authorities;
mod certificates;
mod policies;
mod reports;
mod tags;

use bowline_aws::protocol::Fault;

use super::{
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::private_ca::PrivateCaError;

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CreateCertificateAuthority", authorities::create),
    operation!(Write, Refused, "CreateCertificateAuthorityAuditReport", reports::create),
    operation!(Write, Recorded, "CreatePermission", policies::create_permission),
    operation!(Write, Effective, "DeleteCertificateAuthority", authorities::delete),
    operation!(Write, Recorded, "DeletePermission", policies::delete_permission),
    operation!(Write, Effective, "DeletePolicy", policies::delete),
    operation!(Read, Effective, "DescribeCertificateAuthority", authorities::describe),
    operation!(Read, Effective, "DescribeCertificateAuthorityAuditReport", reports::describe),
    operation!(Read, Effective, "GetCertificate", certificates::get),
    operation!(Read, Effective, "GetCertificateAuthorityCertificate", authorities::certificate),
    operation!(Read, Effective, "GetCertificateAuthorityCsr", authorities::csr),
    operation!(Read, Effective, "GetPolicy", policies::get),
    operation!(Write, Effective, "ImportCertificateAuthorityCertificate", authorities::import),
    operation!(Write, Effective, "IssueCertificate", certificates::issue),
    operation!(Read, Effective, "ListCertificateAuthorities", authorities::list),
    operation!(Read, Recorded, "ListPermissions", policies::list_permissions),
    operation!(Read, Effective, "ListTags", tags::list),
    operation!(Write, Effective, "PutPolicy", policies::put),
    operation!(Write, Effective, "RestoreCertificateAuthority", authorities::restore),
    operation!(Write, Effective, "RevokeCertificate", certificates::revoke),
    operation!(Write, Effective, "TagCertificateAuthority", tags::add),
    operation!(Write, Effective, "UntagCertificateAuthority", tags::remove),
    operation!(Write, Effective, "UpdateCertificateAuthority", authorities::update),
];

impl From<PrivateCaError> for Fault {
    fn from(error: PrivateCaError) -> Self {
        let code = match &error {
            PrivateCaError::NotFound(_) => "ResourceNotFoundException",
            PrivateCaError::Arn(_) => "InvalidArnException",
            PrivateCaError::State(_) => "InvalidStateException",
            PrivateCaError::Args(_) => "InvalidArgsException",
            PrivateCaError::Csr(_) => "MalformedCSRException",
            PrivateCaError::Certificate(_) => "MalformedCertificateException",
            PrivateCaError::Mismatch(_) => "CertificateMismatchException",
            PrivateCaError::Request(_) => "InvalidRequestException",
            PrivateCaError::Processed(_) => "RequestAlreadyProcessedException",
            PrivateCaError::Limit(_) => "LimitExceededException",
            PrivateCaError::Tag(_) => "InvalidTagException",
            PrivateCaError::TooManyTags => "TooManyTagsException",
            PrivateCaError::Policy(_) => "InvalidPolicyException",
            PrivateCaError::PermissionExists => "PermissionAlreadyExistsException",
            PrivateCaError::Internal(cause) => {
                tracing::error!(cause, "a certificate authority failed");
                return Self::new("InternalFailure", "The request processing has failed.").with_status(500);
            }
        };
        Self::new(code, error.to_string())
    }
}

/// What breaks a constraint of a shape.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationException", message)
}

/// `MaxResults` and `NextToken`: pages of at most 1,000, AWS's default 100.
fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i64>,
) -> Result<Page<T>, Fault> {
    let size = max_results.unwrap_or(100);
    constraint::range("maxResults", size, 1..=1_000).map_err(invalid)?;
    pages::page(operation, items, key, token, usize::try_from(size).unwrap_or(1))
        .map_err(|_| Fault::new("InvalidNextTokenException", "The token is not valid."))
}

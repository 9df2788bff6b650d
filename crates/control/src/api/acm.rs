//! AWS Certificate Manager (`acm`).
//!
//! Source of names, shapes and errors: AWS Certificate Manager API reference. Public certificates
//! are never validated: nobody out there is asked.

mod certificates;
mod describe;
mod listing;
mod requests;
mod settings;

use bowline_aws::protocol::Fault;

use super::operation::{Operation, operation};
use crate::acm::AcmError;

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "AddTagsToCertificate", settings::add_tags),
    operation!(Write, Effective, "DeleteCertificate", certificates::delete),
    operation!(Read, Effective, "DescribeCertificate", describe::describe),
    operation!(Write, Effective, "ExportCertificate", certificates::export),
    operation!(Read, Recorded, "GetAccountConfiguration", settings::get_account),
    operation!(Read, Effective, "GetCertificate", certificates::get),
    operation!(Write, Effective, "ImportCertificate", requests::import),
    operation!(Read, Effective, "ListCertificates", listing::list),
    operation!(Read, Effective, "ListTagsForCertificate", settings::list_tags),
    operation!(Write, Recorded, "PutAccountConfiguration", settings::put_account),
    operation!(Write, Effective, "RemoveTagsFromCertificate", settings::remove_tags),
    operation!(Write, Effective, "RenewCertificate", certificates::renew),
    operation!(Write, Effective, "RequestCertificate", requests::request),
    operation!(Write, Recorded, "UpdateCertificateOptions", settings::update_options),
];

impl From<AcmError> for Fault {
    fn from(error: AcmError) -> Self {
        let code = match &error {
            AcmError::NotFound(_) => "ResourceNotFoundException",
            AcmError::Arn(_) => "InvalidArnException",
            AcmError::Validation(_) => "ValidationException",
            AcmError::Parameter(_) => "InvalidParameterException",
            AcmError::State(_) => "InvalidStateException",
            AcmError::InProgress(_) => "RequestInProgressException",
            AcmError::InUse(..) => "ResourceInUseException",
            AcmError::Limit(_) => "LimitExceededException",
            AcmError::Tag(_) => "InvalidTagException",
            AcmError::TooManyTags => "TooManyTagsException",
            AcmError::Domains(_) => "InvalidDomainValidationOptionsException",
            AcmError::Internal(cause) => {
                tracing::error!(cause, "a certificate could not be used");
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

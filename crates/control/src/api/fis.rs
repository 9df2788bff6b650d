//! AWS Fault Injection Service (`fis`): actions, kinds of targets, experiment templates, experiments and the safety
//! lever.
//!
//! Source of names, shapes and errors: AWS's FIS API reference. Other accounts' targets are not served.

mod catalogue;
mod experiments;
mod safety_lever;
mod tags;
mod templates;

use bowline_aws::{fis::PageRequest, protocol::Fault};

use super::{
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::fis::FisError;

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CreateExperimentTemplate", templates::create),
    operation!(Write, Effective, "DeleteExperimentTemplate", templates::delete),
    operation!(Read, Effective, "GetAction", catalogue::action),
    operation!(Read, Effective, "GetExperiment", experiments::get),
    operation!(Read, Effective, "GetExperimentTemplate", templates::get),
    operation!(Read, Effective, "GetSafetyLever", safety_lever::get),
    operation!(Read, Effective, "GetTargetResourceType", catalogue::resource_type),
    operation!(Read, Effective, "ListActions", catalogue::actions),
    operation!(Read, Effective, "ListExperimentResolvedTargets", experiments::resolved_targets),
    operation!(Read, Effective, "ListExperimentTemplates", templates::list),
    operation!(Read, Effective, "ListExperiments", experiments::list),
    operation!(Read, Effective, "ListTagsForResource", tags::list),
    operation!(Read, Effective, "ListTargetResourceTypes", catalogue::resource_types),
    operation!(Write, Effective, "StartExperiment", experiments::start),
    operation!(Write, Effective, "StopExperiment", experiments::stop),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Write, Effective, "UntagResource", tags::untag),
    operation!(Write, Effective, "UpdateExperimentTemplate", templates::update),
    operation!(Write, Effective, "UpdateSafetyLeverState", safety_lever::update),
];

/// Most items of a page, and the default.
const PAGE_MAX: i64 = 100;

impl From<FisError> for Fault {
    fn from(error: FisError) -> Self {
        let (code, status) = match &error {
            FisError::NotFound(_) => ("ResourceNotFoundException", 404),
            FisError::TokenConflict(_) | FisError::Conflict(_) => ("ConflictException", 409),
            FisError::Quota(_) => ("ServiceQuotaExceededException", 402),
            FisError::Invalid(_) => ("ValidationException", 400),
        };
        Self::new(code, error.to_string()).with_status(status)
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    FisError::Invalid(message.into()).into()
}

fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    asked: &PageRequest,
) -> Result<Page<T>, Fault> {
    let size = asked.max_results.unwrap_or(PAGE_MAX);
    constraint::range("maxResults", size, 1..=PAGE_MAX).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, asked.next_token.as_deref(), size)
        .map_err(|_| invalid("The nextToken value is invalid."))
}

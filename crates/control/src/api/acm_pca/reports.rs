//! Audit reports: AWS writes them to S3.

use bowline_aws::{
    acmpca::{CreateAuditReportRequest, DescribeAuditReportRequest, Empty},
    protocol::Fault,
};

use super::invalid;
use crate::{
    api::{call::Call, constraint},
    private_ca::{PrivateCaError, commands::not_deleted, find},
};

pub(super) fn create(call: &Call<'_>, request: CreateAuditReportRequest) -> Result<Empty, Fault> {
    constraint::length("s3BucketName", &request.s3_bucket_name, 3..=63).map_err(invalid)?;
    let registry = call.registry();
    let (_, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    not_deleted(private)?;
    Err(PrivateCaError::Args(
        "S3BucketName: there is no S3 here, and so no audit reports. The audit trail has every certificate that was \
         issued and revoked."
            .into(),
    )
    .into())
}

pub(super) fn describe(call: &Call<'_>, request: DescribeAuditReportRequest) -> Result<Empty, Fault> {
    let id = &request.audit_report_id;
    constraint::length("auditReportId", id, 36..=36).map_err(invalid)?;
    find(&call.registry(), &request.certificate_authority_arn, call.now)?;
    // None was ever made.
    Err(PrivateCaError::NotFound(format!("Could not find the audit report {id}.")).into())
}

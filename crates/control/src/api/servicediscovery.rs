//! AWS Cloud Map (`Route53AutoNaming_v20170314`).
//!
//! Source of names, shapes and errors: AWS's Cloud Map API reference.

mod discover;
mod filters;
mod instances;
mod namespaces;
mod operations;
mod services;
mod tags;

use std::sync::Arc;

use bowline_aws::protocol::{Document, Fault};
use serde::Serialize;

use super::{
    call::Call,
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::cloud_map::{
    CloudMapError, id_of,
    index::{Discoverable, DiscoveryIndex},
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CreateHttpNamespace", namespaces::create_http),
    operation!(Write, Effective, "CreatePrivateDnsNamespace", namespaces::create_private_dns),
    operation!(Write, Effective, "CreatePublicDnsNamespace", namespaces::create_public_dns),
    operation!(Write, Effective, "CreateService", services::create),
    operation!(Write, Effective, "DeleteNamespace", namespaces::delete),
    operation!(Write, Effective, "DeleteService", services::delete),
    operation!(Write, Effective, "DeleteServiceAttributes", services::delete_attributes),
    operation!(Write, Effective, "DeregisterInstance", instances::deregister),
    operation!(Data, Effective, "DiscoverInstances", discover::discover),
    operation!(Data, Effective, "DiscoverInstancesRevision", discover::revision),
    operation!(Read, Effective, "GetInstance", instances::get),
    operation!(Read, Effective, "GetInstancesHealthStatus", instances::get_health),
    operation!(Read, Effective, "GetNamespace", namespaces::get),
    operation!(Read, Effective, "GetOperation", operations::get),
    operation!(Read, Effective, "GetService", services::get),
    operation!(Read, Effective, "GetServiceAttributes", services::get_attributes),
    operation!(Read, Effective, "ListInstances", instances::list),
    operation!(Read, Effective, "ListNamespaces", namespaces::list),
    operation!(Read, Effective, "ListOperations", operations::list),
    operation!(Read, Effective, "ListServices", services::list),
    operation!(Read, Effective, "ListTagsForResource", tags::list),
    operation!(Write, Effective, "RegisterInstance", instances::register),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Write, Effective, "UntagResource", tags::untag),
    operation!(Write, Effective, "UpdateHttpNamespace", namespaces::update_http),
    operation!(Write, Effective, "UpdateInstanceCustomHealthStatus", instances::update_health),
    operation!(Write, Effective, "UpdatePrivateDnsNamespace", namespaces::update_private_dns),
    operation!(Write, Effective, "UpdatePublicDnsNamespace", namespaces::update_public_dns),
    operation!(Write, Effective, "UpdateService", services::update),
    operation!(Write, Effective, "UpdateServiceAttributes", services::update_attributes),
];

/// Most results of a page, and AWS's default.
const PAGE_MAX: i64 = 100;

/// A response without members.
#[derive(Serialize)]
struct Nothing {}

/// `InvalidInput`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidInput", message)
}

impl From<CloudMapError> for Fault {
    fn from(error: CloudMapError) -> Self {
        let message = error.to_string();
        let with = |code: &str, members: &[(&str, Option<&str>)]| {
            let given = members.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
            given.fold(Fault::new(code, message.clone()), |fault, (name, value)| {
                fault.with(name, Document::Text(value.to_owned()))
            })
        };
        match &error {
            CloudMapError::InvalidInput(_)
            | CloudMapError::Managed { .. }
            | CloudMapError::UnusableSettings { .. } => with("InvalidInput", &[]),
            CloudMapError::NamespaceAlreadyExists { id, creator_request_id, .. } => with(
                "NamespaceAlreadyExists",
                &[("NamespaceId", Some(id)), ("CreatorRequestId", creator_request_id.as_deref())],
            ),
            CloudMapError::NamespaceNotFound(_) => with("NamespaceNotFound", &[]),
            CloudMapError::NamespaceInUse { .. } | CloudMapError::ServiceInUse { .. } => {
                with("ResourceInUse", &[])
            }
            CloudMapError::ServiceAlreadyExists { id, arn, creator_request_id, .. } => with(
                "ServiceAlreadyExists",
                &[
                    ("ServiceId", Some(id)),
                    ("ServiceArn", Some(arn)),
                    ("CreatorRequestId", creator_request_id.as_deref()),
                ],
            ),
            CloudMapError::ServiceNotFound(_) => with("ServiceNotFound", &[]),
            CloudMapError::InstanceNotFound { .. } => with("InstanceNotFound", &[]),
            CloudMapError::CustomHealthNotFound { .. } => with("CustomHealthNotFound", &[]),
            CloudMapError::DuplicateRequest { operation } => {
                with("DuplicateRequest", &[("DuplicateOperationId", Some(operation))])
            }
        }
    }
}

/// `MaxResults` and `NextToken` of a list.
fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i64>,
) -> Result<Page<T>, Fault> {
    let size = max_results.unwrap_or(PAGE_MAX);
    constraint::range("maxResults", size, 1..=PAGE_MAX).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size)
        .map_err(|_| invalid("NextToken is none that this operation gave out"))
}

/// A service of an index by id or ARN, with its instances.
fn discoverable<'a>(index: &'a DiscoveryIndex, given: &str) -> Result<&'a Arc<Discoverable>, Fault> {
    let found = index.with_id(id_of(given));
    found.ok_or_else(|| CloudMapError::ServiceNotFound(given.to_owned()).into())
}

/// Nothing of other accounts is here.
fn check_owner(call: &Call<'_>, owner: Option<&str>) -> Result<(), Fault> {
    match owner {
        Some(owner) if owner != call.scope.account_id => {
            Err(invalid(format!("OwnerAccount {owner:?}: only {} is served here", call.scope.account_id)))
        }
        _ => Ok(()),
    }
}

/// Lengths that several requests have.
fn check_description(description: Option<&str>) -> Result<(), Fault> {
    constraint::length("description", description.unwrap_or_default(), 0..=1_024).map_err(invalid)
}

/// `CreatorRequestId` and `UpdaterRequestId`.
fn check_request_id(member: &str, id: Option<&str>) -> Result<(), Fault> {
    constraint::length(member, id.unwrap_or_default(), 0..=64).map_err(invalid)
}

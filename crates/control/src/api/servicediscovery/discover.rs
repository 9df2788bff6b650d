//! Discovery: what clients call all the time.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::{
    protocol::Fault,
    servicediscovery::api::{
        DiscoverInstancesRequest, DiscoverInstancesResponse, DiscoverInstancesRevisionRequest,
        DiscoverInstancesRevisionResponse, HealthStatus, HealthStatusFilter, HttpInstanceSummary,
    },
};

use super::{check_owner, invalid};
use crate::{
    api::{call::Call, constraint},
    cloud_map::{CloudMapError, index::Discoverable},
};

/// Most instances in an answer where nothing else is asked for.
const RESULTS_DEFAULT: i64 = 100;

/// Most that can be asked for.
const RESULTS_MAX: i64 = 1_000;

pub(super) fn discover(
    call: &Call<'_>,
    request: DiscoverInstancesRequest,
) -> Result<DiscoverInstancesResponse, Fault> {
    let most = request.max_results.unwrap_or(RESULTS_DEFAULT);
    constraint::range("maxResults", most, 1..=RESULTS_MAX).map_err(invalid)?;
    check_owner(call, request.owner_account.as_deref())?;
    let service = find(call, &request.namespace_name, &request.service_name)?;
    let mut chosen = choose(&service, &request);
    let most = usize::try_from(most).unwrap_or(1);
    if chosen.len() > most {
        let from = service.rotation() % chosen.len();
        chosen.rotate_left(from);
        chosen.truncate(most);
    }
    Ok(DiscoverInstancesResponse {
        instances: chosen.into_iter().map(Arc::clone).collect(),
        instances_revision: service.revision,
    })
}

/// The instances that a request is for.
fn choose<'a>(
    service: &'a Discoverable,
    request: &DiscoverInstancesRequest,
) -> Vec<&'a Arc<HttpInstanceSummary>> {
    let summaries = service.instances.iter().map(|instance| &instance.summary);
    let mut chosen: Vec<_> = summaries.filter(|summary| has(summary, &request.query_parameters)).collect();
    if service.row.has_health_check() {
        let keep = |chosen: &mut Vec<&Arc<HttpInstanceSummary>>, status| {
            chosen.retain(|summary| summary.health_status == status);
        };
        match request.health_status.unwrap_or_default() {
            HealthStatusFilter::All => {}
            HealthStatusFilter::Healthy => keep(&mut chosen, HealthStatus::Healthy),
            HealthStatusFilter::Unhealthy => keep(&mut chosen, HealthStatus::Unhealthy),
            HealthStatusFilter::HealthyOrElseAll => {
                if chosen.iter().any(|summary| summary.health_status == HealthStatus::Healthy) {
                    keep(&mut chosen, HealthStatus::Healthy);
                }
            }
        }
    }
    let optional = &request.optional_parameters;
    if !optional.is_empty() && chosen.iter().any(|summary| has(summary, optional)) {
        chosen.retain(|summary| has(summary, optional));
    }
    chosen
}

/// Whether an instance has all of these attributes.
fn has(summary: &HttpInstanceSummary, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| summary.attributes.get(name) == Some(value))
}

fn find(call: &Call<'_>, namespace: &str, service: &str) -> Result<Arc<Discoverable>, Fault> {
    let index = call.core.discovery();
    if let Some(found) = index.named(namespace, service) {
        return Ok(Arc::clone(found));
    }
    match call.registry().namespaces.get(namespace) {
        Some(_) => Err(CloudMapError::ServiceNotFound(service.to_owned()).into()),
        None => Err(CloudMapError::NamespaceNotFound(namespace.to_owned()).into()),
    }
}

pub(super) fn revision(
    call: &Call<'_>,
    request: DiscoverInstancesRevisionRequest,
) -> Result<DiscoverInstancesRevisionResponse, Fault> {
    check_owner(call, request.owner_account.as_deref())?;
    let service = find(call, &request.namespace_name, &request.service_name)?;
    Ok(DiscoverInstancesRevisionResponse { instances_revision: service.revision })
}

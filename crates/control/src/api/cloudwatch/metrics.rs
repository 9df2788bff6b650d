//! Which metrics there are.

use std::time::Duration;

use bowline_aws::{
    cloudwatch::{DimensionFilter, ListMetricsRequest, ListMetricsResponse},
    protocol::Fault,
};
use bowline_model::metric::MetricId;
use bowline_observe::metrics::MetricFilter;

use super::{checks, constrained, constraint, invalid, wire_metric};
use crate::api::{call::Call, pages};

/// Metrics of a page. Source: `ListMetrics`.
const PAGE: usize = 500;
/// Most dimensions that can be asked for.
const DIMENSIONS_ASKED_MAX: usize = 10;
/// How long metrics without new values are listed. Source: `ListMetrics`.
const LISTED_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// What `RecentlyActive` means, the only value that it has.
const RECENTLY: Duration = Duration::from_secs(3 * 3600);

pub(super) fn list(call: &Call<'_>, request: ListMetricsRequest) -> Result<ListMetricsResponse, Fault> {
    let dimensions = request.dimensions;
    constrained(constraint::items("dimensions", dimensions.len(), 0..=DIMENSIONS_ASKED_MAX))?;
    let recent = match request.recently_active.as_deref() {
        None => LISTED_FOR,
        Some("PT3H") => RECENTLY,
        Some(_) => return Err(invalid("The parameter RecentlyActive can only be PT3H.")),
    };
    let asked =
        |filter: DimensionFilter| Ok((checks::name("Dimensions.member.Name", filter.name)?, filter.value));
    let filter = MetricFilter {
        namespace: request.namespace.map(|given| checks::namespace(Some(given))).transpose()?,
        name: request.metric_name.map(|given| checks::name("MetricName", Some(given))).transpose()?,
        dimensions: dimensions.into_iter().map(asked).collect::<Result<_, Fault>>()?,
        since: Some(call.now - recent),
    };
    // There is one account, and no other shares its metrics with it.
    let is_own = request.owning_account.as_ref().is_none_or(|owner| *owner == call.scope.account_id);
    let found = if is_own { call.core.metrics().list(&filter) } else { Vec::new() };
    let page = pages::page("ListMetrics", found, key, request.next_token.as_deref(), PAGE)
        .map_err(|_| invalid("The value for parameter NextToken is invalid."))?;
    let owner = || call.scope.account_id.clone();
    Ok(ListMetricsResponse {
        owning_accounts: match request.include_linked_accounts {
            Some(true) => page.items.iter().map(|_| owner()).collect(),
            _ => Vec::new(),
        },
        metrics: page.items.into_iter().map(wire_metric).collect(),
        next_token: page.next_token,
    })
}

/// A text that no two metrics have; there are no control characters in names.
fn key(metric: &MetricId) -> String {
    let mut key = format!("{}\u{1}{}", metric.namespace, metric.name);
    for (name, value) in &metric.dimensions {
        key.extend(["\u{1}", name, "\u{2}", value]);
    }
    key
}

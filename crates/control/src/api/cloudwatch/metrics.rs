//! Metrics: which there are.

use std::time::Duration;

use bowline_aws::{
    cloudwatch::{ListMetricsRequest, ListMetricsResponse},
    protocol::Fault,
};
use bowline_observe::metrics::MetricFilter;

use super::{constrained, constraint, invalid, wire_metric};
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
    let name = |filter: bowline_aws::cloudwatch::DimensionFilter| {
        let name = filter.name.ok_or_else(|| invalid("The parameter Dimensions.member.Name is required."));
        Ok::<_, Fault>((name?, filter.value))
    };
    let filter = MetricFilter {
        namespace: request.namespace,
        name: request.metric_name,
        dimensions: dimensions.into_iter().map(name).collect::<Result<_, _>>()?,
        since: Some(call.now - recent),
    };
    // There is one account, and there are no others that would share their metrics with it.
    let own = request.owning_account.as_ref().is_none_or(|owner| *owner == call.scope.account_id);
    let found = if own { call.core.metrics().list(&filter) } else { Vec::new() };
    let key = |metric: &_| serde_json::to_string(metric).unwrap_or_default();
    let page = pages::page("ListMetrics", found, key, request.next_token.as_deref(), PAGE)
        .map_err(|_| invalid("The service rejected the provided NextToken: Request parameter mismatch"))?;
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

//! Metric filters.

use bowline_aws::{
    logs::{
        DeleteMetricFilterRequest, DescribeMetricFiltersRequest, DescribeMetricFiltersResponse, Empty,
        MetricFilter as WireFilter, MetricFilterMatchRecord, MetricTransformation as WireTransformation,
        PutMetricFilterRequest, TestMetricFilterRequest, TestMetricFilterResponse,
    },
    protocol::Fault,
};
use bowline_model::{clock::Timestamp, metric::Unit};
use bowline_observe::logs::{MetricFilter, MetricTransformation, Value};

use super::{checks, fault, invalid, no_group, page_of, store};
use crate::api::{call::Call, constraint};

/// Filters of a page. Source: `DescribeMetricFilters`.
const PAGE: i64 = 50;

pub(super) fn put(call: &Call<'_>, request: PutMetricFilterRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    let group = request.log_group_name.clone();
    let filter = filter_of(request, call.now)?;
    store(call).put_metric_filter(&group, filter).map_err(fault)?;
    Ok(Empty {})
}

/// The filter that a request is for; also of a template.
pub(crate) fn filter_of(request: PutMetricFilterRequest, now: Timestamp) -> Result<MetricFilter, Fault> {
    checks::filter_name("filterName", &request.filter_name)?;
    checks::pattern(&request.filter_pattern)?;
    constraint::items("metricTransformations", request.metric_transformations.len(), 1..=1)
        .map_err(invalid)?;
    let transformation = |given: WireTransformation| {
        for (member, text) in
            [("metricName", &given.metric_name), ("metricNamespace", &given.metric_namespace)]
        {
            constraint::length(member, text, 1..=255)
                .and_then(|()| {
                    constraint::characters(member, text, "[^:*$]*", |c| !matches!(c, ':' | '*' | '$'))
                })
                .map_err(invalid)?;
        }
        constraint::length("metricValue", &given.metric_value, 0..=100).map_err(invalid)?;
        let unit = given.unit.map_or(Ok(Unit::default()), |unit| {
            unit.parse().map_err(|_| invalid(format!("Invalid metric transformation: {unit} is no unit")))
        })?;
        Ok(MetricTransformation {
            namespace: given.metric_namespace,
            metric: given.metric_name,
            value: Value::parse(&given.metric_value).map_err(|error| invalid(error.to_string()))?,
            default_value: given.default_value,
            dimensions: given.dimensions,
            unit,
        })
    };
    let transformations: Result<Vec<_>, Fault> =
        request.metric_transformations.into_iter().map(transformation).collect();
    let filter = MetricFilter {
        name: request.filter_name,
        pattern: request.filter_pattern,
        transformations: transformations?,
        created_at: now,
        declared: false,
    };
    filter.check().map_err(|error| invalid(error.to_string()))?;
    Ok(filter)
}

pub(super) fn delete(call: &Call<'_>, request: DeleteMetricFilterRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    checks::filter_name("filterName", &request.filter_name)?;
    match store(call).delete_metric_filter(&request.log_group_name, &request.filter_name).map_err(fault)? {
        true => Ok(Empty {}),
        false => Err(Fault::new("ResourceNotFoundException", "The specified metric filter does not exist.")),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeMetricFiltersRequest,
) -> Result<DescribeMetricFiltersResponse, Fault> {
    if request.metric_name.is_some() != request.metric_namespace.is_some() {
        return Err(invalid("metricName and metricNamespace must be specified together."));
    }
    if let Some(group) = &request.log_group_name {
        checks::group_name(group)?;
        store(call).describe(group).ok_or_else(no_group)?;
    }
    let mut filters = store(call).metric_filters(request.log_group_name.as_deref());
    filters.retain(|(_, filter)| {
        let is = |wanted: &Option<String>, of: fn(&MetricTransformation) -> &String| {
            wanted.as_ref().is_none_or(|wanted| filter.transformations.iter().any(|it| of(it) == wanted))
        };
        request.filter_name_prefix.as_ref().is_none_or(|prefix| filter.name.starts_with(prefix.as_str()))
            && is(&request.metric_name, |it| &it.metric)
            && is(&request.metric_namespace, |it| &it.namespace)
    });
    let key = |(group, filter): &(String, MetricFilter)| format!("{group}\n{}", filter.name);
    let page =
        page_of("DescribeMetricFilters", filters, key, request.next_token.as_deref(), request.limit, PAGE)?;
    Ok(DescribeMetricFiltersResponse {
        metric_filters: page.items.into_iter().map(wire).collect(),
        next_token: page.next_token,
    })
}

fn wire((group, filter): (String, MetricFilter)) -> WireFilter {
    let transformation = |given: MetricTransformation| WireTransformation {
        metric_name: given.metric,
        metric_namespace: given.namespace,
        metric_value: match given.value {
            Value::Number(number) => number.to_string(),
            Value::Selected(selector) => selector,
        },
        default_value: given.default_value,
        dimensions: given.dimensions,
        unit: Some(given.unit.to_string()),
    };
    WireFilter {
        filter_name: filter.name,
        filter_pattern: filter.pattern,
        metric_transformations: filter.transformations.into_iter().map(transformation).collect(),
        creation_time: filter.created_at.as_millis(),
        log_group_name: group,
    }
}

pub(super) fn test(
    _: &Call<'_>,
    request: TestMetricFilterRequest,
) -> Result<TestMetricFilterResponse, Fault> {
    let pattern = checks::pattern(&request.filter_pattern)?;
    constraint::items("logEventMessages", request.log_event_messages.len(), 1..=50).map_err(invalid)?;
    let matches = (1..).zip(request.log_event_messages).filter(|(_, message)| pattern.matches(message));
    let record = |(event_number, event_message): (usize, String)| MetricFilterMatchRecord {
        event_number,
        extracted_values: pattern.extracted(&event_message),
        event_message,
    };
    Ok(TestMetricFilterResponse { matches: matches.map(record).collect() })
}

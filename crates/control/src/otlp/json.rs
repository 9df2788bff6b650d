//! OTLP's messages as JSON: names in lowerCamelCase, ids in hexadecimal digits, enumerations as numbers, and 64-bit
//! integers as text.
//!
//! Source: OTLP specification, "JSON Protobuf Encoding".

use bowline_discovery::opentelemetry::proto::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{InstrumentationScope, KeyValue, any_value},
    metrics::v1::{ExponentialHistogramDataPoint, Metric, NumberDataPoint, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::Span,
};
use serde_json::{Value, json};

pub(super) fn traces(request: &ExportTraceServiceRequest) -> Value {
    let of_resource = request.resource_spans.iter().map(|of_resource| {
        let of_scope = of_resource.scope_spans.iter().map(|of_scope| {
            let spans: Vec<Value> = of_scope.spans.iter().map(span).collect();
            json!({"scope": scope(of_scope.scope.as_ref()), "spans": spans})
        });
        json!({
            "resource": resource(of_resource.resource.as_ref()),
            "scopeSpans": of_scope.collect::<Vec<_>>(),
        })
    });
    json!({"resourceSpans": of_resource.collect::<Vec<_>>()})
}

pub(super) fn metrics(request: &ExportMetricsServiceRequest) -> Value {
    let of_resource = request.resource_metrics.iter().map(|of_resource| {
        let of_scope = of_resource.scope_metrics.iter().map(|of_scope| {
            let metrics: Vec<Value> = of_scope.metrics.iter().map(metric).collect();
            json!({"scope": scope(of_scope.scope.as_ref()), "metrics": metrics})
        });
        json!({
            "resource": resource(of_resource.resource.as_ref()),
            "scopeMetrics": of_scope.collect::<Vec<_>>(),
        })
    });
    json!({"resourceMetrics": of_resource.collect::<Vec<_>>()})
}

fn resource(resource: Option<&Resource>) -> Value {
    json!({"attributes": attributes(resource.map_or(&[], |resource| &resource.attributes))})
}

fn scope(scope: Option<&InstrumentationScope>) -> Value {
    scope.map_or_else(|| json!({}), |scope| json!({"name": scope.name, "version": scope.version}))
}

fn attributes(attributes: &[KeyValue]) -> Value {
    let attribute = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => json!({"stringValue": text}),
            Some(any_value::Value::BoolValue(value)) => json!({"boolValue": value}),
            Some(any_value::Value::IntValue(number)) => json!({"intValue": number.to_string()}),
            Some(any_value::Value::DoubleValue(number)) => json!({"doubleValue": number}),
            None => json!({}),
        };
        json!({"key": attribute.key, "value": value})
    };
    attributes.iter().map(attribute).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn span(span: &Span) -> Value {
    let events = span.events.iter().map(|event| {
        json!({
            "timeUnixNano": event.time_unix_nano.to_string(),
            "name": event.name,
            "attributes": attributes(&event.attributes),
        })
    });
    let status = span.status.as_ref().map_or_else(|| json!({}), |status| json!({"code": status.code}));
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": hex(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped_events_count,
        "status": status,
    })
}

fn metric(metric: &Metric) -> Value {
    let mut told = json!({"name": metric.name, "description": metric.description, "unit": metric.unit});
    match &metric.data {
        Some(Data::Gauge(gauge)) => told["gauge"] = json!({"dataPoints": points(&gauge.data_points)}),
        Some(Data::Sum(sum)) => {
            told["sum"] = json!({
                "dataPoints": points(&sum.data_points),
                "aggregationTemporality": sum.aggregation_temporality,
                "isMonotonic": sum.is_monotonic,
            });
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            told["exponentialHistogram"] = json!({
                "dataPoints": histogram.data_points.iter().map(exponential).collect::<Vec<_>>(),
                "aggregationTemporality": histogram.aggregation_temporality,
            });
        }
        None => {}
    }
    told
}

fn points(points: &[NumberDataPoint]) -> Vec<Value> {
    let point = |point: &NumberDataPoint| {
        let mut told = json!({
            "attributes": attributes(&point.attributes),
            "startTimeUnixNano": point.start_time_unix_nano.to_string(),
            "timeUnixNano": point.time_unix_nano.to_string(),
        });
        match point.value {
            Some(number_data_point::Value::AsInt(number)) => told["asInt"] = number.to_string().into(),
            Some(number_data_point::Value::AsDouble(number)) => told["asDouble"] = number.into(),
            None => {}
        }
        told
    };
    points.iter().map(point).collect()
}

fn exponential(point: &ExponentialHistogramDataPoint) -> Value {
    let mut told = json!({
        "attributes": attributes(&point.attributes),
        "startTimeUnixNano": point.start_time_unix_nano.to_string(),
        "timeUnixNano": point.time_unix_nano.to_string(),
        "count": point.count.to_string(),
        "sum": point.sum,
        "scale": point.scale,
        "zeroCount": point.zero_count.to_string(),
        "min": point.min,
        "max": point.max,
    });
    for (name, buckets) in [("positive", &point.positive), ("negative", &point.negative)] {
        if let Some(buckets) = buckets {
            let counts: Vec<String> = buckets.bucket_counts.iter().map(u64::to_string).collect();
            told[name] = json!({"offset": buckets.offset, "bucketCounts": counts});
        }
    }
    told
}

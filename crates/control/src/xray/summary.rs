//! What a list says of each trace.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Timestamp as WireTimestamp,
    xray::{AnnotationValue, Http, ServiceId, TraceSummary, TraceUser, ValueWithServiceIds},
};
use bowline_model::trace::TraceId;
use serde_json::Value;

use super::{segment::Segment, view::TraceView};

/// The summary of a trace.
pub(crate) fn of(id: TraceId, view: &TraceView, account: &str) -> TraceSummary {
    let (start, _) = view.span();
    let entry = view.entry();
    let any = |test: fn(&Segment) -> bool| view.segments.iter().any(test);
    let service_id = |segment: &Segment| ServiceId {
        name: segment.name.clone(),
        names: vec![segment.name.clone()],
        account_id: Some(account.to_owned()),
        r#type: segment.origin.clone(),
    };
    let mut service_ids: Vec<ServiceId> = Vec::new();
    let mut annotations: BTreeMap<String, Vec<ValueWithServiceIds>> = BTreeMap::new();
    let mut users: Vec<TraceUser> = Vec::new();
    for segment in &view.segments {
        let service = service_id(segment);
        for (key, value) in segment.walk().flat_map(|part| &part.annotations) {
            let Some(annotation_value) = annotation(value) else { continue };
            let values = annotations.entry(key.clone()).or_default();
            let known = values.iter_mut().find(|known| known.annotation_value == annotation_value);
            match known {
                Some(known) if known.service_ids.contains(&service) => {}
                Some(known) => known.service_ids.push(service.clone()),
                None => {
                    values.push(ValueWithServiceIds { annotation_value, service_ids: vec![service.clone()] });
                }
            }
        }
        if let Some(user) = &segment.user {
            match users.iter_mut().find(|known| known.user_name == *user) {
                Some(known) if known.service_ids.contains(&service) => {}
                Some(known) => known.service_ids.push(service.clone()),
                None => users.push(TraceUser { user_name: user.clone(), service_ids: vec![service.clone()] }),
            }
        }
        if !service_ids.contains(&service) {
            service_ids.push(service);
        }
    }
    TraceSummary {
        id: id.x_ray(),
        start_time: WireTimestamp::from_seconds(start),
        duration: view.duration(),
        response_time: entry.and_then(|entry| entry.end_time.map(|_| entry.duration())),
        has_fault: any(|part| part.fault),
        has_error: any(|part| part.error),
        has_throttle: any(|part| part.throttle),
        is_partial: any(|part| part.walk().any(|part| part.in_progress)),
        http: entry.map(http).unwrap_or_default(),
        annotations,
        users,
        service_ids,
        entry_point: entry.map(service_id),
        // How often it was seen: it grows with the trace.
        revision: i64::try_from(view.segments.len()).unwrap_or(i64::MAX),
    }
}

fn annotation(value: &Value) -> Option<AnnotationValue> {
    let none = AnnotationValue { number_value: None, boolean_value: None, string_value: None };
    match value {
        Value::Number(number) => Some(AnnotationValue { number_value: number.as_f64(), ..none }),
        Value::Bool(value) => Some(AnnotationValue { boolean_value: Some(*value), ..none }),
        Value::String(text) => Some(AnnotationValue { string_value: Some(text.clone()), ..none }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn http(segment: &Segment) -> Http {
    let Some(http) = &segment.http else { return Http::default() };
    Http {
        http_url: http.request.url.clone(),
        http_status: http.response.status,
        http_method: http.request.method.clone(),
        user_agent: http.request.user_agent.clone(),
        client_ip: http.request.client_ip.clone(),
    }
}

//! Alarms: put, told, deleted, and put in a state.

mod convert;
mod tags;

use std::sync::Arc;

use bowline_aws::{
    cloudwatch::{
        AlarmHistoryItem, AlarmNamesRequest, DescribeAlarmHistoryRequest, DescribeAlarmHistoryResponse,
        DescribeAlarmsForMetricRequest, DescribeAlarmsForMetricResponse, DescribeAlarmsRequest,
        DescribeAlarmsResponse, Empty, PutMetricAlarmRequest, SetAlarmStateRequest,
    },
    protocol::{Fault, Timestamp as WireTimestamp},
};
use bowline_model::{
    alarm::{Alarm, AlarmSource, AlarmState, HistoryItemType},
    clock::Timestamp,
};

pub(crate) use convert::alarm_of;
pub(super) use tags::{list_tags, tag, untag};

use super::{constrained, constraint};
use crate::{
    alarms::{AlarmError, commands},
    api::{
        call::{Call, wire},
        pages::{self, Page},
    },
};

/// Most alarms or items of a page.
const PAGE_MAX: i64 = 100;
/// Alarms or items of a page, where nothing else is asked for.
const PAGE: i64 = 50;
/// Most names of one request.
const NAMES_MAX: usize = 100;
/// The only type of alarm that there is here.
const METRIC_ALARM: &str = "MetricAlarm";

impl From<AlarmError> for Fault {
    fn from(error: AlarmError) -> Self {
        let message = error.to_string();
        match error {
            AlarmError::NotFound(_) => {
                Self::new("ResourceNotFound", message).with_query_code("ResourceNotFound").with_status(404)
            }
            AlarmError::Quota => Self::new("LimitExceededFault", message).with_query_code("LimitExceeded"),
            AlarmError::Invalid(_) => validation(message),
            AlarmError::Format => Self::new("InvalidFormatFault", message).with_query_code("InvalidFormat"),
        }
    }
}

/// `ValidationError`.
fn validation(message: impl Into<String>) -> Fault {
    Fault::new("ValidationError", message)
}

fn check_names(names: &[String]) -> Result<(), Fault> {
    constrained(constraint::items("alarmNames", names.len(), 0..=NAMES_MAX))?;
    names.iter().try_for_each(|name| constrained(constraint::length("alarmName", name, 1..=255)))
}

pub(super) fn put(call: &Call<'_>, request: PutMetricAlarmRequest) -> Result<Empty, Fault> {
    let alarm = alarm_of(&call.scope, request, call.now)?;
    call.change(|registry| Ok(commands::put(registry, alarm, call.now)?))?;
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: AlarmNamesRequest) -> Result<Empty, Fault> {
    check_names(&request.alarm_names)?;
    call.change(|registry| Ok(commands::delete(registry, &request.alarm_names, call.now)?))?;
    Ok(Empty {})
}

pub(super) fn enable(call: &Call<'_>, request: AlarmNamesRequest) -> Result<Empty, Fault> {
    set_enabled(call, &request, true)
}

pub(super) fn disable(call: &Call<'_>, request: AlarmNamesRequest) -> Result<Empty, Fault> {
    set_enabled(call, &request, false)
}

fn set_enabled(call: &Call<'_>, request: &AlarmNamesRequest, enabled: bool) -> Result<Empty, Fault> {
    check_names(&request.alarm_names)?;
    call.change(|registry| {
        commands::enable_actions(registry, &request.alarm_names, enabled, call.now);
        Ok(Empty {})
    })
}

pub(super) fn set_state(call: &Call<'_>, request: SetAlarmStateRequest) -> Result<Empty, Fault> {
    let SetAlarmStateRequest { alarm_name, state_value, state_reason, state_reason_data } = request;
    let state = state_of(&state_value)?;
    constrained(constraint::length("stateReason", &state_reason, 0..=1_023))?;
    constrained(constraint::length(
        "stateReasonData",
        state_reason_data.as_deref().unwrap_or_default(),
        0..=4_000,
    ))?;
    call.change(|registry| {
        commands::set_state(registry, &alarm_name, state, state_reason, state_reason_data, call.now)?;
        Ok(Empty {})
    })
}

fn state_of(text: &str) -> Result<AlarmState, Fault> {
    text.parse().map_err(|_| {
        let known: Vec<_> = AlarmState::ALL.iter().map(|state| state.as_str()).collect();
        validation(format!(
            "1 validation error detected: Value '{text}' at 'stateValue' failed to satisfy constraint: Member must satisfy \
             enum value set: [{}]",
            known.join(", ")
        ))
    })
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeAlarmsRequest,
) -> Result<DescribeAlarmsResponse, Fault> {
    check_names(&request.alarm_names)?;
    if !request.alarm_names.is_empty() && request.alarm_name_prefix.is_some() {
        return Err(validation("AlarmNames and AlarmNamePrefix can't both be given."));
    }
    let state = request.state_value.as_deref().map(state_of).transpose()?;
    let registry = call.registry();
    let is_metric =
        request.alarm_types.is_empty() || request.alarm_types.iter().any(|kind| kind == METRIC_ALARM);
    // Nothing is the child or the parent of a composite alarm: there is none.
    let is_asked =
        is_metric && request.children_of_alarm_name.is_none() && request.parents_of_alarm_name.is_none();
    let found = registry.alarms.values().filter(|alarm| {
        is_asked
            && (request.alarm_names.is_empty() || request.alarm_names.contains(&alarm.name))
            && request.alarm_name_prefix.as_ref().is_none_or(|prefix| alarm.name.starts_with(prefix))
            && state.is_none_or(|state| alarm.state.state == state)
            && request.action_prefix.as_ref().is_none_or(|prefix| has_action(alarm, prefix))
    });
    let key = |alarm: &&Arc<Alarm>| alarm.name.clone();
    let page = page_of("DescribeAlarms", found, key, request.next_token.as_deref(), request.max_records)?;
    Ok(DescribeAlarmsResponse {
        composite_alarms: Vec::new(),
        metric_alarms: page.items.into_iter().map(|alarm| convert::told(alarm)).collect(),
        next_token: page.next_token,
    })
}

fn has_action(alarm: &Alarm, prefix: &str) -> bool {
    let mut actions = AlarmState::ALL.iter().flat_map(|state| alarm.actions.of(*state));
    actions.any(|action| action.starts_with(prefix))
}

pub(super) fn describe_for_metric(
    call: &Call<'_>,
    request: DescribeAlarmsForMetricRequest,
) -> Result<DescribeAlarmsForMetricResponse, Fault> {
    let metric = convert::metric_of(request.namespace, request.metric_name, &request.dimensions)?;
    let statistic = request.statistic.or(request.extended_statistic);
    let registry = call.registry();
    let found = registry.alarms.values().filter(|alarm| match &alarm.source {
        AlarmSource::Metric(stat) => {
            stat.metric == metric
                && statistic.as_ref().is_none_or(|wanted| stat.statistic.to_string() == *wanted)
                && request.period.is_none_or(|period| i64::try_from(stat.period.as_secs()) == Ok(period))
                && request
                    .unit
                    .as_ref()
                    .is_none_or(|wanted| stat.unit.is_some_and(|unit| unit.as_str() == wanted))
        }
        AlarmSource::Queries(_) => false,
    });
    Ok(DescribeAlarmsForMetricResponse { metric_alarms: found.map(|alarm| convert::told(alarm)).collect() })
}

pub(super) fn describe_history(
    call: &Call<'_>,
    request: DescribeAlarmHistoryRequest,
) -> Result<DescribeAlarmHistoryResponse, Fault> {
    let kind = match request.history_item_type.as_deref() {
        None => None,
        Some("ConfigurationUpdate") => Some(HistoryItemType::ConfigurationUpdate),
        Some("StateUpdate") => Some(HistoryItemType::StateUpdate),
        Some("Action") => Some(HistoryItemType::Action),
        Some(_) => {
            return Err(validation("HistoryItemType can be ConfigurationUpdate, StateUpdate or Action."));
        }
    };
    let is_ascending = match request.scan_by.as_deref() {
        None | Some("TimestampDescending") => false,
        Some("TimestampAscending") => true,
        Some(_) => return Err(validation("ScanBy can be TimestampDescending or TimestampAscending.")),
    };
    let is_metric =
        request.alarm_types.is_empty() || request.alarm_types.iter().any(|kind| kind == METRIC_ALARM);
    let (from, until) = (request.start_date.map(moment), request.end_date.map(moment));
    let registry = call.registry();
    let wanted = registry
        .alarm_histories
        .iter()
        .filter(|(name, _)| is_metric && request.alarm_name.as_ref().is_none_or(|wanted| wanted == name));
    let items = wanted.flat_map(|(name, history)| {
        history.items.iter().enumerate().map(move |(index, item)| (name, index, item))
    });
    let items = items.filter(|(_, _, item)| {
        kind.is_none_or(|kind| item.kind == kind)
            && from.is_none_or(|from| item.at >= from)
            && until.is_none_or(|until| item.at <= until)
    });
    let key = |(name, index, item): &(&str, usize, &bowline_model::alarm::HistoryItem)| {
        let key = format!("{:020} {name} {index:04}", item.at.as_millis());
        if is_ascending { key } else { pages::reversed(&key) }
    };
    let page =
        page_of("DescribeAlarmHistory", items, key, request.next_token.as_deref(), request.max_records)?;
    let told = page.items.into_iter().map(|(name, _, item)| AlarmHistoryItem {
        alarm_name: name.to_owned(),
        alarm_type: METRIC_ALARM,
        timestamp: wire(item.at),
        history_item_type: match item.kind {
            HistoryItemType::ConfigurationUpdate => "ConfigurationUpdate",
            HistoryItemType::StateUpdate => "StateUpdate",
            HistoryItemType::Action => "Action",
        },
        history_summary: item.summary.clone(),
        history_data: item.data.clone(),
    });
    Ok(DescribeAlarmHistoryResponse { alarm_history_items: told.collect(), next_token: page.next_token })
}

fn moment(at: WireTimestamp) -> Timestamp {
    Timestamp::from_millis((at.seconds().max(0.0) * 1_000.0) as u64)
}

fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_records: Option<i64>,
) -> Result<Page<T>, Fault> {
    let size = max_records.unwrap_or(PAGE);
    constrained(constraint::range("maxRecords", size, 1..=PAGE_MAX))?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size).map_err(|_| {
        Fault::new("InvalidNextToken", "The service rejected the provided NextToken.")
            .with_query_code("InvalidNextToken")
    })
}

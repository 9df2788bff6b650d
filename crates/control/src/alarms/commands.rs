//! What changes alarms: each checks, then changes the registry it is given, or refuses.

use bowline_model::{
    alarm::{ACTIONS_MAX, Alarm, AlarmState, History, HistoryItem, HistoryItemType, StateRecord, Transition},
    clock::Timestamp,
};
use serde_json::{Value, json};

use super::{ALARMS_MAX, AlarmError, HISTORIES_MAX, TAGS_MAX, wording};
use crate::registry::Registry;

/// Makes the alarm, or makes it what is given: then its state and its tags stay.
pub(crate) fn put(registry: &mut Registry, mut alarm: Alarm, now: Timestamp) -> Result<(), AlarmError> {
    for actions in [&alarm.actions.ok, &alarm.actions.alarm, &alarm.actions.insufficient_data] {
        if actions.len() > ACTIONS_MAX {
            return Err(AlarmError::Invalid(format!("There can be {ACTIONS_MAX} actions a state at most.")));
        }
    }
    if alarm.tags.len() > TAGS_MAX {
        return Err(AlarmError::Invalid(format!("There can be {TAGS_MAX} tags at most.")));
    }
    let summary = match registry.alarms.get(&alarm.name) {
        Some(present) => {
            alarm.state = present.state.clone();
            alarm.tags.clone_from(&present.tags);
            let same = Alarm { configured_at: present.configured_at, ..alarm.clone() };
            if same == **present {
                return Ok(());
            }
            "updated"
        }
        None if registry.alarms.len() >= ALARMS_MAX => return Err(AlarmError::Quota),
        None => "created",
    };
    let name = alarm.name.clone();
    registry.alarms.put(name.as_str(), alarm);
    configured(registry, &name, summary, now);
    Ok(())
}

/// Removes alarms: all of them or, where one is not there, none.
pub(crate) fn delete(registry: &mut Registry, names: &[String], now: Timestamp) -> Result<(), AlarmError> {
    if let Some(absent) = names.iter().find(|name| registry.alarms.get(name).is_none()) {
        return Err(AlarmError::NotFound(absent.clone()));
    }
    for name in names {
        registry.alarms.remove(name);
        configured(registry, name, "deleted", now);
    }
    Ok(())
}

fn configured(registry: &mut Registry, name: &str, what: &str, now: Timestamp) {
    let kind = match what {
        "created" => "Create",
        "deleted" => "Delete",
        _ => "Update",
    };
    let data = json!({"version": "1.0", "type": kind});
    remember(
        registry,
        name,
        now,
        HistoryItemType::ConfigurationUpdate,
        format!("Alarm \"{name}\" {what}"),
        &data,
    );
}

/// Turns actions on or off. Names of alarms that are not there are passed over, as on AWS.
pub(crate) fn enable_actions(registry: &mut Registry, names: &[String], enabled: bool, now: Timestamp) {
    for name in names {
        let Some(alarm) = registry.alarms.get(name).filter(|alarm| alarm.actions_enabled != enabled) else {
            continue;
        };
        let changed = Alarm { actions_enabled: enabled, configured_at: now, ..Alarm::clone(alarm) };
        registry.alarms.put(name.as_str(), changed);
        configured(registry, name, "updated", now);
    }
}

/// Puts an alarm in a state until it is judged again: `SetAlarmState`.
pub(crate) fn set_state(
    registry: &mut Registry,
    name: &str,
    state: AlarmState,
    reason: String,
    reason_data: Option<String>,
    now: Timestamp,
) -> Result<(), AlarmError> {
    if registry.alarms.get(name).is_none() {
        return Err(AlarmError::NotFound(name.to_owned()));
    }
    if reason_data.as_ref().is_some_and(|data| serde_json::from_str::<Value>(data).is_err()) {
        return Err(AlarmError::Format);
    }
    enter(registry, name, state, reason, reason_data, now);
    Ok(())
}

/// Moves an alarm by its values, unless it was changed since they were read.
pub(crate) fn transit(registry: &mut Registry, judged: &Alarm, transition: &Transition) -> bool {
    let is_same = registry.alarms.get(&judged.name).is_some_and(|present| {
        present.state.state == transition.from
            && present.source == judged.source
            && present.rule == judged.rule
    });
    if is_same {
        let reason = wording::reason(&judged.rule, transition.from, transition.to, &transition.by);
        let data = wording::reason_data(judged, &transition.by, transition.at);
        enter(registry, &judged.name, transition.to, reason, Some(data), transition.at);
    }
    is_same
}

fn enter(
    registry: &mut Registry,
    name: &str,
    state: AlarmState,
    reason: String,
    reason_data: Option<String>,
    now: Timestamp,
) {
    let Some(alarm) = registry.alarms.get(name) else { return };
    let before = alarm.state.clone();
    let is_other = before.state != state;
    let after = StateRecord {
        state,
        reason: reason.chars().take(wording::REASON_CHARACTERS_MAX).collect(),
        // A part of it would be no JSON.
        reason_data: reason_data.filter(|data| data.len() <= wording::REASON_DATA_CHARACTERS_MAX),
        updated_at: now,
        transitioned_at: if is_other { now } else { before.transitioned_at },
        is_pending: is_other || before.is_pending,
    };
    let data = json!({
        "version": "1.0",
        "oldState": wording::state_json(&before),
        "newState": wording::state_json(&after),
    });
    registry.alarms.update(name, |alarm| alarm.state = after);
    if is_other {
        let summary = format!("Alarm updated from {} to {state}", before.state);
        remember(registry, name, now, HistoryItemType::StateUpdate, summary, &data);
    }
}

/// The actions of an alarm's state are being taken.
pub(crate) fn mark_acted(registry: &mut Registry, name: &str) {
    registry.alarms.update(name, |alarm| alarm.state.is_pending = false);
}

/// An action was taken, or could not be.
pub(crate) fn acted(
    registry: &mut Registry,
    name: &str,
    action: &str,
    failure: Option<&str>,
    now: Timestamp,
) {
    let (summary, state) = match failure {
        None => (format!("Successfully executed action {action}"), "Succeeded"),
        Some(_) => (format!("Failed to execute action {action}"), "Failed"),
    };
    let mut data = json!({"actionState": state, "stateUpdateTimestamp": now.as_millis(),
        "notificationResource": action});
    if let Some(failure) = failure {
        data["error"] = failure.into();
    }
    remember(registry, name, now, HistoryItemType::Action, summary, &data);
}

fn remember(
    registry: &mut Registry,
    name: &str,
    at: Timestamp,
    kind: HistoryItemType,
    summary: String,
    data: &Value,
) {
    let mut history = registry.alarm_histories.get(name).map(|of| History::clone(of)).unwrap_or_default();
    let summary = summary.chars().take(255).collect();
    history.push(HistoryItem { at, kind, summary, data: data.to_string() });
    registry.alarm_histories.put(name, history);
}

/// Forgets what happened too long ago, and of alarms that are gone what is too much.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    let over: Vec<String> = registry
        .alarm_histories
        .iter()
        .filter(|(_, history)| {
            let mut left = History::clone(history);
            left.forget(now);
            left.items.is_empty()
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in over {
        registry.alarm_histories.remove(&name);
    }
    let surplus = registry.alarm_histories.len().saturating_sub(HISTORIES_MAX);
    if surplus > 0 {
        let mut gone: Vec<_> = registry
            .alarm_histories
            .iter()
            .filter(|(name, _)| registry.alarms.get(name).is_none())
            .map(|(name, history)| (history.items.back().map(|item| item.at), name.to_owned()))
            .collect();
        gone.sort();
        for (_, name) in gone.into_iter().take(surplus) {
            registry.alarm_histories.remove(&name);
        }
    }
}

//! What is told of an experiment in CloudWatch Logs.
//!
//! Source: AWS FIS user guide, "Experiment logging": log types and their schema, version 2.

use std::collections::BTreeMap;

use bowline_model::{arn::Arn, clock::Timestamp, log::LogEvent};
use serde_json::{Value, json};

use crate::fis::{
    experiments::ExperimentRecord,
    run::{ActionStatus, RunStatus},
};

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Journal {
    status: Option<RunStatus>,
    resolved: bool,
    actions: BTreeMap<String, ActionStatus>,
    news: Option<RunStatus>,
}

/// The log group of an experiment's log configuration.
pub(super) fn group(experiment: &ExperimentRecord) -> Option<String> {
    let logs = experiment.content.log_configuration.as_ref()?;
    let arn: Arn = logs.cloud_watch_logs_configuration.as_ref()?.log_group_arn.parse().ok()?;
    let name = arn.resource().strip_prefix("log-group:")?;
    Some(name.strip_suffix(":*").unwrap_or(name).to_owned())
}

/// The stream of an experiment.
pub(super) fn stream(experiment: &ExperimentRecord) -> String {
    format!("/aws/fis/{}", experiment.id)
}

impl Journal {
    /// Whether the experiment is in another state than it was told to be in.
    pub(super) fn is_news(&mut self, experiment: &ExperimentRecord) -> bool {
        self.news.replace(experiment.run.status) != Some(experiment.run.status)
    }

    /// What has happened since.
    pub(super) fn follow(&mut self, experiment: &ExperimentRecord, now: Timestamp) -> Vec<LogEvent> {
        let run = &experiment.run;
        let mut events = Vec::new();
        let mut tell = |kind: &str, details: Value| {
            let line = json!({
                "id": experiment.id, "log_type": kind, "event_timestamp": now.to_string(), "version": "2",
                "details": details,
            });
            events.push(LogEvent { at: now, message: line.to_string() });
        };
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        if self.status.is_none() {
            tell(
                "experiment-start",
                json!({
                    "experiment_template_id": experiment.template,
                    "experiment_start_time": time(run.started_at),
                }),
            );
            tell("target-resolution-start", json!({"target_resolution_start_time": time(run.started_at)}));
        }
        if !self.resolved && !experiment.resolved.is_empty() {
            self.resolved = true;
            for (name, arns) in &experiment.resolved {
                tell("target-resolution-detail", json!({"target_name": name, "resolved_targets": arns}));
            }
            tell("target-resolution-end", json!({"target_resolution_end_time": now.to_string()}));
        }
        for (name, action) in &run.actions {
            let before = self.actions.insert(name.clone(), action.status);
            let id = experiment.content.actions.get(name).map(|action| &action.action_id);
            let began = before.is_none_or(|before| before == ActionStatus::Pending);
            if began && action.started_at.is_some() {
                tell(
                    "action-start",
                    json!({
                        "action_name": name, "action_id": id, "action_start_time": time(action.started_at),
                        "action_targets": experiment.content.actions.get(name).map(|action| &action.targets),
                    }),
                );
            }
            if action.status.is_over() && before.is_none_or(|before| !before.is_over()) {
                let kind = if action.status == ActionStatus::Failed { "action-error" } else { "action-end" };
                tell(
                    kind,
                    json!({
                        "action_name": name, "action_id": id, "action_end_time": time(action.ended_at),
                        "action_state": {"status": action.status.as_str(), "reason": action.reason},
                    }),
                );
            }
        }
        let was_over = self.status.is_some_and(RunStatus::is_over);
        self.status = Some(run.status);
        if run.status.is_over() && !was_over {
            tell(
                "experiment-end",
                json!({
                    "experiment_end_time": time(run.ended_at),
                    "experiment_state": {"status": run.status.as_str(), "reason": run.reason},
                }),
            );
        }
        events
    }
}

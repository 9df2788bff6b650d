//! What FIS's operations demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS Fault
//! Injection Service"; for the role that a template names, FIS's user guide: `iam:PassRole`.

use std::collections::BTreeSet;

use bowline_aws::protocol::Document;

use super::demand::{Asked, Demand};

/// To what a template's role is passed.
const SERVICE: &str = "fis.amazonaws.com";

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let action = format!("fis:{}", asked.operation);
    let template = |id: &str| asked.arn("fis", format_args!("experiment-template/{id}"));
    let of_action = |id: &str| asked.arn("fis", format_args!("action/{id}"));
    let experiment = |id: &str| asked.arn("fis", format_args!("experiment/{id}"));
    let id = asked.text("id").unwrap_or_default();
    let resource = match asked.operation {
        "GetAction" => of_action(id),
        // Its id is not decided yet.
        "CreateExperimentTemplate" => template("*"),
        "GetExperimentTemplate" | "UpdateExperimentTemplate" | "DeleteExperimentTemplate" => template(id),
        "StartExperiment" => template(asked.text("experimentTemplateId").unwrap_or_default()),
        "GetExperiment" | "StopExperiment" => experiment(id),
        "ListExperimentResolvedTargets" => experiment(asked.text("experimentId").unwrap_or_default()),
        "GetSafetyLever" | "UpdateSafetyLeverState" => asked.arn("fis", format_args!("safety-lever/{id}")),
        "TagResource" | "UntagResource" | "ListTagsForResource" => {
            asked.text("resourceArn").unwrap_or("*").to_owned()
        }
        _ => "*".to_owned(),
    };
    let mut demands = vec![Demand::new(action.as_str(), resource)];
    if matches!(asked.operation, "CreateExperimentTemplate" | "UpdateExperimentTemplate") {
        let used = used_actions(asked.request);
        demands.extend(used.into_iter().map(|id| Demand::new(action.as_str(), of_action(id))));
        let role = asked.text("roleArn");
        demands
            .extend(role.map(|role| Demand::new("iam:PassRole", role).with("iam:PassedToService", SERVICE)));
    }
    if asked.operation == "StartExperiment" {
        // Its id is not decided yet.
        demands.push(Demand::new(action.as_str(), experiment("*")));
        if asked.request.get("tags").is_some() {
            demands.push(Demand::new("fis:TagResource", experiment("*")));
        }
    }
    if asked.operation == "CreateExperimentTemplate" && asked.request.get("tags").is_some() {
        demands.push(Demand::new("fis:TagResource", template("*")));
    }
    demands
}

/// The ids of a request's actions, each once.
fn used_actions(request: &Document) -> BTreeSet<&str> {
    match request.get("actions") {
        Some(Document::Map(actions)) => {
            actions.iter().filter_map(|(_, action)| action.get("actionId")?.as_text()).collect()
        }
        _ => BTreeSet::new(),
    }
}

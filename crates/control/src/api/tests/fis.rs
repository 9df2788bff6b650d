//! AWS Fault Injection Service.

use serde_json::{Value, json};

use super::Endpoint;
use crate::{
    api::{
        authorization::demand::{self, Asked},
        limits::Throttled,
        server::throttled_early,
    },
    fis::{ACTIONS_MAX, TEMPLATES_MAX},
};

fn template(token: &str) -> Value {
    json!({
        "clientToken": token,
        "description": "A task goes.",
        "roleArn": "arn:aws:iam::000000000000:role/chaos",
        "stopConditions": [{"source": "none"}],
        "targets": {"it": {
            "resourceType": "aws:ecs:task", "resourceTags": {"app": "x"}, "selectionMode": "PERCENT(50)",
        }},
        "actions": {
            "first": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}},
            "then": {"actionId": "aws:ecs:stop-task", "targets": {"Tasks": "it"}, "startAfter": ["first"]},
        },
        "tags": {"team": "a"},
    })
}

#[test]
fn a_template_is_kept_and_told() {
    let api = Endpoint::new();
    let made = api.ok("fis", "CreateExperimentTemplate", template("t"));
    let made = &made["experimentTemplate"];
    for member in ["description", "roleArn", "stopConditions", "targets", "actions", "tags"] {
        assert_eq!(made[member], template("t")[member], "{member}");
    }
    let id = json!({"id": made["id"]});
    assert_eq!(api.ok("fis", "GetExperimentTemplate", id.clone())["experimentTemplate"], *made);
    // What the store has can be read again.
    let row = api.core.registry().experiment_templates.values().next().cloned().unwrap();
    let read: crate::fis::ExperimentTemplateRecord =
        serde_json::from_value(serde_json::to_value(&*row).unwrap()).unwrap();
    assert_eq!(read, *row);

    assert_eq!(api.ok("fis", "CreateExperimentTemplate", template("t"))["experimentTemplate"], *made);
    let mut other = template("t");
    other["description"] = json!("Another.");
    let conflict = api.fault("fis", "CreateExperimentTemplate", other);
    assert_eq!((conflict.code.as_str(), conflict.status), ("ConflictException", 409));

    api.ok("fis", "DeleteExperimentTemplate", id.clone());
    let gone = api.fault("fis", "GetExperimentTemplate", id);
    assert_eq!((gone.code.as_str(), gone.status), ("ResourceNotFoundException", 404));
}

#[test]
fn there_are_no_more_than_the_quotas_allow() {
    let api = Endpoint::new();
    for number in 0..TEMPLATES_MAX {
        api.ok("fis", "CreateExperimentTemplate", template(&number.to_string()));
    }
    let full = api.fault("fis", "CreateExperimentTemplate", template("one-more"));
    assert_eq!((full.code.as_str(), full.status), ("ServiceQuotaExceededException", 402));
    // One that is there is given again, and can be changed.
    let first = api.ok("fis", "CreateExperimentTemplate", template("0"));
    let id = &first["experimentTemplate"]["id"];
    let wait = &template("")["actions"]["first"];
    let actions = |count: usize| -> Value {
        (0..count).map(|number| (number.to_string(), wait.clone())).collect::<serde_json::Map<_, _>>().into()
    };
    api.ok("fis", "UpdateExperimentTemplate", json!({"id": id, "actions": actions(ACTIONS_MAX)}));
    let full =
        api.fault("fis", "UpdateExperimentTemplate", json!({"id": id, "actions": actions(ACTIONS_MAX + 1)}));
    assert_eq!(full.code, "ServiceQuotaExceededException");
}

#[test]
fn a_template_demands_its_actions_and_its_role() {
    let api = Endpoint::new();
    let registry = api.core.registry();
    let scope = registry.settings().scope.clone();
    let document = bowline_aws::protocol::to_document(&template("t")).unwrap();
    let asked = Asked {
        registry: &registry,
        scope: &scope,
        caller: &api.caller,
        operation: "CreateExperimentTemplate",
        request: &document,
    };
    let demands = demand::of("fis", &asked);
    let all: Vec<_> = demands.iter().map(|it| (it.action.as_str(), it.resource.as_str())).collect();
    let arn = |rest: &str| format!("arn:aws:fis:us-east-1:000000000000:{rest}");
    assert_eq!(
        all,
        [
            ("fis:CreateExperimentTemplate", arn("experiment-template/*").as_str()),
            ("fis:CreateExperimentTemplate", arn("action/aws:ecs:stop-task").as_str()),
            ("fis:CreateExperimentTemplate", arn("action/aws:fis:wait").as_str()),
            ("iam:PassRole", "arn:aws:iam::000000000000:role/chaos"),
            ("fis:TagResource", arn("experiment-template/*").as_str()),
        ]
    );
    let tag = ("aws:RequestTag/team".to_owned(), vec!["a".to_owned()]);
    assert!(demands.iter().all(|it| it.keys.contains(&tag)));
    let passed = ("iam:PassedToService".to_owned(), vec!["fis.amazonaws.com".to_owned()]);
    assert!(demands[3].keys.contains(&passed));
}

#[test]
fn who_asks_too_much_is_told_in_the_services_own_protocol() {
    for (service, status, content_type) in [("fis", 429, "application/json"), ("iam", 400, "text/xml")] {
        let mut headers = http::HeaderMap::new();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        let answer = throttled_early(&headers, Throttled { retry_after: 3 }, "id");
        let header =
            |name: &str| answer.headers.iter().find(|(found, _)| found == name).map(|(_, it)| it.as_str());
        assert_eq!((answer.status, header("content-type")), (status, Some(content_type)), "{service}");
        assert_eq!(header("retry-after"), Some("3"), "{service}");
    }
}

//! CloudWatch Logs: put and read, asked, and what templates declare.

use bowline_aws::cfn::{Inputs, Template};
use bowline_observe::logs::LogStoreError;
use serde_json::json;

use super::*;
use crate::stack::{StackOrder, record::StackTemplate};

fn endpoint() -> Endpoint {
    let endpoint = Endpoint::new();
    endpoint.ok("logs", "CreateLogGroup", json!({"logGroupName": "/app"}));
    endpoint.ok("logs", "CreateLogStream", json!({"logGroupName": "/app", "logStreamName": "s"}));
    endpoint
}

fn put(endpoint: &Endpoint, messages: &[&str]) -> Value {
    let now = endpoint.now().as_millis();
    let events: Vec<Value> =
        messages.iter().map(|message| json!({"timestamp": now, "message": message})).collect();
    let request = json!({"logGroupName": "/app", "logStreamName": "s", "logEvents": events});
    endpoint.ok("logs", "PutLogEvents", request)
}

#[test]
fn events_of_one_time_are_in_the_order_in_which_they_came() {
    let endpoint = endpoint();
    put(&endpoint, &["a", "b"]);
    put(&endpoint, &["c"]);
    let got = endpoint.ok(
        "logs",
        "GetLogEvents",
        json!({"logGroupName": "/app", "logStreamName": "s", "startFromHead": true}),
    );
    let messages: Vec<_> = got["events"].as_array().unwrap().iter().map(|it| it["message"].clone()).collect();
    assert_eq!(messages, ["a", "b", "c"]);
    let token = got["nextForwardToken"].clone();
    let request = json!({"logGroupName": "/app", "logStreamName": "s", "nextToken": token});
    let again = endpoint.ok("logs", "GetLogEvents", request);
    assert_eq!((&again["events"], &again["nextForwardToken"]), (&json!([]), &token));
    let found = endpoint.ok(
        "logs",
        "FilterLogEvents",
        json!({"logGroupName": "/app", "filterPattern": "?a ?c", "limit": 1}),
    );
    assert_eq!(found["events"][0]["message"], "a");
    let request = json!({"logGroupName": "/app", "filterPattern": "?a ?c", "nextToken": found["nextToken"]});
    let rest = endpoint.ok("logs", "FilterLogEvents", request);
    assert_eq!((&rest["events"][0]["message"], rest.get("nextToken")), (&json!("c"), None));
}

#[test]
fn a_query_that_is_none_says_where() {
    let endpoint = endpoint();
    let request =
        json!({"logGroupName": "/app", "startTime": 0, "endTime": 1, "queryString": "fields a | bogus"});
    let fault = endpoint.fault("logs", "StartQuery", request);
    assert_eq!(fault.code, "MalformedQueryException");
    assert!(fault.message.ends_with("is needed at character 12"), "{}", fault.message);
    assert_eq!(fault.members[0].0, "queryCompileError");
}

#[test]
fn what_does_not_fit_is_refused_in_awss_words() {
    let endpoint = endpoint();
    let fault = endpoint.fault("logs", "CreateLogGroup", json!({"logGroupName": "a b"}));
    assert_eq!(
        fault.message,
        "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
    );
    let fault = endpoint.fault("logs", "GetLogEvents", json!({"logStreamName": "s"}));
    assert_eq!((&*fault.code, fault.status), ("InvalidParameterException", 400));
    let gone = "arn:aws:logs:eu-west-1:000000000000:log-group:/app:*";
    let fault = endpoint.fault("logs", "ListTagsForResource", json!({"resourceArn": gone}));
    assert_eq!(fault.code, "ResourceNotFoundException");
}

const TEMPLATE: &str = r#"
Resources:
  Group: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: /stack, RetentionInDays: 7}}
  Own: {Type: AWS::Logs::LogGroup}
  Errors:
    Type: AWS::Logs::MetricFilter
    Properties:
      LogGroupName: !Ref Group
      FilterPattern: ERROR
      MetricTransformations:
        - {MetricNamespace: Shop, MetricName: Errors, MetricValue: 1, Dimensions: [{Key: A, Value: $.a}]}
"#;

fn deploy(core: &Arc<Core>, text: &str) -> Result<(), String> {
    let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: "test".into(), revision: core.revisions(), ..Inputs::default() };
    let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
    let source =
        StackTemplate { files: vec![("template".into(), text.to_owned())], parameters: Default::default() };
    let order = StackOrder { by: "test".into(), ..StackOrder::default() };
    core.deploy(&stack, &source, &order).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_template_makes_groups_and_metric_filters_and_takes_them_along() {
    let endpoint = Endpoint::new();
    let core = &endpoint.core;
    deploy(core, TEMPLATE).expect("deploys");
    let groups: Vec<_> = core.logs().groups().into_iter().map(|group| group.name).collect();
    assert!(groups.len() == 2 && groups[0] == "/stack" && groups[1].starts_with("test-Own-"), "{groups:?}");
    let filters = core.logs().metric_filters(None);
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].1.transformations[0].dimensions["A"], "$.a");
    core.logs().create_stream("/stack", "s").expect("makes");

    // The same again changes nothing: what was set since stays.
    core.logs()
        .change_group::<LogStoreError>("/stack", |settings| {
            settings.retention_days = Some(1);
            Ok(())
        })
        .expect("changes");
    deploy(core, TEMPLATE).expect("deploys");
    let days = || core.logs().describe("/stack").and_then(|group| group.settings.retention_days);
    assert_eq!(days(), Some(1));
    deploy(core, &TEMPLATE.replace("RetentionInDays: 7", "RetentionInDays: 30")).expect("deploys");
    assert_eq!(days(), Some(30));
    assert_eq!(core.logs().streams("/stack").expect("streams").len(), 1);

    let error = deploy(core, &TEMPLATE.replace("FilterPattern: ERROR", "FilterPattern: '{ $.a = }'"));
    assert!(error.as_ref().is_err_and(|error| error.contains("Invalid filter pattern")), "{error:?}");
    let without = "Resources:\n  Group: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: /stack}}\n";
    deploy(core, without).expect("deploys");
    assert_eq!(core.logs().groups().len(), 1);
    assert!(core.logs().metric_filters(None).is_empty());
}
